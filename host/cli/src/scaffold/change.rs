//! Files that are written together or not at all.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// One file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its path below the checkout's root.
    pub(crate) file: String,
    /// What is there now, if there is anything.
    pub(crate) before: Option<String>,
    /// What is to be there.
    pub(crate) after: String,
}

impl Change {
    /// Writes all of them. If that fails, everything is as it was.
    pub(crate) fn write_all(changes: &[Self], root: &Path) -> anyhow::Result<()> {
        let mut folders = Vec::new();
        let written = Self::try_write(changes, root, &mut folders);
        if written.is_err() {
            // Only folders that are empty again go.
            for folder in folders.iter().rev() {
                let _ = std::fs::remove_dir(folder);
            }
        }
        written
    }

    fn try_write(changes: &[Self], root: &Path, folders: &mut Vec<PathBuf>) -> anyhow::Result<()> {
        let beside = |change: &Self| root.join(format!("{}.new~", change.file));
        let forget = || {
            for change in changes {
                let _ = std::fs::remove_file(beside(change));
            }
        };
        for change in changes {
            let file = beside(change);
            let written =
                make_folders(&file, folders).and_then(|()| std::fs::write(&file, &change.after));
            if let Err(error) = written {
                forget();
                return Err(error).with_context(|| format!("cannot write {}", file.display()));
            }
        }
        for (done, change) in changes.iter().enumerate() {
            let file = root.join(&change.file);
            // What somebody has written in the meantime is not overwritten.
            let is_same = std::fs::read_to_string(&file).ok() == change.before;
            let moved = if is_same {
                std::fs::rename(beside(change), &file)
            } else {
                Err(std::io::Error::other("somebody else has changed it"))
            };
            if let Err(error) = moved {
                for change in changes.iter().take(done) {
                    change.take_back(root);
                }
                forget();
                return Err(error).with_context(|| format!("cannot write {}", file.display()));
            }
        }
        Ok(())
    }

    fn take_back(&self, root: &Path) {
        let file = root.join(&self.file);
        // Nothing more can be done about a file that cannot be written any more.
        let _ = match &self.before {
            Some(before) => std::fs::write(file, before),
            None => std::fs::remove_file(file),
        };
    }

    /// The change for people: the file, and which lines are put into one that was there.
    pub(crate) fn shown(&self, is_dry: bool) -> String {
        let Some(before) = &self.before else {
            let mut text = format!("create {}", self.file);
            if is_dry {
                let lines = self.after.lines().map(|line| format!("\n  + {line}"));
                text.extend(lines);
            }
            return text;
        };
        let mut text = format!("change {}", self.file);
        if is_dry {
            let (removed, added) = difference(before, &self.after);
            text.extend(removed.iter().map(|line| format!("\n  - {line}")));
            text.extend(added.iter().map(|line| format!("\n  + {line}")));
        }
        text
    }
}

/// Makes the folders above `file` and remembers which were missing.
fn make_folders(file: &Path, made: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let missing = file.ancestors().skip(1);
    let missing: Vec<&Path> = missing.take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        std::fs::create_dir(folder)?;
        made.push(folder.to_owned());
    }
    Ok(())
}

/// The lines that only one of the texts has. Lines are only put in or replaced, so that no more is needed.
fn difference<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let lacks = |text: &'a str, line: &str| !text.lines().any(|other| other == line);
    let only = |one: &'a str, other: &'a str| -> Vec<&'a str> {
        one.lines().filter(|line| lacks(other, line)).collect()
    };
    (only(before, after), only(after, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(file: &str, before: Option<&str>, after: &str) -> Change {
        Change {
            file: file.to_owned(),
            before: before.map(str::to_owned),
            after: after.to_owned(),
        }
    }

    #[test]
    fn all_is_written_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("list"), "a\n").unwrap();
        std::fs::write(root.join("zzz"), "changed meanwhile\n").unwrap();
        let mut changes = vec![
            change("list", Some("a\n"), "a\nb\n"),
            change("new/deep/file", None, "x\n"),
            change("zzz", Some("old\n"), "new\n"),
        ];
        let error = Change::write_all(&changes, root).unwrap_err();
        assert!(error.to_string().contains("zzz"), "{error}");
        let there = |file: &str| std::fs::read_to_string(root.join(file)).ok();
        assert_eq!(there("list").as_deref(), Some("a\n"));
        assert!(!root.join("new").exists() && !root.join("list.new~").exists());
        changes.pop();
        Change::write_all(&changes, root).unwrap();
        assert_eq!(there("list").as_deref(), Some("a\nb\n"));
        assert_eq!(there("new/deep/file").as_deref(), Some("x\n"));
        let mut names: Vec<_> = std::fs::read_dir(root).unwrap().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn a_dry_run_shows_the_lines() {
        let changed = change("list", Some("a\nc\n"), "a\nb\nc?\n");
        assert_eq!(changed.shown(true), "change list\n  - c\n  + b\n  + c?");
        assert_eq!(changed.shown(false), "change list");
        let created = change("new", None, "x\n");
        assert_eq!(created.shown(true), "create new\n  + x");
    }
}
