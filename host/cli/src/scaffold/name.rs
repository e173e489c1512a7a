//! The name of a job, and what it is called in Rust.

use crate::checkout::declared::krate;
use crate::checkout::manifest::{Manifest, PREFIX, WORKSPACE};
use crate::checkout::{Checkout, JOBS};

/// The longest name: that of its schedule, `<job>-schedule`, leaves room for the names of its ticks.
const MAX_LENGTH: usize = nightshift_job::MAX_NAME_LENGTH - "-schedule".len();

/// Names that mean something else as a module of Rust or as a folder of the project.
const RESERVED: [&str; 56] = [
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "functions",
    "gen",
    "handler",
    "host",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "registry",
    "return",
    "self",
    "src",
    "static",
    "struct",
    "super",
    "target",
    "test",
    "tests",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "yield",
];

/// Why a name cannot be that of a job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadName {
    #[error(
        "{0:?} is no name for a job: lower-case letters, digits and single dashes, with a letter first and no dash last"
    )]
    Letters(String),
    #[error("{0} is too long for the name of a job, at most {MAX_LENGTH} characters")]
    Long(String),
    #[error("{0} means something else; choose another name")]
    Reserved(String),
}

/// A job's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Such as `token-cleanup`.
    pub(crate) name: String,
    /// Such as `token_cleanup`.
    pub(crate) module: String,
    /// Such as `TokenCleanup`.
    pub(crate) type_name: String,
}

impl Job {
    pub(crate) fn parse(name: &str) -> Result<Self, BadName> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_sound = name.starts_with(|letter: char| letter.is_ascii_lowercase())
            && name.bytes().all(is_allowed)
            && !name.ends_with('-')
            && !name.contains("--");
        if !is_sound {
            return Err(BadName::Letters(name.to_owned()));
        }
        if name.len() > MAX_LENGTH {
            return Err(BadName::Long(name.to_owned()));
        }
        if RESERVED.contains(&name) {
            return Err(BadName::Reserved(name.to_owned()));
        }
        let words = name.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        });
        Ok(Self {
            name: name.to_owned(),
            module: name.replace('-', "_"),
            type_name: words.collect(),
        })
    }

    /// What in `checkout` has the name already.
    pub(crate) fn taken(&self, checkout: &Checkout) -> Option<String> {
        let folder = format!("{JOBS}/{}", self.name);
        let module = format!("shared/contract/src/{}.rs", self.module);
        if let Some(there) = [folder, module]
            .into_iter()
            .find(|path| checkout.exists(path))
        {
            return Some(there);
        }
        let is_same = |other: &str| krate(other) == krate(&self.name);
        if let Some(job) = checkout.jobs().into_iter().find(|job| is_same(job)) {
            return Some(format!("the job {job}"));
        }
        let text = checkout.text(WORKSPACE).unwrap_or_default();
        let workspace = Manifest::read(WORKSPACE, text).ok()?;
        let crates = workspace.dependencies(&["workspace", "dependencies"]);
        let package = format!("{PREFIX}{}", self.name);
        let taken = crates.into_iter().find(|named| named.name == package)?;
        Some(format!("the crate {}", taken.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_nonsense_is_refused() {
        let job = Job::parse("token-cleanup-2").unwrap();
        assert_eq!(job.module, "token_cleanup_2");
        assert_eq!(job.type_name, "TokenCleanup2");
        for bad in [
            "", "A", "1a", "a_b", "a-", "-a", "a--b", "ü", "a b", "a/b", "..", "type",
        ] {
            assert!(Job::parse(bad).is_err(), "{bad}");
        }
        assert!(Job::parse(&"a".repeat(MAX_LENGTH)).is_ok());
        let long = Job::parse(&"a".repeat(MAX_LENGTH + 1)).unwrap_err();
        assert!(long.to_string().contains("at most 41"), "{long}");
    }
}
