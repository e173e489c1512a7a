//! The addresses of the running stack in a file, for shells and for `nightshift send`.
//!
//! `.nightshift/run/addresses.env` can be sourced (`. .nightshift/run/addresses.env`). It holds
//! the private servers' passwords, is readable by its user only, and is removed when the stack
//! stops. Its first line names the process that wrote it, so that the file of a killed stack is
//! not taken for that of a living one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nightshift_settings::MapSource;

use crate::private_file;
use crate::servers::{is_alive, start_time};

const NAME: &str = "addresses.env";

/// The file, for as long as the stack runs.
#[derive(Debug)]
pub(crate) struct Addresses(PathBuf);

impl Addresses {
    /// Writes names and values to the folder `run`.
    pub(crate) fn write(run: &Path, values: &[(&str, String)]) -> anyhow::Result<Self> {
        let file = run.join(NAME);
        let me = std::process::id();
        let text = render(me, start_time(me), values);
        private_file::write(&file, &text)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self(file))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        // Left behind it would do no harm: its first line names a process that is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The addresses of the stack whose file is in `run`, if it still runs.
pub(crate) fn read(run: &Path) -> Option<MapSource> {
    parse(&std::fs::read_to_string(run.join(NAME)).ok()?, is_alive)
}

fn render(pid: u32, started: u64, values: &[(&str, String)]) -> String {
    let mut text = format!("# {pid} {started}\n");
    for (name, value) in values {
        // In single quotes a shell takes everything literally but the quote itself.
        let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
    }
    text
}

fn parse(text: &str, is_alive: impl Fn(u32, u64) -> bool) -> Option<MapSource> {
    let mut lines = text.lines();
    let (pid, started) = lines.next()?.strip_prefix("# ")?.split_once(' ')?;
    if !is_alive(pid.parse().ok()?, started.parse().ok()?) {
        return None;
    }
    let values = lines.filter_map(|line| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        let value = value
            .strip_prefix('\'')?
            .strip_suffix('\'')?
            .replace(r"'\''", "'");
        Some((name, value))
    });
    Some(values.collect())
}

#[cfg(test)]
mod tests {
    use nightshift_settings::Source;

    use super::*;

    #[test]
    fn what_was_written_is_read_while_the_writer_lives() {
        let text = render(7, 70, &[("ServiceBusConnection", "a=b;c='d'".to_owned())]);
        let found = parse(&text, |pid, started| (pid, started) == (7, 70)).unwrap();
        assert_eq!(
            found.get("ServiceBusConnection").as_deref(),
            Some("a=b;c='d'")
        );
        assert!(parse(&text, |_, _| false).is_none());
        assert!(parse("", |_, _| true).is_none());
    }

    #[test]
    fn the_file_vanishes_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let written = Addresses::write(folder.path(), &[("A", "1".to_owned())]).unwrap();
        assert!(read(folder.path()).is_some());
        drop(written);
        assert!(read(folder.path()).is_none());
    }
}
