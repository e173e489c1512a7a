//! Reads typed values from a document and remembers every problem until the end.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::document::{Document, Entry, Kind};
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::time_span::parse_time_span;

/// A reader of one document.
pub(crate) struct Reader<'a> {
    document: &'a Document,
    problems: Vec<ConfigProblem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(document: &'a Document) -> Self {
        Self {
            document,
            problems: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Result<(), ConfigProblems> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigProblems(self.problems))
        }
    }

    pub(crate) fn problem(&mut self, path: &str, what: impl Into<String>) {
        self.problems.push(self.document.problem(path, what));
    }

    /// A problem that is no fault of the file, so that it does not end in [`Reader::finish`].
    pub(crate) fn describe(&self, path: &str, what: impl Into<String>) -> ConfigProblem {
        self.document.problem(path, what)
    }

    pub(crate) fn is_absent(&self, path: &str) -> bool {
        self.document.get(path).is_none()
    }

    pub(crate) fn members(&self, path: &str) -> Vec<String> {
        self.document.members(path)
    }

    /// The scalar at `path`; an object or array there is a problem.
    pub(crate) fn scalar(&mut self, path: &str, expected: &str) -> Option<&'a Entry> {
        let entry = self.document.get(path)?;
        if matches!(entry.kind, Kind::Object | Kind::Array) {
            self.problem(
                path,
                format!("expected {expected}, found {}", entry.found()),
            );
            return None;
        }
        Some(entry)
    }

    /// A text. Numbers and booleans are no texts, unless a setting wrote them.
    pub(crate) fn text(&mut self, path: &str) -> Option<String> {
        let entry = self.scalar(path, "a text")?;
        if entry.kind != Kind::Text {
            self.problem(path, format!("expected a text, found {}", entry.found()));
            return None;
        }
        Some(entry.text.clone())
    }

    /// The text at `path`, if it is one, without a word about anything else.
    pub(crate) fn peek(&self, path: &str) -> Option<&'a str> {
        self.document
            .get(path)
            .filter(|entry| entry.kind == Kind::Text)
            .map(|entry| &*entry.text)
    }

    /// One of a few words, in any case.
    pub(crate) fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(path)?;
        let chosen = choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        if chosen.is_none() {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect();
            self.problem(
                path,
                format!("expected {}, found {text:?}", words.join(" or ")),
            );
        }
        chosen.map(|(_, value)| *value)
    }

    /// A list of texts: an array, or (so that it fits into one setting) an array in a text.
    pub(crate) fn texts(&mut self, path: &str) -> Vec<String> {
        let Some(entry) = self.document.get(path) else {
            return Vec::new();
        };
        match entry.kind {
            Kind::Array | Kind::Object => {
                let paths = self
                    .members(path)
                    .into_iter()
                    .map(|member| format!("{path}:{member}"));
                paths
                    .collect::<Vec<_>>()
                    .iter()
                    .filter_map(|path| self.text(path))
                    .collect()
            }
            Kind::Text if entry.text.trim().is_empty() => Vec::new(),
            _ => serde_json::from_str(&entry.text).unwrap_or_else(|_| {
                self.problem(
                    path,
                    format!("expected an array of texts, found {}", entry.found()),
                );
                Vec::new()
            }),
        }
    }

    /// `true` or `false` in any case, quoted or not.
    pub(crate) fn boolean(&mut self, path: &str, default: bool) -> bool {
        self.maybe_boolean(path).unwrap_or(default)
    }

    pub(crate) fn maybe_boolean(&mut self, path: &str) -> Option<bool> {
        let entry = self.scalar(path, "true or false")?;
        match entry.text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problem(
                    path,
                    format!("expected true or false, found {}", entry.found()),
                );
                None
            }
        }
    }

    /// A whole number from `min` to `max`, quoted or not.
    pub(crate) fn number<T>(&mut self, path: &str, min: T, max: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let expected = format!("a whole number from {min} to {max}");
        let entry = self.scalar(path, &expected)?;
        match entry.text.trim().parse::<T>() {
            Ok(number) if number >= min && number <= max => Some(number),
            _ => {
                self.problem(
                    path,
                    format!("expected {expected}, found {}", entry.found()),
                );
                None
            }
        }
    }

    pub(crate) fn time_span(&mut self, path: &str) -> Option<Duration> {
        let entry = self.scalar(path, "a time span")?;
        match parse_time_span(&entry.text) {
            Ok(span) => Some(span),
            Err(error) => {
                self.problem(path, format!("{error}, found {}", entry.found()));
                None
            }
        }
    }
}
