//! What can go wrong with a private server, said so that a person can act on it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private server could not be found, fetched, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A file or folder of the local stack could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, as a verb: "create", "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A helper program (a package manager, `initdb`) failed.
    #[error("`{command}` failed ({status}){}", indented(output))]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines that it printed.
        output: String,
    },
    /// Nothing on this machine and nothing that can be fetched provides the server.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// The server ended while it was being started.
    #[error("{name} ended while starting ({status}); the end of {}:{}", log.display(), indented(tail))]
    Exited {
        /// The server.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where it writes.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// The server runs but did not answer in time.
    #[error(
        "{name} did not answer on {address} within {} s; the end of {}:{}",
        waited.as_secs(), log.display(), indented(tail)
    )]
    NotReady {
        /// The server.
        name: String,
        /// Where it should answer.
        address: String,
        /// How long it was given.
        waited: Duration,
        /// Where it writes.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// The server refused what was asked of it right after its start.
    #[error("{name} does not accept its first statements")]
    Refused {
        /// The server.
        name: String,
        /// Its answer.
        #[source]
        source: sqlx::Error,
    },
    /// The machine lacks something that no fetching can replace.
    #[error("{0}")]
    Machine(String),
}

impl ServerError {
    /// Wraps an I/O error with what was attempted on which path.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Every way in which a server was looked for, each with the reason why it did not work.
#[derive(Debug)]
pub struct Unavailable {
    /// What was looked for.
    pub what: &'static str,
    /// Way and reason, in the order of the attempts.
    pub tried: Vec<(String, String)>,
    /// What the user can do or set instead.
    pub instead: &'static str,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} could neither be found nor fetched:", self.what)?;
        for (way, reason) in &self.tried {
            writeln!(f, "  {way}: {}", reason.trim_end().replace('\n', "\n    "))?;
        }
        write!(f, "{}", self.instead)
    }
}

/// `text` on lines of its own, or nothing.
fn indented(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() {
        String::new()
    } else {
        format!("\n    {}", text.replace('\n', "\n    "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_is_listed_with_its_reason_and_a_way_out() {
        let error = ServerError::Unavailable(Unavailable {
            what: "a Redis server",
            tried: vec![
                ("PATH".into(), "no redis-server or valkey-server".into()),
                (
                    "Debian packages".into(),
                    "`apt-get update` failed (exit status: 100)\nE: no".into(),
                ),
            ],
            instead: "install one, or set NIGHTSHIFT_REDIS_URL to one of your own",
        });
        assert_eq!(
            error.to_string(),
            "a Redis server could neither be found nor fetched:\n  \
             PATH: no redis-server or valkey-server\n  \
             Debian packages: `apt-get update` failed (exit status: 100)\n    E: no\n\
             install one, or set NIGHTSHIFT_REDIS_URL to one of your own"
        );
    }
}
