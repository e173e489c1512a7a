//! A private `PgBouncer` in transaction mode before a Postgres, for tests.
//!
//! Each transaction of a client may go to another of its few server connections. Clients show the same
//! name and password as to the server itself. It refuses to run as root and then runs under the account
//! that Postgres does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nightshift_settings::{Environment, Source};
use nightshift_telemetry::causes;
use nix::sys::signal::Signal;

use crate::private_file;

use super::account::Account;
use super::fetch::tool::Tool;
use super::fetch::{debian, installed, remove};
use super::home::{self, Home, checkout_above};
use super::process::{Launch, ServerProcess};
use super::progress::Progress;
use super::roster::Stop;
use super::{ServerError, Supervisor, Unavailable, find, ports};

/// The setting that names a program to use.
const PROGRAM: &str = "NIGHTSHIFT_TEST_PGBOUNCER";

const NAME: &str = "pgbouncer";

/// Where Debian installs it, a folder that is not on everybody's PATH.
const INSTALLED: &str = "/usr/sbin/pgbouncer";

/// The first version that carries prepared statements.
const LEAST_VERSION: (u32, u32) = (1, 21);

/// A suite of Debian whose version is new enough.
const SUITE: &str = "trixie";

/// Files with its users, whose passwords are readable, and with its configuration.
const USERS: &str = "pgbouncer.users";
const CONFIGURATION: &str = "pgbouncer.ini";

const START: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(5);

/// For how long one that is to come back on its port is started again when it ends early: somebody else
/// may have drawn the port in between.
const COME_BACK: Duration = Duration::from_secs(20);

/// The pause before it is started again.
const BREATH: Duration = Duration::from_millis(100);

/// What is wanted of a private `PgBouncer`.
#[derive(Debug, Clone)]
pub struct PgBouncerOptions {
    /// The server to which it leads: `postgres://user:password@host:port/database`.
    pub postgres_url: String,
    /// An empty folder for its configuration and its log.
    pub folder: PathBuf,
    /// How many server connections it has for each database.
    pub pool_size: u32,
    /// How many prepared statements it carries for each server connection; 0: none.
    pub max_prepared_statements: u32,
}

/// A running private `PgBouncer`. Dropping it kills it.
#[derive(Debug)]
pub struct PgBouncer {
    options: PgBouncerOptions,
    program: Program,
    account: Option<Account>,
    /// Where its configuration is.
    folder: PathBuf,
    port: u16,
    process: ServerProcess,
}

/// The program and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    /// What stands before its own arguments.
    arguments: Vec<OsString>,
    libraries: OsString,
}

impl PgBouncer {
    /// Finds or fetches the program, once per checkout, and starts it.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn start(options: PgBouncerOptions) -> Result<Self, ServerError> {
        let account = Account::unprivileged()?;
        let own = Home::open(&options.folder)?;
        let working = std::env::current_dir().map_err(ServerError::file("find", "."))?;
        let shared = match checkout_above(&working) {
            Some(checkout) => Home::open(&checkout.join(home::FOLDER))?,
            None => own.clone(),
        };
        let cache = shared.reachable_by(account.as_ref())?.join("cache");
        let program = find_or_fetch(&Environment, &cache, &Progress::quiet()).await?;
        let folder = own.reachable_by(account.as_ref())?;
        let (port, process) = ports::on_free_port(None, async |port| {
            launch(&options, &program, account.as_ref(), &folder, port).await
        })
        .await?;
        Ok(Self {
            options,
            program,
            account,
            folder,
            port,
            process,
        })
    }

    /// The address of the same database through it. Holds the password.
    pub fn url(&self) -> String {
        let url = &self.options.postgres_url;
        let (_, server) = parts(url);
        url.replacen(
            &format!("@{server}"),
            &format!("@{}", ports::loopback(self.port)),
            1,
        )
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on its port, after [`PgBouncer::kill`] or while it runs, to carry
    /// `max_prepared_statements` from now on.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, max_prepared_statements: u32) -> Result<(), ServerError> {
        self.process.kill();
        self.options.max_prepared_statements = max_prepared_statements;
        let deadline = Instant::now() + COME_BACK;
        loop {
            let account = self.account.as_ref();
            match launch(
                &self.options,
                &self.program,
                account,
                &self.folder,
                self.port,
            )
            .await
            {
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

    /// Stops it.
    pub async fn stop(mut self) {
        self.process.stop().await;
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        for name in [USERS, CONFIGURATION] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        // The caller's own folder is the caller's; another one has nothing else in it.
        if self.folder != self.options.folder {
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

async fn launch(
    options: &PgBouncerOptions,
    program: &Program,
    account: Option<&Account>,
    folder: &Path,
    port: u16,
) -> Result<ServerProcess, ServerError> {
    let (credentials, server) = parts(&options.postgres_url);
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let users = folder.join(USERS);
    write(&users, &format!("\"{user}\" \"{password}\"\n"), account)?;
    let file = folder.join(CONFIGURATION);
    write(
        &file,
        &configuration(options, server, &users, port),
        account,
    )?;
    let mut environment = Vec::new();
    if !program.libraries.is_empty() {
        environment.push(("LD_LIBRARY_PATH".to_owned(), program.libraries.clone()));
    }
    let launch = Launch {
        name: NAME.to_owned(),
        program: program.path.clone(),
        arguments: [program.arguments.clone(), vec![file.into()]].concat(),
        environment,
        folder: PathBuf::from("/"),
        account: account.cloned(),
        log: options.folder.join("pgbouncer.log"),
        // SIGINT waits for transactions, SIGTERM for clients.
        stop: Stop {
            signal: Signal::SIGINT,
            grace: GRACE,
        },
    };
    let mut process = ServerProcess::spawn(&launch, &Supervisor::unattended())?;
    let address = ports::loopback(port).to_string();
    let is_ready = || async { !ports::is_free(port) };
    process.ready(&address, START, is_ready).await?;
    Ok(process)
}

/// User and password, and host and port, of a URL.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (credentials, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let server = rest.split_once('/').map_or(rest, |(server, _)| server);
    (credentials, server)
}

fn configuration(options: &PgBouncerOptions, server: &str, users: &Path, port: u16) -> String {
    let (host, server_port) = server.split_once(':').unwrap_or((server, "5432"));
    let PgBouncerOptions {
        pool_size,
        max_prepared_statements,
        ..
    } = options;
    format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
         pool_mode = transaction\ndefault_pool_size = {pool_size}\n\
         max_prepared_statements = {max_prepared_statements}\n",
        users.display()
    )
}

/// Writes a file that only the server's account reads.
fn write(file: &Path, text: &str, account: Option<&Account>) -> Result<(), ServerError> {
    private_file::write(file, text).map_err(ServerError::file("write", file))?;
    account.map_or(Ok(()), |account| account.own(file))
}

async fn find_or_fetch(
    settings: &dyn Source,
    cache: &Path,
    progress: &Progress,
) -> Result<Program, ServerError> {
    let path = settings
        .get(PROGRAM)
        .map(PathBuf::from)
        .or_else(|| find::on_path(settings, &[NAME]))
        .unwrap_or_else(|| INSTALLED.into());
    let way = path.display().to_string();
    let program = Program::installed(path);
    let mut tried = match program.is_new_enough().await {
        Ok(()) => return Ok(program),
        Err(error) => vec![(way, causes(&error))],
    };
    let folder = cache.join(NAME);
    let fetched = installed(&folder, SUITE, progress, |partial| async move {
        fetch(&partial).await
    });
    match fetched.await {
        Ok(()) => return Ok(Program::unpacked(&folder)),
        Err(error) => tried.push((format!("Debian package {NAME}"), causes(&error))),
    }
    Err(ServerError::Unavailable(Unavailable {
        what: "PgBouncer 1.21 or later",
        tried,
        instead: "install it (Debian: apt-get install pgbouncer, from trixie on), or set \
                  NIGHTSHIFT_TEST_PGBOUNCER to the program",
    }))
}

/// Unpacks Debian's package into `folder`; if this machine's release has too old a one, that of [`SUITE`].
async fn fetch(folder: &Path) -> Result<(), ServerError> {
    let own = match debian::unpack(NAME, folder).await {
        Ok(_) => Program::unpacked(folder).is_new_enough().await,
        Err(error) => Err(error),
    };
    let Err(own) = own else {
        return Ok(());
    };
    remove(folder)?;
    std::fs::create_dir(folder).map_err(ServerError::file("create", folder))?;
    let other = match debian::unpack_of_suite(SUITE, NAME, folder).await {
        Ok(_) => Program::unpacked(folder).is_new_enough().await,
        Err(error) => Err(error),
    };
    other.map_err(|other| {
        let (own, other) = (causes(&own), causes(&other));
        ServerError::Machine(format!("this release's: {own}\n{SUITE}'s: {other}"))
    })
}

impl Program {
    fn installed(path: PathBuf) -> Self {
        Self {
            path,
            arguments: Vec::new(),
            libraries: OsString::new(),
        }
    }

    /// The one below `folder`, with the libraries there; with nothing but them, if it has brought its own
    /// loader.
    fn unpacked(folder: &Path) -> Self {
        let program = folder.join("usr/sbin").join(NAME);
        let libraries = debian::library_path(folder);
        match debian::loader(folder) {
            Some(loader) => Self {
                path: loader,
                arguments: vec!["--library-path".into(), libraries, program.into()],
                libraries: OsString::new(),
            },
            None => Self {
                path: program,
                arguments: Vec::new(),
                libraries,
            },
        }
    }

    async fn is_new_enough(&self) -> Result<(), ServerError> {
        let tool = Tool::new(&self.path).args(&self.arguments);
        let tool = if self.libraries.is_empty() {
            tool
        } else {
            tool.env("LD_LIBRARY_PATH", &self.libraries)
        };
        let said = tool.arg("--version").run().await?;
        match version(&said) {
            Some(version) if version >= LEAST_VERSION => Ok(()),
            Some((major, minor)) => Err(ServerError::Machine(format!(
                "it is version {major}.{minor}"
            ))),
            None => Err(ServerError::Machine(format!("its version is {said:?}"))),
        }
    }
}

/// The version in `PgBouncer 1.24.1`, and lines about libraries.
fn version(said: &str) -> Option<(u32, u32)> {
    let version = said.lines().next()?.strip_prefix("PgBouncer ")?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = |minor| format!("PgBouncer 1.{minor}.1\nlibevent 2.1.12-stable\n");
        assert!(version(&text(9)).unwrap() < LEAST_VERSION);
        assert!(version(&text(24)).unwrap() > LEAST_VERSION);
        assert_eq!(version("pgbouncer: not found"), None);
    }

    #[test]
    fn it_is_told_to_lead_transactions_to_the_server_of_the_url() {
        let options = PgBouncerOptions {
            postgres_url: "postgres://me:pass@127.0.0.1:5433/x".into(),
            folder: "/f".into(),
            pool_size: 2,
            max_prepared_statements: 7,
        };
        let (credentials, server) = parts(&options.postgres_url);
        assert_eq!((credentials, server), ("me:pass", "127.0.0.1:5433"));
        let text = configuration(&options, server, Path::new("/f/users"), 6432);
        for line in [
            "* = host=127.0.0.1 port=5433\n",
            "listen_port = 6432\n",
            "pool_mode = transaction\n",
            "default_pool_size = 2\n",
            "max_prepared_statements = 7\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
