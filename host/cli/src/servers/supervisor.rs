//! Answers for every process that a command starts: none outlives it, whatever happens.
//!
//! A command that starts servers makes one supervisor. In an orderly end the servers are stopped
//! one by one. If the command is killed with SIGKILL, nothing of it can run any more; so a second
//! process of the same program, the watchdog, holds the other end of a pipe, reads from it which
//! processes exist, and ends them when the pipe closes, which the kernel does at any death. The
//! usual alternative, a parent-death signal, is bound to the *thread* that started the child, and
//! needs code between fork and exec; a pipe needs neither.
//!
//! What the servers themselves start and leave behind is ended by [`Supervisor::end_orphans`]; the
//! roster file is for the case that the watchdog was killed too: the next start ends what the
//! previous one left.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::roster::{Entry, Stop};
use super::{ServerError, orphans, process_table};

/// The hidden subcommand of `nightshift` that runs [`watch`].
pub const WATCHDOG_COMMAND: &str = "watchdog";

/// Keeps the list of living servers where it survives this process. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Supervisor(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    file: Option<PathBuf>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    process: Child,
    pipe: ChildStdin,
}

impl Supervisor {
    /// A supervisor without watchdog and file, for programs other than `nightshift`, such as
    /// tests: servers end when their values are dropped.
    pub fn unattended() -> Self {
        Self::default()
    }

    /// Ends what a previous supervisor with the same roster `file` left behind, and starts the
    /// watchdog. The caller must hold the lock that makes it the only user of `file`.
    pub fn start(file: &Path) -> Result<Self, ServerError> {
        orphans::adopt()?;
        end_leftovers(file);
        let program = std::env::current_exe().map_err(ServerError::file("find", "this program"))?;
        let mut process = Command::new(&program)
            .arg(WATCHDOG_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C at a terminal must not end it together with us.
            .process_group(0)
            .spawn()
            .map_err(|source| ServerError::Spawn {
                program: program.clone(),
                source,
            })?;
        let Some(pipe) = process.stdin.take() else {
            return Err(ServerError::Machine("the watchdog got no pipe".into()));
        };
        let watchdog = Some(Watchdog { process, pipe });
        let inner = Inner {
            entries: Vec::new(),
            file: Some(file.to_owned()),
            watchdog,
        };
        inner.write_file()?;
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Ends every process below this one that is neither on the roster nor the watchdog: what
    /// children of ours have started and left behind.
    pub fn end_orphans(&self) {
        let inner = self.inner();
        let watchdog = inner
            .watchdog
            .as_ref()
            .map(|watchdog| watchdog.process.id());
        let kept: Vec<u32> = inner
            .entries
            .iter()
            .map(|entry| entry.pid)
            .chain(watchdog)
            .collect();
        drop(inner);
        orphans::end(&kept);
    }

    /// Puts a child of this process on the roster that is not a [`super::ServerProcess`].
    pub(crate) fn watch_over(&self, pid: u32, name: &str, stop: Stop) -> Result<(), ServerError> {
        let started = process_table::start_time(pid);
        self.add(Entry {
            pid,
            started,
            stop,
            name: name.replace('\n', " "),
        })
    }

    /// Takes a child that was waited for off the roster.
    pub(crate) fn release(&self, pid: u32) {
        self.remove(pid);
    }

    pub(crate) fn add(&self, entry: Entry) -> Result<(), ServerError> {
        let mut inner = self.inner();
        inner.tell("add", &entry.to_string());
        inner.entries.push(entry);
        inner.write_file()
    }

    pub(crate) fn remove(&self, pid: u32) {
        let mut inner = self.inner();
        inner.tell("remove", &pid.to_string());
        inner.entries.retain(|entry| entry.pid != pid);
        if let Err(error) = inner.write_file() {
            // An entry too many is harmless: its start time fits no living process.
            tracing::warn!(error = %error, "the roster of servers could not be rewritten");
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, verb: &str, what: &str) {
        if let Some(watchdog) = &mut self.watchdog
            && let Err(error) = writeln!(watchdog.pipe, "{verb} {what}")
        {
            tracing::warn!(error = %error, "the watchdog is gone; SIGKILL would leave servers");
            self.watchdog = None;
        }
    }

    fn write_file(&self) -> Result<(), ServerError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut lines: Vec<String> = self.entries.iter().map(Entry::to_string).collect();
        lines.push(String::new());
        let lines = lines.join(
            "
",
        );
        std::fs::write(file, lines).map_err(ServerError::file("write", file))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(Watchdog { mut process, pipe }) = self.watchdog.take() {
            drop(pipe);
            // It ends by itself now; waiting only makes sure that it is gone before we are.
            let _ = process.wait();
        }
        if let Some(file) = &self.file
            && self.entries.is_empty()
        {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Ends the processes that the roster `file` of a dead supervisor names.
pub(crate) fn end_leftovers(file: &Path) {
    let Ok(lines) = std::fs::read_to_string(file) else {
        return;
    };
    let entries: Vec<Entry> = lines.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in entries.iter().rev() {
        entry.end();
    }
}

/// The watchdog's whole life: follows `input` until it closes, then ends, last first, what is
/// still on the list.
pub fn watch(input: impl BufRead) {
    let mut entries: Vec<Entry> = Vec::new();
    for line in input.lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("add", entry)) => entries.extend(entry.parse::<Entry>()),
            Some(("remove", pid)) => entries.retain(|entry| entry.pid.to_string() != pid),
            _ => {}
        }
    }
    for entry in entries.iter().rev() {
        entry.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::*;

    fn sleeper() -> (Child, Entry) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let stop = Stop {
            signal: Signal::SIGTERM,
            grace: Duration::from_secs(5),
        };
        let started = process_table::start_time(child.id());
        let entry = Entry {
            pid: child.id(),
            started,
            stop,
            name: "sleeper".into(),
        };
        (child, entry)
    }

    #[test]
    fn the_watchdog_ends_what_was_added_and_not_removed() {
        let (mut kept, kept_entry) = sleeper();
        let (mut removed, removed_entry) = sleeper();
        let script = format!(
            "add {kept_entry}\nadd {removed_entry}\nnonsense\nadd 0 0 SIGKILL 1 x\nremove {}\n",
            removed_entry.pid
        );
        watch(script.as_bytes());
        assert!(kept.wait().unwrap().code().is_none(), "ended by a signal");
        assert!(removed.try_wait().unwrap().is_none(), "still running");
        removed.kill().unwrap();
        removed.wait().unwrap();
    }

    #[test]
    fn leftovers_of_a_killed_run_are_ended_from_the_file() {
        let (mut child, entry) = sleeper();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roster");
        std::fs::write(&file, format!("{entry}\ngarbage\n")).unwrap();
        end_leftovers(&file);
        assert!(child.wait().unwrap().code().is_none(), "ended by a signal");
    }
}
