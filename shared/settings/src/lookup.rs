//! Settings as the .NET configuration sees environment variables.
//!
//! Names ignore case, and `__` stands for the `:` between the levels of a section. Only names are
//! normalised; values stay as they are.

use std::collections::HashMap;

use crate::Source;

/// All settings at one moment.
#[derive(Debug)]
pub struct Lookup {
    pairs: Vec<(String, String)>,
    by_key: HashMap<String, usize>,
}

impl Lookup {
    /// What `source` says now.
    pub fn new(source: &dyn Source) -> Self {
        let mut pairs: Vec<(String, String)> = source
            .names()
            .into_iter()
            .filter_map(|name| source.get(&name).map(|value| (name, value)))
            .collect();
        pairs.sort();
        let by_key = pairs
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (key(name), index))
            .collect();
        Self { pairs, by_key }
    }

    /// The value of `name`, which may be written with `:` or `__` and in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_key
            .get(&key(name))
            .map(|index| self.pairs[*index].1.as_str())
    }

    /// The value of `name` as an owned text, for `%NAME%`.
    pub fn value(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// Whether `name` is set to `true` or `1`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// Every name as it was set, with its value, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.pairs.iter().cloned()
    }

    /// Likewise.
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.pairs
    }
}

/// The one spelling of a name by which settings are compared.
pub fn key(name: &str) -> String {
    name.replace("__", ":").to_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::MapSource;

    use super::*;

    #[test]
    fn case_and_separator_do_not_count() {
        let source: MapSource = [("Bus__fullyQualifiedNamespace", "x"), ("OFF", "True")]
            .into_iter()
            .collect();
        let lookup = Lookup::new(&source);
        assert_eq!(lookup.get("bus:FullyQualifiedNamespace"), Some("x"));
        assert!(lookup.is_true("off") && !lookup.is_true("bus:fullyqualifiednamespace"));
        assert_eq!(lookup.get("bus"), None);
    }
}
