//! Runs one helper program (a package manager, `initdb`, `cargo`) to its end.
//!
//! The program runs in its own process group without a terminal and without input. If the future
//! is dropped, because the user pressed Ctrl-C or another part of the start failed, the whole
//! group is killed: a package manager's children do not go on alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use tokio::process::Command;

use crate::servers::account::Account;
use crate::servers::process::last_lines;
use crate::servers::{ServerError, process_table};

/// How long a helper may take: a slow line needs minutes for the largest download (some 60 MB).
const LIMIT: Duration = Duration::from_mins(15);

/// A helper program with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    folder: Option<PathBuf>,
    account: Option<Account>,
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            removed: Vec::new(),
            folder: None,
            account: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hides a variable of this process's own environment.
    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.removed.push(name.as_ref().to_owned());
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    pub(crate) fn account(mut self, account: Option<&Account>) -> Self {
        self.account = account.cloned();
        self
    }

    /// The command line, for messages.
    pub(crate) fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end and returns what was written to standard output.
    pub(crate) async fn run(self) -> Result<String, ServerError> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in &self.removed {
            command.env_remove(name);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(Account { uid, gid }) = self.account {
            command.gid(gid).uid(uid);
        }
        let child = Command::from(command)
            .spawn()
            .map_err(|source| ServerError::Spawn {
                program: PathBuf::from(&self.program),
                source,
            })?;
        let mut group = Group(child.id());
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        let Ok(ended) = ended else {
            let status = format!("still running after {} s", LIMIT.as_secs());
            return Err(self.failed(status, ""));
        };
        let output = ended.map_err(ServerError::file("follow", &self.program))?;
        group.0 = None;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let both = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        Err(self.failed(output.status.to_string(), &both))
    }

    fn failed(&self, status: String, output: &str) -> ServerError {
        ServerError::Tool {
            command: self.line(),
            status,
            output: last_lines(output),
        }
    }
}

/// Kills a process group when dropped, unless the group's leader was waited for.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(process_table::as_pid) {
            // A group that is gone already needs no killing.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_shows_command_status_and_last_words() {
        let failed = Tool::new("sh")
            .args(["-c", "echo out; echo why >&2; exit 7"])
            .run()
            .await;
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("exit status: 7") && text.contains("why"),
            "{text}"
        );
        let missing = Tool::new("/nonexistent/tool").run().await.unwrap_err();
        assert_eq!(missing.to_string(), "cannot start /nonexistent/tool");
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!(
            "sleep 60 & echo $! > {0}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let mut run = Box::pin(Tool::new("sh").args(["-c", &script]).run());
        let child = loop {
            tokio::select! {
                _ = &mut run => unreachable!("it sleeps"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            if let Ok(pid) = std::fs::read_to_string(&file) {
                break pid.trim().parse().unwrap();
            }
        };
        let started = process_table::start_time(child);
        assert!(process_table::is_alive(child, started));
        drop(run);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while process_table::is_alive(child, started) && std::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        assert!(!process_table::is_alive(child, started));
    }
}
