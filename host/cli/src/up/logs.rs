//! The logs of the stack's processes, and what is read out of them.
//!
//! Our own processes announce what they have chosen themselves, such as a port, on a line of
//! their log; a start waits for that line.

use std::path::{Path, PathBuf};

/// Begins every log anew; what a previous run wrote is kept beside it once.
pub(super) fn begin_anew(logs: &Path) {
    let Ok(entries) = std::fs::read_dir(logs) else {
        return;
    };
    for log in entries.flatten().map(|entry| entry.path()) {
        if log.extension().is_some_and(|extension| extension == "log") {
            // A log that cannot be moved merely goes on.
            let _ = std::fs::rename(&log, previous(&log));
        }
    }
}

fn previous(log: &Path) -> PathBuf {
    log.with_extension("log.previous")
}

/// The connection string in the line that our broker prints when it listens.
pub(super) fn connection_string(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("connection_string")?.as_str()?.to_owned())
    })
}

/// The handler's port in the line that our host logs when it is ready.
pub(super) fn handler_port(log: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line.get("handler.port")?.as_u64()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_announce_is_found_among_other_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("broker.log");
        assert_eq!(connection_string(&log), None);
        std::fs::write(
            &log,
            "panic?\n{\"level\":\"INFO\"}\n{\"connection_string\":\"a=b\"}\n",
        )
        .unwrap();
        assert_eq!(connection_string(&log).as_deref(), Some("a=b"));
        std::fs::write(&log, "{\"message\":\"ready\",\"handler.port\":4321}\n").unwrap();
        assert_eq!(handler_port(&log), Some(4321));
    }

    #[test]
    fn the_previous_log_is_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("host.log");
        std::fs::write(&log, "old").unwrap();
        begin_anew(folder.path());
        assert!(!log.exists());
        assert_eq!(std::fs::read_to_string(previous(&log)).unwrap(), "old");
    }
}
