//! What is wrong with a configuration file, and exactly where.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the file, at a line and a column counted from 1.
    Text {
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In a setting that overrides the file.
    Setting(String),
    /// Nowhere: the value is missing.
    Absent,
}

/// One problem of one configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// The path of the value, such as `extensions.serviceBus.prefetchCount`; empty for the whole
    /// document.
    pub path: String,
    /// What is wrong and what would be right.
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match &self.place {
            Place::Text { line, column } => write!(f, ":{line}:{column}")?,
            Place::Setting(name) => write!(f, " (setting {name})")?,
            Place::Absent => {}
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ConfigProblem {}

/// All problems of a file, in the order in which they were found. Displays as one line each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigProblems(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}
