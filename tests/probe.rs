//! What the kernel knows about a process.

use std::fs;

/// Resources that a process has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// The most memory that was resident so far, in bytes.
    pub peak_resident_bytes: u64,
    /// Processor time since its start, user and system, in seconds.
    pub cpu_seconds: f64,
}

/// The unit of the times in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux that
/// programs see (`proc(5)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// The resources of the process `pid`; `None` when it is gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let peak_resident_bytes = memory(pid, "VmHWM:")?;
    let stat = fields_after_name(pid)?;
    let ticks: f64 = stat.get(11)?.parse::<f64>().ok()? + stat.get(12)?.parse::<f64>().ok()?;
    Some(Usage {
        peak_resident_bytes,
        cpu_seconds: ticks / TICKS_PER_SECOND,
    })
}

/// The memory of the process `pid` that is resident at this moment, in bytes; `None` when it is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

/// A line of `/proc/<pid>/status` that tells kilobytes, in bytes.
fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The processes called `name` whose parent is `parent`.
pub fn children_named(parent: u32, name: &str) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let is_child = || {
                let fields = fields_after_name(*pid)?;
                // A zombie has ended; only its exit code is still to be fetched.
                Some(fields[0] != "Z" && fields[1].parse() == Ok(parent))
            };
            let is_called =
                || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == name);
            is_child() == Some(true) && is_called()
        })
        .collect()
}

/// The fields of `/proc/<pid>/stat` from the third on: the second, the name, may hold anything.
fn fields_after_name(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &stat[stat.rfind(')')? + 1..];
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_a_stranger_uses_nothing() {
        assert!(usage(std::process::id()).unwrap().peak_resident_bytes > 100_000);
        assert_eq!(usage(u32::MAX), None);
    }
}
