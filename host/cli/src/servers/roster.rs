//! The list of processes that a supervisor answers for, and how each of them is ended.
//!
//! The same lines go to three places: memory, the watchdog's pipe, and a file. Memory serves the
//! ordinary stop; the watchdog serves the supervisor's own violent death; the file serves the
//! next start, in case that even the watchdog was killed.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::process_table;

/// How often a process that was told to end is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How a process is asked to end, and how long it may take before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    pub(crate) signal: Signal,
    pub(crate) grace: Duration,
}

impl Stop {
    /// Stops with `signal`, and with SIGKILL once `grace` is over.
    pub fn new(signal: Signal, grace: Duration) -> Self {
        Self { signal, grace }
    }
}

/// One process on the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    /// Start time, which tells this process from a later one with the same id.
    pub(crate) started: u64,
    pub(crate) stop: Stop,
    pub(crate) name: String,
}

impl Entry {
    /// Asks the process to end, waits, and kills what is left of it and of its descendants.
    /// Blocks for at most the grace period and a second.
    pub(crate) fn end(&self) {
        if !process_table::is_alive(self.pid, self.started) {
            return;
        }
        let family = family_of(self.pid);
        process_table::send(self.pid, self.stop.signal);
        wait_until_gone(self.pid, self.started, self.stop.grace);
        kill_all(self.pid, self.started, &family);
    }
}

/// The descendants of `pid` with their start times.
pub(crate) fn family_of(pid: u32) -> Vec<(u32, u64)> {
    process_table::descendants(pid)
        .into_iter()
        .map(|pid| (pid, process_table::start_time(pid)))
        .collect()
}

/// Kills `pid` and then those of `family` that are still alive; returns when all are gone, or
/// after a second if the kernel does not let one go.
pub(crate) fn kill_all(pid: u32, started: u64, family: &[(u32, u64)]) {
    let mut all = vec![(pid, started)];
    all.extend_from_slice(family);
    for (pid, started) in &all {
        if process_table::is_alive(*pid, *started) {
            process_table::send(*pid, Signal::SIGKILL);
        }
    }
    for (pid, started) in all {
        wait_until_gone(pid, started, Duration::from_secs(1));
    }
}

fn wait_until_gone(pid: u32, started: u64, at_most: Duration) {
    let deadline = Instant::now() + at_most;
    while process_table::is_alive(pid, started) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stop { signal, grace } = self.stop;
        let millis = grace.as_millis();
        write!(
            f,
            "{} {} {} {millis} {}",
            self.pid,
            self.started,
            signal.as_str(),
            self.name
        )
    }
}

impl FromStr for Entry {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut fields = line.splitn(5, ' ');
        let mut field = || fields.next().ok_or("too few fields");
        let pid = field()?
            .parse()
            .map_err(|_| "the process id is not a number")?;
        let started = field()?
            .parse()
            .map_err(|_| "the start time is not a number")?;
        let signal = field()?.parse().map_err(|_| "no such signal")?;
        let millis = field()?
            .parse()
            .map_err(|_| "the grace period is not a number")?;
        let name = field()?.to_owned();
        process_table::as_pid(pid).ok_or("not a process id")?;
        Ok(Self {
            pid,
            started,
            stop: Stop {
                signal,
                grace: Duration::from_millis(millis),
            },
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, started: u64) -> Entry {
        let stop = Stop {
            signal: Signal::SIGTERM,
            grace: Duration::from_secs(5),
        };
        Entry {
            pid,
            started,
            stop,
            name: "azurite (blob)".into(),
        }
    }

    #[test]
    fn a_line_reads_back_as_the_same_entry() {
        let line = entry(4711, 99).to_string();
        assert_eq!(line, "4711 99 SIGTERM 5000 azurite (blob)");
        assert_eq!(line.parse(), Ok(entry(4711, 99)));
    }

    #[test]
    fn broken_lines_name_no_process() {
        for line in [
            "",
            "1",
            "x 1 SIGTERM 1 n",
            "0 1 SIGTERM 1 n",
            "-1 1 SIGTERM 1 n",
            "1 1 TERM",
        ] {
            assert!(line.parse::<Entry>().is_err(), "{line}");
        }
    }

    #[test]
    fn a_process_that_merely_inherited_the_number_is_left_alone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let started = process_table::start_time(child.id());
        entry(child.id(), started + 1).end();
        assert!(child.try_wait().unwrap().is_none());
        entry(child.id(), started).end();
        assert!(child.wait().unwrap().code().is_none(), "ended by a signal");
    }
}
