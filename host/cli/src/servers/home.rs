//! The folder that holds everything the local stack keeps: `.nightshift` in the checkout.
//!
//! Deleting it is always safe while nothing runs: the next start makes it anew. Only a server
//! that must run under another account may live elsewhere, because a checkout below a closed home
//! folder (mode 0700) cannot be reached by that account; see [`Home::reachable_by`].

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::{ServerError, hex};

/// The folder's name in the checkout.
pub const FOLDER: &str = ".nightshift";

/// The local stack's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home `root`, made if need be.
    pub fn open(root: &Path) -> Result<Self, ServerError> {
        std::fs::create_dir_all(root).map_err(ServerError::file("create", root))?;
        let root = root
            .canonicalize()
            .map_err(ServerError::file("find", root))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where fetched programs are kept.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where servers log.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where the stack notes what runs.
    pub fn run(&self) -> Result<PathBuf, ServerError> {
        let folder = self.root.join("run");
        std::fs::create_dir_all(&folder).map_err(ServerError::file("create", &folder))?;
        Ok(folder)
    }

    /// The folder for files that `account` must reach: the home itself when it can, otherwise a
    /// folder below the system's temporary one whose name is the same on every start and differs
    /// between checkouts.
    pub fn reachable_by(&self, account: Option<&Account>) -> Result<PathBuf, ServerError> {
        match account {
            Some(account) if !account.can_reach(&self.root) => self.outside(),
            _ => Ok(self.root.clone()),
        }
    }

    fn outside(&self) -> Result<PathBuf, ServerError> {
        let me = nix::unistd::geteuid().as_raw();
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        let name = hex::encode(digest.get(..6).unwrap_or(&digest));
        let folder = std::env::temp_dir().join(format!("nightshift-{me}-{name}"));
        match DirBuilder::new().mode(0o711).create(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(ServerError::file("create", &folder))?,
        }
        // Anybody may write to the temporary folder: what is there must be ours, and no link.
        let meta =
            std::fs::symlink_metadata(&folder).map_err(ServerError::file("read", &folder))?;
        if !meta.is_dir() || meta.uid() != me || meta.permissions().mode() & 0o022 != 0 {
            return Err(ServerError::Machine(format!(
                "{} exists but is not a folder of this user alone; remove it",
                folder.display()
            )));
        }
        Ok(folder)
    }
}

/// Takes the lock `file` for as long as the returned value lives, or returns `None` if another
/// process holds it. The kernel frees it at any death of its holder, so it is never stale.
pub fn try_lock(file: &Path) -> Result<Option<File>, ServerError> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file)
        .map_err(ServerError::file("open", file))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(ServerError::file("lock", file)(error)),
    }
}

/// The checkout that holds `start`: the nearest folder upwards with the workspace's own files.
pub fn checkout_above(start: &Path) -> Option<&Path> {
    start.ancestors().find(|folder| {
        folder.join("Cargo.toml").is_file() && folder.join("functions/registry.rs").is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_home_sends_other_accounts_to_a_stable_folder() {
        let top = tempfile::tempdir().unwrap();
        let home = Home::open(&top.path().join(FOLDER)).unwrap();
        let stranger = Account {
            uid: 54_321,
            gid: 54_321,
        };
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let outside = home.reachable_by(Some(&stranger)).unwrap();
        assert!(stranger.can_reach(&outside), "{}", outside.display());
        assert_eq!(outside, home.reachable_by(Some(&stranger)).unwrap());
        let other = Home::open(&top.path().join("other").join(FOLDER)).unwrap();
        let other_outside = other.reachable_by(Some(&stranger)).unwrap();
        assert_ne!(outside, other_outside);
        assert_eq!(home.reachable_by(None).unwrap(), home.root());
        for folder in [outside, other_outside] {
            std::fs::remove_dir(folder).unwrap();
        }
    }

    #[test]
    fn a_lock_is_exclusive_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let held = try_lock(&file).unwrap();
        assert!(held.is_some());
        assert!(try_lock(&file).unwrap().is_none());
        drop(held);
        assert!(try_lock(&file).unwrap().is_some());
    }

    #[test]
    fn the_checkout_is_found_from_below() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = checkout_above(here).unwrap();
        assert!(checkout.join("host/cli/Cargo.toml").is_file());
        assert_eq!(checkout_above(Path::new("/")), None);
    }
}
