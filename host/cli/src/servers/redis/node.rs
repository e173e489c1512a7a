//! One process of the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::program::Program;
use crate::private_file;
use crate::servers::process::{Launch, ServerProcess};
use crate::servers::roster::Stop;
use crate::servers::{ServerError, Supervisor, ports};

/// How long a server may take until it answers.
pub(super) const START: Duration = Duration::from_secs(20);

const GRACE: Duration = Duration::from_secs(5);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// What a server is started with.
pub(super) struct Node<'a> {
    pub(super) program: &'a Program,
    /// Its working folder.
    pub(super) folder: &'a Path,
    /// Where its configuration is until it has read it.
    pub(super) run: PathBuf,
    pub(super) log: PathBuf,
    pub(super) password: &'a str,
    /// Whether it is a part of a cluster.
    pub(super) is_clustered: bool,
}

impl Node<'_> {
    /// Starts it on `port`, and waits until it answers.
    pub(super) async fn start(
        &self,
        port: u16,
        supervisor: &Supervisor,
    ) -> Result<ServerProcess, ServerError> {
        let configuration = self.write_configuration(port)?;
        let started = self.launch(port, &configuration, supervisor).await;
        // The password is in the server's memory now.
        let _ = std::fs::remove_file(&configuration);
        started
    }

    async fn launch(
        &self,
        port: u16,
        configuration: &Path,
        supervisor: &Supervisor,
    ) -> Result<ServerProcess, ServerError> {
        let launch = Launch {
            name: "redis".to_owned(),
            program: self.program.path.clone(),
            arguments: vec![configuration.into()],
            environment: self.program.environment(),
            folder: self.folder.to_owned(),
            account: None,
            log: self.log.clone(),
            stop: Stop::new(Signal::SIGTERM, GRACE),
        };
        let mut process = ServerProcess::spawn(&launch, supervisor)?;
        let address = ports::loopback(port).to_string();
        let answers = || async {
            let answer = ask(port, self.password, &["PING"]).await;
            answer.is_ok_and(|answer| answer == "PONG")
        };
        process.ready(&address, START, answers).await?;
        Ok(process)
    }

    /// The password goes in by a file that only this user reads: arguments are for everybody to see.
    fn write_configuration(&self, port: u16) -> Result<PathBuf, ServerError> {
        let file = self.run.join(format!("redis-{port}.conf"));
        let text = configuration(port, self.password, self.is_clustered);
        private_file::write(&file, &text).map_err(ServerError::file("write", &file))?;
        Ok(file)
    }
}

fn configuration(port: u16, password: &str, is_clustered: bool) -> String {
    // What a node remembers of the others is kept in its working folder.
    let cluster = if is_clustered {
        format!("cluster-enabled yes\ncluster-config-file nodes-{port}.conf\n")
    } else {
        String::new()
    };
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nmasterauth {password}\n\
         save \"\"\nappendonly no\ndaemonize no\n{cluster}"
    )
}

/// What the server on `port` answers: a line, or a text of several.
///
/// # Errors
/// When it does not, or when it says no; then that is the error's text.
pub(super) async fn ask(port: u16, password: &str, words: &[&str]) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = BufReader::new(TcpStream::connect(ports::loopback(port)).await?);
        stream.write_all(&packed(&["AUTH", password])).await?;
        answer(&mut stream).await?;
        stream.write_all(&packed(words)).await?;
        answer(&mut stream).await
    };
    tokio::time::timeout(ANSWER, exchange).await?
}

fn packed(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

async fn answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let line = line.trim_end();
    let unexpected = || std::io::Error::other(line.to_owned());
    match line.split_at_checked(1) {
        Some(("+", text)) => Ok(text.to_owned()),
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(|_| unexpected())?;
            let mut text = vec![0; length + 2];
            stream.read_exact(&mut text).await?;
            Ok(String::from_utf8_lossy(&text[..length]).into_owned())
        }
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_keeps_nothing_and_listens_on_loopback_only() {
        let text = configuration(6400, "0a", false);
        assert!(
            text.starts_with("bind 127.0.0.1\nport 6400\nrequirepass 0a\n"),
            "{text}"
        );
        assert!(text.contains("save \"\"\nappendonly no\n"), "{text}");
        assert!(!text.contains("cluster"), "{text}");
        let text = configuration(6400, "0a", true);
        let clustered = "cluster-enabled yes\ncluster-config-file nodes-6400.conf\n";
        assert!(text.ends_with(clustered), "{text}");
    }
}
