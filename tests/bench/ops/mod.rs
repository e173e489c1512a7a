//! The admin API and the command line over a database in which years of work have left something: how long
//! operators wait for answers, how fast dead letters are sent again, and how soon commands are there.

mod client;
mod commands;
mod lists;
mod redrive;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_settings::{Environment, Source};
use nightshift_tests::{App, Stack, StackOptions, resident_bytes};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;

use self::client::Client;
use self::commands::Started;
use self::lists::{Asked, slowest};
use crate::fill;
use crate::host::free_address;
use crate::process::{Process, mebibytes};
use crate::report::{Bar, Section};
use crate::work::start;

/// How many rows the inbox has, if not as many as the bars are for: a sample shows that all of this runs.
const ROWS: &str = "NIGHTSHIFT_TEST_BENCH_ROWS";

/// How often each question is asked, and of a sample.
const REQUESTS: usize = 500;
const REQUESTS_OF_SAMPLE: usize = 100;

/// The setting with the API's keys, and the key of this benchmark.
const KEYS: &str = "NIGHTSHIFT_OPS_KEYS";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Queues that only the letters' functions name, which are no longer in the application.
const QUEUES: &[&str] = &["notifications", "mail", "orders", "reports"];

/// How long the handler may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A full database, a broker, and an application that is not started.
struct Bench {
    postgres: Postgres,
    pool: PgPool,
    stack: Stack,
    /// Where the host answers.
    listen: SocketAddr,
    _folder: TempDir,
}

impl Bench {
    async fn prepare(rows: i32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = PostgresOptions {
            data_dir: folder.path().join("data"),
            durable: true,
            port: None,
        };
        let postgres = Postgres::start(options).await?;
        let options = StackOptions {
            postgres_url: postgres.url(),
            lock_seconds: 60,
        };
        let listen = free_address()?;
        let app = App {
            queues: QUEUES,
            environment: vec![
                (KEYS, keys().into()),
                ("NIGHTSHIFT_HOST_LISTEN", listen.to_string().into()),
            ],
            ..App::of_checkout()
        };
        let stack = Stack::prepare_app(options, app).await?;
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&postgres.url())
            .await?;
        fill::all(&pool, rows).await.context("filling")?;
        Ok(Self {
            postgres,
            pool,
            stack,
            listen,
            _folder: folder,
        })
    }

    /// The release handler alone, without a host, and a connection to it.
    async fn handler(&self) -> anyhow::Result<(Process, Client)> {
        let bus = self.stack.connection_string();
        let (mut command, address) = start::handler(&self.postgres.url(), bus)?;
        let process = Process(command.env(KEYS, keys()).spawn()?);
        let client = Client::connect(address, PATIENCE).await?;
        Ok((process, client))
    }

    /// The host with its handler, and a connection to it.
    async fn host(&mut self) -> anyhow::Result<Client> {
        self.stack.start_host()?;
        let mut client = Client::connect(self.listen, PATIENCE).await?;
        // It listens before its handler does.
        client.until_answered("/functions", PATIENCE).await?;
        Ok(client)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stack.stop()?;
        self.pool.close().await;
        self.postgres.stop().await;
        Ok(())
    }
}

fn keys() -> String {
    format!("bench:Admin:{KEY}")
}

/// What operators do.
pub(crate) async fn measure() -> anyhow::Result<Section> {
    let sample = Environment.get(ROWS);
    let (rows, requests) = match &sample {
        Some(rows) => {
            let what = || format!("{ROWS} is {rows:?}, which is no number");
            (rows.parse().with_context(what)?, REQUESTS_OF_SAMPLE)
        }
        None => (fill::ROWS, REQUESTS),
    };
    let title = format!(
        "The admin API with {rows} rows in the inbox, {} runs, {} dead letters",
        rows / fill::ROWS_PER_RUN,
        rows / fill::ROWS_PER_LETTER
    );
    let mut section = Section::new("ops", title);
    if sample.is_some() {
        section = section.of_sample();
    }
    let started = commands::measure(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    tell_commands(&mut section, started)?;
    let mut bench = Bench::prepare(rows).await?;
    through_host(&mut section, &mut bench, requests)
        .await
        .context("through the host")?;
    let letters = alone(&mut section, &bench, requests);
    let letters = letters.await.context("handler alone")?;
    settled(&mut section, &mut bench, letters)
        .await
        .context("redrive with a host")?;
    bench.end().await?;
    Ok(section)
}

/// The questions by way of the host, less often.
async fn through_host(
    section: &mut Section,
    bench: &mut Bench,
    requests: usize,
) -> anyhow::Result<()> {
    let mut client = bench.host().await?;
    let questions = lists::questions(&mut client, &bench.pool).await?;
    let asked = lists::measure(&mut client, &questions, requests / 5).await?;
    bench.stack.kill_host()?;
    let worst = slowest(&asked).context("nothing was asked")?;
    let label = format!("through the host the slowest, {}", worst.what);
    let label = format!("{label}: 99th percentile");
    section.tell("host_worst_p99_ms", worst.pace.p99_ms, "ms", label);
    section.tell("host_worst_p50_ms", worst.pace.p50_ms, "ms", "its median");
    Ok(())
}

/// The handler without a host: at rest, asked, and sending letters again into queues that nobody looks into.
/// Returns how many letters that were.
async fn alone(section: &mut Section, bench: &Bench, requests: usize) -> anyhow::Result<usize> {
    redrive::wait_in_queue(&bench.stack).await?;
    let (handler, mut client) = bench.handler().await?;
    let pid = handler.0.id();
    let rest = start::rest(pid).await?;
    let label = "of the handler at rest, the API on, before the first request";
    section.hold("rest_mib", rest.mib, "MiB", label, Bar::AtMost(9.0));
    let bare = lists::bare(&mut client, requests).await?;
    let label = "median of the handler's readiness probe, for comparison";
    section.tell("bare_p50_ms", bare.p50_ms, "ms", label);
    section.tell("bare_p99_ms", bare.p99_ms, "ms", "its 99th percentile");
    let select = lists::select(&bench.pool, requests).await?;
    let label = "median of a transaction with SELECT 1, for comparison";
    section.tell("select_p50_ms", select.p50_ms, "ms", label);
    section.tell("select_p99_ms", select.p99_ms, "ms", "its 99th percentile");
    let questions = lists::questions(&mut client, &bench.pool).await?;
    let asked = lists::measure(&mut client, &questions, requests).await?;
    tell_asked(section, &asked)?;
    let memory = mebibytes(resident_bytes(pid).context("the handler is gone")?);
    let label = "of the handler after all these requests";
    section.tell("asked_mib", memory, "MiB", label);
    let sent = redrive::all(&mut client, &bench.pool, &bench.stack).await?;
    let count = sent.letters;
    let label = format!("{count} dead letters, from the request until the broker has the last");
    let (rate, bar) = (sent.per_second, Bar::AtLeast(5_000.0));
    section.hold("redriven_per_second", rate, "letters/s", label, bar);
    Ok(count)
}

/// As many letters, sent again while a host delivers them.
async fn settled(section: &mut Section, bench: &mut Bench, letters: usize) -> anyhow::Result<()> {
    let mut client = bench.host().await?;
    redrive::refill(&bench.pool, letters).await?;
    let settled = redrive::settle(&mut client, &bench.pool).await?;
    let label = format!("{letters} dead letters, from the request to the last of their commits");
    section.tell("settled_per_second", settled.per_second, "letters/s", label);
    bench.stack.kill_host()
}

fn tell_asked(section: &mut Section, asked: &[Asked]) -> anyhow::Result<()> {
    for Asked {
        name, what, pace, ..
    } in asked
    {
        let label = format!("{what}: 99th percentile, median {:.2}", pace.p50_ms);
        section.tell(name, pace.p99_ms, "ms", label);
    }
    let worst = slowest(asked).context("nothing was asked")?;
    let label = format!("the slowest, {}: 99th percentile", worst.what);
    let p99 = worst.pace.p99_ms;
    section.hold("worst_p99_ms", p99, "ms", label, Bar::AtMost(20.0));
    section.tell("worst_p50_ms", worst.pace.p50_ms, "ms", "its median");
    Ok(())
}

fn tell_commands(section: &mut Section, started: Vec<Started>) -> anyhow::Result<()> {
    let count = started.len();
    let worst = started
        .into_iter()
        .max_by(|one, other| one.median_ms.total_cmp(&other.median_ms))
        .context("no command was started")?;
    let label = format!("the slowest of {count} local commands, `{}`", worst.command);
    let bar = Bar::AtMost(20.0);
    section.hold("command_ms", worst.median_ms, "ms", label, bar);
    Ok(())
}
