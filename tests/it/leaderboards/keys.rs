//! No two windows have one key in Redis, whatever boards, columns, values and seasons are called.

use super::look::shown_is_counted;
use super::shown::Shown;
use super::*;
use crate::boards::Kind;
use crate::cache;

/// Values that look like other pieces of a key.
const VALUES: [&str; 10] = [
    "weekly",
    "all-time",
    "2026-W47",
    "weekly:2026-W47",
    "a:b",
    "a%3Ab",
    "a%253Ab",
    "{x}",
    "%",
    "\u{e4} b",
];

#[tokio::test]
async fn no_two_windows_have_one_key_whatever_they_are_called() {
    let shown = Shown::on(Kind::Found).await;
    let pool = shown.bench.pool();
    // A column and a season with the names of windows, and a board that begins with the other's name.
    pool.execute("ALTER TABLE app.score_event ADD COLUMN weekly text, ADD COLUMN \"Weekly\" text")
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO nightshift.leaderboard (name, source, aggregation, direction) VALUES ($1 || '-weekly', 'scores', 'sum', 'ascending')",
    )
    .bind(&shown.name)
    .execute(pool)
    .await
    .unwrap();
    pool.execute(
        "UPDATE nightshift.leaderboard SET groups = '{country,weekly,Weekly}', windows = '{daily,weekly,monthly,all-time,season}';
        INSERT INTO nightshift.leaderboard_season (board, label, starts_at, ends_at)
        SELECT id, label, starts_at, starts_at + interval '10 days' FROM nightshift.leaderboard, (VALUES
            ('weekly', timestamptz '2026-11-01T00:00:00Z'), ('2026-W47', '2026-11-11T00:00:00Z')) AS s (label, starts_at)",
    )
    .await
    .unwrap();
    for (n, value) in (0..).zip(VALUES) {
        sqlx::query(
            "INSERT INTO app.score_event (user_id, board, score, occurred_at, country, weekly, \"Weekly\")
            VALUES ($1, 'points', $2, $3::timestamptz - $2 * interval '3 hours', $4, reverse($4), $4 || '.')",
        )
        .bind(Uuid::from_u128(1 + u128::from(n % 5_u32)))
        .bind(i64::from(n))
        .bind(start_of_time())
        .bind(value)
        .execute(pool)
        .await
        .unwrap();
    }
    count(&shown.bench).await;
    let mut connection = cache::connect(&Kind::Found.url()).await;
    let now = shown.bench.clock().now();
    let (keys, rows) = shown_is_counted(pool, &mut connection, now).await;
    // Of two boards, for each of three columns, of each value at least five windows, the day twice.
    assert!(
        keys > 2 * 3 * VALUES.len() * 5 && rows >= keys,
        "{keys} {rows}"
    );
    shown.bench.remove().await;
}

#[tokio::test]
async fn seasons_that_would_be_shown_under_one_key_are_refused_and_others_count() {
    let shown = Shown::on(Kind::Found).await;
    let pool = shown.bench.pool();
    pool.execute(
        "INSERT INTO nightshift.leaderboard (name, source, aggregation, windows) VALUES ('seasons', 'scores', 'sum', '{season}');
        INSERT INTO nightshift.leaderboard_season (board, label, starts_at, ends_at)
        SELECT id, label, starts_at, starts_at + interval '10 days' FROM nightshift.leaderboard, (VALUES
            ('one', timestamptz '2026-11-10T00:00:00Z'), ('two', '2026-11-15T00:00:00Z')) AS s (label, starts_at)
        WHERE name = 'seasons'",
    )
    .await
    .unwrap();
    insert(pool, 1, "points", 1, "2026-11-18T09:00:00Z").await;
    let seasons = async || -> i64 {
        let sql = "SELECT count(*) FROM nightshift.leaderboard_window WHERE kind = 'season'";
        sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
    };
    count(&shown.bench).await;
    assert_eq!(seasons().await, 0);
    let mut connection = cache::connect(&Kind::Found.url()).await;
    let now = shown.bench.clock().now();
    assert!(shown_is_counted(pool, &mut connection, now).await.0 > 0);
    // Once they are apart, nothing was missed.
    pool.execute("UPDATE nightshift.leaderboard_season SET ends_at = '2026-11-15T00:00:00Z' WHERE label = 'one'")
        .await
        .unwrap();
    count(&shown.bench).await;
    assert_eq!(seasons().await, 1);
    shown.bench.remove().await;
}
