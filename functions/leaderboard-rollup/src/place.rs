//! Which window of which board, and the keys of Redis under which it is shown.

use std::fmt::Write as _;

use crate::windows::Kind;

/// A window of a board: the current one of its kind, or one by its label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) board: String,
    /// The column that it is grouped by and the value in it; `None`: everybody.
    pub(crate) group: Option<(String, String)>,
    pub(crate) kind: Kind,
    /// `None`: the current one.
    pub(crate) label: Option<String>,
}

impl Place {
    /// The key of its sorted set: `leaderboard:<board>[:<column>:<value>]:<kind>[:<label>]`.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("leaderboard:{}", self.board);
        if let Some((column, value)) = &self.group {
            let _ = write!(key, ":{}:{}", escaped(column), escaped(value));
        }
        let _ = write!(key, ":{}", self.kind.as_str());
        // There is only one of all time.
        if let Some(label) = self.label.as_ref().filter(|_| self.kind != Kind::AllTime) {
            let _ = write!(key, ":{label}");
        }
        key
    }
}

/// A piece of a key, in which a colon would be another piece and braces a hash tag.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ':' | '{' | '}' | '%') || c.is_control() {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                let _ = write!(out, "%{octet:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_board_group_kind_and_label() {
        let mut place = Place {
            board: "global".to_owned(),
            group: None,
            kind: Kind::Weekly,
            label: None,
        };
        assert_eq!(place.key(), "leaderboard:global:weekly");
        place.label = Some("2026-W47".to_owned());
        assert_eq!(place.key(), "leaderboard:global:weekly:2026-W47");
        place.group = Some(("country".to_owned(), "D:{E}%".to_owned()));
        let grouped = "leaderboard:global:country:D%3A%7BE%7D%25:weekly:2026-W47";
        assert_eq!(place.key(), grouped);
        place.kind = Kind::AllTime;
        place.label = Some("all-time".to_owned());
        place.group = None;
        assert_eq!(place.key(), "leaderboard:global:all-time");
    }
}
