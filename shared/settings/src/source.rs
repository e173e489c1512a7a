//! Where settings come from.

use std::collections::BTreeMap;

/// A set of named texts.
pub trait Source {
    /// The value of `name`; an empty text counts as absent.
    fn get(&self, name: &str) -> Option<String>;

    /// Every name that is set.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process. Names or values that are not UTF-8 count as absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment;

impl Source for Environment {
    fn get(&self, name: &str) -> Option<String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the environment"
        )]
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }
}

/// Settings held in memory, for tests and for processes that prepare another's environment.
#[derive(Debug, Clone, Default)]
pub struct MapSource(BTreeMap<String, String>);

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for MapSource {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Source for MapSource {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
