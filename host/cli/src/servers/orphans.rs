//! Orphans: processes that outlived the child of ours that had started them.
//!
//! A supervising process makes itself the parent of every orphan below it (a "child subreaper",
//! prctl(2)). A server that a killed test had started, or a handler whose host crashed, then ends
//! up here and not at init, and is ended together with everything else.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};

use super::{ServerError, process_table};

/// How long the orphans may take to vanish after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Makes this process the parent of all orphans below it, where the system can.
pub(crate) fn adopt() -> Result<(), ServerError> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| ServerError::Machine(format!("cannot adopt orphans: {errno}")))?;
    Ok(())
}

/// Kills every child of this process that is not in `kept`, and what it has started in turn, and
/// takes note of their end, so that no zombie is left either.
pub(crate) fn end(kept: &[u32]) {
    let me = std::process::id();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut orphans = process_table::children_and_zombies(me);
        orphans.retain(|pid| !kept.contains(pid));
        if orphans.is_empty() || Instant::now() >= deadline {
            return;
        }
        for orphan in orphans {
            end_one(orphan);
        }
        std::thread::sleep(POLL);
    }
}

/// What an orphan has started becomes an orphan itself, and is found in the next round.
fn end_one(orphan: u32) {
    if process_table::is_alive(orphan, process_table::start_time(orphan)) {
        let name = process_table::program(orphan).unwrap_or_default();
        tracing::warn!(
            process.pid = orphan,
            process.name = name,
            "left behind, ended now"
        );
        process_table::send(orphan, Signal::SIGKILL);
    }
    if let Some(pid) = process_table::as_pid(orphan) {
        // Still dying: the next round looks again.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}
