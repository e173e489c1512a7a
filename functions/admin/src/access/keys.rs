//! Keys of callers, each with a name and a role.

use http::HeaderMap;
use nightshift_settings::{ExposeSecret, Reader};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Principal, Role};
use crate::problem::{Kind, Problem};

/// The setting with the keys.
pub(crate) const KEYS: &str = "NIGHTSHIFT_OPS_KEYS";

/// The header in which callers show a key, the same as for the host's own.
pub(crate) const HEADER: &str = "x-functions-key";

/// The shortest key, in characters: 128 bits in hexadecimal digits.
const SHORTEST: usize = 32;

/// The longest name of a key, in characters.
const LONGEST_NAME: usize = 64;

/// One key, of which only the hash is kept.
#[derive(Debug)]
struct Key {
    name: String,
    role: Role,
    hash: [u8; 32],
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads `NIGHTSHIFT_OPS_KEYS`: `name:role:key`, separated by commas.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let Some(text) = reader.maybe_secret(KEYS) else {
            return Self::default();
        };
        let mut keys: Vec<Key> = Vec::new();
        let entries = text.expose_secret().split(',').map(str::trim);
        for (n, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
            match read_key(entry) {
                Ok(key) if keys.iter().any(|known| known.name == key.name) => {
                    let what = format!("has two keys called {:?}", key.name);
                    reader.problem(KEYS, what);
                }
                Ok(key) => keys.push(key),
                // Not the entry itself: it may be a key.
                Err(what) => reader.problem(KEYS, format!("entry {}: {what}", n + 1)),
            }
        }
        Self(keys)
    }

    /// Whose key is in `headers`. How long that takes says nothing about the keys.
    pub(super) fn principal(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let unknown = |what: &str| Err(Problem::new(Kind::Unauthenticated, what));
        if self.0.is_empty() {
            return unknown(
                "nobody may use this API yet: set NIGHTSHIFT_OPS_KEYS, such as ada:Operator:KEY",
            );
        }
        let mut shown = headers.get_all(HEADER).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else {
            return unknown("show one key, in the header x-functions-key");
        };
        let hash = Sha256::digest(shown.as_bytes());
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.hash.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        match found {
            Some(Key { name, role, .. }) => Ok(Principal {
                name: format!("key:{name}"),
                role: *role,
            }),
            None => unknown("the key in the header x-functions-key is not one of this API's"),
        }
    }
}

fn read_key(entry: &str) -> Result<Key, String> {
    let parts: Vec<&str> = entry.splitn(3, ':').collect();
    let [name, role, key] = parts[..] else {
        return Err("is not of the form name:role:key".to_owned());
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        return Err(format!(
            "its name needs 1 to {LONGEST_NAME} letters, digits or any of -_.@"
        ));
    }
    let is_visible = |c: char| c.is_ascii_graphic();
    if key.len() < SHORTEST || !key.chars().all(is_visible) {
        return Err(format!(
            "the key of {name:?} needs at least {SHORTEST} visible ASCII characters"
        ));
    }
    Ok(Key {
        name: name.to_owned(),
        role: role.parse()?,
        hash: Sha256::digest(key).into(),
    })
}
