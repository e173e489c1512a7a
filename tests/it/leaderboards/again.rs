//! Counting once more: what differs is found, nothing else is, and it is put right.

use nightshift_contract::LeaderboardRollupDue;
use nightshift_job::{ScheduledFunction, Tick, TickKind};
use nightshift_leaderboard_rollup::Verify;
use nightshift_telemetry::metrics;

use super::windows::finals;
use super::*;

/// What the last verification has found, by board.
async fn drift(pool: &PgPool) -> Vec<(String, Option<i64>)> {
    sqlx::query_as(
        "SELECT b.name, t.drift FROM nightshift.leaderboard_built AS t
        JOIN nightshift.leaderboard AS b ON b.id = t.board ORDER BY b.name",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Verifies, and says of which boards how many scores differ.
async fn verify(bench: &Workbench) -> Vec<(String, i64)> {
    ask(bench, "verify").await;
    let verified: Vec<Option<DateTime<Utc>>> =
        sqlx::query_scalar("SELECT verified_at FROM nightshift.leaderboard_built")
            .fetch_all(bench.pool())
            .await
            .unwrap();
    assert_eq!(verified, [Some(bench.clock().now()); 5]);
    let found = drift(bench.pool()).await;
    let found = found
        .into_iter()
        .map(|(board, drift)| (board, drift.unwrap()));
    found.filter(|(_, drift)| *drift != 0).collect()
}

/// A thousand events of five users on all boards.
async fn play(pool: &PgPool) {
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at, country)
        SELECT ('00000000-0000-0000-0000-00000000000' || n % 5)::uuid, ('{points,laps,level}'::text[])[1 + n % 3],
            n * 7919 % 101, $1 - n * interval '3 minutes', ('{DE,IN}'::text[])[1 + n % 2]
        FROM generate_series(1, 1000) AS n",
    )
    .bind(start_of_time())
    .execute(pool)
    .await
    .unwrap();
}

async fn execute(pool: &PgPool, sql: &'static str) {
    let done = pool.execute(sql).await.unwrap();
    assert!(done.rows_affected() > 0, "nothing is changed by {sql}");
}

#[tokio::test]
async fn scores_that_are_not_what_the_events_come_to_are_found_and_put_right() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    play(pool).await;
    count(&bench).await;
    let scores = check(pool).await;
    assert_eq!(verify(&bench).await, []);
    // One is another, one is too many, and one is missing.
    execute(
        pool,
        "UPDATE nightshift.leaderboard_score SET score = score + 1 WHERE ctid IN (
            SELECT s.ctid FROM nightshift.leaderboard_score AS s
            JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
            JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.name = 'points' LIMIT 1)",
    )
    .await;
    execute(
        pool,
        "INSERT INTO nightshift.leaderboard_score
        SELECT w.id, gen_random_uuid(), 1, w.starts_at, 1 FROM nightshift.leaderboard_window AS w
        JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.name = 'laps' AND w.group_value = 'DE' LIMIT 1",
    )
    .await;
    execute(
        pool,
        "DELETE FROM nightshift.leaderboard_score WHERE ctid IN (
            SELECT s.ctid FROM nightshift.leaderboard_score AS s
            JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
            JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.name = 'level' LIMIT 1)",
    )
    .await;
    let one = ["laps", "level", "points"].map(|board| (board.to_owned(), 1));
    assert_eq!(verify(&bench).await, one);
    // It looks, and does not touch; what differs is said until it is put right.
    assert_eq!(verify(&bench).await, one);
    ask(&bench, "rebuild").await;
    assert_eq!(check(pool).await, scores);
    assert_eq!(verify(&bench).await, []);
    bench.remove().await;
}

#[tokio::test]
async fn what_came_late_or_from_ahead_or_of_somebody_forgotten_is_no_difference() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    play(pool).await;
    insert(pool, 7, "points", 1, "2026-11-18T12:05:01Z").await;
    insert(pool, 7, "points", 2, "2026-11-18T12:05:00Z").await;
    count(&bench).await;
    bench.clock().set("2026-11-21T00:00:00Z".parse().unwrap());
    count(&bench).await;
    count(&bench).await;
    let closed = finals(pool, "points", "2026-11-18").await;
    assert!(closed.contains(&(7, 6, 6, 6, 2)), "{closed:?}");
    // For a day that is closed, and for one that never was.
    insert(pool, 1, "points", 1_000, "2026-11-18T09:00:00Z").await;
    insert(pool, 1, "points", 1_000, "2026-11-01T09:00:00Z").await;
    count(&bench).await;
    sqlx::query("INSERT INTO nightshift.leaderboard_forgotten VALUES ($1)")
        .bind(Uuid::from_u128(2))
        .execute(pool)
        .await
        .unwrap();
    let windows = "SELECT count(*) FROM nightshift.leaderboard_window";
    let before: i64 = sqlx::query_scalar(windows).fetch_one(pool).await.unwrap();
    assert_eq!(verify(&bench).await, []);
    let after: i64 = sqlx::query_scalar(windows).fetch_one(pool).await.unwrap();
    assert_eq!(before, after, "a verification opens no window");
    let without_2 = |closed: Vec<(u128, i64, i64, i64, i64)>| {
        let lines = closed.into_iter();
        lines.filter(|line| line.0 != 2).collect::<Vec<_>>()
    };
    ask(&bench, "rebuild").await;
    assert_eq!(
        finals(pool, "points", "2026-11-18").await,
        without_2(closed),
        "closed windows stand"
    );
    assert_eq!(verify(&bench).await, []);
    // The one from ahead does not count when its time has come, in whatever way it is counted.
    let month = |user| {
        let month = "SELECT s.score FROM nightshift.leaderboard_score AS s
            JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
            JOIN nightshift.leaderboard AS b ON b.id = w.board
            WHERE b.name = 'points' AND w.label = '2026-11' AND s.user_id = $1";
        async move {
            let found: Option<i64> = sqlx::query_scalar(month)
                .bind(Uuid::from_u128(user))
                .fetch_optional(pool)
                .await
                .unwrap();
            found
        }
    };
    assert_eq!(month(7).await, Some(2));
    assert_eq!(month(2).await, None);
    execute(pool, "UPDATE nightshift.leaderboard SET zone = 'Etc/UTC'").await;
    count(&bench).await;
    assert_eq!(month(7).await, Some(2));
    bench.remove().await;
}

#[tokio::test]
async fn each_night_all_sources_are_verified_and_old_rejections_go() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    play(pool).await;
    count(&bench).await;
    for days in [89, 91] {
        sqlx::query(
            "INSERT INTO nightshift.leaderboard_rejected (source, event_id, reason, detail, rejected_at)
            VALUES ('scores', $1, 'no-user', '', $2 - $3 * interval '1 day')",
        )
        .bind(format!("{days} days"))
        .bind(start_of_time())
        .bind(f64::from(days))
        .execute(pool)
        .await
        .unwrap();
    }
    let night: LeaderboardRollupDue = Verify.payload(&Tick {
        due: start_of_time(),
        kind: TickKind::Scheduled,
    });
    let message = message(
        "night",
        serde_json::to_vec(&night).unwrap(),
        start_of_time(),
    )
    .build();
    bench
        .deliver("leaderboard-rollup-work", &[message])
        .await
        .unwrap();
    bench.run_to_end().await;
    let found = drift(pool).await;
    assert_eq!(found.len(), 5);
    assert!(
        found.iter().all(|(_, drift)| *drift == Some(0)),
        "{found:?}"
    );
    let left: Vec<String> =
        sqlx::query_scalar("SELECT event_id FROM nightshift.leaderboard_rejected")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(left, ["89 days"]);
    bench.remove().await;
}

/// Waits until this process's metrics say so after the housekeeping, which shows them once it has committed.
async fn shows(bench: &Workbench, cell: &str, expected: Option<f64>) {
    let now = bench.clock().now();
    let body = json!({ "schema_version": 1, "due": now });
    let message = message(&Uuid::new_v4().to_string(), body.to_string(), now).build();
    bench
        .deliver("housekeeping-work", &[message])
        .await
        .unwrap();
    let mut shown = None;
    let said = async {
        loop {
            let page = metrics::text();
            let line = page.lines().find_map(|line| line.strip_prefix(cell));
            shown = line.map(|number| number.trim().parse::<f64>().unwrap());
            if shown == expected {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let said = timeout(Duration::from_secs(20), said).await;
    assert!(said.is_ok(), "{cell} is {shown:?}, not {expected:?}");
}

#[tokio::test]
async fn metrics_say_how_far_behind_and_how_far_off_boards_are() {
    let bench = Workbench::new(start_of_time(), |registry| {
        let pool = registry.pool().clone();
        let registry = registry.with_batch(nightshift_housekeeping::Work)?;
        registry.with_external(Work::new(pool, None))
    })
    .await;
    let pool = bench.pool();
    pool.execute(APP).await.unwrap();
    let lag = "nightshift_leaderboard_lag_seconds{source=\"scores\"}";
    // Never counted: since it was declared.
    sqlx::query("UPDATE nightshift.leaderboard_source SET declared_at = $1 - interval '5 minutes'")
        .bind(start_of_time())
        .execute(pool)
        .await
        .unwrap();
    shows(&bench, lag, Some(300.0)).await;
    play(pool).await;
    let counted_at = async |at: &str| {
        let at: DateTime<Utc> = at.parse().unwrap();
        bench.clock().set(at);
        let caught_up = async {
            loop {
                ask(&bench, "count").await;
                let counted: Option<DateTime<Utc>> =
                    sqlx::query_scalar("SELECT counted_at FROM nightshift.leaderboard_progress")
                        .fetch_one(bench.pool())
                        .await
                        .unwrap();
                if counted == Some(at) {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, caught_up).await.unwrap();
    };
    counted_at("2026-11-18T12:00:00Z").await;
    shows(&bench, lag, Some(0.0)).await;
    // Somebody holds a transaction open.
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *held)
        .await
        .unwrap();
    for (hour, behind) in [("13", 3600.0), ("14", 7200.0)] {
        let at = format!("2026-11-18T{hour}:00:00Z");
        bench.clock().set(at.parse().unwrap());
        ask(&bench, "count").await;
        shows(&bench, lag, Some(behind)).await;
    }
    held.commit().await.unwrap();
    counted_at("2026-11-18T14:00:00Z").await;
    shows(&bench, lag, Some(0.0)).await;

    let drift = "nightshift_leaderboard_drift{board=\"worst\"}";
    shows(&bench, drift, None).await;
    ask(&bench, "verify").await;
    shows(&bench, drift, Some(0.0)).await;
    execute(
        pool,
        "UPDATE nightshift.leaderboard_score AS s SET score = score + 1
        FROM nightshift.leaderboard_window AS w, nightshift.leaderboard AS b
        WHERE w.id = s.board_window AND b.id = w.board AND b.name = 'worst' AND w.label = '2026-11'",
    )
    .await;
    ask(&bench, "verify").await;
    shows(&bench, drift, Some(5.0)).await;
    // A source without boards that are counted is not behind.
    execute(pool, "UPDATE nightshift.leaderboard SET enabled = false").await;
    shows(&bench, lag, None).await;
    shows(&bench, drift, None).await;
    bench.remove().await;
}
