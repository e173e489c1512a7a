//! A route's template: reading, matching, comparing.

use std::fmt;

use super::constraint::UnknownConstraint;
use super::segment::{Part, Segment, match_complex};

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
    /// A brace has no partner, or a text has a character that means something else.
    #[error("the segment {0:?} is not made of texts and {{parameters}}")]
    Segment(String),
    /// Two parameters stand side by side.
    #[error("the parameters of the segment {0:?} need a text between them")]
    Neighbours(String),
    /// A parameter that shares its segment is optional where it cannot be left out.
    #[error("the parameter {0:?} can be optional only as the last of its segment, behind a dot")]
    OptionalInside(String),
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

/// A template that has been read.
#[derive(Debug, Clone)]
pub struct RouteTemplate {
    text: String,
    segments: Vec<Segment>,
}

impl RouteTemplate {
    /// Reads `text`, such as `api/orders/{id:int?}`. The empty text is the root.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let (mut segments, mut names) = (Vec::new(), Vec::new());
        if !text.is_empty() {
            for part in split_segments(text) {
                let segment = Segment::parse(part)?;
                if let Some(Segment::Parameter(last)) = segments.last()
                    && last.is_catch_all
                {
                    return Err(RouteError::CatchAllNotLast(last.name.clone()));
                }
                for parameter in segment.parameters() {
                    let name = parameter.name.to_lowercase();
                    if names.contains(&name) {
                        return Err(RouteError::Duplicate(parameter.name.clone()));
                    }
                    names.push(name);
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
                Segment::Complex(parts) => {
                    let (first, tail) = rest.split_first()?;
                    for (parameter, value) in match_complex(parts, first)? {
                        if !parameter.accepts(value.as_deref()) {
                            return None;
                        }
                        values.push((parameter.name.clone(), value));
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
            Segment::Complex(_) => 2,
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
                Segment::Parameter(parameter) => shape.push_str(&parameter.shape()),
                Segment::Complex(parts) => {
                    for part in parts {
                        match part {
                            Part::Text(text) => shape.push_str(text),
                            Part::Parameter(parameter) => shape.push_str(&parameter.shape()),
                        }
                    }
                }
            }
        }
        shape
    }

    /// The first segment, if it is a text, in lower case.
    pub fn first_literal(&self) -> Option<&str> {
        match self.segments.first()? {
            Segment::Literal(text) => Some(text),
            Segment::Parameter(_) | Segment::Complex(_) => None,
        }
    }
}

impl fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
            ("{a}-{b}", "x-y", Some("a=x b=y")),
            ("{a}-{b}", "x-y-z", Some("a=x-y b=z")),
            ("{a}-{b}", "x-", None),
            ("{a}-{b}", "-y", None),
            ("{a}-{b}", "--z", Some("a=- b=z")),
            ("{a}-{b}", "xy", None),
            ("{a}-{b}", "", None),
            ("File.{ext}", "file.Txt", Some("ext=Txt")),
            ("file.{ext}", "file.tar.gz", Some("ext=tar.gz")),
            ("file.{ext}", "myfile.txt", None),
            ("{name}.{ext}", "file.tar.gz", Some("name=file.tar ext=gz")),
            ("{name}.json", "a.json", Some("name=a")),
            ("{name}.json", "a.json.bak", None),
            ("{name}.json", ".json", None),
            ("{name}.{ext?}", "a", Some("name=a ext=null")),
            ("{name}.{ext?}", "a.b", Some("name=a ext=b")),
            ("{name}.{ext?}", "a.b.c", Some("name=a.b ext=c")),
            ("{name}.{ext?}", "a.", None),
            (
                "v{major:int}.{minor:int}/x",
                "V1.20/X",
                Some("major=1 minor=20"),
            ),
            ("v{major:int}.{minor:int}/x", "v1.b/x", None),
            ("a{b}c{d}e", "AxxCyyE", Some("b=xx d=yy")),
            ("aba{x}ab", "abazab", Some("x=z")),
            ("aba{x}", "xxabaz", None),
            ("É{x}", "é1", Some("x=1")),
            ("{{a}}-{b:regex(^.{{2}}$)}", "{a}-xy", Some("b=xy")),
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
            ("a/{b", "the segment \"{b\" is not made"),
            ("a}b", "the segment \"a}b\" is not made"),
            ("{a}{b}", "the parameters of the segment \"{a}{b}\" need"),
            ("{a}-{A}", "two parameters called \"A\""),
            ("x-{*a}", "the catch-all parameter \"a\" must be the last"),
            ("{a}-{b?}", "the parameter \"b\" can be optional only"),
            ("{a?}.{b}", "the parameter \"a\" can be optional only"),
            ("{a}.x{b?}", "the parameter \"b\" can be optional only"),
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
            ("a?", "the segment \"a?\" is not made"),
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
            "a/x{b}",
            "a",
        ];
        routes.sort_by_key(|route| RouteTemplate::parse(route).unwrap().precedence());
        assert_eq!(
            routes,
            [
                "a",
                "a/b",
                "a/{b:int}",
                "a/x{b}",
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
        assert_eq!(shape("{x}-{y:int}"), shape("{a}-{b:int}"));
        assert_ne!(shape("{x}-{y}"), shape("{x}.{y}"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}:=?*/()a-c0-9.]{0,30}", path in "[a-cA.é/]{0,10}") {
            if let Ok(route) = RouteTemplate::parse(&text) {
                let path: Vec<String> = path.split('/').map(str::to_owned).collect();
                let _ = (route.matches(&path), route.shape(), route.precedence());
            }
        }
    }
}
