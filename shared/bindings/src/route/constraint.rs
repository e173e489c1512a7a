//! What a route parameter may be: `:int`, `:length(3)`, `:regex(^a)` and their like.
//!
//! The names and the rules are ASP.NET Core's. Patterns run in linear time whatever they are, so
//! that no path can hang the host; what such an engine cannot do (look-around, back-references) is
//! refused with the template.

use regex::{Regex, RegexBuilder};
use uuid::Uuid;

/// The most memory a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// Every name, for error messages.
const NAMES: &str = "alpha, bool, datetime, decimal, double, file, float, guid, int, length, long, \
                     max, maxlength, min, minlength, nonfile, range, regex, required";

/// One constraint of a route parameter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Constraint {
    /// A signed 32-bit number.
    Int,
    /// A signed 64-bit number.
    Long,
    /// `true` or `false` in any case.
    Bool,
    /// A date, a time, or both, as ISO 8601 or as month/day/year.
    DateTime,
    /// A decimal number.
    Decimal,
    /// A decimal number, possibly with an exponent.
    Float,
    /// A GUID with or without dashes and braces.
    Guid,
    /// Latin letters only.
    Alpha,
    /// At least and at most so many characters.
    Length(u64, u64),
    /// A 64-bit number at least and at most this.
    Range(i64, i64),
    /// A text in which the pattern is found, whatever the case.
    Pattern(Regex),
    /// Not empty.
    Required,
    /// A name with an extension, or (false) one without.
    File(bool),
}

/// A constraint that does not exist or whose arguments are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownConstraint {
    /// No constraint has this name.
    #[error("there is no constraint {0:?}; the known ones are {NAMES}")]
    Name(String),
    /// The constraint needs other arguments.
    #[error("the constraint {name:?} needs {needs}")]
    Arguments {
        /// The constraint as written.
        name: String,
        /// What would be right.
        needs: &'static str,
    },
    /// The pattern is wrong or beyond what can run in linear time.
    #[error("the pattern {pattern:?} cannot be used: {what}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The last line of what the parser says.
        what: String,
    },
}

impl Constraint {
    /// Reads a constraint, such as `int` or `length(1,5)`.
    pub fn parse(text: &str) -> Result<Self, UnknownConstraint> {
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(arguments) => (name, Some(arguments)),
                None => return Err(UnknownConstraint::Name(text.to_owned())),
            },
            None => (text, None),
        };
        let plain = |constraint: Self| match arguments {
            None => Ok(constraint),
            Some(_) => Err(UnknownConstraint::Arguments {
                name: text.to_owned(),
                needs: "no arguments",
            }),
        };
        match name.to_ascii_lowercase().as_str() {
            "int" => plain(Self::Int),
            "long" => plain(Self::Long),
            "bool" => plain(Self::Bool),
            "datetime" => plain(Self::DateTime),
            "decimal" => plain(Self::Decimal),
            "float" | "double" => plain(Self::Float),
            "guid" => plain(Self::Guid),
            "alpha" => plain(Self::Alpha),
            "required" => plain(Self::Required),
            "file" => plain(Self::File(true)),
            "nonfile" => plain(Self::File(false)),
            "length" | "minlength" | "maxlength" => length(name, text, arguments),
            "min" | "max" | "range" => range(name, text, arguments),
            "regex" => pattern(text, arguments),
            _ => Err(UnknownConstraint::Name(text.to_owned())),
        }
    }

    /// Whether `value` is as the constraint says.
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Bool => ["true", "false"]
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word)),
            Self::DateTime => is_date_time(value),
            Self::Decimal => is_number(value) && !value.contains(['e', 'E']),
            Self::Float => is_number(value),
            Self::Guid => Uuid::try_parse(value).is_ok() && !value.starts_with("urn"),
            Self::Alpha => {
                !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphabetic())
            }
            Self::Length(least, most) => {
                // .NET counts in UTF-16 units.
                let length = u64::try_from(value.encode_utf16().count()).unwrap_or(u64::MAX);
                (*least..=*most).contains(&length)
            }
            Self::Range(least, most) => value
                .parse::<i64>()
                .is_ok_and(|number| (*least..=*most).contains(&number)),
            Self::Pattern(pattern) => pattern.is_match(value),
            Self::Required => !value.is_empty(),
            Self::File(wanted) => is_file_name(value) == *wanted,
        }
    }

    /// The constraint in one spelling, for comparing routes.
    pub(super) fn canonical(&self) -> String {
        match self {
            Self::Pattern(pattern) => format!("Pattern({})", pattern.as_str()),
            other => format!("{other:?}"),
        }
    }
}

fn length(
    name: &str,
    text: &str,
    arguments: Option<&str>,
) -> Result<Constraint, UnknownConstraint> {
    let numbers: Option<Vec<u64>> = arguments.and_then(numbers);
    let found = match (name.to_ascii_lowercase().as_str(), numbers.as_deref()) {
        ("minlength", Some([least])) => Some((*least, u64::MAX)),
        ("maxlength", Some([most])) => Some((0, *most)),
        ("length", Some([exact])) => Some((*exact, *exact)),
        ("length", Some([least, most])) if least <= most => Some((*least, *most)),
        _ => None,
    };
    found
        .map(|(least, most)| Constraint::Length(least, most))
        .ok_or_else(|| {
            let needs = if name.eq_ignore_ascii_case("length") {
                "one length, or two of which the first is not larger"
            } else {
                "one length"
            };
            UnknownConstraint::Arguments {
                name: text.to_owned(),
                needs,
            }
        })
}

fn range(name: &str, text: &str, arguments: Option<&str>) -> Result<Constraint, UnknownConstraint> {
    let numbers: Option<Vec<i64>> = arguments.and_then(numbers);
    let found = match (name.to_ascii_lowercase().as_str(), numbers.as_deref()) {
        ("min", Some([least])) => Some((*least, i64::MAX)),
        ("max", Some([most])) => Some((i64::MIN, *most)),
        ("range", Some([least, most])) if least <= most => Some((*least, *most)),
        _ => None,
    };
    found
        .map(|(least, most)| Constraint::Range(least, most))
        .ok_or_else(|| {
            let needs = if name.eq_ignore_ascii_case("range") {
                "two whole numbers of which the first is not larger"
            } else {
                "one whole number"
            };
            UnknownConstraint::Arguments {
                name: text.to_owned(),
                needs,
            }
        })
}

fn numbers<T: std::str::FromStr>(arguments: &str) -> Option<Vec<T>> {
    arguments
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect()
}

fn pattern(text: &str, arguments: Option<&str>) -> Result<Constraint, UnknownConstraint> {
    let Some(pattern) = arguments.filter(|pattern| !pattern.is_empty()) else {
        return Err(UnknownConstraint::Arguments {
            name: text.to_owned(),
            needs: "a pattern",
        });
    };
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES)
        .build()
        .map(Constraint::Pattern)
        .map_err(|error| {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            UnknownConstraint::Pattern {
                pattern: pattern.to_owned(),
                what: last.trim_start_matches("error: ").to_owned(),
            }
        })
}

/// A sign, digits with at most one point, perhaps an exponent. No `inf`, no `nan`.
fn is_number(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && value.parse::<f64>().is_ok()
}

fn is_date_time(value: &str) -> bool {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
    const DATES: [&str; 2] = ["%Y-%m-%d", "%m/%d/%Y"];
    const TIMES: [&str; 2] = ["%H:%M:%S%.f", "%H:%M"];
    DateTime::parse_from_rfc3339(value).is_ok()
        || DATES
            .iter()
            .any(|date| NaiveDate::parse_from_str(value, date).is_ok())
        || TIMES
            .iter()
            .any(|time| NaiveTime::parse_from_str(value, time).is_ok())
        || DATES.iter().any(|date| {
            TIMES.iter().any(|time| {
                ["T", " "].iter().any(|between| {
                    NaiveDateTime::parse_from_str(value, &format!("{date}{between}{time}")).is_ok()
                })
            })
        })
}

/// Whether the last part of a path has a dot that something follows.
fn is_file_name(value: &str) -> bool {
    let last = value.rsplit('/').next().unwrap_or_default();
    last.rsplit_once('.')
        .is_some_and(|(_, extension)| !extension.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_constraint_takes_what_it_names() {
        for (constraint, good, bad) in [
            ("int", "-7", "2147483648"),
            ("LONG", "2147483648", "9223372036854775808"),
            ("bool", "True", "1"),
            ("datetime", "2026-01-02T03:04", "2026-13-01"),
            ("decimal", "1.5", "1e5"),
            ("double", "1e5", "inf"),
            ("float", "-.5", "e"),
            ("guid", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "6f9619ff"),
            ("alpha", "aZ", "é"),
            ("length(3)", "abc", "ab"),
            ("length(1, 2)", "ab", "abc"),
            ("minlength(2)", "ab", "a"),
            ("maxlength(2)", "", "abc"),
            ("min(1)", "1", "0"),
            ("max(9)", "-9", "10"),
            ("range(1,3)", "3", "4"),
            ("regex(^a+$)", "AAA", "ab"),
            ("required", "x", ""),
            ("file", "a/b.txt", "a.b/c"),
            ("nonfile", "b.", "b.c"),
        ] {
            let parsed = Constraint::parse(constraint).unwrap();
            assert!(parsed.accepts(good), "{constraint} {good}");
            assert!(!parsed.accepts(bad), "{constraint} {bad}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused_with_what_would_be_one() {
        let error = |text| Constraint::parse(text).unwrap_err().to_string();
        assert!(error("integer").starts_with("there is no constraint \"integer\"; the known ones"));
        assert_eq!(
            error("int(3)"),
            "the constraint \"int(3)\" needs no arguments"
        );
        assert_eq!(
            error("range(3,1)"),
            "the constraint \"range(3,1)\" needs two whole numbers of which the first is not larger"
        );
        assert!(error("regex((?=a))").contains("look-around"));
        assert!(error("length").contains("needs one length"));
        assert!(error("regex(a{1000}{1000})").contains("cannot be used"));
    }
}
