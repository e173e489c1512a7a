//! The body of a management request: a map with text keys, each value checked when it is asked for.

use std::collections::HashSet;

use bytes::Bytes;
use nightshift_amqp::{Map, Value, condition, message::Body};

use super::Refusal;
use crate::queue::LockToken;

/// More numbers or tokens than this in one request are a mistake, or worse.
const MAX_ITEMS: usize = 10_000;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a>(&'a Map);

impl<'a> Arguments<'a> {
    pub(super) fn of(body: &'a Body) -> Result<Self, Refusal> {
        match body {
            Body::Value(Value::Map(map)) => Ok(Self(map)),
            _ => Err(wrong("the body must be a map".to_owned())),
        }
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| **value != Value::Null)
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, Refusal> {
        self.get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| wrong(format!("{name} must be a text")))
    }

    pub(super) fn integer(self, name: &str) -> Result<i64, Refusal> {
        self.get(name)
            .and_then(integer)
            .ok_or_else(|| wrong(format!("{name} must be an integer")))
    }

    /// An array or a list that is not empty.
    pub(super) fn items(self, name: &str) -> Result<&'a [Value], Refusal> {
        let items = self.get(name).and_then(Value::as_items);
        match items.map(<[Value]>::len) {
            Some(1..=MAX_ITEMS) => Ok(items.unwrap_or_default()),
            Some(0) | None => Err(wrong(format!("{name} must be an array that is not empty"))),
            Some(count) => Err(Refusal::new(
                400,
                condition::ARGUMENT_OUT_OF_RANGE,
                format!("{name} has {count} items; the limit is {MAX_ITEMS}"),
            )),
        }
    }

    /// Sequence numbers, each once. A negative one is a number that no message has.
    pub(super) fn sequence_numbers(self) -> Result<Vec<u64>, Refusal> {
        let name = "sequence-numbers";
        let mut seen = HashSet::new();
        let mut numbers = Vec::new();
        for item in self.items(name)? {
            let number =
                integer(item).ok_or_else(|| wrong(format!("{name} must be an array of long")))?;
            let number = u64::try_from(number).unwrap_or(0);
            if seen.insert(number) {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// Lock tokens, each once.
    pub(super) fn lock_tokens(self) -> Result<Vec<LockToken>, Refusal> {
        let name = "lock-tokens";
        let mut seen = HashSet::new();
        let mut tokens = Vec::new();
        for item in self.items(name)? {
            let token = item
                .as_uuid()
                .ok_or_else(|| wrong(format!("{name} must be an array of uuid")))?;
            if seen.insert(token) {
                tokens.push(LockToken::from_uuid(token));
            }
        }
        Ok(tokens)
    }

    /// The encoded messages of a list of maps, each with one under `message`.
    pub(super) fn messages(self) -> Result<Vec<Bytes>, Refusal> {
        let message = |item: &Value| item.as_map()?.get("message")?.as_binary().cloned();
        let messages: Option<Vec<Bytes>> = self.items("messages")?.iter().map(message).collect();
        messages.ok_or_else(|| wrong("every one of messages must be a map with a message".into()))
    }
}

/// Clients send whole numbers in every width there is.
fn integer(value: &Value) -> Option<i64> {
    let unsigned = || value.as_u64().and_then(|value| i64::try_from(value).ok());
    value.as_i64().or_else(unsigned)
}

pub(super) fn wrong(text: String) -> Refusal {
    Refusal::new(400, condition::ARGUMENT_ERROR, text)
}
