//! Texts that are safe to store: no NUL character, which `PostgreSQL` refuses, and bounded where
//! a screen bounds them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A text without the NUL character; its length is bounded by the message's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

/// A [`Text`] of one line, 1 to [`Title::MAX_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Title(String);

/// What happened, as dot-separated lower-case words such as `creature.liked`; 1 to
/// [`Kind::MAX_CHARS`] characters of `a-z`, `0-9`, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kind(String);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Title {
    /// The longest title that is accepted.
    pub const MAX_CHARS: usize = 200;

    /// The title.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Kind {
    /// The longest kind that is accepted.
    pub const MAX_CHARS: usize = 64;

    /// The kind.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn without_nul(text: String) -> Result<String, &'static str> {
    if text.contains('\0') {
        return Err("contains the NUL character, which the database cannot store");
    }
    Ok(text)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        without_nul(String::deserialize(deserializer)?)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Title {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = without_nul(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let chars = text.chars().count();
        if text.trim().is_empty() {
            return Err(D::Error::custom("is empty"));
        }
        if chars > Self::MAX_CHARS {
            let limit = Self::MAX_CHARS;
            return Err(D::Error::custom(format!(
                "has {chars} characters, at most {limit} are allowed"
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(D::Error::custom(
                "contains a line break or another control character",
            ));
        }
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || text.len() > Self::MAX_CHARS || !text.chars().all(is_allowed) {
            return Err(D::Error::custom(
                "must be 1 to 64 lower-case letters, digits, dots, dashes or underscores, such as \"creature.liked\"",
            ));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: for<'de> Deserialize<'de> + std::fmt::Debug>(json: &str) -> String {
        serde_json::from_str::<T>(json).unwrap_err().to_string()
    }

    #[test]
    fn titles_are_one_bounded_line() {
        assert!(serde_json::from_str::<Title>(&format!("\"{}\"", "ü".repeat(200))).is_ok());
        assert!(refused::<Title>(&format!("\"{}\"", "ü".repeat(201))).contains("201 characters"));
        assert!(refused::<Title>("\" \"").contains("empty"));
        assert!(refused::<Title>(r#""a\r\nBcc: b""#).contains("line break"));
    }

    #[test]
    fn kinds_are_dotted_words() {
        assert!(serde_json::from_str::<Kind>("\"creature.liked-2\"").is_ok());
        for bad in ["\"\"", "\"Liked\"", "\"a b\"", "\"a'b\""] {
            assert!(refused::<Kind>(bad).contains("lower-case"), "{bad}");
        }
    }
}
