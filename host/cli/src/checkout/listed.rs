//! The list of functions in `functions/registry.rs`: one call of a `with_…` method for each.

use super::REGISTRY;
use super::declared::krate;
use super::rust_text::{RustText, is_word};

/// What the list begins with.
const BEGIN: &str = "    empty";

/// The list, and what stands around it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The lines up to the first entry.
    before: Vec<String>,
    pub(crate) entries: Vec<Entry>,
    /// The lines from the end of the function on.
    after: Vec<String>,
}

/// One function in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The crate in Rust, such as `nightshift_housekeeping`; empty if nothing says which.
    pub(crate) krate: String,
    pub(crate) type_name: String,
    pub(crate) method: String,
    pub(crate) line: usize,
    /// The call without its question mark.
    call: String,
}

/// The file is not as it is known.
#[derive(Debug, thiserror::Error)]
#[error(
    "{REGISTRY}:{line}: {found:?} is no line of the list; it must be `    empty` and below it one line `        .with_…(…)?` for each function, the last without `?`"
)]
pub(crate) struct Unexpected {
    pub(crate) line: usize,
    pub(crate) found: String,
}

impl Listed {
    pub(crate) fn read(text: &str) -> Result<Self, Unexpected> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let unexpected = |at: usize| Unexpected {
            line: at + 1,
            found: lines.get(at).cloned().unwrap_or_default(),
        };
        let begin = lines.iter().position(|line| line == BEGIN);
        let begin = begin.ok_or_else(|| unexpected(lines.len()))? + 1;
        let length = lines.iter().skip(begin).position(|line| line == "}");
        let end = begin + length.ok_or_else(|| unexpected(lines.len()))?;
        let uses = uses(text);
        let mut entries = Vec::new();
        for (at, line) in lines.iter().enumerate().take(end).skip(begin) {
            let entry = Entry::read(line, at + 1, &uses).ok_or_else(|| unexpected(at))?;
            let is_last = at + 1 == end;
            if line.ends_with('?') == is_last {
                return Err(unexpected(at));
            }
            entries.push(entry);
        }
        Ok(Self {
            before: lines.iter().take(begin).cloned().collect(),
            entries,
            after: lines.iter().skip(end).cloned().collect(),
        })
    }

    /// Puts the functions of `job` where they belong in the alphabet; each is a method and a type.
    pub(crate) fn insert(&mut self, job: &str, functions: &[(&str, &str)]) {
        let krate = krate(job);
        let at = self.entries.iter().position(|entry| entry.krate > krate);
        let at = at.unwrap_or(self.entries.len());
        let new = functions.iter().map(|(method, type_name)| Entry {
            krate: krate.clone(),
            type_name: (*type_name).to_owned(),
            method: (*method).to_owned(),
            line: 0,
            call: format!("        .{method}({krate}::{type_name})"),
        });
        self.entries.splice(at..at, new);
    }

    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let last = self.entries.len().saturating_sub(1);
        let entries = self.entries.iter().enumerate().map(|(at, entry)| {
            let mark = if at == last { "" } else { "?" };
            format!("{}{mark}", entry.call)
        });
        let lines = self.before.iter().cloned().chain(entries);
        let lines: Vec<String> = lines.chain(self.after.iter().cloned()).collect();
        lines.join("\n") + "\n"
    }
}

impl Entry {
    fn read(line: &str, number: usize, uses: &[(String, String)]) -> Option<Self> {
        let call = line.strip_suffix('?').unwrap_or(line);
        let rest = call.strip_prefix("        .")?;
        let (method, argument) = rest.split_once('(')?;
        let argument = argument.strip_suffix(')')?;
        if !method.starts_with("with_") {
            return None;
        }
        let end = argument.find(|letter| !is_word(letter) && letter != ':');
        let path = argument.get(..end.unwrap_or(argument.len()))?;
        let mut parts = path.split("::").filter(|part| !part.is_empty());
        let first = parts.next()?;
        let (krate, type_name) = if first.starts_with("nightshift_") {
            (first.to_owned(), parts.next()?)
        } else {
            let found = uses.iter().find(|(name, _)| name == first);
            (
                found.map(|(_, krate)| krate.clone()).unwrap_or_default(),
                first,
            )
        };
        Some(Self {
            krate,
            type_name: type_name.to_owned(),
            method: method.to_owned(),
            line: number,
            call: call.to_owned(),
        })
    }
}

/// The names that the file uses, each with the crate it comes from.
fn uses(text: &str) -> Vec<(String, String)> {
    let code = RustText::read(text).code;
    let statements = code.split(';').filter_map(|statement| {
        let statement = statement.trim();
        let path = statement.strip_prefix("pub ").unwrap_or(statement);
        path.strip_prefix("use ")?.split_once("::")
    });
    let names = statements.flat_map(|(krate, rest)| {
        let rest = rest.trim_matches(['{', '}', '\n', ' ']);
        let names = rest.split(',').map(|name| name.trim().to_owned());
        names.map(move |name| (name, krate.to_owned()))
    });
    names.filter(|(name, _)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! The list.

pub use nightshift_admin::Access;
use nightshift_admin::{Api};

pub fn registry(empty: Registry) -> R {
    empty
        .with_http(Api::new(access))?
        .with_batch(nightshift_notifications::Dispatch)
}
";

    #[test]
    fn entries_are_read_and_new_ones_put_at_their_places() {
        let mut listed = Listed::read(TEXT).unwrap();
        assert_eq!(listed.render(), TEXT);
        let found = listed.entries.iter().map(|entry| {
            (
                entry.krate.as_str(),
                entry.type_name.as_str(),
                entry.method.as_str(),
                entry.line,
            )
        });
        let found: Vec<_> = found.collect();
        let expected = [
            ("nightshift_admin", "Api", "with_http", 8),
            ("nightshift_notifications", "Dispatch", "with_batch", 9),
        ];
        assert_eq!(found, expected);
        listed.insert(
            "zoo",
            &[("with_schedule", "Schedule"), ("with_batch", "Work")],
        );
        listed.insert("big-job", &[("with_http", "Api")]);
        let text = listed.render();
        let list = text.split("empty\n").nth(1).unwrap();
        assert_eq!(
            list,
            "        .with_http(Api::new(access))?
        .with_http(nightshift_big_job::Api)?
        .with_batch(nightshift_notifications::Dispatch)?
        .with_schedule(nightshift_zoo::Schedule)?
        .with_batch(nightshift_zoo::Work)
}
"
        );
        assert!(Listed::read(&text).is_ok());
    }

    #[test]
    fn a_file_of_another_shape_is_refused_with_its_line() {
        let broken = TEXT.replace("        .with_http(Api::new(access))?", "        // a note");
        let error = Listed::read(&broken).unwrap_err().to_string();
        assert!(error.starts_with("functions/registry.rs:8: "), "{error}");
        assert!(Listed::read("").is_err());
    }
}
