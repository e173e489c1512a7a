//! What is wrong with a schedule, and where.

use std::fmt;
use std::ops::Range;

use super::field::Field;

/// Longest piece of an expression that an error repeats, in characters.
const LONGEST_QUOTE: usize = 40;

/// A schedule that cannot be understood, or that would never run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    span: Range<usize>,
    field: Option<Field>,
    /// Part of the message rather than its source, so that a chain does not say it twice.
    reason: Reason,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Neither five nor six fields, and no time span either.
    #[error(
        "expected 5 fields (minute hour day month day-of-week), 6 (second first) or a time span \
         such as 01:30:00, found {found} {}", if *found == 1 { "field" } else { "fields" }
    )]
    FieldCount {
        /// How many pieces the spaces make.
        found: usize,
    },
    /// Nothing where a value has to be: `1,`, `1-`, `*/`.
    #[error("a value is missing")]
    MissingValue,
    /// A number outside the field's range.
    #[error("{value} is not between {first} and {last}{}", sunday_hint(*value, *last))]
    OutOfRange {
        /// The number.
        value: u32,
        /// The smallest value of the field.
        first: u32,
        /// The largest one.
        last: u32,
    },
    /// A number that does not fit into 32 bits, on which the original fails in its own way.
    #[error("{text} does not fit into 32 bits")]
    TooLarge {
        /// The number as written, shortened.
        text: String,
    },
    /// Neither a number nor, where the field has names, the beginning of one.
    #[error("{text:?} is not a number{}", if *has_names { " or the beginning of an English name" } else { "" })]
    NotAValue {
        /// What stands there, shortened.
        text: String,
        /// Whether the field knows names.
        has_names: bool,
    },
    /// `+` or `-` before a value.
    #[error("a value has no sign")]
    Signed,
    /// A second `-` in one item of a list.
    #[error("an item of a list has one `-` at most")]
    SecondDash,
    /// A second `/` in one item of a list.
    #[error("an item of a list has one `/` at most")]
    SecondSlash,
    /// Something that other kinds of cron know: `?`, `L`, `W`, `#`.
    #[error("`{0}` is not part of NCRONTAB")]
    Foreign(char),
    /// `@hourly` and its like.
    #[error("macros such as @hourly are not part of NCRONTAB")]
    Macro,
    /// A tab, a line break or another blank between two fields.
    #[error("only spaces separate fields")]
    NotASpace,
    /// No year has such a date: `30 2`, or `31` in months that have fewer days.
    #[error("none of these days exists in any of these months, so this would never run")]
    NeverOccurs,
    /// Digits, colons and points that are no time span.
    #[error("expected a time span such as hh:mm:ss or d.hh:mm:ss")]
    NotATimeSpan,
    /// A part of a time span above its limit.
    #[error("{value} {part} in a time span, where {last} is the most")]
    TimeSpanPart {
        /// `hours`, `minutes` and so on.
        part: &'static str,
        /// The number.
        value: u32,
        /// The largest one.
        last: u32,
    },
    /// A time span of zero or less, which would run without a pause.
    #[error("a time span has to be longer than zero")]
    NotPositive,
}

/// Most other kinds of cron take 7 for Sunday.
fn sunday_hint(value: u32, last: u32) -> &'static str {
    if value == 7 && last == Field::DayOfWeek.last() {
        "; Sunday is 0"
    } else {
        ""
    }
}

impl ParseError {
    /// An error at the bytes `at` of `text`, which begin and end at characters.
    pub(super) fn new(text: &str, at: Range<usize>, field: Option<Field>, reason: Reason) -> Self {
        let characters = |end: usize| text.get(..end).map_or(0, |start| start.chars().count());
        Self {
            span: characters(at.start)..characters(at.end),
            field,
            reason,
        }
    }

    /// What is wrong.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The field it is in, if it is in one.
    pub const fn field(&self) -> Option<Field> {
        self.field
    }

    /// Where it is: characters, counted from 0. Empty where something is missing.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Two lines: `expression`, from which the error came, and carets under the wrong part.
    /// Control characters are replaced, so that the columns agree and a terminal comes to no harm.
    pub fn pointer(&self, expression: &str) -> String {
        let shown: String = expression
            .chars()
            .map(|character| match character {
                character if character.is_control() => char::REPLACEMENT_CHARACTER,
                character => character,
            })
            .collect();
        let width = self.span.len().max(1);
        format!(
            "{shown}\n{:indent$}{:^>width$}",
            "",
            "",
            indent = self.span.start
        )
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "character {}", self.span.start + 1)?;
        if let Some(field) = self.field {
            write!(formatter, ", {field}")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

/// `text`, or its beginning when it is long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
