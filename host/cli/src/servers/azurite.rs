//! A private Azurite, Microsoft's storage emulator, with its blob service only.
//!
//! Pinned by a committed lock file: versions after this one need a newer Node than current
//! Debian-based images carry. Its account and key are the emulator's well-known ones
//! (<https://learn.microsoft.com/azure/storage/common/storage-connect-azurite>); it listens on
//! the loopback interface only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nightshift_settings::Source;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fetch::{installed, npm};
use super::home::Home;
use super::process::{Launch, ServerProcess};
use super::progress::Progress;
use super::roster::Stop;
use super::{ServerError, Supervisor, Unavailable, find, hex, ports};
use nightshift_telemetry::causes;

const MANIFEST: &str = include_str!("../../azurite/package.json");
const LOCK: &str = include_str!("../../azurite/package-lock.json");

/// The blob service alone, inside the installed package.
const PROGRAM: &str = "node_modules/azurite/dist/src/blob/main.js";

/// The emulator's well-known development account. Not a secret: Microsoft publishes it.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The oldest Node that this version of Azurite runs on.
const OLDEST_NODE: u32 = 20;

/// Node reads some 2,000 files at start, which takes seconds when the disk is busy.
const START: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(5);

/// How long one answer may take.
const PROBE: Duration = Duration::from_secs(2);

/// Where blobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobPlace {
    /// In memory, gone with the process.
    Memory,
    /// In this folder.
    Folder(PathBuf),
}

/// A running private Azurite. Dropping it kills it.
#[derive(Debug)]
pub struct Azurite {
    port: u16,
    process: ServerProcess,
}

impl Azurite {
    /// Fetches Azurite if need be and starts it; `wanted` is the port to take if it is free.
    pub async fn launch(
        settings: &dyn Source,
        home: &Home,
        place: &BlobPlace,
        wanted: Option<u16>,
        progress: &Progress,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let program = find_or_fetch(settings, home, progress).await?;
        let (port, process) = ports::on_free_port(wanted, async |port| {
            let launch = launch(home, &program, place, port);
            let mut process = ServerProcess::spawn(&launch, supervisor)?;
            let address = ports::loopback(port).to_string();
            process.ready(&address, START, || answers(port)).await?;
            Ok(process)
        })
        .await?;
        Ok(Self { port, process })
    }

    /// The connection string for clients.
    pub fn connection_string(&self) -> String {
        let address = ports::loopback(self.port);
        format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};\
             BlobEndpoint=http://{address}/{ACCOUNT};"
        )
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of Node.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Gives the process up to a caller that stops many servers in order.
    pub(crate) fn into_process(self) -> ServerProcess {
        self.process
    }
}

async fn find_or_fetch(
    settings: &dyn Source,
    home: &Home,
    progress: &Progress,
) -> Result<PathBuf, ServerError> {
    let digest = Sha256::digest(LOCK.as_bytes());
    let stamp = hex::encode(&digest);
    let folder = home.cache().join("azurite");
    let fetched = async {
        has_node(settings).await?;
        installed(&folder, &stamp, progress, |partial| async move {
            progress.say("azurite", "fetching npm packages (some 20 s, once)");
            npm::install_locked(MANIFEST, LOCK, &partial).await?;
            progress.say("azurite", "fetched");
            Ok(())
        })
        .await
    };
    fetched.await.map_err(|error: ServerError| {
        ServerError::Unavailable(Unavailable {
            what: "Azurite",
            tried: vec![("npm package azurite".to_owned(), causes(&error))],
            instead: "install Node 20 or later with npm, or set AzureWebJobsStorage to the \
                      connection string of a storage account or emulator of your own",
        })
    })?;
    Ok(folder.join(PROGRAM))
}

async fn has_node(settings: &dyn Source) -> Result<(), ServerError> {
    if find::on_path(settings, &["node"]).is_none() {
        return Err(ServerError::Machine("there is no node on PATH".into()));
    }
    let (major, minor) = npm::node_version().await?;
    if major < OLDEST_NODE {
        return Err(ServerError::Machine(format!(
            "Node {major}.{minor} is too old; it needs {OLDEST_NODE} or later"
        )));
    }
    Ok(())
}

fn launch(home: &Home, program: &Path, place: &BlobPlace, port: u16) -> Launch {
    let mut arguments = vec![program.into(), "--blobHost".into(), "127.0.0.1".into()];
    arguments.extend(["--blobPort".into(), port.to_string().into()]);
    match place {
        BlobPlace::Memory => arguments.push("--inMemoryPersistence".into()),
        BlobPlace::Folder(folder) => arguments.extend(["--location".into(), folder.into()]),
    }
    arguments.extend(["--silent".into(), "--disableTelemetry".into()]);
    Launch {
        name: "azurite".to_owned(),
        program: "node".into(),
        arguments,
        environment: Vec::new(),
        folder: home.root().to_owned(),
        account: None,
        log: home.logs().join("azurite.log"),
        stop: Stop {
            signal: Signal::SIGTERM,
            grace: GRACE,
        },
    }
}

/// Whether the blob service answers HTTP; refusing an unsigned request is an answer.
async fn answers(port: u16) -> bool {
    let exchange = async {
        let address = ports::loopback(port);
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /{ACCOUNT}?comp=list HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0_u8; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer == *b"HTTP/")
    };
    matches!(tokio::time::timeout(PROBE, exchange).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_folder_exclude_each_other() {
        let home = Home::open(&std::env::temp_dir()).unwrap();
        let words = |place| -> Vec<String> {
            let launch = launch(&home, Path::new("main.js"), &place, 10_000);
            launch
                .arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect()
        };
        let in_memory = words(BlobPlace::Memory);
        assert!(in_memory.contains(&"--inMemoryPersistence".to_owned()));
        assert!(!in_memory.contains(&"--location".to_owned()));
        let on_disk = words(BlobPlace::Folder("/blobs".into()));
        assert!(on_disk.ends_with(&["--silent".to_owned(), "--disableTelemetry".to_owned()]));
        assert!(
            on_disk
                .windows(2)
                .any(|pair| pair == ["--location", "/blobs"])
        );
    }

    #[test]
    fn the_lock_names_the_pinned_version_and_no_registry() {
        let lock: serde_json::Value = serde_json::from_str(LOCK).unwrap();
        assert_eq!(
            lock["packages"]["node_modules/azurite"]["version"],
            "3.35.0"
        );
        assert!(!LOCK.contains("\"resolved\""));
    }
}
