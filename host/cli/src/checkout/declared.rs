//! The functions that a job's sources declare: `impl BatchFunction for Work`, with its constants.

use std::ops::Range;

use super::rust_text::{Literal, RustText, is_word};
use super::{Checkout, JOBS, line_of};

/// The traits of functions, each with the method of the registry that takes it and how people call it.
const SHAPES: [(&str, &str, &str); 6] = [
    ("BatchFunction", "with_batch", "batch"),
    (
        "TransactionalFunction",
        "with_transactional",
        "transactional",
    ),
    ("ExternalFunction", "with_external", "external"),
    ("LongFunction", "with_long", "long"),
    ("ScheduledFunction", "with_schedule", "schedule"),
    ("HttpFunction", "with_http", "HTTP"),
];

/// A text and the line on which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// One function as its source declares it. What is not a literal there is `None`.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) job: String,
    pub(crate) type_name: String,
    /// The method of the registry that takes it.
    pub(crate) method: &'static str,
    /// How people call its shape.
    pub(crate) shape: &'static str,
    pub(crate) name: Option<Found>,
    /// The path in its `include_str!`.
    pub(crate) config: Option<Found>,
    pub(crate) cron: Option<Found>,
    pub(crate) zone: Option<Found>,
    /// The type of its messages.
    pub(crate) input: Option<String>,
    /// The source.
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl Declared {
    /// Its name, or the next best thing.
    pub(crate) fn title(&self) -> String {
        match &self.name {
            Some(name) => name.text.clone(),
            None => format!("{}::{}", krate(&self.job), self.type_name),
        }
    }

    /// The `function.json` that it embeds, below the checkout's root.
    pub(crate) fn config_file(&self) -> Option<String> {
        let folder = self.file.rsplit_once('/')?.0;
        let mut parts: Vec<&str> = folder.split('/').collect();
        for part in self.config.as_ref()?.text.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." => {}
                part => parts.push(part),
            }
        }
        Some(parts.join("/"))
    }
}

/// The name of a job's crate in Rust.
pub(crate) fn krate(job: &str) -> String {
    format!("nightshift_{}", job.replace('-', "_"))
}

/// Every function that the jobs of `checkout` declare, by job and place.
pub(crate) fn declared(checkout: &Checkout) -> Vec<Declared> {
    let mut all = Vec::new();
    for job in checkout.jobs() {
        for file in checkout.files(&format!("{JOBS}/{job}/src"), ".rs") {
            let text = checkout.text(&file).unwrap_or_default();
            if !SHAPES.iter().any(|(shape, _, _)| text.contains(shape)) {
                continue;
            }
            let source = Source {
                rust: RustText::read(&text).without_tests(),
                text,
                job: job.clone(),
                file,
            };
            source.functions(&mut all);
        }
    }
    all
}

struct Source {
    text: String,
    rust: RustText,
    job: String,
    file: String,
}

impl Source {
    fn functions(&self, all: &mut Vec<Declared>) {
        let code = &self.rust.code;
        for (at, _) in code.match_indices("impl") {
            let before = code.get(..at).and_then(|text| text.chars().last());
            let Some(rest) = code.get(at + 4..) else {
                continue;
            };
            if before.is_some_and(is_word) || rest.starts_with(is_word) {
                continue;
            }
            let Some(open) = rest.find('{').map(|open| at + 4 + open) else {
                continue;
            };
            let head = code.get(at + 4..open).unwrap_or_default();
            let Some((shape, type_name)) = shape_of(head) else {
                continue;
            };
            let end = self.rust.block_end(open).unwrap_or(code.len());
            all.push(self.function(shape, type_name, at, open..end));
        }
    }

    fn function(
        &self,
        (_, method, shape): (&str, &'static str, &'static str),
        type_name: &str,
        at: usize,
        body: Range<usize>,
    ) -> Declared {
        let value = |name: &str| Some(self.found(self.rust.value_of(name, body.clone())?));
        let code = self.rust.code.get(body.clone()).unwrap_or_default();
        let schedule = code.find("const SCHEDULE").and_then(|at| {
            let begin = body.start + at;
            let open = begin + self.rust.code.get(begin..body.end)?.find('{')?;
            Some(open..self.rust.block_end(open)?)
        });
        let of_schedule = |name: &str| {
            let range = schedule.clone()?;
            Some(self.found(self.rust.value_of(name, range)?))
        };
        let input = code.split("type Input =").nth(1);
        Declared {
            job: self.job.clone(),
            type_name: type_name.to_owned(),
            method,
            shape,
            name: value("const NAME"),
            config: value("const CONFIG"),
            cron: of_schedule("cron"),
            zone: of_schedule("zone"),
            input: input.and_then(|rest| Some(rest.split(';').next()?.trim().to_owned())),
            file: self.file.clone(),
            line: line_of(&self.text, at),
        }
    }

    fn found(&self, literal: &Literal) -> Found {
        Found {
            text: literal.value.clone(),
            line: line_of(&self.text, literal.at),
        }
    }
}

type Shape = (&'static str, &'static str, &'static str);

/// The shape and the type in what stands between `impl` and the bracket, if it is a function's.
fn shape_of(head: &str) -> Option<(Shape, &str)> {
    let (of, name) = head.split_once(" for ")?;
    let of = of.trim().rsplit([':', ' ', '>']).next()?;
    let shape = SHAPES.into_iter().find(|(shape, ..)| *shape == of)?;
    let name = name.trim();
    let end = name.find(|letter| !is_word(letter)).unwrap_or(name.len());
    Some((shape, name.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_of_a_function_are_found_with_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let source = "\
/// impl BatchFunction for Nobody { const NAME }
impl<T> nightshift_job::ScheduledFunction for Schedule {
    const NAME: &'static str = \"a-schedule\";
    const CONFIG: &'static str = include_str!(\"../schedule/function.json\");
    const SCHEDULE: nightshift_job::Schedule = nightshift_job::Schedule {
        cron: CRON,
        overlap: Overlap::Skip,
        ..nightshift_job::Schedule::DEFAULT
    };
    type Input = Due;
}
const CRON: &str = \"0 0 3 * * *\";
impl Display for Schedule {}
";
        let file = folder.path().join("functions/a/src/lib.rs");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(folder.path().join("functions/a/Cargo.toml"), "").unwrap();
        std::fs::write(file, source).unwrap();
        let all = declared(&Checkout::new(folder.path()));
        assert_eq!(all.len(), 1);
        let found = &all[0];
        assert_eq!((found.type_name.as_str(), found.line), ("Schedule", 2));
        assert_eq!(found.method, "with_schedule");
        let name = found.name.clone().unwrap();
        assert_eq!((name.text.as_str(), name.line), ("a-schedule", 3));
        let config = found.config_file().unwrap();
        assert_eq!(config, "functions/a/schedule/function.json");
        assert_eq!(found.cron.clone().unwrap().text, "0 0 3 * * *");
        assert_eq!(found.zone, None);
        assert_eq!(found.input.as_deref(), Some("Due"));
    }
}
