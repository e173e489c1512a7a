//! The properties of a JSON body that become metadata.
//!
//! When a trigger hands a function its body as a text and the text is a JSON object, the real host
//! copies each top-level property that is no array into the metadata, over whatever stands there:
//! a body with a property `MessageId` hides the message's own id. A function that says
//! `"dataType": "binary"` is spared this.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::invocation::members::{BorrowedText, Members};

/// The value of one such property.
#[derive(Debug, Clone)]
pub(super) enum BodyValue<'a> {
    /// A scalar, as a text; `None` for `null`, which removes the member.
    Text(Option<Cow<'a, str>>),
    /// An object, as it stands in the body.
    Object(&'a RawValue),
}

/// The properties in the order of their first appearance; names ignore case.
#[derive(Debug, Default)]
pub(super) struct BodyProperties<'a> {
    values: Vec<(Cow<'a, str>, BodyValue<'a>)>,
    by_name: HashMap<String, usize>,
}

impl<'a> BodyProperties<'a> {
    /// The properties of `body`; none if it is no JSON object.
    pub(super) fn parse(body: &'a str) -> Self {
        let trimmed = body.trim();
        let looks_like_an_object = trimmed.starts_with('{') && trimmed.ends_with('}');
        let members: Option<Members<'a>> = looks_like_an_object
            .then(|| serde_json::from_str(trimmed).ok())
            .flatten();
        let mut properties = Self::default();
        for (name, raw) in members.map(|members| members.0).unwrap_or_default() {
            if let Some(value) = body_value(raw) {
                properties.set(name, value);
            }
        }
        properties
    }

    /// The value that replaces the metadata `name`, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<&BodyValue<'a>> {
        if self.values.is_empty() {
            return None;
        }
        self.by_name
            .get(&name.to_lowercase())
            .map(|index| &self.values[*index].1)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Cow<'a, str>, BodyValue<'a>)> {
        self.values.iter()
    }

    fn set(&mut self, name: Cow<'a, str>, value: BodyValue<'a>) {
        let next = self.values.len();
        let index = *self.by_name.entry(name.to_lowercase()).or_insert(next);
        if index == next {
            self.values.push((name, value));
        } else {
            self.values[index].1 = value;
        }
    }
}

/// `None` for an array. Booleans are spelt as .NET spells them.
fn body_value(raw: &RawValue) -> Option<BodyValue<'_>> {
    let text = match raw.get().as_bytes().first()? {
        b'[' => return None,
        b'{' => return Some(BodyValue::Object(raw)),
        b'"' => serde_json::from_str::<BorrowedText<'_>>(raw.get())
            .ok()
            .map(|text| text.0),
        b't' => Some(Cow::Borrowed("True")),
        b'f' => Some(Cow::Borrowed("False")),
        b'n' => None,
        _ => Some(Cow::Borrowed(raw.get())),
    };
    Some(BodyValue::Text(text))
}
