//! From a queue to a committed row, against what the database alone can do.
//!
//! Postgres has its defaults (fsync on) besides `track_commit_timestamp`, which gives the instant of
//! each commit.

mod latency;
mod limit;
mod throughput;

use anyhow::Context;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_tests::{Stack, StackOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};

use crate::report::{Bar, Section};

/// The first targets: messages per second and the median latency in milliseconds.
const MIN_MESSAGES_PER_SECOND: f64 = 12_000.0;
const MAX_P50_MS: f64 = 1.5;

pub(crate) async fn measure() -> anyhow::Result<Section> {
    let folder = tempfile::tempdir()?;
    let options = PostgresOptions {
        data_dir: folder.path().join("data"),
        durable: true,
        port: None,
    };
    let mut postgres = Postgres::start(options).await?;
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    connection
        .execute("ALTER SYSTEM SET track_commit_timestamp = on")
        .await?;
    connection.close().await?;
    postgres.restart().await?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(&postgres.url())
        .await?;
    let section = measure_on(&postgres, &pool).await;
    pool.close().await;
    postgres.stop().await;
    section
}

async fn measure_on(postgres: &Postgres, pool: &PgPool) -> anyhow::Result<Section> {
    let options = StackOptions {
        postgres_url: postgres.url(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare(options).await?;
    let throughput = throughput::measure(&mut stack, pool)
        .await
        .context("throughput")?;
    let latency = latency::measure(&stack, pool).await.context("latency")?;
    stack.stop()?;
    let limit = limit::measure(postgres, throughput.batch_size)
        .await
        .context("limit")?;

    let mut section = Section::new("work", "From a queue to a committed row, fsync on");
    let rate = throughput.messages_per_second;
    section.hold(
        "messages_per_second",
        rate,
        "messages/s",
        format!("{} waiting", throughput::WAITING),
        Bar::AtLeast(MIN_MESSAGES_PER_SECOND),
    );
    section.tell("batch_size", throughput.batch_size, "messages", "a commit");
    section.tell(
        "pgbench_rows_per_second",
        limit.rows_per_second,
        "rows/s",
        format!("pgbench alone, same rows, {} a commit", limit.batch_size),
    );
    let ratio = rate / limit.rows_per_second;
    section.tell("ratio_to_pgbench", ratio, "", "of pgbench");
    let pace = format!(
        "median from send until another connection sees the row, {}/s",
        latency::RATE
    );
    section.hold(
        "p50_ms",
        latency.p50_ms,
        "ms",
        pace,
        Bar::AtMost(MAX_P50_MS),
    );
    section.tell("p99_ms", latency.p99_ms, "ms", "99th percentile");
    for process in throughput.processes {
        let label = format!("most memory of the {}", process.name);
        section.tell(process.peak_figure, process.peak_mib, "MiB", label);
        let label = format!("processor time of the {} for all", process.name);
        section.tell(process.cpu_figure, process.cpu_seconds, "s", label);
    }
    Ok(section)
}
