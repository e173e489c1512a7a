//! Reads typed settings and remembers every problem until the end.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use crate::suggestion::nearest;
use crate::{PREFIX, Problem, Problems, Source};

/// How close a misspelt name must be to be suggested: all have the same beginning.
const NEAR: f64 = 0.85;

/// One setting that was asked for, for the table of `nightshift settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Used {
    /// Whether the source holds it; otherwise the default is in force.
    pub is_set: bool,
    /// The value in force as it may be shown: secrets are masked, and absent ones are empty.
    pub shown: String,
}

/// Reads settings from one source.
pub struct Reader<'a> {
    source: &'a dyn Source,
    used: BTreeMap<String, Used>,
    problems: Vec<Problem>,
}

impl Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// A reader of `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            used: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The value of `name`, which must be set and must parse. `None` means that a problem was
    /// written down, and that [`Reader::finish`] will fail.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name, false);
        if text.is_none() {
            self.problem(name, "is not set");
        }
        self.parse(name, &text?)
    }

    /// The value of `name`, or `default` when it is not set.
    pub fn optional<T: FromStr<Err: Display> + Display>(&mut self, name: &str, default: T) -> T {
        let Some(text) = self.text(name, false) else {
            self.note(name, false, default.to_string());
            return default;
        };
        self.parse(name, &text).unwrap_or(default)
    }

    /// The value of `name` if it is set.
    pub fn maybe<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name, false)?;
        self.parse(name, &text)
    }

    /// The secret `name`, which must be set. `None` means that a problem was written down.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.maybe_secret(name);
        if secret.is_none() {
            self.problem(name, "is not set");
        }
        secret
    }

    /// The secret `name` if it is set.
    pub fn maybe_secret(&mut self, name: &str) -> Option<SecretString> {
        self.text(name, true).map(SecretString::from)
    }

    /// The secret `name`, which must be set and must parse. A problem quotes nothing of it but what
    /// the parser's own message does.
    pub fn secret_as<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.secret(name)?;
        match text.expose_secret().trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, error.to_string());
                None
            }
        }
    }

    /// Where the settings come from, for those that have rules of their own.
    pub fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// Writes down a problem that the caller found itself, such as two settings that contradict
    /// each other. The text must not hold a secret.
    pub fn problem(&mut self, name: &str, what: impl Into<String>) {
        self.problems.push(Problem::new(name, what));
    }

    /// Everything that was asked for so far, by name.
    pub fn used(&self) -> &BTreeMap<String, Used> {
        &self.used
    }

    /// Fails with all problems found. A set name that starts with [`PREFIX`] and that is neither
    /// read here nor in `known_elsewhere` (names or, ending in `_`, whole families that other
    /// processes in the same environment read) is a problem too, with the nearest known name.
    pub fn finish(mut self, known_elsewhere: &[&str]) -> Result<(), Problems> {
        let is_known = |name: &str| {
            self.used.contains_key(name)
                || known_elsewhere.iter().any(|known| {
                    name == *known || (known.ends_with('_') && name.starts_with(known))
                })
        };
        let unknown: Vec<String> = self
            .source
            .names()
            .into_iter()
            .filter(|name| name.starts_with(PREFIX) && !is_known(name))
            .collect();
        for name in unknown {
            let what = match nearest(&name, self.used.keys().map(String::as_str), NEAR) {
                Some(near) => format!("is not a setting; did you mean {near}?"),
                None => "is not a setting".to_owned(),
            };
            self.problem(&name, what);
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.problems))
        }
    }

    fn text(&mut self, name: &str, is_secret: bool) -> Option<String> {
        let text = self.source.get(name);
        let shown = match (&text, is_secret) {
            (Some(_), true) => "(secret)".to_owned(),
            (Some(text), false) => text.clone(),
            (None, _) => String::new(),
        };
        self.note(name, text.is_some(), shown);
        text
    }

    fn note(&mut self, name: &str, is_set: bool, shown: String) {
        self.used.insert(name.to_owned(), Used { is_set, shown });
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(name, format!("cannot be {text:?}: {error}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MapSource;

    #[test]
    fn all_problems_come_in_one_table() {
        let source: MapSource = [
            ("NIGHTSHIFT_MAX_BODY_BYTES", "plenty"),
            ("NIGHTSHIFT_POSTGRES_ULR", "postgres://secret@db"),
        ]
        .into_iter()
        .collect();
        let mut reader = Reader::new(&source);
        assert!(reader.secret("NIGHTSHIFT_POSTGRES_URL").is_none());
        assert_eq!(
            reader.optional("NIGHTSHIFT_MAX_BODY_BYTES", 262_144_usize),
            262_144
        );
        let problems = reader.finish(&[]).unwrap_err();
        insta::assert_snapshot!(problems, @r#"
        3 problems in the settings:
          NIGHTSHIFT_POSTGRES_URL    is not set
          NIGHTSHIFT_MAX_BODY_BYTES  cannot be "plenty": invalid digit found in string
          NIGHTSHIFT_POSTGRES_ULR    is not a setting; did you mean NIGHTSHIFT_POSTGRES_URL?
        "#);
    }

    #[test]
    fn names_of_other_processes_are_no_problem_and_secrets_are_masked() {
        let source: MapSource = [
            ("NIGHTSHIFT_HOST_MODE", "strict"),
            ("NIGHTSHIFT_POSTGRES_URL", "postgres://u:hunter2@db/x"),
            ("PATH", "/bin"),
        ]
        .into_iter()
        .collect();
        let mut reader = Reader::new(&source);
        assert!(reader.secret("NIGHTSHIFT_POSTGRES_URL").is_some());
        assert!(!format!("{reader:?}").contains("hunter2"));
        assert_eq!(reader.finish(&["NIGHTSHIFT_HOST_"]), Ok(()));
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        let source: MapSource = [("NIGHTSHIFT_LOG", "")].into_iter().collect();
        let mut reader = Reader::new(&source);
        assert_eq!(reader.optional("NIGHTSHIFT_LOG", "info".to_owned()), "info");
    }
}
