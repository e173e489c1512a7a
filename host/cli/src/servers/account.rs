//! Under which account a server runs that refuses to run as root.
//!
//! Postgres refuses the effective uid 0. Started by root it therefore runs under an account that
//! every Debian has and that owns nothing of value: `postgres` if it exists, otherwise `nobody`.
//! No account is created, and nobody else's files are touched.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, chown, geteuid};

use super::ServerError;

/// The accounts that are tried, in this order.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// An account other than the one that this process runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account for a server that refuses root, or `None` when this process is not root and
    /// the server can simply share its account.
    pub fn unprivileged() -> Result<Option<Self>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        CANDIDATES
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                })
            })
            .ok_or_else(|| {
                ServerError::Machine(format!(
                    "Postgres refuses to run as root, and none of the accounts {} exists here; \
                     run this as another user, or set NIGHTSHIFT_POSTGRES_URL to a server of your \
                     own",
                    CANDIDATES.join(" and ")
                ))
            })
    }

    /// Hands `path` itself, not what is in it, to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ServerError> {
        chown(
            path,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
        )
        .map_err(|errno| ServerError::file("hand over", path)(errno.into()))
    }

    /// Whether this account may search `folder` and every folder above it.
    pub(crate) fn can_reach(&self, folder: &Path) -> bool {
        folder
            .ancestors()
            .filter(|at| !at.as_os_str().is_empty())
            .all(|at| {
                std::fs::metadata(at)
                    .is_ok_and(|meta| self.may_search(meta.mode(), meta.uid(), meta.gid()))
            })
    }

    fn may_search(&self, mode: u32, owner: u32, group: u32) -> bool {
        let bit = if owner == self.uid {
            0o100
        } else if group == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_bit_of_the_right_class_decides() {
        let account = Account {
            uid: 1000,
            gid: 100,
        };
        assert!(account.may_search(0o700, 1000, 0));
        assert!(
            !account.may_search(0o677, 1000, 100),
            "the owner's bits shadow the others"
        );
        assert!(account.may_search(0o710, 0, 100));
        assert!(!account.may_search(0o700, 0, 0));
        assert!(account.may_search(0o711, 0, 0));
    }

    #[test]
    fn a_closed_parent_hides_what_is_below() {
        use std::os::unix::fs::PermissionsExt;
        let top = tempfile::tempdir().unwrap();
        let below = top.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let stranger = Account {
            uid: 54_321,
            gid: 54_321,
        };
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(stranger.can_reach(&below));
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.can_reach(&below));
    }
}
