//! Everything that is wrong with the settings, as one table.

use std::fmt;

/// One thing that is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The setting's name.
    pub name: String,
    /// What is wrong and what would be right; never the value of a secret.
    pub what: String,
}

impl Problem {
    /// A problem of the setting `name`.
    pub fn new(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
        }
    }
}

/// All problems found, in the order in which the settings were read. Displays as a table with one
/// line per problem under a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        writeln!(f, "{} {plural} in the settings:", self.0.len())?;
        let width = self
            .0
            .iter()
            .map(|problem| problem.name.chars().count())
            .max()
            .unwrap_or(0);
        for problem in &self.0 {
            writeln!(f, "  {:width$}  {}", problem.name, problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
