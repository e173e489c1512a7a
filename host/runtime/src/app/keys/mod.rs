//! The keys by which callers show what they may do.
//!
//! Keys are files of one folder, named as in the secret that the Functions tools make for
//! Kubernetes: `host.master` opens everything, `host.function.<name>` every function,
//! `functions.<function>.<name>` one function; `host.systemKey.<name>` is kept and opens nothing
//! here. Only digests are held in memory; a presented key is compared with all of them, each in
//! constant time, so that an answer's delay says nothing about any key.
//!
//! Hosts may share the folder, and a secret that is mounted there may change: the files are read
//! again once a second at most, when a key is presented. No modification time is trusted to tell
//! that a file was written over, since a key that was taken back must not work any longer.

mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use nightshift_bindings::function_json::AuthLevel;
use rand::RngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

pub(crate) use store::{MAX_KEY_BYTES, is_key_name};

/// How long what was read of the folder holds.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a generated key has of chance, in bytes.
const RANDOM_BYTES: usize = 40;

/// The name of the master key in the keys API.
pub(crate) const MASTER: &str = "_master";

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyScope {
    /// Everything.
    Master,
    /// Every function.
    Host,
    /// Webhooks of extensions, of which there are none.
    System,
    /// One function, in lower case.
    Function(String),
}

impl KeyScope {
    /// What a file's name says about the key in it; `None` for other files.
    fn of_file(file: &str) -> Option<(Self, String)> {
        if file == "host.master" {
            return Some((Self::Master, MASTER.to_owned()));
        }
        let named = |scope: Self, name: &str| (!name.is_empty()).then(|| (scope, name.to_owned()));
        if let Some(name) = file.strip_prefix("host.function.") {
            return named(Self::Host, name);
        }
        if let Some(name) = file.strip_prefix("host.systemKey.") {
            return named(Self::System, name);
        }
        let (function, name) = file.strip_prefix("functions.")?.split_once('.')?;
        let scope = Self::Function(function.to_lowercase());
        named(scope, name).filter(|_| !function.is_empty())
    }

    /// The name of the file for the key `name`.
    fn file_of(&self, name: &str) -> String {
        match self {
            Self::Master => "host.master".to_owned(),
            Self::Host => format!("host.function.{name}"),
            Self::System => format!("host.systemKey.{name}"),
            Self::Function(function) => format!("functions.{function}.{name}"),
        }
    }
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name, which may be told to handlers.
    pub(crate) name: String,
    scope: KeyScope,
    digest: [u8; 32],
}

impl Key {
    /// What the caller may do.
    pub(crate) fn level(&self) -> AuthLevel {
        match self.scope {
            KeyScope::Master => AuthLevel::Admin,
            KeyScope::Host | KeyScope::Function(_) => AuthLevel::Function,
            KeyScope::System => AuthLevel::Anonymous,
        }
    }

    fn opens(&self, function: Option<&str>) -> bool {
        match (&self.scope, function) {
            (KeyScope::Master, _) => true,
            (KeyScope::Host, function) => function.is_some(),
            (KeyScope::Function(own), Some(function)) => own.eq_ignore_ascii_case(function),
            (KeyScope::System | KeyScope::Function(_), _) => false,
        }
    }
}

/// All keys. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Option<Arc<Folder>>);

/// A folder of keys and what was last read of it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    keys: Vec<Arc<Key>>,
    /// Whether the folder could be read; otherwise the keys from before stay.
    is_whole: bool,
    /// What was wrong, so that it is told once.
    problems: Vec<String>,
    /// When it has to be read again.
    holds_until: Instant,
}

impl Keys {
    /// Reads the files of `folder`.
    pub(super) fn read(folder: Option<&Path>, problems: &mut Vec<String>) -> Self {
        let Some(path) = folder else {
            return Self::default();
        };
        let known = Known::read(path);
        let told = |what: &String| format!("NIGHTSHIFT_HOST_KEYS_DIR: {what}");
        problems.extend(known.problems.iter().map(told));
        Self(Some(Arc::new(Folder {
            path: path.to_path_buf(),
            known: Mutex::new(known),
        })))
    }

    /// Whether there is a folder of keys.
    pub(crate) fn are_configured(&self) -> bool {
        self.0.is_some()
    }

    /// The key with the text `presented`, if it opens `function` (or, without one, the host).
    pub(crate) fn find(&self, presented: &str, function: Option<&str>) -> Option<Arc<Key>> {
        let keys = self.0.as_ref()?.current();
        let presented = digest(presented);
        // Every key is compared, found or not.
        let found = keys.iter().fold(None, |found: Option<&Arc<Key>>, key| {
            let is_same: bool = key.digest.ct_eq(&presented).into();
            let is_better = is_same
                && key.opens(function)
                && found.is_none_or(|other| other.level() < key.level());
            if is_better { Some(key) } else { found }
        });
        found.cloned()
    }

    /// The names and texts of the keys of `scope`. Reads files.
    pub(crate) fn list(&self, scope: &KeyScope) -> io::Result<Vec<(String, String)>> {
        let keys = store::read(self.folder()?, drop)?.into_iter();
        let of_scope = keys.filter(|key| key.scope == *scope);
        Ok(of_scope.map(|key| (key.name, key.value)).collect())
    }

    /// The text of the key `name` of `scope`. Reads files.
    pub(crate) fn get(&self, scope: &KeyScope, name: &str) -> io::Result<Option<String>> {
        let keys = store::read(self.folder()?, drop)?;
        Ok(store::find(&keys, scope, name).map(|key| key.value.clone()))
    }

    /// Keeps `value` as the key `name` of `scope`. Says whether it is new. Writes files.
    pub(crate) fn put(&self, scope: &KeyScope, name: &str, value: &str) -> io::Result<bool> {
        let is_new = store::write(self.folder()?, scope, name, value)?;
        self.forget();
        Ok(is_new)
    }

    /// Removes the key `name` of `scope`; false if there is none. Writes files.
    pub(crate) fn remove(&self, scope: &KeyScope, name: &str) -> io::Result<bool> {
        let is_gone = store::remove(self.folder()?, scope, name)?;
        self.forget();
        Ok(is_gone)
    }

    fn folder(&self) -> io::Result<&Path> {
        let folder = self.0.as_ref().map(|folder| folder.path.as_path());
        folder.ok_or_else(|| io::Error::other("there is no folder of keys"))
    }

    /// Lets the next look find what has just changed.
    fn forget(&self) {
        if let Some(folder) = &self.0 {
            let mut known = folder.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.holds_until = Instant::now();
        }
    }
}

impl Folder {
    /// The keys, read again if that was long ago.
    fn current(&self) -> Vec<Arc<Key>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.holds_until <= Instant::now() {
            let mut read = Known::read(&self.path);
            for problem in &read.problems {
                if !known.problems.contains(problem) {
                    tracing::warn!("a key is passed over: {problem}");
                }
            }
            if !read.is_whole {
                read.keys.clone_from(&known.keys);
            }
            *known = read;
        }
        known.keys.clone()
    }
}

impl Known {
    /// What `folder` has now.
    fn read(folder: &Path) -> Self {
        let mut problems = Vec::new();
        let stored = store::read(folder, |what| problems.push(what));
        let stored = stored.inspect_err(|error| {
            problems.push(format!("{}: cannot be read: {error}", folder.display()));
        });
        let is_whole = stored.is_ok();
        let keys = stored.unwrap_or_default().into_iter().map(|key| {
            Arc::new(Key {
                digest: digest(&key.value),
                name: key.name,
                scope: key.scope,
            })
        });
        Self {
            keys: keys.collect(),
            is_whole,
            problems,
            holds_until: Instant::now() + LOOK_INTERVAL,
        }
    }
}

/// A key that nobody can guess.
pub(crate) fn generate() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn each_key_opens_what_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("host.master", "m\n"),
            ("host.function.default", "h"),
            ("functions.orders.default", "o"),
            ("host.systemKey.x", "s"),
            ("host.function.", "nameless"),
            ("..data", "no key"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut problems = Vec::new();
        let keys = Keys::read(Some(folder.path()), &mut problems);
        assert!(problems.is_empty() && keys.are_configured());
        let level = |key, function| keys.find(key, function).map(|key| key.level());
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

    #[test]
    fn keys_are_kept_found_and_removed() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("host.function.Default"), "old").unwrap();
        let keys = Keys::read(Some(folder.path()), &mut Vec::new());
        let (host, own) = (KeyScope::Host, KeyScope::Function("orders".to_owned()));
        assert!(!keys.put(&host, "default", "new").unwrap());
        assert!(keys.put(&own, "a.b", "mine").unwrap());
        assert!(keys.put(&KeyScope::Master, MASTER, "master").unwrap());
        assert!(keys.put(&KeyScope::System, "x", "system").unwrap());
        let mut files: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(
            files,
            [
                "functions.orders.a.b",
                "host.function.Default",
                "host.master",
                "host.systemKey.x"
            ]
        );
        for file in files {
            let mode = fs::metadata(folder.path().join(file))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
        assert_eq!(
            keys.list(&host).unwrap(),
            [("Default".to_owned(), "new".to_owned())]
        );
        assert_eq!(keys.get(&own, "A.B").unwrap().as_deref(), Some("mine"));
        let level = |key: &str| keys.find(key, Some("orders")).map(|key| key.level());
        assert_eq!(level("old"), None);
        assert_eq!(level("new"), Some(AuthLevel::Function));
        assert_eq!(level("master"), Some(AuthLevel::Admin));
        assert!(keys.remove(&host, "DEFAULT").unwrap());
        assert!(!keys.remove(&host, "default").unwrap());
        assert_eq!(level("new"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_written_over_in_place_works_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.master");
        fs::write(&file, "old").unwrap();
        let keys = Keys::read(Some(folder.path()), &mut Vec::new());
        assert!(keys.find("old", None).is_some());
        let times = fs::metadata(&file).unwrap().modified().unwrap();
        // As long as before, and nobody can tell by its times.
        fs::write(&file, "new").unwrap();
        File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_modified(times))
            .unwrap();
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(keys.find("old", None).is_none() && keys.find("new", None).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_cannot_be_read_for_a_while_keeps_its_keys() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, aside) = (parent.path().join("keys"), parent.path().join("aside"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("host.master"), "m").unwrap();
        let keys = Keys::read(Some(&folder), &mut Vec::new());
        fs::rename(&folder, &aside).unwrap();
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(keys.find("m", None).is_some());
        fs::rename(&aside, &folder).unwrap();
        fs::remove_file(folder.join("host.master")).unwrap();
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(keys.find("m", None).is_none());
    }

    #[test]
    fn a_generated_key_is_long_and_never_the_same() {
        let (one, other) = (generate(), generate());
        assert!(one.len() > 50 && one != other);
        assert!(is_key_name("a-b_c.1") && !is_key_name(".a") && !is_key_name("a/b"));
        assert!(!is_key_name("") && !is_key_name(&"a".repeat(129)));
    }
}
