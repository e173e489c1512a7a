//! A JSON configuration file as a flat table of paths, with the place of every value.
//!
//! The real host flattens `host.json` into keys that ignore case, and lets a setting
//! `AzureFunctionsJobHost__a__b__0` override any of them, so every value is read from text. This
//! table does the same and also remembers what each value was and where it stood, so that an error
//! can name line and column. Comments and trailing commas are allowed, as .NET's reader allows
//! them. Size and count are bounded before parsing: the parser recurses once per bracket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::problem::{ConfigProblem, ConfigProblems, Place};

/// The largest file that is read, in bytes. Real ones have a few hundred.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// The most objects and arrays in one file: it bounds the parser's recursion, too.
const MAX_BRACKETS: usize = 500;

/// How much of a wrong value an error repeats, in characters.
const SHOWN_CHARS: usize = 60;

/// What a value was in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Boolean,
    Null,
    Object,
    Array,
}

/// One value of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path as it was spelt, such as `bindings[0].queueName`.
    pub(crate) shown: String,
    pub(crate) kind: Kind,
    /// The text of a scalar; empty for the others.
    pub(crate) text: String,
    pub(crate) place: Place,
}

impl Entry {
    /// The value as an error repeats it.
    pub(crate) fn found(&self) -> String {
        match self.kind {
            Kind::Null => "null".to_owned(),
            Kind::Object => "an object".to_owned(),
            Kind::Array => "an array".to_owned(),
            Kind::Number | Kind::Boolean => self.text.clone(),
            Kind::Text => {
                let cut: String = self.text.chars().take(SHOWN_CHARS).collect();
                let dots = if cut.len() < self.text.len() {
                    "…"
                } else {
                    ""
                };
                format!("{cut:?}{dots}")
            }
        }
    }
}

/// A parsed file. Paths are given with `:` between members (a member's name may hold a dot), ignore
/// case, and number the elements of arrays like members: `bindings:0:type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    file: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl Document {
    /// Reads `text`, the content of `file` (named in errors only). The top must be an object.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ConfigProblems> {
        let fail = |place: Place, what: String| {
            let file = file.to_path_buf();
            ConfigProblems(vec![ConfigProblem {
                file,
                place,
                path: String::new(),
                what,
            }])
        };
        if text.len() > MAX_FILE_BYTES {
            let what = format!(
                "is {} bytes, above the limit of {MAX_FILE_BYTES}",
                text.len()
            );
            return Err(fail(Place::Absent, what));
        }
        let brackets = text
            .bytes()
            .filter(|byte| matches!(byte, b'{' | b'['))
            .count();
        if brackets > MAX_BRACKETS {
            let what =
                format!("has {brackets} objects and arrays, above the limit of {MAX_BRACKETS}");
            return Err(fail(Place::Absent, what));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = ParseOptions {
            allow_loose_object_property_names: false,
            ..Default::default()
        };
        let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
            let place = place_of(text, error.range().start);
            fail(
                place,
                format!(
                    "is not valid JSON: {}",
                    lower_first(&error.kind().to_string())
                ),
            )
        })?;
        let Some(value @ Value::Object(_)) = parsed.value else {
            return Err(fail(
                Place::Text { line: 1, column: 1 },
                "expected a JSON object".to_owned(),
            ));
        };
        let mut document = Self {
            file: file.to_path_buf(),
            entries: BTreeMap::new(),
        };
        document.flatten(text, String::new(), String::new(), &value);
        Ok(document)
    }

    /// Lets the setting `name`, whose path is written with `__` between members, override a value.
    pub(crate) fn override_with(&mut self, name: &str, path: &str, text: String) {
        let names: Vec<&str> = path.split("__").collect();
        let place = Place::Setting(name.to_owned());
        // A parent that the file does not have begins to exist.
        for depth in 1..names.len() {
            let (text, place) = (String::new(), place.clone());
            let container = Entry {
                shown: names[..depth].join("."),
                kind: Kind::Object,
                text,
                place,
            };
            let parent = names[..depth].join(":").to_lowercase();
            let entry = self
                .entries
                .entry(parent)
                .or_insert_with(|| container.clone());
            if !matches!(entry.kind, Kind::Object | Kind::Array) {
                *entry = container;
            }
        }
        let key = names.join(":").to_lowercase();
        self.entries.insert(
            key,
            Entry {
                shown: names.join("."),
                kind: Kind::Text,
                text,
                place,
            },
        );
    }

    /// The value at `path`; one that is `null` counts as absent, as it does for the real host.
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries
            .get(&path.to_lowercase())
            .filter(|entry| entry.kind != Kind::Null)
    }

    /// The names, in lower case, of the direct members (or numbers of the elements) of `path`.
    pub(crate) fn members(&self, path: &str) -> Vec<String> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            path.to_lowercase() + ":"
        };
        let mut members: Vec<(&str, &Entry)> = self
            .entries
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter_map(|(key, entry)| Some((key.strip_prefix(&prefix)?, entry)))
            .filter(|(rest, _)| !rest.is_empty() && !rest.contains(':'))
            .collect();
        members.sort_by_key(|(rest, _)| rest.parse::<u32>().unwrap_or(u32::MAX));
        members
            .into_iter()
            .map(|(rest, _)| rest.to_owned())
            .collect()
    }

    /// Everything inside the object `path`, at any depth, by its name as it was spelt.
    pub(crate) fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let prefix = path.to_lowercase() + ":";
        let shown = self.get(path).map_or(0, |entry| entry.shown.len() + 1);
        let entries = self.entries.range(prefix.clone()..);
        entries
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(move |(_, entry)| (entry.shown.get(shown..).unwrap_or_default(), entry))
    }

    /// A problem of the value at `path`. If it is absent, the place is that of what should hold it.
    pub(crate) fn problem(&self, path: &str, what: impl Into<String>) -> ConfigProblem {
        let (entry, missing) = self.nearest(path);
        let mut shown = entry.map_or_else(String::new, |entry| entry.shown.clone());
        for name in missing {
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(name);
        }
        ConfigProblem {
            file: self.file.clone(),
            place: entry.map_or(Place::Absent, |entry| entry.place.clone()),
            path: shown,
            what: what.into(),
        }
    }

    /// The innermost value on the way to `path` that exists, below the document itself, and the
    /// names that lead on from there.
    fn nearest<'a>(&self, path: &'a str) -> (Option<&Entry>, Vec<&'a str>) {
        let names: Vec<&str> = path.split(':').collect();
        for depth in (1..=names.len()).rev() {
            if let Some(entry) = self.entries.get(&names[..depth].join(":").to_lowercase()) {
                return (Some(entry), names[depth..].to_vec());
            }
        }
        (None, names)
    }

    fn flatten(&mut self, text: &str, key: String, shown: String, value: &Value<'_>) {
        let (kind, scalar) = match value {
            Value::StringLit(literal) => (Kind::Text, literal.value.to_string()),
            Value::NumberLit(literal) => (Kind::Number, literal.value.to_owned()),
            Value::BooleanLit(literal) => (Kind::Boolean, literal.value.to_string()),
            Value::NullKeyword(_) => (Kind::Null, String::new()),
            Value::Object(_) => (Kind::Object, String::new()),
            Value::Array(_) => (Kind::Array, String::new()),
        };
        let join = |name: &str| {
            if key.is_empty() {
                name.to_lowercase()
            } else {
                format!("{key}:{}", name.to_lowercase())
            }
        };
        match value {
            Value::Object(object) => {
                for property in &object.properties {
                    let name = property.name.as_str();
                    let dot = if shown.is_empty() { "" } else { "." };
                    self.flatten(
                        text,
                        join(name),
                        format!("{shown}{dot}{name}"),
                        &property.value,
                    );
                }
            }
            Value::Array(array) => {
                for (index, element) in array.elements.iter().enumerate() {
                    self.flatten(
                        text,
                        join(&index.to_string()),
                        format!("{shown}[{index}]"),
                        element,
                    );
                }
            }
            _ => {}
        }
        let place = place_of(text, value.start());
        self.entries.insert(
            key,
            Entry {
                shown,
                kind,
                text: scalar,
                place,
            },
        );
    }
}

fn place_of(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    Place::Text { line, column }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, ConfigProblems> {
        Document::parse(Path::new("host.json"), text)
    }

    #[test]
    fn paths_ignore_case_and_comments_are_allowed() {
        let document = parse("{ // why\n \"A\": {\"b\": [1, \"x\",], \"n\": null} }").unwrap();
        assert_eq!(document.get("a:B:1").unwrap().text, "x");
        assert_eq!(document.get("a:b:1").unwrap().shown, "A.b[1]");
        assert_eq!(
            document.get("a:b:1").unwrap().place,
            Place::Text {
                line: 2,
                column: 17
            }
        );
        assert!(document.get("a:n").is_none());
        assert_eq!(document.members("A:b"), ["0", "1"]);
    }

    #[test]
    fn a_setting_overrides_a_value_and_may_add_one() {
        let mut document = parse(r#"{"a": {"b": 1}}"#).unwrap();
        document.override_with("P__a__b", "a__b", "2".to_owned());
        document.override_with("P__a__C__0", "a__C__0", "3".to_owned());
        assert_eq!(document.get("a:b").unwrap().text, "2");
        assert_eq!(document.members("a:c"), ["0"]);
        assert_eq!(
            document.problem("a:b", "x").to_string(),
            "host.json (setting P__a__b): a.b: x"
        );
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_place() {
        let cases = [
            ("", "host.json:1:1: expected a JSON object"),
            ("[1]", "host.json:1:1: expected a JSON object"),
            (
                "{\n \"a\": }",
                "host.json:2:7: is not valid JSON: unexpected close brace",
            ),
            (
                "{\"a\": 1",
                "host.json:1:1: is not valid JSON: unterminated object",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn deep_and_large_files_are_refused_before_they_are_parsed() {
        let deep = "[".repeat(1_000_000);
        assert!(
            parse(&deep)
                .unwrap_err()
                .to_string()
                .contains("above the limit")
        );
        let deep = "[".repeat(MAX_BRACKETS + 1);
        assert!(
            parse(&deep)
                .unwrap_err()
                .to_string()
                .contains("objects and arrays")
        );
        assert!(parse(&"[".repeat(MAX_BRACKETS)).is_err());
    }
}
