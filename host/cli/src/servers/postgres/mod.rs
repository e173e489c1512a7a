//! A private Postgres: one cluster in a folder, on a loopback port, for one supervisor.
//!
//! The cluster is made with `initdb` beside its final place and renamed, so a killed start never
//! leaves half of one. Clients must show a random password, which lies beside the data, readable
//! by this user only; Unix sockets are off, because their path must be shorter than many
//! checkouts are deep. As root, the server runs under another account (see [`super::account`]).
//!
//! A *durable* cluster has Postgres's defaults: a committed row survives a power cut. The others
//! are for tests: they skip every fsync, and stop without writing what they would lose anyway.

mod cluster;
mod programs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nightshift_settings::Environment;
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use super::account::Account;
use super::home::{self, Home, checkout_above};
use super::process::{Launch, ServerProcess};
use super::progress::Progress;
use super::roster::Stop;
use super::{ServerError, Supervisor, ports, process_table};
use cluster::Cluster;
pub use programs::Programs;

/// The superuser of every private cluster.
const USER: &str = "nightshift";

/// How long a start may take: crash recovery of a cluster under load takes a few seconds.
const START: Duration = Duration::from_mins(1);

/// For how long a cluster that is to come back on its port is started again when it ends early: somebody
/// else may have drawn the port in between, and what was killed may hold its memory for a moment.
const COME_BACK: Duration = Duration::from_secs(20);

/// The pause before it is started again.
const BREATH: Duration = Duration::from_millis(100);

/// How long the cluster is asked to end before it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// What is wanted of a private Postgres.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder of the cluster's data, made if it is not there. Its parent takes two small
    /// files and the log.
    pub data_dir: PathBuf,
    /// Whether committed rows survive a power cut (the defaults), or everything may be lost.
    pub durable: bool,
    /// The port to listen on, or a free one.
    pub port: Option<u16>,
}

/// A running private Postgres. Dropping it kills it.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    port: u16,
    process: ServerProcess,
    supervisor: Supervisor,
}

impl Postgres {
    /// Finds Postgres on this machine and starts a cluster that ends with this value. For tests
    /// and benchmarks; commands use [`Postgres::launch`].
    pub async fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let parent = options.data_dir.parent().unwrap_or(&options.data_dir);
        let beside = Home::open(parent)?;
        let account = Account::unprivileged()?;
        // What has to be fetched is fetched once per checkout, not once per cluster.
        let working = std::env::current_dir().map_err(ServerError::file("find", "."))?;
        let shared = match checkout_above(&working) {
            Some(checkout) => Home::open(&checkout.join(home::FOLDER))?,
            None => beside.clone(),
        };
        let quiet = Progress::quiet();
        let programs =
            Programs::find_or_fetch(&Environment, &shared, account.as_ref(), &quiet).await?;
        let data = beside.reachable_by(account.as_ref())?;
        let name = options.data_dir.file_name().unwrap_or_default();
        let options = PostgresOptions {
            data_dir: data.join(name),
            ..options
        };
        let log = beside.root().join("postgres.log");
        Self::launch(options, programs, account, &log, &Supervisor::unattended()).await
    }

    /// Starts a cluster with `programs`, making it first if need be, and waits until it answers.
    pub async fn launch(
        options: PostgresOptions,
        programs: Programs,
        account: Option<Account>,
        log: &Path,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let cluster = Cluster::open(options, programs, account, log).await?;
        cluster.end_leftover();
        let start = async |port| launch_on(&cluster, port, supervisor).await;
        let (port, process) = ports::on_free_port(cluster.options.port, start).await?;
        Ok(Self {
            cluster,
            port,
            process,
            supervisor: supervisor.clone(),
        })
    }

    /// The address for clients, as superuser of the database `postgres`. Holds the password.
    pub fn url(&self) -> String {
        self.cluster.url(self.port, "postgres")
    }

    /// The address of another database of this cluster. Holds the password.
    pub fn url_of(&self, database: &str) -> String {
        self.cluster.url(self.port, database)
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the server's programs come from, for people.
    pub fn origin(&self) -> &str {
        &self.cluster.programs.origin
    }

    /// The folder of the server's programs (`pg_dump`, `pgbench` and so on, where present).
    pub fn programs(&self) -> &Path {
        &self.cluster.programs.folder
    }

    /// Kills the postmaster and every process of it (SIGKILL), as a power cut would for clients.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the cluster again, on the same port and data, after [`Postgres::kill`] or while it
    /// runs; waits until it answers.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        if self.process.exit_status().is_none() {
            self.process.stop().await;
        }
        self.cluster.end_leftover();
        let deadline = Instant::now() + COME_BACK;
        loop {
            match launch_on(&self.cluster, self.port, &self.supervisor).await {
                Err(ServerError::Exited { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(BREATH).await;
                }
                launched => {
                    self.process = launched?;
                    return Ok(());
                }
            }
        }
    }

    /// How the postmaster ended, if it did.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.process.exit_status()
    }

    /// Makes `database` if it is not there.
    pub async fn ensure_database(&self, database: &str) -> Result<(), ServerError> {
        let refused = |source| ServerError::Refused {
            name: "Postgres".to_owned(),
            source,
        };
        let mut connection = PgConnection::connect(&self.url()).await.map_err(refused)?;
        let is_there: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(database)
                .fetch_one(&mut connection)
                .await
                .map_err(refused)?;
        if !is_there {
            let statement = format!("create database \"{}\"", database.replace('"', "\"\""));
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut connection)
                .await
                .map_err(refused)?;
        }
        connection.close().await.map_err(refused)
    }

    /// Stops the server; a durable one first writes a checkpoint.
    pub async fn stop(mut self) {
        self.process.stop().await;
    }

    /// Gives the process up to a caller that stops many servers in order.
    pub(crate) fn into_process(self) -> ServerProcess {
        self.process
    }
}

async fn launch_on(
    cluster: &Cluster,
    port: u16,
    supervisor: &Supervisor,
) -> Result<ServerProcess, ServerError> {
    let mut process = ServerProcess::spawn(&launch(cluster, port), supervisor)?;
    let url = cluster.url(port, "postgres");
    let answers = || async {
        // The port first: a refused connection is much cheaper than a failed handshake.
        if ports::is_free(port) {
            return false;
        }
        match PgConnection::connect(&url).await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        }
    };
    let address = ports::loopback(port).to_string();
    process.ready(&address, START, answers).await?;
    Ok(process)
}

fn launch(cluster: &Cluster, port: u16) -> Launch {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "max_connections=200".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        "jit=off".to_owned(),
    ];
    if !cluster.options.durable {
        let risky = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
        ];
        settings.extend(risky.map(str::to_owned));
    }
    let mut arguments = vec![
        "-D".into(),
        cluster.options.data_dir.clone().into_os_string(),
    ];
    for setting in settings {
        arguments.extend(["-c".into(), setting.into()]);
    }
    Launch {
        name: "postgres".to_owned(),
        program: cluster.programs.path("postgres"),
        arguments,
        environment: cluster.programs.environment(),
        folder: PathBuf::from("/"),
        account: cluster.account.clone(),
        log: cluster.log.clone(),
        // SIGINT is the fast shutdown, SIGQUIT the immediate one that writes nothing.
        stop: Stop {
            signal: if cluster.options.durable {
                Signal::SIGINT
            } else {
                Signal::SIGQUIT
            },
            grace: GRACE,
        },
    }
}

/// Whether `pid` is a postmaster that works in `data`: it changes into its data folder at start.
fn is_postmaster_of(pid: u32, data: &Path) -> bool {
    process_table::program(pid).is_some_and(|name| name == "postgres")
        && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data)
}
