//! Keys of callers, each with a name and a role.

use std::fmt;

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
struct Key {
    name: String,
    role: Role,
    hash: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, .. } = self;
        write!(f, "{name}:{role}")
    }
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

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key `shown` is. How long that takes says nothing about the keys.
    pub(super) fn principal(&self, shown: &[u8]) -> Result<Principal, Problem> {
        let hash = Sha256::digest(shown);
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.hash.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        let Some(Key { name, role, .. }) = found else {
            let what = "the key in the header x-functions-key is not one of this API's";
            return Err(Problem::new(Kind::Unauthenticated, what));
        };
        Ok(Principal {
            name: format!("key:{name}"),
            role: *role,
        })
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

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    const FIRST: &str = "0123456789abcdef0123456789abcdef";
    const SECOND: &str = "0123456789abcdef:123456789abcdef";

    fn read(text: &str) -> (Keys, Vec<String>) {
        let source: MapSource = [(KEYS, text)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let keys = Keys::read(&mut reader);
        let problems = reader.finish(&[]).err().map(|problems| problems.0);
        let problems = problems.unwrap_or_default().into_iter();
        (keys, problems.map(|problem| problem.what).collect())
    }

    #[test]
    fn each_key_says_whose_it_is() {
        let (keys, problems) = read(&format!("ada:Operator:{FIRST}, bob:reader:{SECOND},"));
        assert_eq!(problems, [""; 0]);
        for (shown, name, role) in [
            (FIRST, "key:ada", Role::Operator),
            (SECOND, "key:bob", Role::Reader),
        ] {
            let name = name.to_owned();
            let principal = keys.principal(shown.as_bytes());
            assert_eq!(principal, Ok(Principal { name, role }));
        }
        for shown in ["", "x", &FIRST[1..], &FIRST.to_uppercase()] {
            let problem = keys.principal(shown.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, Kind::Unauthenticated);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        for (text, what) in [
            (
                FIRST.to_owned(),
                "entry 1: is not of the form name:role:key",
            ),
            (
                format!(":Reader:{FIRST}"),
                "entry 1: its name needs 1 to 64 letters, digits or any of -_.@",
            ),
            (
                format!("ada:Reader:{}", &FIRST[1..]),
                "entry 1: the key of \"ada\" needs at least 32 visible ASCII characters",
            ),
            (
                format!("ada:Owner:{FIRST}"),
                "entry 1: \"Owner\" is no role: Reader, Operator and Admin are",
            ),
            (
                format!("ada:Reader:{FIRST},ada:Admin:{SECOND}"),
                "has two keys called \"ada\"",
            ),
        ] {
            assert_eq!(read(&text).1, [what]);
        }
    }
}
