//! Remembers which port each part had, so that a script that names one works after a restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::servers::{ServerError, prefer};

/// The ports of the previous start, and those of this one.
#[derive(Debug)]
pub(super) struct Ports {
    file: PathBuf,
    previous: BTreeMap<String, u16>,
    current: Mutex<BTreeMap<String, u16>>,
}

impl Ports {
    /// What the folder `run` remembers; nothing if it has no file or a broken one.
    pub(super) fn read(run: &Path) -> Self {
        let file = run.join("ports.json");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let previous = serde_json::from_str(&text).unwrap_or_default();
        Self {
            file,
            previous,
            current: Mutex::default(),
        }
    }

    /// The port that `name` had, if nobody else has taken it.
    pub(super) fn remembered(&self, name: &str) -> Option<u16> {
        let port = *self.previous.get(name)?;
        prefer(Some(port)).ok().filter(|free| *free == port)
    }

    /// The port that `name` had, otherwise `usual`, otherwise any that is free.
    pub(super) fn prefer(&self, name: &str, usual: Option<u16>) -> Result<u16, ServerError> {
        prefer(self.remembered(name).or(usual))
    }

    pub(super) fn remember(&self, name: &str, port: u16) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.insert(name.to_owned(), port);
    }

    /// Writes this start's ports for the next one.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(&*current)?;
        Ok(std::fs::write(&self.file, text).map_err(ServerError::file("write", &self.file))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_unless_somebody_has_taken_it() {
        let folder = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = Ports::read(folder.path());
        ports.remember("broker", port);
        ports.write().unwrap();
        let again = Ports::read(folder.path());
        assert_eq!(again.remembered("broker"), None);
        drop(taken);
        assert_eq!(again.remembered("broker"), Some(port));
        assert_eq!(again.remembered("redis"), None);
    }
}
