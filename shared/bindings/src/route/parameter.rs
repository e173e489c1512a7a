//! A parameter of a route: `{id:int:min(1)?}` without its braces.

use super::constraint::Constraint;
use super::template::RouteError;

/// A parameter.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) constraints: Vec<Constraint>,
    pub(super) default: Option<String>,
    pub(super) is_optional: bool,
    pub(super) is_catch_all: bool,
}

impl Parameter {
    /// Whether the parameter may have the value `given`, or may lack one.
    pub(super) fn accepts(&self, given: Option<&str>) -> bool {
        match given {
            Some(value) => self
                .constraints
                .iter()
                .all(|constraint| constraint.accepts(value)),
            None => self.is_optional || self.is_catch_all || self.default.is_some(),
        }
    }

    /// Its constraints in one spelling, for comparing routes.
    pub(super) fn shape(&self) -> String {
        let constraints = self.constraints.iter();
        let mut constraints: Vec<String> = constraints.map(Constraint::canonical).collect();
        constraints.sort();
        let star = if self.is_catch_all { "*" } else { "" };
        format!("{{{star}{}}}", constraints.join(":"))
    }
}

/// Reads what stands between two braces.
pub(super) fn read_parameter(text: &str) -> Result<Parameter, RouteError> {
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
