//! How requests to a management node are written, and how their answers are read.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use nightshift_amqp::message::{Body, Message, MessageId, Properties, RawMessage};
use nightshift_amqp::{Array, ElementType, Encode as _, Map, Value};
use uuid::Uuid;

use crate::error::BusError;
use crate::message::Message as Outgoing;
use crate::outcome::Outcome;

/// What every operation's name begins with.
const VENDOR: &str = "com.microsoft:";

/// The answer to a request that was granted.
#[derive(Debug)]
pub(super) struct Answer {
    operation: &'static str,
    /// The status says that there is nothing of what was asked for.
    pub(super) is_empty: bool,
    body: Map,
}

/// What is asked of a node.
pub(super) struct Request<'a> {
    /// Repeated by the answer.
    pub(super) id: &'a str,
    /// Where the answer goes.
    pub(super) reply_to: &'a str,
    /// What to do.
    pub(super) operation: &'static str,
    /// When nobody waits any longer, so that the broker may give up.
    pub(super) timeout: Duration,
    /// The link on whose behalf this is asked.
    pub(super) link: Option<Arc<str>>,
    /// The arguments.
    pub(super) body: Map,
}

/// Encodes a request.
pub(super) fn request(request: Request<'_>) -> Bytes {
    let mut words = Map::new();
    words.insert("operation", format!("{VENDOR}{}", request.operation));
    let millis = u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX);
    words.insert("com.microsoft:server-timeout", millis);
    if let Some(link) = request.link {
        words.insert("associated-link-name", &*link);
    }
    let message = Message {
        properties: Some(Properties {
            message_id: Some(MessageId::from(request.id)),
            reply_to: Some(request.reply_to.to_owned()),
            ..Properties::default()
        }),
        application_properties: Some(words),
        body: Body::Value(Value::Map(request.body)),
        ..Message::default()
    };
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

/// Lock tokens as an array.
pub(super) fn tokens(tokens: &[Uuid]) -> Value {
    let tokens = tokens.iter().copied().map(Value::from).collect();
    array(ElementType::Uuid, tokens)
}

/// Sequence numbers as an array.
pub(super) fn numbers(numbers: &[i64]) -> Value {
    let numbers = numbers.iter().copied().map(Value::from).collect();
    array(ElementType::Long, numbers)
}

/// The body that schedules encoded messages.
pub(super) fn scheduled(messages: &[(Outgoing, Bytes)]) -> Map {
    let entry = |(message, encoded): &(Outgoing, Bytes)| {
        let mut entry = Map::new();
        let texts = [
            ("message-id", &message.message_id),
            ("session-id", &message.session_id),
            ("partition-key", &message.partition_key),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                entry.insert(name, text.as_str());
            }
        }
        entry.insert("message", encoded.clone());
        Value::Map(entry)
    };
    let mut body = Map::new();
    body.insert("messages", messages.iter().map(entry).collect::<Vec<_>>());
    body
}

/// The body that settles messages.
pub(super) fn disposition(lock_tokens: &[Uuid], outcome: &Outcome) -> Map {
    let mut body = Map::new();
    let (status, properties) = match outcome {
        Outcome::Complete => ("completed", None),
        Outcome::Release => ("abandoned", None),
        Outcome::Abandon { properties } => ("abandoned", Some(properties)),
        // As the service spells it.
        Outcome::Defer { properties } => ("defered", Some(properties)),
        Outcome::DeadLetter {
            reason,
            description,
            properties,
        } => {
            body.insert("deadletter-reason", reason.as_str());
            body.insert("deadletter-description", description.as_str());
            ("suspended", Some(properties))
        }
    };
    body.insert("disposition-status", status);
    body.insert("lock-tokens", tokens(lock_tokens));
    if let Some(properties) = properties.filter(|properties| !properties.is_empty()) {
        // Strings here, where delivery states have symbols.
        let entries = properties.iter();
        let entries = entries.filter_map(|(name, value)| Some((name.as_str()?, value.clone())));
        body.insert("properties-to-modify", entries.collect::<Map>());
    }
    body
}

/// An array of items that are of the type.
fn array(element_type: ElementType, items: Vec<Value>) -> Value {
    Array::new(element_type, items).map_or(Value::Null, Value::from)
}

/// Reads the answer to a request about `entity`.
pub(super) fn read_answer(
    entity: &str,
    operation: &'static str,
    response: &Bytes,
) -> Result<Answer, BusError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        BusError::Protocol(format!("unreadable answer to {operation}: {error}"))
    };
    let raw = RawMessage::split(response.clone()).map_err(|error| unreadable(&error))?;
    let words = raw
        .application_properties()
        .map_err(|error| unreadable(&error))?
        .unwrap_or_default();
    // The service spells these names in two ways.
    let word = |name, other| words.get(name).or_else(|| words.get(other));
    let Some(status) = word("statusCode", "status-code").and_then(Value::as_i64) else {
        return Err(unreadable(&"it has no status"));
    };
    if !(200..300).contains(&status) {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let description = text(word("statusDescription", "status-description")).unwrap_or_default();
        let condition =
            text(word("errorCondition", "error-condition")).unwrap_or_else(|| condition_of(status));
        return Err(BusError::from_condition(entity, &condition, &description));
    }
    let body = match raw.body().map_err(|error| unreadable(&error))? {
        Body::Value(Value::Map(body)) => body,
        _ => Map::new(),
    };
    Ok(Answer {
        operation,
        is_empty: status == 204,
        body,
    })
}

/// The error condition that a bare status stands for.
fn condition_of(status: i64) -> String {
    match status {
        401 | 403 => "amqp:unauthorized-access".to_owned(),
        404 => "amqp:not-found".to_owned(),
        410 => "com.microsoft:message-lock-lost".to_owned(),
        503 => "com.microsoft:server-busy".to_owned(),
        other => format!("status {other}"),
    }
}

impl Answer {
    /// One instant.
    pub(super) fn instant(&self, name: &str) -> Result<DateTime<Utc>, BusError> {
        let instant = self.body.get(name).and_then(calendar);
        instant.ok_or_else(|| self.unusable(name))
    }

    /// Octets, or null. A field that is not there counts as null.
    pub(super) fn octets(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Binary(octets)) => Ok(Some(octets.clone())),
            Some(_) => Err(self.unusable(name)),
        }
    }

    /// The texts of an array.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, BusError> {
        self.items(name, |value| value.as_str().map(str::to_owned))
    }

    /// The instants of an array.
    pub(super) fn instants(&self, name: &str) -> Result<Vec<DateTime<Utc>>, BusError> {
        self.items(name, calendar)
    }

    /// The integers of an array.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<i64>, BusError> {
        self.items(name, Value::as_i64)
    }

    /// The encoded messages of the answer.
    pub(super) fn messages(&self) -> Result<Vec<Bytes>, BusError> {
        self.items("messages", |entry| encoded(entry.as_map()?))
    }

    /// The encoded messages of the answer with their lock tokens; without `locks` nil ones.
    pub(super) fn locked_messages(&self, locks: bool) -> Result<Vec<(Bytes, Uuid)>, BusError> {
        self.items("messages", |entry| {
            let entry = entry.as_map()?;
            let token = match entry.get("lock-token").and_then(Value::as_uuid) {
                None if locks => return None,
                token => token.unwrap_or_default(),
            };
            Some((encoded(entry)?, token))
        })
    }

    fn items<T>(&self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, BusError> {
        let items = self.body.get(name).and_then(Value::as_items);
        let items = items.and_then(|items| items.iter().map(read).collect());
        items.ok_or_else(|| self.unusable(name))
    }

    fn unusable(&self, name: &str) -> BusError {
        BusError::Protocol(format!(
            "the answer to {} has no usable `{name}`",
            self.operation
        ))
    }
}

fn calendar(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(value.as_timestamp()?.as_millis())
}

fn encoded(entry: &Map) -> Option<Bytes> {
    entry.get("message").and_then(Value::as_binary).cloned()
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::{Symbol, Timestamp};

    use super::*;

    pub(crate) fn answer(status: i32, condition: Option<&'static str>, body: Map) -> Bytes {
        let mut words = Map::new();
        words.insert("statusCode", status);
        words.insert("statusDescription", "why");
        if let Some(condition) = condition {
            words.insert("errorCondition", Symbol::from_static(condition));
        }
        let message = Message {
            application_properties: Some(words),
            body: Body::Value(Value::Map(body)),
            ..Message::default()
        };
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn refusals_are_known_by_condition_or_else_by_status() {
        let of = |status, condition| {
            read_answer("q", "renew-lock", &answer(status, condition, Map::new())).unwrap_err()
        };
        assert!(matches!(of(410, None), BusError::MessageLockLost { .. }));
        assert!(matches!(of(404, None), BusError::NotFound { .. }));
        assert!(matches!(
            of(404, Some("com.microsoft:message-not-found")),
            BusError::MessageNotFound { .. }
        ));
        assert!(matches!(of(500, None), BusError::Refused { .. }));
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        let of = |body| read_answer("q", "renew-lock", &answer(200, None, body)).unwrap();
        let mut body = Map::new();
        body.insert("expirations", vec![Value::from(Timestamp::from_millis(5))]);
        assert_eq!(of(body).instants("expirations").unwrap().len(), 1);
        let mut wrong = Map::new();
        wrong.insert("expirations", vec![Value::from("x")]);
        for body in [wrong, Map::new()] {
            let error = of(body).instants("expirations").unwrap_err();
            assert_eq!(
                error.to_string(),
                "protocol error: the answer to renew-lock has no usable `expirations`"
            );
        }
    }
}
