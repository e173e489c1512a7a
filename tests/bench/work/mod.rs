//! From a queue to a committed row, against what the database alone can do.
//!
//! Postgres has its defaults (fsync on) besides `track_commit_timestamp`, which gives the instant of
//! each commit.

mod disk;
mod latency;
mod limit;
pub(crate) mod start;
mod throughput;

use std::env;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use nightshift_cache::RedisSettings;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_tests::bench::{SCHEMA, TELL};
use nightshift_tests::{App, Stack, StackOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::net::UdpSocket;

pub(crate) use self::limit::Pace;
use self::limit::Shape;
use self::throughput::{Load, Throughput};
use crate::fill;
use crate::report::{Bar, Section};

/// The queue whose messages come in batches, and the one whose messages come one by one.
const QUEUE: &str = "bench";
const SINGLE_QUEUE: &str = "bench-single";

/// The queue whose messages are behind a rate limit.
const LIMITED_QUEUE: &str = "bench-limited";

/// Where Redis is.
const REDIS: &str = "NIGHTSHIFT_TEST_REDIS";

/// How often throughput is measured. The middle one counts.
const RUNS: usize = 3;

/// What waits for the function that takes batches.
const BATCH_LOAD: Load = Load {
    name: "batches",
    queue: QUEUE,
    waiting: 100_000,
};

/// The same for the one with a limit.
const LIMITED_LOAD: Load = Load {
    name: "limited",
    queue: LIMITED_QUEUE,
    ..BATCH_LOAD
};

/// What waits for the one that takes messages one by one.
const SINGLE_LOAD: Load = Load {
    name: "singles",
    queue: SINGLE_QUEUE,
    waiting: 20_000,
};

/// The files of the write-ahead log that a server keeps: `min_wal_size`, 80 MB.
const LOG_FILES: usize = 5;

/// Batches in flight, and connections of a handler.
const BATCHES: u32 = 2;
const CONNECTIONS: u32 = 8;

/// A database and the processes that work against it.
struct Bench {
    postgres: Postgres,
    pool: PgPool,
    stack: Stack,
    /// Hears what [`TELL`] says.
    told: UdpSocket,
    _folder: TempDir,
}

impl Bench {
    async fn prepare() -> anyhow::Result<Self> {
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
        connection.execute(SCHEMA).await?;
        connection.close().await?;
        postgres.restart().await?;
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&postgres.url())
            .await?;
        fill_log(&pool).await?;
        let told = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = told.local_addr()?.port().to_string();
        let options = StackOptions {
            postgres_url: postgres.url(),
            lock_seconds: 60,
        };
        let app = App {
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/app"),
            handler: "bench-handler",
            queues: &[QUEUE, SINGLE_QUEUE, LIMITED_QUEUE],
            session_queues: &[],
            environment: vec![
                (TELL, port.into()),
                (RedisSettings::URL, env::var_os(REDIS).context(REDIS)?),
            ],
            broker_data: None,
        };
        let stack = Stack::prepare_app(options, app).await?;
        // What was made ready would go to the disk by itself after some seconds, and whoever commits wait.
        tokio::task::spawn_blocking(nix::unistd::sync).await?;
        Ok(Self {
            stack,
            postgres,
            pool,
            told,
            _folder: folder,
        })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stack.stop()?;
        self.pool.close().await;
        self.postgres.stop().await;
        Ok(())
    }

    /// The middle one of [`RUNS`] measurements. The host is left running.
    async fn middle(&mut self, load: Load) -> anyhow::Result<Throughput> {
        let mut measured = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            self.stack.kill_host()?;
            self.pool.execute("TRUNCATE bench.effect").await?;
            measured.push(throughput::measure(&mut self.stack, &self.pool, load).await?);
        }
        measured.sort_by(|one, other| {
            one.messages_per_second
                .total_cmp(&other.messages_per_second)
        });
        Ok(measured.swap_remove(RUNS / 2))
    }
}

/// Messages per second, in batches and one by one.
pub(crate) async fn throughput() -> anyhow::Result<Section> {
    let mut section = Section::new("work", "From a queue to a committed row, fsync on");
    let mut bench = Bench::prepare().await?;
    let batches = bench.middle(BATCH_LOAD).await.context("batches")?;
    let limited = bench.middle(LIMITED_LOAD).await.context("limited")?;
    let singles = bench.middle(SINGLE_LOAD).await.context("singles")?;
    bench.stack.kill_host()?;
    tell_batches(&mut section, &bench.postgres, &batches).await?;
    let ratio = limited.messages_per_second / batches.messages_per_second;
    let bar = Bar::AtLeast(0.8);
    section.hold(
        "ratio_with_limit",
        ratio,
        "",
        "of that behind a rate limit",
        bar,
    );
    tell_singles(&mut section, &bench.postgres, &singles).await?;
    bench.end().await?;
    Ok(section)
}

/// How long one message takes.
pub(crate) async fn pace() -> anyhow::Result<Section> {
    let title = format!("From send to committed row, {}/s, fsync on", latency::RATE);
    let mut section = Section::new("pace", title);
    let mut bench = Bench::prepare().await?;
    bench.stack.start_host()?;
    let latency = latency::measure(&bench.stack, &bench.told).await?;
    bench.stack.kill_host()?;
    section.hold("p50_ms", latency.p50_ms, "ms", "median", Bar::AtMost(0.6));
    let label = "99th percentile";
    section.hold("p99_ms", latency.p99_ms, "ms", label, Bar::AtMost(1.5));
    let limit = limit::pace(&bench.postgres, latency::RATE).await?;
    let label = "median of pgbench alone, same statements and pace";
    section.tell("pgbench_p50_ms", limit.p50_ms, "ms", label);
    let label = "99th percentile of pgbench alone";
    section.tell("pgbench_p99_ms", limit.p99_ms, "ms", label);
    let disk = disk::pace(latency::RATE).await?;
    let label = "median of the disk alone, a sync at a time";
    section.tell("disk_p50_ms", disk.p50_ms, "ms", label);
    let label = "99th percentile of the disk alone";
    section.tell("disk_p99_ms", disk.p99_ms, "ms", label);
    bench.end().await?;
    Ok(section)
}

/// How soon a handler works, and what it costs when it does not.
pub(crate) async fn start() -> anyhow::Result<Section> {
    let mut section = Section::new("start", "The handler, started and at rest");
    let bench = Bench::prepare().await?;
    let start = start::measure(&bench.postgres.url(), bench.stack.connection_string()).await?;
    let label = "from its start to its first committed row";
    let bar = Bar::AtMost(15.0);
    section.hold("first_row_ms", start.first_row_ms, "ms", label, bar);
    let label = "at rest, schedules and sweeper on";
    section.hold("rest_mib", start.rest.mib, "MiB", label, Bar::AtMost(9.0));
    let label = "of one processor, at rest";
    section.tell("rest_cpu_percent", start.rest.cpu_percent, "%", label);
    bench.end().await?;
    Ok(section)
}

/// What a full inbox costs.
pub(crate) async fn history() -> anyhow::Result<Section> {
    let title = format!("With {} rows in the inbox", fill::ROWS);
    let mut section = Section::new("history", title);
    let mut bench = Bench::prepare().await?;
    let empty = bench.middle(BATCH_LOAD).await.context("empty")?;
    bench.stack.kill_host()?;
    fill::inbox(&bench.pool, fill::ROWS)
        .await
        .context("filling")?;
    let full = bench.middle(BATCH_LOAD).await.context("full")?;
    let (empty, full) = (empty.messages_per_second, full.messages_per_second);
    section.tell("empty_per_second", empty, "messages/s", "with none");
    section.tell("full_per_second", full, "messages/s", "with them");
    let bar = Bar::AtLeast(0.85);
    section.hold("ratio_to_empty", full / empty, "", "of that with none", bar);
    bench.end().await?;
    Ok(section)
}

/// Uses as many files of the write-ahead log as a server keeps, which it takes again from then on. To make
/// a new one stops whoever commits for as long as it takes to write 16 MiB.
async fn fill_log(pool: &PgPool) -> anyhow::Result<()> {
    for _ in 0..LOG_FILES {
        let fill = "SELECT pg_logical_emit_message(true, 'bench', 'a record'), pg_switch_wal()";
        pool.execute(fill).await?;
    }
    pool.execute("CHECKPOINT").await?;
    Ok(())
}

async fn tell_batches(
    section: &mut Section,
    postgres: &Postgres,
    batches: &Throughput,
) -> anyhow::Result<()> {
    let rate = batches.messages_per_second;
    section.hold(
        "messages_per_second",
        rate,
        "messages/s",
        format!("{} waiting", BATCH_LOAD.waiting),
        Bar::AtLeast(25_000.0),
    );
    section.tell("batch_size", batches.batch_size, "messages", "a commit");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to 1000"
    )]
    let batch_size = batches.batch_size.round().clamp(1.0, 1000.0) as u32;
    let shape = Shape {
        clients: BATCHES,
        batch_size,
    };
    let limit = limit::measure(postgres, shape).await.context("limit")?;
    let label = format!("pgbench alone, same statements, {batch_size} a commit");
    section.tell("pgbench_per_second", limit, "rows/s", label);
    let ratio = rate / limit;
    section.hold(
        "ratio_to_pgbench",
        ratio,
        "",
        "of pgbench",
        Bar::AtLeast(0.4),
    );
    for process in &batches.processes {
        let label = format!("most memory of the {}", process.name);
        section.tell(process.peak_figure, process.peak_mib, "MiB", label);
        let label = format!("processor time of the {} for all", process.name);
        section.tell(process.cpu_figure, process.cpu_seconds, "s", label);
    }
    Ok(())
}

async fn tell_singles(
    section: &mut Section,
    postgres: &Postgres,
    singles: &Throughput,
) -> anyhow::Result<()> {
    let rate = singles.messages_per_second;
    let label = format!("{} waiting, a commit for each", SINGLE_LOAD.waiting);
    section.tell("singles_per_second", rate, "messages/s", label);
    let shape = Shape {
        clients: CONNECTIONS,
        batch_size: 1,
    };
    let limit = limit::measure(postgres, shape).await.context("singles")?;
    let label = format!("pgbench alone, same statements, {CONNECTIONS} connections");
    section.tell("pgbench_singles_per_second", limit, "rows/s", label);
    let name = "ratio_of_singles";
    section.hold(name, rate / limit, "", "of pgbench", Bar::AtLeast(0.5));
    Ok(())
}
