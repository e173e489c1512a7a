//! The folder of keys: one file for each.
//!
//! A file is replaced as a whole and is on the disk before anybody is told of its key. Nobody but
//! its owner can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use uuid::Uuid;

use super::KeyScope;

/// The largest key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 4_096;

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Nobody but the owner.
const MODE: u32 = 0o600;

/// A file of the folder.
#[derive(Debug)]
pub(super) struct StoredKey {
    pub(super) scope: KeyScope,
    pub(super) name: String,
    pub(super) value: String,
    file: String,
}

/// Whether a key can be called `name`: letters, digits, `-`, `_` and `.`, which does not come first.
pub(crate) fn is_key_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(is_fine)
}

/// Reads all keys of `folder`, in the order of their files' names; `problem` hears of those that
/// cannot be used.
pub(super) fn read(folder: &Path, mut problem: impl FnMut(String)) -> io::Result<Vec<StoredKey>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some((scope, name)) = KeyScope::of_file(&file) else {
            continue;
        };
        let path = entry.path();
        match read_some(&path) {
            Ok(text) if text.trim().is_empty() => problem(format!("{}: is empty", path.display())),
            Ok(text) if text.len() > MAX_KEY_BYTES => problem(format!(
                "{}: is longer than {MAX_KEY_BYTES} bytes",
                path.display()
            )),
            Ok(text) => keys.push(StoredKey {
                scope,
                name,
                value: text.trim().to_owned(),
                file,
            }),
            Err(error) => problem(format!("{}: cannot be read: {error}", path.display())),
        }
    }
    keys.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(keys)
}

/// The text of a file, which shows by its length if it is too long for a key.
fn read_some(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(MAX_KEY_BYTES).unwrap_or(u64::MAX);
    let mut file = File::open(path)?.take(most.saturating_add(1));
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The key `name` of `scope`; case does not count.
pub(super) fn find<'a>(
    keys: &'a [StoredKey],
    scope: &KeyScope,
    name: &str,
) -> Option<&'a StoredKey> {
    let mut keys = keys.iter();
    keys.find(|key| key.scope == *scope && key.name.eq_ignore_ascii_case(name))
}

/// Writes a key, over the one of that name if there is one. Says whether it is new.
pub(super) fn write(folder: &Path, scope: &KeyScope, name: &str, value: &str) -> io::Result<bool> {
    let known = read(folder, drop)?;
    let known = find(&known, scope, name);
    let file = known.map_or_else(|| scope.file_of(name), |key| key.file.clone());
    let partial = folder.join(format!(".partial-{}", Uuid::new_v4().simple()));
    let put = || {
        let mut options = OpenOptions::new();
        let mut out = options
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&partial)?;
        out.write_all(value.as_bytes())?;
        out.sync_all()?;
        fs::rename(&partial, folder.join(&file))?;
        File::open(folder)?.sync_all()
    };
    put().inspect_err(|_| {
        // Not a key, so nothing depends on its removal.
        let _ = fs::remove_file(&partial);
    })?;
    Ok(known.is_none())
}

/// Removes a key; false if there is none.
pub(super) fn remove(folder: &Path, scope: &KeyScope, name: &str) -> io::Result<bool> {
    let keys = read(folder, drop)?;
    let Some(key) = find(&keys, scope, name) else {
        return Ok(false);
    };
    fs::remove_file(folder.join(&key.file))?;
    File::open(folder)?.sync_all()?;
    Ok(true)
}
