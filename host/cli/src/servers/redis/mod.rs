//! A private Redis (or Valkey, which speaks the same protocol) on a loopback port.
//!
//! Nothing is written to disk: what the platform keeps in Redis can always be made again.
//! Clients must show a random password, because any account of this machine, and any web page
//! that its user visits, can reach the loopback interface.

mod cluster;
mod node;
mod program;

pub use cluster::RedisCluster;
pub use program::RedisVersion;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nightshift_settings::{Environment, Source};

use self::node::Node;
use self::program::{Program, find_or_fetch};
use super::home::{self, Home, checkout_above};
use super::process::ServerProcess;
use super::progress::Progress;
use super::{ServerError, Supervisor, hex, ports};

/// Where what is fetched is kept: in the checkout, if we are in one, so that it is fetched once.
fn shared_home(own: &Home) -> Result<Home, ServerError> {
    let working = std::env::current_dir().map_err(ServerError::file("find", "."))?;
    match checkout_above(&working) {
        Some(checkout) => Home::open(&checkout.join(home::FOLDER)),
        None => Ok(own.clone()),
    }
}

/// A server by itself, with its files in `home`.
fn node<'a>(
    program: &'a Program,
    home: &'a Home,
    password: &'a str,
) -> Result<Node<'a>, ServerError> {
    Ok(Node {
        program,
        folder: home.root(),
        run: home.run()?,
        log: home.logs().join("redis.log"),
        password,
        is_clustered: false,
    })
}

/// How long the port of one that was killed is waited for, and how long until it is tried again.
const COME_BACK: Duration = Duration::from_secs(10);
const BREATH: Duration = Duration::from_millis(50);

/// A running private Redis. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    password: String,
    program: Program,
    process: ServerProcess,
    home: Home,
    supervisor: Supervisor,
}

impl Redis {
    /// Finds or fetches the server and starts it; `wanted` is the port to take if it is free.
    pub async fn launch(
        version: RedisVersion,
        settings: &dyn Source,
        home: &Home,
        wanted: Option<u16>,
        progress: &Progress,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let program = find_or_fetch(version, settings, home, progress).await?;
        Self::run(program, home, wanted, supervisor).await
    }

    /// Finds or fetches the server, once per checkout, and starts one with its files in `folder` that ends
    /// with this value. For tests and benchmarks that a server of all would not survive.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn start(version: RedisVersion, folder: &Path) -> Result<Self, ServerError> {
        let own = Home::open(folder)?;
        let shared = shared_home(&own)?;
        let quiet = Progress::quiet();
        let program = find_or_fetch(version, &Environment, &shared, &quiet).await?;
        Self::run(program, &own, None, &Supervisor::unattended()).await
    }

    async fn run(
        program: Program,
        home: &Home,
        wanted: Option<u16>,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let password = hex::password();
        let node = node(&program, home, &password)?;
        let started = ports::on_free_port(wanted, async |port| node.start(port, supervisor).await);
        let (port, process) = started.await?;
        Ok(Self {
            port,
            password,
            program,
            process,
            home: home.clone(),
            supervisor: supervisor.clone(),
        })
    }

    /// Kills it (SIGKILL), and with it what it held.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty, on the same port and with the same password, after [`Redis::kill`]; waits until
    /// it answers.
    ///
    /// # Errors
    /// When it does not start, as if another process has taken the port for longer than some seconds.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        let node = node(&self.program, &self.home, &self.password)?;
        let deadline = Instant::now() + COME_BACK;
        loop {
            match node.start(self.port, &self.supervisor).await {
                Err(ServerError::Exited { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(BREATH).await;
                }
                started => {
                    self.process = started?;
                    return Ok(());
                }
            }
        }
    }

    /// The address for clients. Holds the password.
    pub fn url(&self) -> String {
        format!("redis://:{}@{}", self.password, ports::loopback(self.port))
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What clients must show.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the program comes from, for people.
    pub fn origin(&self) -> &str {
        &self.program.origin
    }

    /// A program that came along with the server, such as `redis-benchmark`.
    ///
    /// # Errors
    /// When it did not.
    pub fn tool(&self, name: &str) -> Result<Command, ServerError> {
        self.program.beside(name)
    }

    /// Gives the process up to a caller that stops many servers in order.
    pub(crate) fn into_process(self) -> ServerProcess {
        self.process
    }
}
