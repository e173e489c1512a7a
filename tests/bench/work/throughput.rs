//! Messages per second from a queue to the committed row, with all of them waiting.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightshift_bus::Message;
use nightshift_tests::bench::Order;
use nightshift_tests::{Stack, Usage, usage};
use sqlx::PgPool;

use crate::process::mebibytes;

/// How many messages are handled before the measurement, so that every process is warm.
const WARM_UP: usize = 2_000;

/// What is sent where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Tells its rows from those of others.
    pub(crate) name: &'static str,
    pub(crate) queue: &'static str,
    /// How many messages wait.
    pub(crate) waiting: usize,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Throughput {
    pub(crate) messages_per_second: f64,
    pub(crate) batch_size: f64,
    pub(crate) processes: Vec<Process>,
}

/// One process during the measurement.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    /// The names of the two figures.
    pub(crate) peak_figure: &'static str,
    pub(crate) cpu_figure: &'static str,
    pub(crate) peak_mib: f64,
    pub(crate) cpu_seconds: f64,
}

/// Sends, starts the host, and takes the time from the first commit to the last. The host is left
/// running.
pub(crate) async fn measure(
    stack: &mut Stack,
    pool: &PgPool,
    load: Load,
) -> anyhow::Result<Throughput> {
    stack.start_host()?;
    send(stack, load, "warm", WARM_UP).await?;
    wait_for(pool, "warm", WARM_UP).await?;
    // A stopped host lets the messages pile up; the next one is another process, as cold as any.
    stack.kill_host()?;
    send(stack, load, load.name, load.waiting).await?;
    let broker_before = usage(stack.broker_pid()).context("the broker is gone")?;
    stack.start_host()?;
    wait_for(pool, load.name, load.waiting).await?;
    let (seconds, first_batch, batches): (f64, i64, i64) = sqlx::query_as(
        "WITH batch AS (
             SELECT pg_xact_commit_timestamp(xmin) AS at, count(*) AS size
             FROM bench.effect WHERE load = $1 GROUP BY xmin)
         SELECT extract(epoch FROM max(at) - min(at))::float8,
                (SELECT size FROM batch ORDER BY at LIMIT 1), count(*)
         FROM batch",
    )
    .bind(load.name)
    .fetch_one(pool)
    .await?;
    let processes = processes(stack, broker_before).await?;
    sqlx::query("DELETE FROM bench.effect WHERE load = 'warm'")
        .execute(pool)
        .await?;
    let waiting = i64::try_from(load.waiting)?;
    // The clock starts when the first batch is committed, so that batch does not count.
    let counted = as_float(waiting - first_batch);
    Ok(Throughput {
        messages_per_second: counted / seconds,
        batch_size: as_float(waiting) / as_float(batches),
        processes,
    })
}

async fn processes(stack: &Stack, broker_before: Usage) -> anyhow::Result<Vec<Process>> {
    let host = stack.host_pid().context("the host is gone")?;
    let handler = stack.handler_pid(None).await?;
    let idle = Usage {
        peak_resident_bytes: 0,
        cpu_seconds: 0.0,
    };
    let mut processes = Vec::new();
    for ([name, peak_figure, cpu_figure], pid, before) in [
        (
            ["broker", "broker_peak_mib", "broker_cpu_seconds"],
            stack.broker_pid(),
            broker_before,
        ),
        (["host", "host_peak_mib", "host_cpu_seconds"], host, idle),
        (
            ["handler", "handler_peak_mib", "handler_cpu_seconds"],
            handler,
            idle,
        ),
    ] {
        let after = usage(pid).with_context(|| format!("the {name} is gone"))?;
        processes.push(Process {
            name,
            peak_figure,
            cpu_figure,
            peak_mib: mebibytes(after.peak_resident_bytes),
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        });
    }
    Ok(processes)
}

async fn send(stack: &Stack, load: Load, name: &str, count: usize) -> anyhow::Result<()> {
    let (client, sender) = stack.sender_to(load.queue).await?;
    let body = serde_json::to_vec(&Order::of(name))?;
    let messages = (0..count)
        .map(|_| Message::new(body.clone()).with_message_id(uuid::Uuid::new_v4().to_string()));
    sender.send_messages(messages.collect()).await?;
    client.close().await;
    Ok(())
}

async fn wait_for(pool: &PgPool, load: &str, rows: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM bench.effect WHERE load = $1")
            .bind(load)
            .fetch_one(pool)
            .await?;
        if usize::try_from(found)? >= rows {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "only {found} of {rows} rows after two minutes"
        );
        // Seldom: counting takes the database's time from what is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
fn as_float(count: i64) -> f64 {
    count as f64
}
