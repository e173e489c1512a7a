//! Leaderboards: numbers that are right to the last row.
//!
//! What the job has made of the events is compared with one plain statement over all of them, written
//! here and by other means: the calendar is Postgres's own.

mod again;
mod agreement;
mod chaos;
mod counting;
mod keys;
mod look;
mod overlap;
mod read;
mod shapes;
mod shown;
mod windows;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_handler::InvocationFailed;
use nightshift_leaderboard_rollup::Work;
use nightshift_testkit::{Workbench, message};
use nightshift_time::Clock;
use serde_json::json;
use sqlx::{Executor, PgPool};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// When the tests begin: a Wednesday, in the 47th week.
fn start_of_time() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 18, 12, 0, 0).unwrap()
}

/// The application's events, and boards over them.
const APP: &str = "
    CREATE TABLE app.score_event (
        event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        user_id uuid, board text, score bigint, occurred_at timestamptz, voids uuid, country text,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id()
    );
    CREATE INDEX ON app.score_event (xid);
    INSERT INTO nightshift.leaderboard_source (name, relation) VALUES ('scores', 'app.score_event');
    INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, direction, zone, groups, windows)
    VALUES
        ('points', 'scores', 'points', 'sum', 'descending', 'UTC', '{}', '{daily,weekly,monthly,all-time}'),
        ('laps', 'scores', 'laps', 'best', 'ascending', 'Europe/Berlin', '{country}', '{daily,all-time}'),
        ('level', 'scores', 'level', 'last', 'descending', 'Asia/Kolkata', '{}', '{weekly}'),
        ('worst', 'scores', 'points', 'worst', 'descending', 'UTC', '{}', '{monthly}'),
        ('plays', 'scores', 'laps', 'count', 'descending', 'America/New_York', '{country}', '{weekly}');
";

/// A workbench with the job and the application's tables, at `now`.
async fn bench(now: DateTime<Utc>) -> Workbench {
    let bench = Workbench::new(now, |registry| {
        let pool = registry.pool().clone();
        registry.with_external(Work::new(pool, None))
    })
    .await;
    bench.pool().execute(APP).await.unwrap();
    bench
}

/// Has the source counted, or something else done with it.
async fn ask(bench: &Workbench, task: &str) {
    let message = due(bench, task);
    let work = "leaderboard-rollup-work";
    bench.deliver(work, &[message]).await.unwrap();
    assert_eq!(bench.dead().await, []);
    assert_eq!(bench.waiting().await, []);
}

/// The message that asks for it.
fn due(bench: &Workbench, task: &str) -> TriggerMessage {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let now = bench.clock().now();
    let body = json!({ "schema_version": 1, "due": now, "source": "scores", "task": task });
    let id = ASKED.fetch_add(1, Ordering::Relaxed).to_string();
    message(&id, body.to_string(), now).build()
}

/// Counts until all there is has been counted: a transaction of any database of the server, such as
/// another test's, holds up what comes after it.
async fn count(bench: &Workbench) {
    count_by(bench, |message| async move {
        let told = bench.deliver("leaderboard-rollup-work", &[message]).await;
        assert!(bench.dead().await.is_empty() && bench.waiting().await.is_empty());
        told
    })
    .await;
}

/// The same, by the process to which `deliver` delivers.
async fn count_by<D: Future<Output = Result<(), InvocationFailed>>>(
    bench: &Workbench,
    deliver: impl Fn(TriggerMessage) -> D,
) {
    let now: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
        .fetch_one(bench.pool())
        .await
        .unwrap();
    let counted = async {
        loop {
            deliver(due(bench, "count")).await.unwrap();
            let watermark: Option<i64> = sqlx::query_scalar(
                "SELECT watermark::text::bigint FROM nightshift.leaderboard_progress",
            )
            .fetch_optional(bench.pool())
            .await
            .unwrap();
            if watermark.is_none_or(|watermark| watermark > now) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
}

/// A score as it is compared: board, kind, label, group, user, score, microseconds, events.
type Line = (String, String, String, String, Uuid, i64, i64, i64);

/// What the job says.
async fn counted(pool: &PgPool) -> Vec<Line> {
    sqlx::query_as(
        "SELECT b.name, w.kind, w.label, w.group_value, s.user_id, s.score,
            (extract(epoch FROM s.achieved_at) * 1000000)::bigint, s.events
        FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board
        ORDER BY 1, 2, 3, 4, 5",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// What one statement over all events says.
async fn recounted(pool: &PgPool) -> Vec<Line> {
    sqlx::query_as(include_str!("leaderboards/recount.sql"))
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn check(pool: &PgPool) -> usize {
    let (counted, recounted) = (counted(pool).await, recounted(pool).await);
    let differs = counted.iter().zip(&recounted).find(|(a, b)| a != b);
    assert_eq!(differs, None);
    assert_eq!(counted.len(), recounted.len());
    counted.len()
}

async fn insert(pool: &PgPool, user: u128, board: &str, score: i64, at: &str) -> Uuid {
    sqlx::query_scalar(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at, country)
        VALUES ($1, $2, $3, $4::timestamptz, 'DE') RETURNING event_id",
    )
    .bind(Uuid::from_u128(user))
    .bind(board)
    .bind(score)
    .bind(at)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);
