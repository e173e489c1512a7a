//! The names of settings: those in the table of `nightshift settings`, as its source has it, and those that
//! code and documentation name.

use super::rust_text::RustText;
use super::{Checkout, line_of};

/// The source with the table.
pub(crate) const TABLE: &str = "host/cli/src/commands/settings.rs";

/// What our settings begin with, and what those of tests do, which are in no table.
const PREFIX: &str = "NIGHTSHIFT_";
const OF_TESTS: &str = "NIGHTSHIFT_TEST_";

/// A name in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl Mention {
    /// Whether it is a whole family, such as `NIGHTSHIFT_HOST_`.
    pub(crate) fn is_family(&self) -> bool {
        self.name.ends_with('_')
    }
}

/// The settings in the table.
pub(crate) fn listed(checkout: &Checkout) -> Vec<Mention> {
    let text = checkout.text(TABLE).unwrap_or_default();
    let rust = RustText::read(&text).without_tests();
    let Some(begin) = rust.code.find("const SETTINGS:") else {
        return Vec::new();
    };
    let open = rust.code.get(begin..).and_then(|rest| rest.find("= ["));
    let open = open.map_or(begin, |at| begin + at + 2);
    let end = rust.block_end(open).unwrap_or(rust.code.len());
    let rows = ["plain(", "secret("].into_iter().flat_map(|call| {
        let code = rust.code.get(open..end).unwrap_or_default();
        let found = code.match_indices(call);
        found.map(move |(at, _)| open + at + call.len())
    });
    let mut listed: Vec<Mention> = rows
        .filter_map(|at| {
            let argument = rust.code.get(at..end)?.split(',').next()?;
            let mut literals = rust.literals_in(at..at + argument.len());
            let literal = literals.next();
            let literal = literal.or_else(|| rust.constant(argument.trim()))?;
            Some(Mention {
                name: literal.value.clone(),
                file: TABLE.to_owned(),
                line: line_of(&text, literal.at),
            })
        })
        .collect();
    listed.sort_by_key(|mention| mention.line);
    listed
}

/// The settings of ours that the code of our programs names, but for the table itself.
pub(crate) fn in_code(checkout: &Checkout) -> Vec<Mention> {
    let mut found = Vec::new();
    for folder in ["functions", "shared", "host"] {
        for file in checkout.files(folder, ".rs") {
            let is_of_tests = file.ends_with("/tests.rs") || file.contains("/tests/");
            if is_of_tests || file == TABLE {
                continue;
            }
            let text = checkout.text(&file).unwrap_or_default();
            if !text.contains(PREFIX) {
                continue;
            }
            let rust = RustText::read(&text).without_tests();
            for literal in &rust.literals {
                if is_ours(&literal.value) {
                    found.push(Mention {
                        name: literal.value.clone(),
                        line: line_of(&text, literal.at),
                        file: file.clone(),
                    });
                }
            }
        }
    }
    found
}

/// The settings of ours that the file `file` names, which is prose.
pub(crate) fn in_prose(checkout: &Checkout, file: &str) -> Vec<Mention> {
    let text = checkout.text(file).unwrap_or_default();
    let starts = text.match_indices(PREFIX);
    let names = starts.filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let end = rest.find(|letter: char| !is_letter(letter));
        let name = rest.get(..end.unwrap_or(rest.len()))?;
        (name != PREFIX && is_ours(name)).then(|| Mention {
            name: name.to_owned(),
            file: file.to_owned(),
            line: line_of(&text, at),
        })
    });
    names.collect()
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
        && name != PREFIX
        && !name.starts_with(OF_TESTS)
        && name.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_table_the_code_and_the_prose_are_read() {
        let files = [
            (
                TABLE,
                "const LOG: &str = \"NIGHTSHIFT_LOG\";\nconst SETTINGS: [Setting; 2] = [\n    plain(LOG, \"a\", \"b\"),\n    secret(\n        \"NIGHTSHIFT_KEY\",\n        \"a\", \"b\"),\n];\n",
            ),
            (
                "shared/a/src/lib.rs",
                "const A: &str = \"NIGHTSHIFT_KEY\";\n#[cfg(test)]\nmod tests { const B: &str = \"NIGHTSHIFT_B\"; }\n",
            ),
            ("README.md", "`NIGHTSHIFT_LOG=info` and `NIGHTSHIFT_HOST_…`"),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let checkout = Checkout::new(Path::new("/nonexistent")).with(BTreeMap::from(files));
        let names = |mentions: Vec<Mention>| -> Vec<(String, usize)> {
            let named = mentions.into_iter().map(|found| (found.name, found.line));
            named.collect()
        };
        let key = || "NIGHTSHIFT_KEY".to_owned();
        let log = || "NIGHTSHIFT_LOG".to_owned();
        assert_eq!(names(listed(&checkout)), [(log(), 1), (key(), 5)]);
        assert_eq!(names(in_code(&checkout)), [(key(), 1)]);
        let family = "NIGHTSHIFT_HOST_".to_owned();
        let prose = names(in_prose(&checkout, "README.md"));
        assert_eq!(prose, [(log(), 1), (family, 1)]);
    }
}
