//! Leaderboards: what it costs to count, against plain SQL over the same events.
//!
//! The job is the real one, `leaderboard-rollup-work`, delivered with all the messages that it goes on with until
//! nothing is left; Postgres has its defaults, fsync on. How much memory it needs is seen at the real handler, below
//! a host.

mod bulk;
mod memory;
mod ticks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeZone, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::encode::Envelope;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_contract::{LeaderboardRollupDue, RollupTask};
use nightshift_handler::{Call, Outbox, Registry};
use nightshift_job::ExternalFunction;
use nightshift_leaderboard_rollup::Work;
use nightshift_settings::{Environment, Source};
use nightshift_testkit::{message, take_promised};
use nightshift_time::{SharedClock, TestClock};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::report::Section;

/// How many people there are.
const USERS: i32 = 200_000;

/// How many events are new at once, where many are.
const MANY: i32 = 1_000_000;

/// The longest history, if not the one that the bars are for: a shorter one shows that all of this runs.
const EVENTS: &str = "NIGHTSHIFT_TEST_BENCH_EVENTS";
const LONGEST: i32 = 30_000_000;

/// How long one delivery may take.
const BUDGET: Duration = Duration::from_mins(4);

const SCHEMA: &str = include_str!("schema.sql");

/// A database with the job.
struct Bench {
    postgres: Postgres,
    pool: PgPool,
    registry: Registry,
    /// Whether the server says how many buffers statements look into.
    counts_buffers: bool,
    now: DateTime<Utc>,
    _folder: TempDir,
}

/// The events lie in three days of one week and one month, up to `now`.
fn times() -> anyhow::Result<(DateTime<Utc>, DateTime<Utc>)> {
    let at = |day| Utc.with_ymd_and_hms(2026, 11, day, 0, 0, 0).single();
    at(16).zip(at(19)).context("no such days")
}

impl Bench {
    /// A database without events.
    async fn prepare() -> anyhow::Result<Self> {
        let (folder, mut postgres) = server().await?;
        let mut connection = PgConnection::connect(&postgres.url()).await?;
        let counts_buffers: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')",
        )
        .fetch_one(&mut connection)
        .await?;
        nightshift_postgres::migrate(&mut connection).await?;
        connection.execute(SCHEMA).await?;
        if counts_buffers {
            connection
                .execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
                .await?;
            connection
                .execute("CREATE EXTENSION pg_stat_statements")
                .await?;
        }
        connection.close().await?;
        postgres.restart().await?;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect(&postgres.url())
            .await?;
        let (_, now) = times()?;
        let clock: SharedClock = Arc::new(TestClock::new(now));
        let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
        let registry = Registry::new(pool.clone(), outbox, clock);
        Ok(Self {
            registry: registry.with_external(Work::new(pool.clone(), None))?,
            postgres,
            pool,
            counts_buffers,
            now,
            _folder: folder,
        })
    }

    /// Has the source counted until nothing is left. Says how long that took.
    async fn count(&self, source: &str) -> anyhow::Result<Duration> {
        let body = serde_json::to_vec(&due(source, self.now))?;
        let id = Uuid::new_v4().to_string();
        let mut messages = vec![message(&id, body, self.now).build()];
        let begun = Instant::now();
        while !messages.is_empty() {
            for message in &messages {
                self.deliver(message).await?;
            }
            messages = take_promised(&self.pool, self.now).await;
        }
        let took = begun.elapsed();
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM nightshift.open_message) + (SELECT count(*) FROM nightshift.dead_letter)",
        )
        .fetch_one(&self.pool)
        .await?;
        ensure!(left == 0, "{left} messages of {source} were not done");
        Ok(took)
    }

    async fn deliver(&self, message: &TriggerMessage) -> anyhow::Result<()> {
        let trigger = self.registry.trigger(Work::NAME).context("no trigger")?;
        let envelope = Envelope {
            function: Work::NAME,
            binding: &trigger.name,
            data_type: trigger.data_type,
            now: self.now,
            random: Uuid::nil(),
        };
        let body = envelope.encode_single(message);
        let stop = CancellationToken::new();
        let call = Call::new("bench".to_owned(), BUDGET, None, self.now, stop);
        let ended = self.registry.invoke(Work::NAME, &body, &call).await;
        ended.context("there is no such function")??;
        Ok(())
    }

    async fn end(self) {
        self.pool.close().await;
        self.postgres.stop().await;
    }
}

/// A server with the defaults, which ends with its folder.
async fn server() -> anyhow::Result<(TempDir, Postgres)> {
    let folder = tempfile::tempdir()?;
    let options = PostgresOptions {
        data_dir: folder.path().join("data"),
        durable: true,
        port: None,
    };
    Ok((folder, Postgres::start(options).await?))
}

fn due(source: &str, now: DateTime<Utc>) -> LeaderboardRollupDue {
    LeaderboardRollupDue {
        schema_version: 1,
        due: now,
        source: Some(source.to_owned()),
        task: RollupTask::Count,
    }
}

/// A table of events without indexes, a source of the same name, and a board that shows `top`. Its windows stay open.
async fn declare(pool: &PgPool, name: &str, top: i32) -> anyhow::Result<()> {
    pool.execute(AssertSqlSafe(format!(
        "CREATE TABLE bench.{name} (
            event_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
            user_id     uuid        NOT NULL,
            score       bigint      NOT NULL,
            occurred_at timestamptz NOT NULL,
            xid         xid8        NOT NULL DEFAULT pg_current_xact_id()
        );
        INSERT INTO nightshift.leaderboard_source (name, relation) VALUES ('{name}', 'bench.{name}');
        INSERT INTO nightshift.leaderboard (name, source, aggregation, grace, top)
        VALUES ('{name}', '{name}', 'sum', '60 days', {top})"
    )))
    .await?;
    Ok(())
}

/// The indexes that docs/LEADERBOARDS.md asks for where nothing is voided.
async fn index(connection: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    connection
        .execute("SET maintenance_work_mem = '512MB'")
        .await?;
    connection
        .execute(AssertSqlSafe(format!(
            "ALTER TABLE bench.{name} ADD PRIMARY KEY (event_id); CREATE INDEX ON bench.{name} (xid)"
        )))
        .await?;
    Ok(())
}

/// New events, so many a transaction, from `first` on until `last`.
async fn fill(
    connection: &mut PgConnection,
    name: &str,
    (events, a_commit): (i32, i32),
    (first, last): (DateTime<Utc>, DateTime<Utc>),
) -> anyhow::Result<()> {
    connection.execute("SET synchronous_commit = off").await?;
    sqlx::query("CALL bench.fill($1::text::regclass, $2, $3, $4, $5 - $4)")
        .bind(format!("bench.{name}"))
        .bind(events)
        .bind(a_commit)
        .bind(first)
        .bind(last)
        .execute(connection)
        .await?;
    Ok(())
}

/// No transaction has this number yet.
async fn end_of_numbers(pool: &PgPool) -> anyhow::Result<i64> {
    let end = sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    Ok(end.fetch_one(pool).await?)
}

/// Whether everything below `until` was counted.
async fn is_counted(pool: &PgPool, source: &str, until: i64) -> anyhow::Result<bool> {
    let counted: Option<bool> = sqlx::query_scalar(
        "SELECT watermark::text::bigint >= $2 FROM nightshift.leaderboard_progress WHERE source = $1",
    )
    .bind(source)
    .bind(until)
    .fetch_optional(pool)
    .await?
    .flatten();
    Ok(counted == Some(true))
}

/// What counting costs.
pub(crate) async fn measure() -> anyhow::Result<Section> {
    let longest = match Environment.get(EVENTS) {
        Some(events) => {
            let what = || format!("{EVENTS} is {events:?}, which is no number");
            events.parse().with_context(what)?
        }
        None => LONGEST,
    };
    let title = format!("Leaderboards: {MANY} new events of {USERS} people, and single ticks");
    let mut section = Section::new("rollup", title);
    if longest < LONGEST {
        section = section.of_sample();
    }
    bulk::measure(&mut section).await.context("many events")?;
    ticks::measure(&mut section, longest)
        .await
        .context("ticks")?;
    memory::measure(&mut section).await.context("memory")?;
    Ok(section)
}

fn middle(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured[measured.len() / 2]
}
