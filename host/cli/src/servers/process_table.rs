//! What `/proc` says about other processes: who lives, since when, and whose child it is.
//!
//! A process id alone does not name a process: ids are used again. Together with the start time
//! (field 22 of `/proc/PID/stat`, proc(5)) it does, so that nothing is ever killed that merely
//! inherited a number. Systems without `/proc` know no start times and no children; there the id
//! alone has to do.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is needed of one line of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    /// Clock ticks after boot.
    started: u64,
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The second field is the command in parentheses, which may itself hold blanks and ")".
    let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        started,
    })
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When the process started, in clock ticks after boot; 0 where that is not known.
pub(crate) fn start_time(pid: u32) -> u64 {
    stat(pid).map_or(0, |stat| stat.started)
}

/// Whether the process that was given `pid` at `started` still runs. A zombie does not.
pub(crate) fn is_alive(pid: u32, started: u64) -> bool {
    if Path::new("/proc/self/stat").exists() {
        return stat(pid)
            .is_some_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.started == started);
    }
    as_pid(pid).is_some_and(|pid| kill(pid, None) != Err(Errno::ESRCH))
}

/// Sends `signal` to one process; one that is gone already is no error.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = as_pid(pid) {
        // The only failure that can matter, ESRCH, means that the aim is reached.
        let _ = kill(pid, signal);
    }
}

/// The id as the system calls want it. Zero and numbers that read as negative ones name groups,
/// and are never handed on.
pub(crate) fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .map(Pid::from_raw)
}

/// The children of `parent`, those included that are dead and that nobody has waited for.
pub(crate) fn children_and_zombies(parent: u32) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|(_, stat)| stat.parent == parent)
        .map(|(pid, _)| pid)
        .collect()
}

/// The living children of `pid`, their children, and so on.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let relations = relations();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for (child, _) in relations.iter().filter(|(_, of)| *of == parent) {
            if !found.contains(child) {
                found.push(*child);
            }
        }
    }
    found.remove(0);
    found
}

/// The name of the program that `pid` runs, as the kernel cuts it (15 bytes).
pub(crate) fn program(pid: u32) -> Option<String> {
    Some(
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim_end()
            .to_owned(),
    )
}

/// The resident memory of `pid` in KiB.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Every living process with its parent.
fn relations() -> Vec<(u32, u32)> {
    let living = all().into_iter().filter(|(_, stat)| stat.state != 'Z');
    living.map(|(pid, stat)| (pid, stat.parent)).collect()
}

fn all() -> Vec<(u32, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).map(|stat| (pid, stat)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line =
            "4711 (a) b (c)) S 17 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                state: 'S',
                parent: 17,
                started: 987_654
            })
        );
        assert_eq!(parse_stat("4711 (cut"), None);
        assert_eq!(parse_stat("4711 (cut) S 1"), None);
    }

    #[test]
    fn a_process_is_alive_only_under_its_own_start_time() {
        let me = std::process::id();
        assert!(is_alive(me, start_time(me)));
        assert!(!is_alive(me, start_time(me) + 1));
    }

    #[test]
    fn zero_and_huge_ids_are_never_signalled() {
        assert_eq!(as_pid(0), None);
        assert_eq!(as_pid(u32::MAX), None);
    }

    #[test]
    fn a_dead_child_that_nobody_waited_for_is_not_alive() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (pid, started) = (child.id(), start_time(child.id()));
        assert!(is_alive(pid, started) && descendants(std::process::id()).contains(&pid));
        send(pid, Signal::SIGKILL);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while is_alive(pid, started) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(!is_alive(pid, started), "a zombie counts as gone");
        child.wait().unwrap();
    }
}
