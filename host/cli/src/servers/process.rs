//! One server as a child process: started into a log file, waited for, stopped, killed.
//!
//! Every server gets its own process group, so that Ctrl-C at a terminal reaches only the
//! supervisor, which then stops the servers in order. Dropping a value that was not stopped kills
//! the server and everything it started; nothing survives an early return or a panic.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::account::Account;
use super::roster::{Entry, Stop, family_of, kill_all};
use super::{ServerError, Supervisor, process_table};

/// How often a starting or stopping server is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// How much of a log's end is shown when its server fails.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// Everything that is needed to start a server.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What people call it; also names its log.
    pub name: String,
    /// The program to run.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables set in addition to this process's own.
    pub environment: Vec<(String, OsString)>,
    /// Its working folder.
    pub folder: PathBuf,
    /// The account to run under, if not this process's own.
    pub account: Option<Account>,
    /// The file that takes its standard output and error, at the end.
    pub log: PathBuf,
    /// How it is stopped.
    pub stop: Stop,
}

/// A running server.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: Child,
    started: u64,
    stop: Stop,
    log: PathBuf,
    supervisor: Supervisor,
    ended: bool,
}

impl ServerProcess {
    /// Starts the program; it is not necessarily ready yet.
    pub fn spawn(launch: &Launch, supervisor: &Supervisor) -> Result<Self, ServerError> {
        let output = open_log(&launch.log)?;
        let errors = output
            .try_clone()
            .map_err(ServerError::file("open", &launch.log))?;
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        if let Some(Account { uid, gid }) = launch.account {
            command.gid(gid).uid(uid);
        }
        let child = command.spawn().map_err(|source| ServerError::Spawn {
            program: launch.program.clone(),
            source,
        })?;
        let process = Self {
            name: launch.name.clone(),
            started: process_table::start_time(child.id()),
            child,
            stop: launch.stop,
            log: launch.log.clone(),
            supervisor: supervisor.clone(),
            ended: false,
        };
        supervisor.add(Entry {
            pid: process.pid(),
            started: process.started,
            stop: process.stop,
            name: process.name.clone(),
        })?;
        Ok(process)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() && !self.ended {
            self.ended = true;
            self.supervisor.remove(self.pid());
        }
        status
    }

    /// Waits until `is_ready` says so; fails when the server ends or `at_most` has passed.
    pub async fn ready<F>(
        &mut self,
        address: &str,
        at_most: Duration,
        mut is_ready: impl FnMut() -> F,
    ) -> Result<(), ServerError>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.exit_status() {
                let (name, log, tail) = (self.name.clone(), self.log.clone(), tail(&self.log));
                return Err(ServerError::Exited {
                    name,
                    status,
                    log,
                    tail,
                });
            }
            if is_ready().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ServerError::NotReady {
                    name: self.name.clone(),
                    address: address.to_owned(),
                    waited: at_most,
                    log: self.log.clone(),
                    tail: tail(&self.log),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the server to end, waits for its grace period, and kills what is left.
    pub async fn stop(&mut self) {
        let family = family_of(self.pid());
        if self.exit_status().is_none() {
            process_table::send(self.pid(), self.stop.signal);
        }
        let deadline = Instant::now() + self.stop.grace;
        while self.exit_status().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.finish(&family);
    }

    /// Kills the server and everything it started, at once and without warning (SIGKILL).
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            // Whoever it started while its family is counted would be left behind.
            process_table::send(self.pid(), Signal::SIGSTOP);
        }
        let family = family_of(self.pid());
        self.finish(&family);
    }

    fn finish(&mut self, family: &[(u32, u64)]) {
        if self.exit_status().is_none() {
            // Only fails for a child that was waited for, which `exit_status` has just denied.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.exit_status();
        }
        kill_all(self.child.id(), self.started, family);
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

fn open_log(path: &Path) -> Result<File, ServerError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(ServerError::file("create", folder))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(ServerError::file("open", path))
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |meta| meta.len());
        if file
            .seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
            .is_ok()
        {
            // A log that cannot be read shows as an empty one; the failure itself is reported.
            let _ = file.take(TAIL_BYTES).read_to_end(&mut bytes);
        }
    }
    last_lines(&String::from_utf8_lossy(&bytes))
}

/// The last few lines of `text`.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Launch {
        Launch {
            name: "shell".into(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            folder: folder.to_owned(),
            account: None,
            log: folder.join("logs/shell.log"),
            stop: Stop {
                signal: Signal::SIGTERM,
                grace: Duration::from_millis(200),
            },
        }
    }

    #[tokio::test]
    async fn an_early_end_is_reported_with_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let launch = shell(folder.path(), "echo no such option >&2; exit 3");
        let mut process = ServerProcess::spawn(&launch, &Supervisor::unattended()).unwrap();
        let error = process
            .ready("nowhere", Duration::from_secs(10), async || false)
            .await;
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no such option"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_server_that_ignores_the_signal_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let launch = shell(
            folder.path(),
            "trap '' TERM; sleep 60 & echo ready; wait; wait",
        );
        let mut process = ServerProcess::spawn(&launch, &Supervisor::unattended()).unwrap();
        let log = process.log().to_owned();
        let has_started = || async { tail(&log).contains("ready") };
        process
            .ready("its log", Duration::from_secs(10), has_started)
            .await
            .unwrap();
        let family = family_of(process.pid());
        assert_eq!(family.len(), 1);
        process.stop().await;
        assert!(process.exit_status().is_some());
        assert!(!process_table::is_alive(family[0].0, family[0].1));
    }

    #[test]
    fn dropping_kills() {
        let folder = tempfile::tempdir().unwrap();
        let launch = shell(folder.path(), "exec sleep 60");
        let process = ServerProcess::spawn(&launch, &Supervisor::unattended()).unwrap();
        let (pid, started) = (process.pid(), process.started);
        drop(process);
        assert!(!process_table::is_alive(pid, started));
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
        let text = lines.join(
            "
",
        );
        assert!(last_lines(&text).starts_with("line 85\n"));
        assert_eq!(last_lines(""), "");
    }
}
