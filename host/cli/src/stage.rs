//! Lays a function app out as the Functions host wants it.
//!
//! In the source tree a job is a folder and each of its triggers a folder inside
//! (`functions/<job>/<door>/function.json`). The host looks only at the first level beside
//! `host.json`, and calls a function by its folder's name. So the app is staged: `host.json`, the
//! handler's program, and one folder `<job>-<door>` per trigger.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nightshift_bindings::layout::{FUNCTION_FILE, doors};

use crate::servers::remove;

/// A staged app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The app root.
    pub root: PathBuf,
    /// The functions' names, sorted.
    pub functions: Vec<String>,
}

/// Stages the app of `checkout` with the program `handler` into `root`, replacing what is there
/// only when everything is in place.
pub fn stage(checkout: &Path, handler: &Path, root: &Path) -> anyhow::Result<Staged> {
    let doors = doors(&checkout.join("functions"))?;
    if doors.is_empty() {
        bail!("no function below {}", checkout.join("functions").display());
    }
    let partial = root.with_extension("partial");
    remove(&partial)?;
    make_folder(&partial)?;
    copy(&checkout.join("host.json"), &partial.join("host.json"))?;
    link_or_copy(handler, &partial.join("handler"))?;
    for (name, file) in &doors {
        let folder = partial.join(name);
        make_folder(&folder)?;
        copy(file, &folder.join(FUNCTION_FILE))?;
    }
    remove(root)?;
    fs::rename(&partial, root).with_context(|| format!("cannot create {}", root.display()))?;
    Ok(Staged {
        root: root.to_owned(),
        functions: doors.into_iter().map(|(name, _)| name).collect(),
    })
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::copy(from, to);
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// A hard link costs nothing, and the program stays what it is when the next build replaces the
/// original; across file systems it has to be a copy.
fn link_or_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => copy(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn doors_become_first_level_folders_and_stale_ones_vanish() {
        let checkout = tempfile::tempdir().unwrap();
        let at = |path: &str| checkout.path().join(path);
        write(&at("host.json"), "{}");
        write(&at("built/handler"), "program");
        write(
            &at("functions/notifications/dispatch/function.json"),
            "{\"bindings\":[]}",
        );
        write(&at("functions/notifications/src/lib.rs"), "");
        write(&at("functions/registry.rs"), "");
        write(&at("app/removed-door/function.json"), "{}");
        let staged = stage(checkout.path(), &at("built/handler"), &at("app")).unwrap();
        assert_eq!(staged.functions, ["notifications-dispatch"]);
        let copied = at("app/notifications-dispatch/function.json");
        assert_eq!(fs::read_to_string(copied).unwrap(), "{\"bindings\":[]}");
        assert_eq!(fs::read_to_string(at("app/handler")).unwrap(), "program");
        assert!(at("app/host.json").is_file());
        assert!(!at("app/removed-door").exists() && !at("app.partial").exists());
    }

    #[test]
    fn a_missing_part_leaves_the_old_app_alone() {
        let checkout = tempfile::tempdir().unwrap();
        let at = |path: &str| checkout.path().join(path);
        write(&at("functions/notifications/dispatch/function.json"), "{}");
        write(&at("app/host.json"), "old");
        let error = stage(checkout.path(), &at("handler"), &at("app")).unwrap_err();
        assert!(error.to_string().contains("host.json"), "{error}");
        assert_eq!(fs::read_to_string(at("app/host.json")).unwrap(), "old");
    }
}
