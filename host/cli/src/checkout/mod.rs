//! A checkout as text: what its files say of functions, queues and settings, and where.
//!
//! Nothing is built and nothing is run, so that a checkout that does not compile can be read, too. What
//! stands in Rust sources is found by its look: the constants of a function are literals.

pub(crate) mod declared;
pub(crate) mod doors;
pub(crate) mod listed;
pub(crate) mod manifest;
pub(crate) mod page;
pub(crate) mod rust_text;
pub(crate) mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder of the jobs.
pub(crate) const JOBS: &str = "functions";

/// The one list of functions.
pub(crate) const REGISTRY: &str = "functions/registry.rs";

/// The files of a checkout, some of which may be about to change.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    root: PathBuf,
    /// What files will hold, by their paths below the root.
    pending: BTreeMap<String, String>,
}

impl Checkout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            pending: BTreeMap::new(),
        }
    }

    /// The same checkout with `pending` in it.
    pub(crate) fn with(&self, pending: BTreeMap<String, String>) -> Self {
        Self {
            root: self.root.clone(),
            pending,
        }
    }

    /// The text of the file `path`, if there is one that is text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        match self.pending.get(path) {
            Some(text) => Some(text.clone()),
            None => std::fs::read_to_string(self.root.join(path)).ok(),
        }
    }

    /// The text of the file `path`, which has to be there.
    pub(crate) fn required(&self, path: &str) -> anyhow::Result<String> {
        if let Some(text) = self.pending.get(path) {
            return Ok(text.clone());
        }
        let file = self.root.join(path);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Whether there is something at `path`.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.pending.contains_key(path) || self.root.join(path).exists()
    }

    /// The folders directly in the folder `path`, sorted.
    pub(crate) fn folders(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path))
            .into_iter()
            .flatten();
        let there = entries.flatten().filter_map(|entry| {
            let is_folder = entry.path().is_dir();
            let name = entry.file_name().into_string().ok()?;
            (is_folder && !is_left_out(&name)).then_some(name)
        });
        let prefix = format!("{path}/");
        let new = self.pending.keys().filter_map(|file| {
            let (folder, _) = file.strip_prefix(&prefix)?.split_once('/')?;
            Some(folder.to_owned())
        });
        let all: BTreeSet<String> = there.chain(new).collect();
        all.into_iter().collect()
    }

    /// The files below the folder `path` whose names end with `ending`, sorted.
    pub(crate) fn files(&self, path: &str, ending: &str) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(self.root.join(&folder));
            for entry in entries.into_iter().flatten().flatten() {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = format!("{folder}/{name}");
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !is_left_out(&name) {
                        folders.push(path);
                    }
                } else if name.ends_with(ending) {
                    found.insert(path);
                }
            }
        }
        let prefix = format!("{path}/");
        let new = self.pending.keys();
        found.extend(
            new.filter(|file| file.starts_with(&prefix) && file.ends_with(ending))
                .cloned(),
        );
        found.into_iter().collect()
    }

    /// The jobs: the folders of `functions/` that are packages or have a door.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let mut jobs = self.folders(JOBS);
        jobs.retain(|job| {
            let folder = format!("{JOBS}/{job}");
            self.exists(&format!("{folder}/Cargo.toml"))
                || self
                    .folders(&folder)
                    .iter()
                    .any(|door| self.exists(&format!("{folder}/{door}/function.json")))
        });
        jobs
    }
}

/// Folders that hold nothing of the project's own.
fn is_left_out(name: &str) -> bool {
    name.starts_with('.') || name == "target" || name == "node_modules"
}

/// The line, from 1, of the byte `at` of `text`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.split(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_to_be_written_is_there_already() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("functions/old")).unwrap();
        std::fs::write(folder.path().join("functions/old/Cargo.toml"), "").unwrap();
        std::fs::create_dir_all(folder.path().join("functions/nothing")).unwrap();
        let checkout = Checkout::new(folder.path());
        assert_eq!(checkout.jobs(), ["old"]);
        let file = "functions/new/work/function.json";
        let pending = BTreeMap::from([(file.to_owned(), "{}".to_owned())]);
        let changed = checkout.with(pending);
        assert_eq!(changed.jobs(), ["new", "old"]);
        assert_eq!(changed.text(file).as_deref(), Some("{}"));
        assert_eq!(changed.files(JOBS, ".json"), [file]);
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 2), 2);
        assert_eq!(line_of("a\nb\nc", 99), 3);
    }
}
