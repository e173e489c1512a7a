//! One segment of a template: a text, a parameter, or both side by side.
//!
//! What ASP.NET calls a complex segment (`{name}.{kind}`, `v{version}-x`) is matched from its end: a
//! text is looked for as far to the right as it can stand, and what lies between two texts is the
//! parameter's. So `{a}-{b}` takes `x-y-z` as `x-y` and `z`. No parameter may be empty, and two must
//! have a text between them. The last one may be left out together with the dot before it
//! (`{name}.{kind?}`).

use super::parameter::{Parameter, read_parameter};
use super::template::RouteError;

/// A segment.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// In lower case.
    Literal(String),
    Parameter(Parameter),
    Complex(Vec<Part>),
}

/// A part of a complex segment.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// In lower case.
    Text(String),
    Parameter(Parameter),
}

/// What stands between two slashes of a path gave for the parameters.
pub(super) type Values<'a> = Vec<(&'a Parameter, Option<String>)>;

impl Segment {
    /// Reads what stands between two slashes of a template.
    pub(super) fn parse(text: &str) -> Result<Self, RouteError> {
        if text.is_empty() {
            return Err(RouteError::EmptySegment);
        }
        let parts = split(text)?;
        match parts.as_slice() {
            [Part::Text(text)] => Ok(Self::Literal(text.clone())),
            [Part::Parameter(parameter)] => Ok(Self::Parameter(parameter.clone())),
            _ => {
                check_neighbours(text, &parts)?;
                Ok(Self::Complex(parts))
            }
        }
    }

    /// All parameters, from left to right.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let (single, parts): (_, &[Part]) = match self {
            Self::Literal(_) => (None, &[]),
            Self::Parameter(parameter) => (Some(parameter), &[]),
            Self::Complex(parts) => (None, parts),
        };
        let parts = parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Parameter(parameter) => Some(parameter),
        });
        single.into_iter().chain(parts)
    }
}

/// Takes `text` apart at its braces. Braces that are meant as such are written twice.
fn split(text: &str) -> Result<Vec<Part>, RouteError> {
    let wrong = || RouteError::Segment(text.to_owned());
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '{' | '}' if chars.peek() == Some(&char) => {
                chars.next();
                literal.push(char);
            }
            '{' => {
                let mut inner = String::new();
                loop {
                    match chars.next().ok_or_else(wrong)? {
                        brace @ ('{' | '}') if chars.peek() == Some(&brace) => {
                            chars.next();
                            inner.push(brace);
                        }
                        '{' => return Err(wrong()),
                        '}' => break,
                        other => inner.push(other),
                    }
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Parameter(read_parameter(&inner)?));
            }
            '}' | '?' | '*' | ' ' => return Err(wrong()),
            other => literal.extend(other.to_lowercase()),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

fn check_neighbours(text: &str, parts: &[Part]) -> Result<(), RouteError> {
    let last = parts.len() - 1;
    let mut before: Option<&Part> = None;
    for (index, part) in parts.iter().enumerate() {
        if let Part::Parameter(parameter) = part {
            if matches!(before, Some(Part::Parameter(_))) {
                return Err(RouteError::Neighbours(text.to_owned()));
            }
            if parameter.is_catch_all {
                return Err(RouteError::CatchAllNotLast(parameter.name.clone()));
            }
            let is_behind_dot = matches!(before, Some(Part::Text(text)) if text == ".");
            if parameter.is_optional && !(index == last && is_behind_dot) {
                return Err(RouteError::OptionalInside(parameter.name.clone()));
            }
        }
        before = Some(part);
    }
    Ok(())
}

/// What `given` gives for the parameters of a complex segment; `None` if it does not match.
pub(super) fn match_complex<'a>(parts: &'a [Part], given: &str) -> Option<Values<'a>> {
    let given: Vec<char> = given.chars().collect();
    if let Some(values) = match_parts(parts, &given) {
        return Some(values);
    }
    // Perhaps the last parameter was left out, with its dot.
    let [rest @ .., Part::Text(_), Part::Parameter(last)] = parts else {
        return None;
    };
    if !last.is_optional || given.last() == Some(&'.') {
        return None;
    }
    let mut values = match_parts(rest, &given)?;
    values.push((last, None));
    Some(values)
}

fn match_parts<'a>(parts: &'a [Part], given: &[char]) -> Option<Values<'a>> {
    let mut values = Values::new();
    let mut end = given.len();
    let mut pending: Option<&Parameter> = None;
    for (index, part) in parts.iter().enumerate().rev() {
        let text = match part {
            Part::Parameter(parameter) => {
                pending = Some(parameter);
                continue;
            }
            Part::Text(text) => text,
        };
        let text: Vec<char> = text.chars().collect();
        // A pending parameter needs a character at least.
        let most = end.checked_sub(usize::from(pending.is_some()))?;
        let start = last_index_of(&given[..most], &text)?;
        let behind = start + text.len();
        let is_last = index == parts.len() - 1;
        if is_last && behind != given.len() || index == 0 && start != 0 {
            return None;
        }
        if let Some(parameter) = pending.take() {
            values.push((parameter, Some(given[behind..end].iter().collect())));
        }
        end = start;
    }
    match pending {
        Some(parameter) if end > 0 => {
            values.push((parameter, Some(given[..end].iter().collect())));
        }
        Some(_) => return None,
        None if end > 0 => return None,
        None => {}
    }
    values.reverse();
    Some(values)
}

/// Where `text`, which is in lower case, stands last in `given`, whatever its case.
fn last_index_of(given: &[char], text: &[char]) -> Option<usize> {
    let is_same = |window: &[char]| {
        let lower = window.iter().flat_map(|char| char.to_lowercase());
        lower.eq(text.iter().copied())
    };
    let latest = given.len().checked_sub(text.len())?;
    (0..=latest)
        .rev()
        .find(|start| is_same(&given[*start..start + text.len()]))
}
