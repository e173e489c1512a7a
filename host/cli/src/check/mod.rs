//! What must agree in a checkout, and does not: each module compares one kind of things.
//!
//! A queue, a schedule, a setting and a function have their names in several files, because tools of
//! others read some of them. Whoever changes one of these names in one place only gets all the others told.

mod functions;
mod handler;
mod queues;
mod settings;
mod workspace;

use serde::Serialize;

use crate::checkout::Checkout;
use crate::checkout::page::{self, PAGE};

pub(crate) use handler::compare as with_handler;

/// The documents whose names of functions, queues and settings must be real ones. The others speak of
/// anybody's applications.
const DOCUMENTS: [&str; 4] = [
    "README.md",
    "docs/ARCHITECTURE.md",
    "docs/GUARANTEES.md",
    "docs/RECIPES.md",
];

/// One disagreement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// Where it is to be seen, below the checkout's root.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: Option<usize>,
    /// What is there.
    pub(crate) found: String,
    /// What is expected.
    pub(crate) expected: String,
    /// How to mend it.
    pub(crate) mend: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let Self {
            found,
            expected,
            mend,
            ..
        } = self;
        write!(f, ": {found}; expected {expected}: {mend}")
    }
}

/// A place and what is wrong there, under construction.
fn at(file: &str, line: impl Into<Option<usize>>, found: impl Into<String>) -> Finding {
    Finding {
        file: file.to_owned(),
        line: line.into(),
        found: found.into(),
        expected: String::new(),
        mend: String::new(),
    }
}

impl Finding {
    fn expected(self, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        Self { expected, ..self }
    }

    fn mend(self, mend: impl Into<String>) -> Self {
        let mend = mend.into();
        Self { mend, ..self }
    }
}

/// Everything in `checkout` that does not agree, by file and line.
pub(crate) fn findings(checkout: &Checkout) -> Vec<Finding> {
    let mut all = Vec::new();
    functions::compare(checkout, &mut all);
    queues::compare(checkout, &mut all);
    workspace::compare(checkout, &mut all);
    settings::compare(checkout, &mut all);
    page_of_functions(checkout, &mut all);
    all.sort();
    all.dedup();
    all
}

fn page_of_functions(checkout: &Checkout, all: &mut Vec<Finding>) {
    let wanted = page::render(checkout);
    let found = checkout.text(PAGE).unwrap_or_default();
    if found == wanted {
        return;
    }
    let same = found.lines().zip(wanted.lines());
    let line = same.take_while(|(found, wanted)| found == wanted).count();
    let there = found.lines().nth(line).unwrap_or("nothing");
    let expected = wanted.lines().nth(line).unwrap_or("the end");
    all.push(
        at(PAGE, line + 1, format!("stale: {there}"))
            .expected(expected)
            .mend("run `nightshift check --write`"),
    );
}
