//! How many files the process may have open, and so how many connections.
//!
//! Every connection is an open file, and so is the journal. If clients could use up all of them, the
//! journal could not go on and no health probe would be answered. So the broker asks for as many as
//! the system gives it, and takes fewer connections if that is not enough.

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept from connections: 64 for health probes, and 64 for what the process itself has open.
const RESERVE: u64 = 128;

/// Raises the limit of open files as far as the process may. Says what it is then.
pub(crate) fn raise() -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot ask for a limit")?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        // Not every system gives what it says; what there is will do.
        return Ok(soft);
    }
    Ok(hard)
}

/// How many connections there can be when so many files may be open: `wanted`, or fewer.
pub(crate) fn connections(wanted: usize, files: u64) -> anyhow::Result<usize> {
    let left = files.saturating_sub(RESERVE);
    if left == 0 {
        bail!(
            "only {files} files may be open, and {RESERVE} are needed besides connections: raise \
             the limit (ulimit -n, LimitNOFILE of systemd)"
        );
    }
    Ok(usize::try_from(left).map_or(wanted, |left| left.min(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(connections(10_000, 1_000_000).unwrap(), 10_000);
        assert_eq!(connections(10_000, u64::MAX).unwrap(), 10_000);
        assert_eq!(connections(10_000, 1_024).unwrap(), 896);
        assert_eq!(connections(10_000, 129).unwrap(), 1);
        let error = connections(10_000, 128).unwrap_err().to_string();
        assert!(error.contains("only 128 files may be open"), "{error}");
    }

    #[test]
    fn the_limit_is_as_high_as_it_can_be() {
        let files = raise().unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(files, soft);
    }
}
