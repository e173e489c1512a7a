//! Finds programs that this machine already has.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nightshift_settings::Source;

/// The first of `names` that is an executable file in a folder of `PATH`.
pub(crate) fn on_path(settings: &dyn Source, names: &[&str]) -> Option<PathBuf> {
    let path = settings.get("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| is_executable(file))
    })
}

pub(crate) fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first file called `name` below `root`, at most `depth` folders down.
pub(crate) fn below(root: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(root)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    let here = entries
        .iter()
        .find(|path| path.ends_with(name) && path.is_file());
    here.cloned().or_else(|| {
        let next = depth.checked_sub(1)?;
        entries
            .iter()
            .filter(|path| path.is_dir() && !path.is_symlink())
            .find_map(|folder| below(folder, name, next))
    })
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn only_executable_files_on_path_count() {
        let folder = tempfile::tempdir().unwrap();
        let settings: MapSource = [("PATH", folder.path().display().to_string())]
            .into_iter()
            .collect();
        let file = folder.path().join("valkey-server");
        std::fs::write(&file, "").unwrap();
        assert_eq!(on_path(&settings, &["redis-server", "valkey-server"]), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            on_path(&settings, &["redis-server", "valkey-server"]),
            Some(file)
        );
    }

    #[test]
    fn files_are_found_below_a_folder_but_not_too_deep() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("server"), "").unwrap();
        assert_eq!(below(root.path(), "server", 2), Some(folder.join("server")));
        assert_eq!(below(root.path(), "server", 1), None);
    }
}
