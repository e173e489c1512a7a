//! The keys by which callers show what they may do.
//!
//! Keys are files of one folder, named as in the secret that the Functions tools make for
//! Kubernetes: `host.master` opens everything, `host.function.<name>` every function,
//! `functions.<function>.<name>` one function. Only digests are kept; a presented key is compared
//! with all of them, each in constant time, so that an answer's delay says nothing about any key.

use std::fs;
use std::path::Path;

use nightshift_bindings::function_json::AuthLevel;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The largest key file, in bytes.
const MAX_KEY_BYTES: usize = 4_096;

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Master,
    Host,
    /// In lower case.
    Function(String),
}

/// One key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its name, which may be told to handlers.
    pub(crate) name: String,
    scope: Scope,
    digest: [u8; 32],
}

impl Key {
    /// What the caller may do.
    pub(crate) fn level(&self) -> AuthLevel {
        match self.scope {
            Scope::Master => AuthLevel::Admin,
            Scope::Host | Scope::Function(_) => AuthLevel::Function,
        }
    }

    fn opens(&self, function: Option<&str>) -> bool {
        match (&self.scope, function) {
            (Scope::Master, _) => true,
            (Scope::Host, function) => function.is_some(),
            (Scope::Function(own), Some(function)) => own.eq_ignore_ascii_case(function),
            (Scope::Function(_), None) => false,
        }
    }
}

/// All keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    keys: Vec<Key>,
    /// Whether there is a folder of keys.
    pub(crate) are_configured: bool,
}

impl Keys {
    /// Reads the files of `folder`.
    pub(super) fn read(folder: Option<&Path>, problems: &mut Vec<String>) -> Self {
        let Some(folder) = folder else {
            return Self::default();
        };
        let mut problem = |what: String| problems.push(format!("NIGHTSHIFT_HOST_KEYS_DIR: {what}"));
        let mut keys = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                problem(format!("{}: cannot be read: {error}", folder.display()));
                return Self::default();
            }
        };
        for entry in entries.flatten() {
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let Some((scope, name)) = scope_of(&file_name) else {
                continue;
            };
            let path = entry.path();
            match fs::read_to_string(&path) {
                Ok(text) if text.trim().is_empty() => {
                    problem(format!("{}: is empty", path.display()));
                }
                Ok(text) if text.len() > MAX_KEY_BYTES => {
                    problem(format!(
                        "{}: is longer than {MAX_KEY_BYTES} bytes",
                        path.display()
                    ));
                }
                Ok(text) => keys.push(Key {
                    name,
                    scope,
                    digest: digest(text.trim()),
                }),
                Err(error) => problem(format!("{}: cannot be read: {error}", path.display())),
            }
        }
        Self {
            keys,
            are_configured: true,
        }
    }

    /// The key with the text `presented`, if it opens `function` (or, without one, the host).
    pub(crate) fn find(&self, presented: &str, function: Option<&str>) -> Option<&Key> {
        let presented = digest(presented);
        // Every key is compared, found or not.
        self.keys.iter().fold(None, |found, key| {
            let is_same: bool = key.digest.ct_eq(&presented).into();
            let is_better = is_same
                && key.opens(function)
                && found.is_none_or(|other: &Key| other.level() < key.level());
            if is_better { Some(key) } else { found }
        })
    }
}

/// What a file's name says about the key in it; `None` for other files.
fn scope_of(file: &str) -> Option<(Scope, String)> {
    if file == "host.master" {
        return Some((Scope::Master, "master".to_owned()));
    }
    if let Some(name) = file.strip_prefix("host.function.") {
        return (!name.is_empty()).then(|| (Scope::Host, name.to_owned()));
    }
    let (function, name) = file.strip_prefix("functions.")?.split_once('.')?;
    let is_whole = !function.is_empty() && !name.is_empty();
    is_whole.then(|| (Scope::Function(function.to_lowercase()), name.to_owned()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_opens_what_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("host.master", "m\n"),
            ("host.function.default", "h"),
            ("functions.orders.default", "o"),
            ("host.systemKey.x", "s"),
            ("..data", "no key"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut problems = Vec::new();
        let keys = Keys::read(Some(folder.path()), &mut problems);
        assert!(problems.is_empty() && keys.are_configured);
        let level = |key, function| keys.find(key, function).map(Key::level);
        for (key, function, expected) in [
            ("m", None, Some(AuthLevel::Admin)),
            ("m", Some("orders"), Some(AuthLevel::Admin)),
            ("h", Some("other"), Some(AuthLevel::Function)),
            ("h", None, None),
            ("o", Some("Orders"), Some(AuthLevel::Function)),
            ("o", Some("other"), None),
            ("s", Some("orders"), None),
            ("", Some("orders"), None),
            ("mm", None, None),
        ] {
            assert_eq!(level(key, function), expected, "{key} {function:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("host.master"), " \n").unwrap();
        let mut problems = Vec::new();
        Keys::read(Some(folder.path()), &mut problems);
        Keys::read(Some(&folder.path().join("none")), &mut problems);
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].ends_with("host.master: is empty"),
            "{problems:?}"
        );
        assert!(problems[1].contains("none: cannot be read"), "{problems:?}");
    }
}
