//! What is remembered of a timer across restarts: one small JSON file for each function.
//!
//! A file is replaced as a whole, so that it is never half written. A lost or broken one costs no
//! run: the timer then begins anew, as on its first start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

/// A timer's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// When the last run began.
    pub(super) last: Option<DateTime<Utc>>,
    /// When the next one is due.
    pub(super) next: DateTime<Utc>,
    pub(super) last_updated: DateTime<Utc>,
}

impl Status {
    /// Reads the status of `function`; `None` if there is none or it makes no sense.
    pub(super) fn read(folder: &Path, function: &str) -> Option<Self> {
        let path = path_of(folder, function);
        let text = fs::read_to_string(&path).ok()?;
        let status = Self::parse(&text);
        if status.is_none() {
            tracing::warn!(
                function.name = %function,
                timer.status = %path.display(),
                "what was remembered of the timer cannot be read; it begins anew"
            );
        }
        status
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let time = |name: &str| value.get(name)?.as_str()?.parse().ok();
        Some(Self {
            last: time("Last"),
            next: time("Next")?,
            last_updated: time("LastUpdated")?,
        })
    }

    /// Replaces the status of `function`.
    pub(super) fn write(&self, folder: &Path, function: &str) -> io::Result<()> {
        let spelt = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let text = json!({
            "Last": self.last.map(spelt),
            "Next": spelt(self.next),
            "LastUpdated": spelt(self.last_updated),
        });
        let path = path_of(folder, function);
        let partial = path.with_extension("partial");
        fs::write(&partial, text.to_string())?;
        fs::rename(partial, path)
    }
}

fn path_of(folder: &Path, function: &str) -> PathBuf {
    folder.join(format!("{function}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_back_and_a_broken_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Status::read(folder.path(), "f"), None);
        let mut status = Status {
            last: None,
            next: "2026-01-02T03:04:05Z".parse().unwrap(),
            last_updated: "2026-01-01T00:00:00.25Z".parse().unwrap(),
        };
        for last in [None, Some(status.last_updated)] {
            status.last = last;
            status.write(folder.path(), "f").unwrap();
            assert_eq!(Status::read(folder.path(), "f").as_ref(), Some(&status));
        }
        fs::write(folder.path().join("f.json"), "{").unwrap();
        assert_eq!(Status::read(folder.path(), "f"), None);
    }
}
