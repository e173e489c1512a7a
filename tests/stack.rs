//! Broker, host and handler as a user runs them, against a database that the caller names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nightshift_bindings::function_json::{EntityPath, FunctionJson};
use nightshift_bindings::layout::functions;
use nightshift_bus::{ClientOptions, ConnectionString, Sender, ServiceBusClient};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::probe::children_named;

/// How long anything local may take until it counts as broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Failed deliveries after which the broker gives a message up, as for our queues on Azure.
const MAX_DELIVERY_COUNT: &str = "100";

/// How the stack is set up.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The database; it is migrated and gets the sample application.
    pub postgres_url: String,
    /// For how long a received message stays locked.
    pub lock_seconds: u64,
}

/// What runs in the stack.
#[derive(Debug, Clone)]
pub struct App {
    /// The folder with `host.json` and the folder `functions` of jobs.
    pub source: PathBuf,
    /// The name of the handler's program.
    pub handler: &'static str,
    /// The queues that the broker serves beside those that the functions name. [`Stack::sender`] sends to
    /// the first.
    pub queues: &'static [&'static str],
    /// The queues whose messages belong to sessions.
    pub session_queues: &'static [&'static str],
    /// Set for the host, and so for the handler.
    pub environment: Vec<(&'static str, OsString)>,
    /// The folder in which the broker keeps its messages; without one it loses them when it ends.
    pub broker_data: Option<PathBuf>,
}

impl App {
    /// The application of this checkout.
    pub fn of_checkout() -> Self {
        Self {
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            handler: "handler",
            queues: &["notifications"],
            session_queues: &[],
            environment: Vec::new(),
            broker_data: None,
        }
    }
}

/// The running processes. Dropping it kills them.
#[derive(Debug)]
pub struct Stack {
    options: StackOptions,
    app: App,
    app_root: PathBuf,
    folder: TempDir,
    broker: Child,
    host: Option<Child>,
    connection_string: String,
}

/// The path of the program `name` of this workspace, as built beside the running test.
///
/// # Panics
/// When it was not built: `make test` and `make bench` do that first.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let beside = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "the program {name} is not built beside {}: run `cargo build --workspace`",
                test.display()
            )
        })
}

/// The id of the sample application's `n`-th user, from 1 to 200.
pub fn user_id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

impl Stack {
    /// Prepares the database and starts the broker; [`Stack::start_host`] does the rest.
    pub async fn prepare(options: StackOptions) -> anyhow::Result<Self> {
        Self::prepare_app(options, App::of_checkout()).await
    }

    /// Like [`Stack::prepare`], for another application.
    pub async fn prepare_app(options: StackOptions, app: App) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(&options.postgres_url).await?;
        nightshift_postgres::migrate(&mut connection).await?;
        connection
            .execute(include_str!("../host/cli/sample/app.sql"))
            .await?;
        connection.close().await?;
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("app");
        let staged = nightshift_cli::stage::stage(&app.source, &program(app.handler), &root)?;
        let log = folder.path().join("broker.err");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (broker, connection_string) = start_broker(&options, &app, any_port, &log)?;
        Ok(Self {
            options,
            app,
            app_root: staged.root,
            folder,
            broker,
            host: None,
            connection_string,
        })
    }

    /// Kills the broker with SIGKILL.
    pub fn kill_broker(&mut self) -> anyhow::Result<()> {
        self.broker.kill()?;
        self.broker.wait()?;
        Ok(())
    }

    /// Starts the broker again, after [`Stack::kill_broker`], where it was.
    pub async fn restart_broker(&mut self) -> anyhow::Result<()> {
        let connection: ConnectionString = self.connection_string.parse()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, connection.port()));
        let log = self.folder.path().join("broker.err");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match start_broker(&self.options, &self.app, address, &log) {
                Ok((broker, _)) => {
                    self.broker = broker;
                    return Ok(());
                }
                // Another test's server may have drawn the port in between.
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Starts the host, which starts the handler.
    pub fn start_host(&mut self) -> anyhow::Result<()> {
        self.host = Some(self.start_another_host()?);
        Ok(())
    }

    /// Starts a host that the caller has to end.
    pub fn start_another_host(&self) -> anyhow::Result<Child> {
        self.start_another_host_with(&[])
    }

    /// The same, with `settings` that it has for itself.
    pub fn start_another_host_with(
        &self,
        settings: &[(&'static str, OsString)],
    ) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let host = Command::new(program("nightshift"))
            .args(["host", "start", "--app-root"])
            .arg(&self.app_root)
            .env("ServiceBusConnection", &self.connection_string)
            .env("NIGHTSHIFT_POSTGRES_URL", &self.options.postgres_url)
            .env("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0")
            .envs(self.app.environment.iter().chain(settings).cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(host)
    }

    /// The file with the host's and the handler's log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("host.log")
    }

    /// Where the host answers requests; waits until it says so.
    pub async fn http_address(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.log())?;
            let found = log.lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                Some(format!("http://{}", line["http.address"].as_str()?))
            });
            if let Some(address) = found {
                return Ok(address);
            }
            if Instant::now() > deadline {
                bail!("the host answers no requests; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How clients reach the broker.
    pub fn connection_string(&self) -> &str {
        &self.connection_string
    }

    /// The broker's process.
    pub fn broker_pid(&self) -> u32 {
        self.broker.id()
    }

    /// The host's process, if it was started.
    pub fn host_pid(&self) -> Option<u32> {
        self.host.as_ref().map(Child::id)
    }

    /// The handler's process; waits until there is one other than `before`.
    pub async fn handler_pid(&self, before: Option<u32>) -> anyhow::Result<u32> {
        let host = self.host_pid().context("the host is not started")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = children_named(host, "handler")
                .into_iter()
                .find(|pid| Some(*pid) != before);
            if let Some(pid) = found {
                return Ok(pid);
            }
            if Instant::now() > deadline {
                bail!(
                    "the host started no handler; its log:\n{}",
                    std::fs::read_to_string(self.log())?
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A connection to the broker with a sender to the first queue.
    pub async fn sender(&self) -> anyhow::Result<(ServiceBusClient, Sender)> {
        self.sender_to(self.app.queues[0]).await
    }

    /// A connection to the broker with a sender to `queue`.
    pub async fn sender_to(&self, queue: &str) -> anyhow::Result<(ServiceBusClient, Sender)> {
        let connection: ConnectionString = self.connection_string.parse()?;
        let client = ServiceBusClient::connect(&connection, ClientOptions::default()).await?;
        let sender = client.create_sender(queue).await?;
        Ok((client, sender))
    }

    /// Kills the host with SIGKILL; its handler ends by itself.
    pub fn kill_host(&mut self) -> anyhow::Result<()> {
        if let Some(mut host) = self.host.take() {
            host.kill()?;
            host.wait()?;
        }
        Ok(())
    }

    /// Stops host and broker with SIGTERM and returns the host's exit code. A handler that had to
    /// be killed is an error.
    pub fn stop(mut self) -> anyhow::Result<Option<i32>> {
        let code = match self.host.take() {
            Some(host) => end(host)?,
            None => None,
        };
        kill(
            Pid::from_raw(i32::try_from(self.broker.id())?),
            Signal::SIGTERM,
        )?;
        self.broker.wait()?;
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        if log.contains("it is killed") {
            bail!("the handler did not end by itself:\n{log}");
        }
        Ok(code)
    }
}

/// Starts a broker and returns how clients reach it.
fn start_broker(
    options: &StackOptions,
    app: &App,
    listen: SocketAddr,
    log: &Path,
) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(program("nightshift"));
    command
        .args(["--json", "broker", "--listen", &listen.to_string()])
        .args(queues(app)?.iter().flat_map(|queue| ["--queue", queue]))
        .args(
            app.session_queues
                .iter()
                .flat_map(|queue| ["--session-queue", queue]),
        )
        .args(["--lock-seconds", &options.lock_seconds.to_string()])
        .args(["--max-delivery-count", MAX_DELIVERY_COUNT]);
    // What is said of crash points is not for the broker.
    let telemetry = app.environment.iter().cloned();
    command.envs(telemetry.filter(|(name, _)| name.starts_with("OTEL_")));
    if let Some(data) = &app.broker_data {
        command.arg("--data").arg(data);
    }
    let log = File::options().create(true).append(true).open(log)?;
    let mut broker = command.stdout(Stdio::piped()).stderr(log).spawn()?;
    let announced = announced(&mut broker);
    if announced.is_err() {
        broker.kill()?;
        broker.wait()?;
    }
    Ok((broker, announced?))
}

/// The queues without sessions, each once.
fn queues(app: &App) -> anyhow::Result<BTreeSet<String>> {
    let mut queues: BTreeSet<String> = app.queues.iter().map(ToString::to_string).collect();
    for (_, file) in functions(&app.source)? {
        let config = FunctionJson::parse(&file, &std::fs::read_to_string(&file)?)?;
        if let Some(trigger) = config.service_bus_trigger()
            && let EntityPath::Queue(queue) = &trigger.entity
            && !app.session_queues.contains(&queue.as_str())
        {
            queues.insert(queue.clone());
        }
    }
    Ok(queues)
}

/// How clients reach `broker`, which says so once it listens.
fn announced(broker: &mut Child) -> anyhow::Result<String> {
    let mut output = BufReader::new(broker.stdout.take().context("the broker's output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    let announced: serde_json::Value =
        serde_json::from_str(&line).with_context(|| format!("the broker said {line:?}"))?;
    let connection_string = announced["connection_string"].as_str();
    Ok(connection_string
        .context("no connection string")?
        .to_owned())
}

fn end(mut process: Child) -> anyhow::Result<Option<i32>> {
    kill(Pid::from_raw(i32::try_from(process.id())?), Signal::SIGTERM)?;
    Ok(process.wait()?.code())
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed; it is gone already.
        if let Some(host) = &mut self.host {
            let _ = host.kill();
            let _ = host.wait();
        }
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}
