//! Remembers which port each part had, so that a script that names one works after a restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::servers::ServerError;

/// The ports of the previous start, and those of this one.
#[derive(Debug)]
pub(crate) struct Ports {
    file: PathBuf,
    previous: BTreeMap<String, u16>,
    current: Mutex<BTreeMap<String, u16>>,
}

impl Ports {
    /// What the folder `run` remembers; nothing if it has no file or a broken one.
    pub(crate) fn read(run: &Path) -> Self {
        let file = run.join("ports.json");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let previous = serde_json::from_str(&text).unwrap_or_default();
        Self {
            file,
            previous,
            current: Mutex::default(),
        }
    }

    /// The port that `name` had.
    pub(crate) fn remembered(&self, name: &str) -> Option<u16> {
        self.previous.get(name).copied()
    }

    /// The port that `name` has.
    pub(super) fn current(&self, name: &str) -> Option<u16> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.get(name).copied()
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
    fn the_next_start_knows_the_ports_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::read(folder.path());
        ports.remember("broker", 4711);
        assert_eq!(
            ports.remembered("broker"),
            None,
            "that is about the previous start"
        );
        ports.write().unwrap();
        let again = Ports::read(folder.path());
        assert_eq!(again.remembered("broker"), Some(4711));
        assert_eq!(again.remembered("redis"), None);
    }
}
