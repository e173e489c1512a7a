//! A route's template: reading, matching, comparing.

use std::fmt::{self, Write};

use super::constraint::{Constraint, UnknownConstraint};

/// The most segments of a template: nobody writes more, and matching is bounded.
const MAX_SEGMENTS: usize = 64;

/// What a path gave for each parameter, in the template's order; `None` where an optional one was
/// left out.
pub type RouteValues = Vec<(String, Option<String>)>;

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// There is nothing between two slashes, or before the first.
    #[error("has an empty segment: write it without // and without a slash at its ends")]
    EmptySegment,
    /// A brace has no partner, or a text and a parameter share a segment.
    #[error("the segment {0:?} is neither a text nor one {{parameter}}")]
    Segment(String),
    /// A parameter has no name or one with forbidden characters.
    #[error("{0:?} is no parameter name: letters, digits, _ and - are")]
    Name(String),
    /// Two parameters share a name.
    #[error("has two parameters called {0:?}")]
    Duplicate(String),
    /// Something stands behind a catch-all.
    #[error("the catch-all parameter {0:?} must be the last segment")]
    CatchAllNotLast(String),
    /// A parameter is optional and has a default.
    #[error("the parameter {0:?} has a default, so it cannot be optional, too")]
    OptionalDefault(String),
    /// A constraint is wrong.
    #[error("the parameter {name:?}: {source}")]
    Constraint {
        /// The parameter.
        name: String,
        /// What is wrong.
        source: UnknownConstraint,
    },
    /// There are too many segments.
    #[error("has more than {MAX_SEGMENTS} segments")]
    TooLong,
}

#[derive(Debug, Clone)]
enum Segment {
    /// In lower case.
    Literal(String),
    Parameter(Parameter),
}

#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    constraints: Vec<Constraint>,
    default: Option<String>,
    is_optional: bool,
    is_catch_all: bool,
}

/// A template that has been read.
#[derive(Debug, Clone)]
pub struct RouteTemplate {
    text: String,
    segments: Vec<Segment>,
}

impl RouteTemplate {
    /// Reads `text`, such as `api/orders/{id:int?}`. The empty text is the root.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let mut segments: Vec<Segment> = Vec::new();
        if !text.is_empty() {
            for part in split_segments(text) {
                let segment = read_segment(part)?;
                if let Some(Segment::Parameter(last)) = segments.last()
                    && last.is_catch_all
                {
                    return Err(RouteError::CatchAllNotLast(last.name.clone()));
                }
                if let Segment::Parameter(new) = &segment {
                    let is_same = |other: &Parameter| other.name.eq_ignore_ascii_case(&new.name);
                    if parameters(&segments).any(is_same) {
                        return Err(RouteError::Duplicate(new.name.clone()));
                    }
                }
                segments.push(segment);
                if segments.len() > MAX_SEGMENTS {
                    return Err(RouteError::TooLong);
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    /// What `path`, split at its slashes and decoded, gives for the parameters; `None` if it does
    /// not match. A slash at the path's end should be taken away before.
    pub fn matches(&self, path: &[String]) -> Option<RouteValues> {
        let mut values = RouteValues::new();
        let mut rest = path;
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => {
                    let (first, tail) = rest.split_first()?;
                    if first.to_lowercase() != *text {
                        return None;
                    }
                    rest = tail;
                }
                Segment::Parameter(parameter) => {
                    let given = match rest.split_first() {
                        _ if parameter.is_catch_all => {
                            let all = rest.join("/");
                            rest = &[];
                            Some(all).filter(|all| !all.is_empty())
                        }
                        Some((first, _)) if first.is_empty() => return None,
                        Some((first, tail)) => {
                            rest = tail;
                            Some(first.clone())
                        }
                        None => None,
                    };
                    if !parameter.accepts(given.as_deref()) {
                        return None;
                    }
                    let value = given.or_else(|| parameter.default.clone());
                    values.push((parameter.name.clone(), value));
                }
            }
        }
        rest.is_empty().then_some(values)
    }

    /// Sorts the most special template first.
    pub fn precedence(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 1,
            Segment::Parameter(parameter) => {
                let base = if parameter.is_catch_all { 4 } else { 2 };
                base + u8::from(parameter.constraints.is_empty())
            }
        };
        self.segments.iter().map(rank).collect()
    }

    /// A text that is the same for templates between which no path can decide: the names of
    /// parameters do not count, nor whether they may be left out.
    pub fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(text) => shape.push_str(text),
                Segment::Parameter(parameter) => {
                    let mut constraints: Vec<String> = parameter
                        .constraints
                        .iter()
                        .map(Constraint::canonical)
                        .collect();
                    constraints.sort();
                    let star = if parameter.is_catch_all { "*" } else { "" };
                    // Writing to memory cannot fail.
                    let _ = write!(shape, "{{{star}{}}}", constraints.join(":"));
                }
            }
        }
        shape
    }

    /// The first segment, if it is a text, in lower case.
    pub fn first_literal(&self) -> Option<&str> {
        match self.segments.first()? {
            Segment::Literal(text) => Some(text),
            Segment::Parameter(_) => None,
        }
    }
}

impl fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Parameter {
    /// Whether the parameter may have the value `given`, or may lack one.
    fn accepts(&self, given: Option<&str>) -> bool {
        match given {
            Some(value) => self
                .constraints
                .iter()
                .all(|constraint| constraint.accepts(value)),
            None => self.is_optional || self.is_catch_all || self.default.is_some(),
        }
    }
}

fn parameters(segments: &[Segment]) -> impl Iterator<Item = &Parameter> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Parameter(parameter) => Some(parameter),
        Segment::Literal(_) => None,
    })
}

/// Splits at the slashes outside of braces: a pattern may hold one.
fn split_segments(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == '/' && depth == 0
    })
    .collect()
}

fn read_segment(text: &str) -> Result<Segment, RouteError> {
    if text.is_empty() {
        return Err(RouteError::EmptySegment);
    }
    let wrong = || RouteError::Segment(text.to_owned());
    if !text.contains(['{', '}']) {
        if text.contains(['?', '*', ' ']) {
            return Err(wrong());
        }
        return Ok(Segment::Literal(text.to_lowercase()));
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or_else(wrong)?;
    // Braces inside are written twice.
    let inner = inner.replace("{{", "\u{1}").replace("}}", "\u{2}");
    if inner.contains(['{', '}']) {
        return Err(wrong());
    }
    read_parameter(&inner.replace('\u{1}', "{").replace('\u{2}', "}")).map(Segment::Parameter)
}

fn read_parameter(text: &str) -> Result<Parameter, RouteError> {
    let unstarred = text.strip_prefix("**").or_else(|| text.strip_prefix('*'));
    let is_catch_all = unstarred.is_some();
    let text = unstarred.unwrap_or(text);
    let (text, is_optional) = match text.strip_suffix('?') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let end = text.find([':', '=']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let is_name_character =
        |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    if name.is_empty() || !name.chars().all(is_name_character) {
        return Err(RouteError::Name(name.to_owned()));
    }
    let mut constraints = Vec::new();
    while let Some(tail) = rest.strip_prefix(':') {
        let (constraint, tail) = tail.split_at(constraint_end(tail));
        constraints.push(Constraint::parse(constraint).map_err(|source| {
            RouteError::Constraint {
                name: name.to_owned(),
                source,
            }
        })?);
        rest = tail;
    }
    let default = rest.strip_prefix('=').map(str::to_owned);
    if default.is_some() && is_optional {
        return Err(RouteError::OptionalDefault(name.to_owned()));
    }
    Ok(Parameter {
        name: name.to_owned(),
        constraints,
        default,
        is_optional,
        is_catch_all,
    })
}

/// Where the constraint at the beginning of `text` ends. Its arguments may hold anything, so they
/// end at a closing parenthesis behind which the parameter goes on or ends.
fn constraint_end(text: &str) -> usize {
    let next = text.find([':', '=', '(']).unwrap_or(text.len());
    if !text[next..].starts_with('(') {
        return next;
    }
    let ends_here = |index: &usize| {
        let behind = &text[index + 1..];
        behind.is_empty() || behind.starts_with([':', '='])
    };
    let closing = text
        .match_indices(')')
        .map(|(index, _)| index)
        .find(ends_here);
    closing.map_or(text.len(), |index| index + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(template: &str, path: &str) -> Option<String> {
        let path: Vec<String> = if path.is_empty() {
            Vec::new()
        } else {
            path.split('/').map(str::to_owned).collect()
        };
        let values = RouteTemplate::parse(template).unwrap().matches(&path)?;
        let shown: Vec<String> = values
            .into_iter()
            .map(|(name, value)| format!("{name}={}", value.unwrap_or_else(|| "null".to_owned())))
            .collect();
        Some(shown.join(" "))
    }

    #[test]
    fn texts_and_parameters_match_segment_by_segment() {
        for (template, path, values) in [
            ("", "", Some("")),
            ("api/Orders", "API/orders", Some("")),
            ("api/orders", "api/orders/7", None),
            ("o/{id}", "o/7", Some("id=7")),
            ("o/{id}", "o", None),
            ("o/{id:int}", "o/x", None),
            ("o/{id:int:min(3)}", "o/2", None),
            ("o/{id:int?}", "o", Some("id=null")),
            ("o/{id:int?}", "o/x", None),
            ("o/{id=7}", "o", Some("id=7")),
            ("o/{*rest}", "o", Some("rest=null")),
            ("o/{**rest}", "o/a/b", Some("rest=a/b")),
            ("{a}/{b?}", "x", Some("a=x b=null")),
            ("{a?}/x", "x", None),
            ("{a:regex(^(a/b|c:d)$)}", "C:D", Some("a=C:D")),
            ("{a:regex(^x{{2}}$)}", "xx", Some("a=xx")),
            ("{a:length(2)=zz}", "", Some("a=zz")),
            ("{a}", "é", Some("a=é")),
        ] {
            assert_eq!(
                matched(template, path).as_deref(),
                values,
                "{template} {path}"
            );
        }
    }

    #[test]
    fn faults_are_named() {
        for (template, message) in [
            ("/a", "empty segment"),
            ("a//b", "empty segment"),
            ("a/{b", "the segment \"{b\" is neither"),
            ("{a}-{b}", "the segment \"{a}-{b}\" is neither"),
            ("{}", "\"\" is no parameter name"),
            ("{a b}", "\"a b\" is no parameter name"),
            ("{a}/{A}", "two parameters called \"A\""),
            ("{*a}/b", "the catch-all parameter \"a\" must be the last"),
            ("{a=1?}", "cannot be optional, too"),
            (
                "{a:integer}",
                "the parameter \"a\": there is no constraint \"integer\"",
            ),
            ("{a:int(}", "there is no constraint \"int(\""),
            ("a?", "the segment \"a?\" is neither"),
        ] {
            let error = RouteTemplate::parse(template).unwrap_err().to_string();
            assert!(error.contains(message), "{template}: {error}");
        }
        let long = vec!["a"; 65].join("/");
        assert_eq!(
            RouteTemplate::parse(&long).unwrap_err(),
            RouteError::TooLong
        );
    }

    #[test]
    fn the_most_special_route_comes_first_and_names_do_not_tell_routes_apart() {
        let mut routes = [
            "{*a}",
            "{a}",
            "a/{*b}",
            "{a:int}",
            "a/{b:int}",
            "a/b",
            "a/{b}",
            "a",
        ];
        routes.sort_by_key(|route| RouteTemplate::parse(route).unwrap().precedence());
        assert_eq!(
            routes,
            [
                "a",
                "a/b",
                "a/{b:int}",
                "a/{b}",
                "a/{*b}",
                "{a:int}",
                "{a}",
                "{*a}"
            ]
        );
        let shape = |route| RouteTemplate::parse(route).unwrap().shape();
        assert_eq!(shape("A/{x:int:min(1)}"), shape("a/{y:min(1):int?}"));
        assert_ne!(shape("a/{x:int}"), shape("a/{x}"));
        assert_ne!(shape("{*x}"), shape("{x}"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}:=?*/()a-c0-9]{0,30}", path in "[a-c/]{0,10}") {
            if let Ok(route) = RouteTemplate::parse(&text) {
                let path: Vec<String> = path.split('/').map(str::to_owned).collect();
                let _ = (route.matches(&path), route.shape(), route.precedence());
            }
        }
    }
}
