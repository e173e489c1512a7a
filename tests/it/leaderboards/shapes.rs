//! Sources as applications have them: a long history, a view without unique ids, numbers of all kinds; and seasons.

use super::windows::finals;
use super::*;

/// Leaves one board.
async fn only(pool: &PgPool, board: &str) {
    sqlx::query("DELETE FROM nightshift.leaderboard WHERE name <> $1")
        .bind(board)
        .execute(pool)
        .await
        .unwrap();
}

/// How many events the scores of all time are of.
async fn events(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(s.events), 0)::bigint FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window WHERE w.kind = 'all-time'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Events of ten users, one for each number, recorded one a second since a day.
async fn play(pool: &PgPool, from: i32, until: i32) {
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at)
        SELECT ('00000000-0000-0000-0000-00000000000' || n % 10)::uuid, 'points', n % 100,
            $1 - n * interval '0.1 seconds'
        FROM generate_series($2, $3) AS n",
    )
    .bind(start_of_time())
    .bind(from)
    .bind(until)
    .execute(pool)
    .await
    .unwrap();
}

/// Waits until no transaction of any database holds up what was written.
async fn settle(pool: &PgPool) {
    let settled = async {
        let written: i64 = sqlx::query_scalar("SELECT max(xid::text::bigint) FROM app.score_event")
            .fetch_one(pool)
            .await
            .unwrap();
        let is_held_up = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint <= $1";
        while sqlx::query_scalar(is_held_up)
            .bind(written)
            .fetch_one(pool)
            .await
            .unwrap()
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, settled).await.unwrap();
}

/// Has the first slice counted; the others wait.
async fn begin(bench: &Workbench) {
    let message = due(bench, "count");
    bench
        .deliver("leaderboard-rollup-work", &[message])
        .await
        .unwrap();
    let waiting = bench.waiting().await;
    let reasons: Vec<_> = waiting.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["continue"]);
}

#[tokio::test]
async fn a_long_history_is_counted_in_slices_that_follow_each_other_at_once() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    only(pool, "points").await;
    // With ten boards a count takes a hundred thousand.
    pool.execute(
        "INSERT INTO nightshift.leaderboard (name, source, selector, aggregation)
        SELECT 'empty-' || n, 'scores', 'nothing', 'sum' FROM generate_series(1, 9) AS n",
    )
    .await
    .unwrap();
    for part in 0..3 {
        play(pool, part * 40_000 + 1, (part + 1) * 40_000).await;
    }
    // One transaction that is more than a slice.
    play(pool, 120_001, 240_000).await;
    settle(pool).await;
    begin(&bench).await;
    assert_eq!(events(pool).await, 80_000);
    let mut counts = 1;
    while let Some(told) = bench.step().await {
        told.unwrap();
        counts += 1;
        assert!(counts < 10, "there is always more");
    }
    // The third with nothing of the one that is too long, that one alone, and nothing.
    assert_eq!(counts, 4);
    count(&bench).await;
    assert_eq!(events(pool).await, 240_000);
    check(pool).await;
    bench.remove().await;
}

#[tokio::test]
async fn a_long_history_without_transaction_numbers_is_counted_in_slices_too() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    only(pool, "points").await;
    pool.execute(
        "ALTER TABLE app.score_event DROP COLUMN xid,
            ADD recorded_at timestamptz GENERATED ALWAYS AS (occurred_at) STORED;
        CREATE INDEX ON app.score_event (recorded_at);
        UPDATE nightshift.leaderboard_source SET overlap = '10 minutes'",
    )
    .await
    .unwrap();
    play(pool, 1, 270_000).await;
    begin(&bench).await;
    assert_eq!(events(pool).await, 250_000);
    let noted = "SELECT count(*) FROM nightshift.leaderboard_seen";
    let notes: i64 = sqlx::query_scalar(noted).fetch_one(pool).await.unwrap();
    assert_eq!(
        notes, 1,
        "only the last of the slice may have others beside it"
    );
    bench.run_to_end().await;
    assert_eq!(events(pool).await, 270_000);
    let notes: i64 = sqlx::query_scalar(noted).fetch_one(pool).await.unwrap();
    assert_eq!(notes, 6_001, "those of ten minutes");
    check(pool).await;
    bench.remove().await;
}

#[tokio::test]
async fn a_view_without_unique_ids_and_with_any_numbers_counts_each_id_once_and_whole_numbers_only()
{
    for of in ["numeric", "double precision"] {
        let bench = bench(start_of_time()).await;
        let pool = bench.pool();
        only(pool, "points").await;
        let create = format!(
            "CREATE TABLE app.raw (id text, player uuid, points {of}, at timestamptz,
                xid xid8 NOT NULL DEFAULT pg_current_xact_id());
            CREATE VIEW app.event AS SELECT id AS event_id, player AS user_id, points AS score, at AS occurred_at,
                'points'::text AS board, xid FROM app.raw;
            UPDATE nightshift.leaderboard_source SET relation = 'app.event'"
        );
        pool.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        let write = async |events: &[(&str, u128, &str)]| {
            for (id, player, points) in events {
                let sql = format!("INSERT INTO app.raw VALUES ($1, $2, $3::text::{of}, $4)");
                sqlx::query(sqlx::AssertSqlSafe(sql))
                    .bind(*id)
                    .bind(Uuid::from_u128(*player))
                    .bind(*points)
                    .bind(start_of_time())
                    .execute(pool)
                    .await
                    .unwrap();
            }
        };
        write(&[
            ("a", 1, "5"),
            ("a", 1, "5"),
            ("b", 1, "7.0"),
            ("c", 2, "1.5"),
            ("d", 2, "NaN"),
            ("e", 2, "9007199254740992"),
            ("f", 3, "9007199254740994"),
            ("g", 3, "-9007199254740992"),
            ("h", 4, "Infinity"),
            ("i", 4, "-Infinity"),
        ])
        .await;
        count(&bench).await;
        // An id of before, and one twice in one count.
        write(&[
            ("a", 1, "100"),
            ("k", 5, "1"),
            ("k", 5, "2"),
            ("l", 5, "10"),
        ])
        .await;
        count(&bench).await;
        let all_time = async || -> Vec<(u128, i64, i64)> {
            let lines = counted(pool).await.into_iter();
            let lines = lines.filter(|line| line.1 == "all-time");
            lines
                .map(|(_, _, _, _, user, score, _, events)| (user.as_u128(), score, events))
                .collect()
        };
        let expected = [(1, 12, 2), (2, 1 << 53, 1), (3, -(1 << 53), 1), (5, 11, 2)];
        assert_eq!(all_time().await, expected, "{of}");
        let rejected: Vec<(String, String)> = sqlx::query_as(
            "SELECT event_id, reason FROM nightshift.leaderboard_rejected ORDER BY event_id",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let rejected: Vec<(&str, &str)> = rejected
            .iter()
            .map(|(id, why)| (id.as_str(), why.as_str()))
            .collect();
        assert_eq!(
            rejected,
            [
                ("c", "score-not-whole"),
                ("d", "score-not-a-number"),
                ("f", "score-out-of-range"),
                ("h", "score-out-of-range"),
                ("i", "score-out-of-range"),
            ],
            "{of}"
        );
        ask(&bench, "verify").await;
        let drift: i64 = sqlx::query_scalar("SELECT drift FROM nightshift.leaderboard_built")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(drift, 0, "{of}");
        ask(&bench, "rebuild").await;
        assert_eq!(all_time().await, expected, "{of}");
        bench.remove().await;
    }
}

#[tokio::test]
async fn of_events_at_one_time_the_last_has_the_highest_number() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    only(pool, "level").await;
    pool.execute(
        "CREATE TABLE app.numbered (event_id bigint PRIMARY KEY, user_id uuid, board text DEFAULT 'level', score integer,
            occurred_at timestamptz DEFAULT '2026-11-18T09:00:00Z', xid xid8 NOT NULL DEFAULT pg_current_xact_id());
        UPDATE nightshift.leaderboard_source SET relation = 'app.numbered'",
    )
    .await
    .unwrap();
    // In one count, and in two, whichever comes first.
    let counts: [&[(i64, u128)]; 3] = [
        &[(9, 1), (10, 1), (99, 2), (1_000, 3)],
        &[(100, 2), (999, 3), (-5, 4)],
        &[(-40, 4)],
    ];
    for events in counts {
        for (id, user) in events {
            sqlx::query("INSERT INTO app.numbered (event_id, user_id, score) VALUES ($1, $2, $1)")
                .bind(id)
                .bind(Uuid::from_u128(*user))
                .execute(pool)
                .await
                .unwrap();
        }
        count(&bench).await;
    }
    let expected = [(1, 10), (2, 100), (3, 1_000), (4, -5)];
    for task in ["count", "rebuild"] {
        ask(&bench, task).await;
        let lines = counted(pool).await.into_iter();
        let lines: Vec<(u128, i64)> = lines.map(|line| (line.4.as_u128(), line.5)).collect();
        assert_eq!(lines, expected, "{task}");
    }
    bench.remove().await;
}

#[tokio::test]
async fn seasons_are_counted_from_their_first_event_on_whenever_they_are_declared() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    only(pool, "points").await;
    pool.execute(
        "UPDATE nightshift.leaderboard SET windows = '{season}', grace = '1 hour';
        INSERT INTO nightshift.leaderboard_season SELECT id, 'autumn', '2026-11-01T00:00:00Z', '2026-11-18T12:00:00Z'
            FROM nightshift.leaderboard",
    )
    .await
    .unwrap();
    for (user, score, at) in [
        (1, 1, "2026-10-31T23:59:59.999999Z"),
        (1, 2, "2026-11-01T00:00:00Z"),
        (1, 4, "2026-11-18T11:59:59.999999Z"),
        (2, 8, "2026-11-18T12:00:00Z"),
    ] {
        insert(pool, user, "points", score, at).await;
    }
    let seasons = async || -> Vec<(String, u128, i64)> {
        let lines = counted(pool).await.into_iter();
        lines
            .map(|line| (line.2, line.4.as_u128(), line.5))
            .collect()
    };
    let season = |label: &str, user, score| (label.to_owned(), user, score);
    count(&bench).await;
    assert_eq!(seasons().await, [season("autumn", 1, 6)]);
    // The next one is declared when it has begun.
    pool.execute(
        "INSERT INTO nightshift.leaderboard_season SELECT id, 'winter', '2026-11-18T12:00:00Z', '2027-02-01T00:00:00Z'
            FROM nightshift.leaderboard",
    )
    .await
    .unwrap();
    count(&bench).await;
    let all = [season("autumn", 1, 6), season("winter", 2, 8)];
    assert_eq!(seasons().await, all);
    // The first one ends: its ranks stand, also when a season is added after that.
    bench.clock().set("2026-11-18T13:00:00Z".parse().unwrap());
    count(&bench).await;
    count(&bench).await;
    assert_eq!(seasons().await, all[1..]);
    let autumn = [(1, 1, 1, 1, 6)];
    assert_eq!(finals(pool, "points", "autumn").await, autumn);
    insert(pool, 3, "points", 1, "2026-11-18T11:00:00Z").await;
    count(&bench).await;
    assert_eq!(finals(pool, "points", "autumn").await, autumn);
    assert_eq!(seasons().await, all[1..]);
    for what in [
        "INSERT INTO nightshift.leaderboard_season SELECT id, 'spring', '2027-02-01T00:00:00Z', '2027-05-01T00:00:00Z'
            FROM nightshift.leaderboard",
        "DELETE FROM nightshift.leaderboard_season WHERE label = 'spring'",
    ] {
        pool.execute(what).await.unwrap();
        count(&bench).await;
        count(&bench).await;
        assert_eq!(seasons().await, all[1..], "{what}");
        // Built anew of all events, the late one included.
        let autumn = finals(pool, "points", "autumn").await;
        assert_eq!(autumn, [(1, 1, 1, 1, 6), (3, 2, 2, 2, 1)], "{what}");
    }
    bench.remove().await;
}

#[tokio::test]
async fn what_has_no_end_or_no_time_stops_nothing() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    only(pool, "points").await;
    pool.execute(
        "UPDATE nightshift.leaderboard SET windows = '{season}';
        INSERT INTO nightshift.leaderboard_season SELECT id, 'beta', '-infinity', 'infinity' FROM nightshift.leaderboard",
    )
    .await
    .unwrap();
    insert(pool, 1, "points", 2, "2026-11-18T09:00:00Z").await;
    for at in ["infinity", "-infinity"] {
        insert(pool, 1, "points", 4, at).await;
    }
    count(&bench).await;
    // What was never counted is taken back.
    pool.execute(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
        SELECT user_id, board, event_id, '2026-11-18T10:00:00Z' FROM app.score_event WHERE NOT isfinite(occurred_at)",
    )
    .await
    .unwrap();
    insert(pool, 1, "points", 1, "2026-11-18T09:00:00Z").await;
    count(&bench).await;
    let scores: Vec<(String, i64)> = counted(pool)
        .await
        .into_iter()
        .map(|line| (line.2, line.5))
        .collect();
    assert_eq!(scores, [("beta".to_owned(), 3)]);
    bench.remove().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_board_that_is_deleted() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    for user in 1..4 {
        insert(pool, user, "points", 5, "2026-11-18T09:00:00Z").await;
        insert(pool, user, "laps", 5, "2026-11-18T09:00:00Z").await;
    }
    count(&bench).await;
    bench.clock().set("2026-11-22T00:00:00Z".parse().unwrap());
    count(&bench).await;
    count(&bench).await;
    pool.execute(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
            SELECT user_id, board, event_id, occurred_at FROM app.score_event
            WHERE user_id::text LIKE '%1' OR user_id::text LIKE '%2'",
    )
    .await
    .unwrap();
    count(&bench).await;
    let left = async || -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM nightshift.leaderboard_score
            UNION ALL SELECT count(*) FROM nightshift.leaderboard_final
            UNION ALL SELECT count(*) FROM nightshift.leaderboard_restatement",
        )
        .fetch_all(pool)
        .await
        .unwrap()
    };
    // The scores of open windows, the ranks of closed ones, and what was restated.
    let before = left().await;
    assert!(before.iter().all(|rows| *rows > 1), "{before:?}");
    // Who is forgotten is not in what was restated either.
    sqlx::query("INSERT INTO nightshift.leaderboard_forgotten VALUES ($1)")
        .bind(Uuid::from_u128(1))
        .execute(pool)
        .await
        .unwrap();
    count(&bench).await;
    let restated: Vec<Uuid> =
        sqlx::query_scalar("SELECT DISTINCT user_id FROM nightshift.leaderboard_restatement")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(restated, [Uuid::from_u128(2)]);
    only(pool, "laps").await;
    let some = left().await;
    assert!(some.iter().all(|rows| *rows > 0), "{some:?}");
    sqlx::query("DELETE FROM nightshift.leaderboard")
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(left().await, [0, 0, 0]);
    bench.remove().await;
}
