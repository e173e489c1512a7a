//! `make bench`: how fast a waiting or arriving message becomes a committed row, against what the
//! database alone can do, in one run on one machine.
//!
//! Broker, host and handler are release builds and processes of their own; Postgres has its
//! defaults (fsync on) besides `track_commit_timestamp`, which gives the instant of each commit.
//! Prints a table, writes `tests/bench/results.json`, and ends with code 1 below a bar.

mod latency;
mod limit;
mod report;
mod throughput;

use std::process::ExitCode;

use anyhow::Context;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_tests::{Stack, StackOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};

use report::Report;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
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
    let result = measure(&postgres, &pool).await;
    pool.close().await;
    postgres.stop().await;
    let report = result?;
    report.print();
    report.save()?;
    Ok(if report.misses().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(postgres: &Postgres, pool: &PgPool) -> anyhow::Result<Report> {
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
    Ok(Report {
        throughput,
        latency,
        limit,
    })
}
