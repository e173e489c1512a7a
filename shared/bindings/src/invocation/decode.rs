//! The handler's side of an invocation: from the `POST` body to [`TriggerMessage`]s.
//!
//! The host encodes scalars as JSON text inside a JSON string, objects inline and bytes as base64,
//! and index-aligned `…Array` members carry the metadata of a batch. The reader here is tolerant:
//! a value may be encoded once or twice, and members it does not know are skipped unread.

use std::borrow::Cow;
use std::collections::HashMap;

use base64_simd::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::TriggerMessage;

/// Why the body of an invocation could not be understood. It names the member that is at fault;
/// the fault is the host's (or of a hand-made request), never a producer's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body as a whole is not the JSON object `{"Data": …, "Metadata": …}`.
    #[error("the invocation is not a JSON object with the members Data and Metadata")]
    Envelope(#[source] serde_json::Error),
    /// A member that must be there is missing.
    #[error("the invocation has no member {0}")]
    Missing(String),
    /// A member has another type than the contract says.
    #[error("the member {member} of the invocation cannot be read")]
    Member {
        /// The member's name.
        member: String,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
    /// A body is not base64, although the binding says `"dataType": "binary"`.
    #[error(
        "body {index} of the invocation is not base64; does function.json say \"dataType\": \"binary\"?"
    )]
    Base64 {
        /// The position in the batch, from 0.
        index: usize,
    },
    /// A time is neither RFC 3339 nor a date and time without an offset.
    #[error("the member {member} of the invocation holds {text:?}, which is not a time")]
    Time {
        /// The member's name.
        member: String,
        /// What stands there.
        text: String,
    },
    /// The `…Array` members of a batch do not have one element for each body.
    #[error("the member {member} of the invocation has {found} elements for {expected} bodies")]
    Misaligned {
        /// The member's name.
        member: String,
        /// How many bodies there are.
        expected: usize,
        /// How many elements the member has.
        found: usize,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Data")]
    data: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, rename = "Metadata")]
    metadata: HashMap<Cow<'a, str>, &'a RawValue>,
}

/// The one message of an invocation whose binding `name` has `"cardinality": "one"` and
/// `"dataType": "binary"`.
pub fn decode_single(body: &[u8], name: &str) -> Result<TriggerMessage, DecodeError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(DecodeError::Envelope)?;
    let raw = envelope
        .data
        .get(name)
        .ok_or_else(|| DecodeError::Missing(format!("Data.{name}")))?;
    let text: String = twice(raw, name)?;
    let metadata = Metadata {
        members: &envelope.metadata,
        suffix: "",
    };
    let body = decode_bodies(&[Cow::Owned(text)])?;
    let columns = Columns {
        message_id: vec![metadata.optional("MessageId")?],
        sequence_number: vec![metadata.number("SequenceNumber")?],
        delivery_count: vec![metadata.number("DeliveryCount")?],
        lock_token: vec![metadata.optional("LockToken")?],
        enqueued_time: vec![Some(metadata.required::<String>("EnqueuedTimeUtc")?)],
        expires_at: vec![metadata.optional("ExpiresAtUtc")?],
        session_id: vec![metadata.optional("SessionId")?],
        correlation_id: vec![metadata.optional("CorrelationId")?],
        content_type: vec![metadata.optional("ContentType")?],
        subject: vec![metadata.optional("Subject")?],
        to: vec![metadata.optional("To")?],
        reply_to: vec![metadata.optional("ReplyTo")?],
        reply_to_session_id: vec![metadata.optional("ReplyToSessionId")?],
        partition_key: vec![metadata.optional("PartitionKey")?],
        dead_letter_source: vec![metadata.optional("DeadLetterSource")?],
        application_properties: vec![metadata.optional("ApplicationProperties")?],
    };
    let mut messages = columns.into_messages(body)?;
    messages
        .pop()
        .ok_or_else(|| DecodeError::Missing(format!("Data.{name}")))
}

/// The messages of an invocation whose binding `name` has `"cardinality": "many"` and
/// `"dataType": "binary"`, in the broker's order.
pub fn decode_batch(body: &[u8], name: &str) -> Result<Vec<TriggerMessage>, DecodeError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(DecodeError::Envelope)?;
    let raw = envelope
        .data
        .get(name)
        .ok_or_else(|| DecodeError::Missing(format!("Data.{name}")))?;
    let bodies = decode_body_array(raw, name)?;
    let metadata = Metadata {
        members: &envelope.metadata,
        suffix: "Array",
    };
    let count = bodies.len();
    let columns = Columns {
        message_id: metadata.column("MessageId", count)?,
        sequence_number: metadata.numbers("SequenceNumber", count)?,
        delivery_count: metadata.numbers("DeliveryCount", count)?,
        lock_token: metadata.column("LockToken", count)?,
        enqueued_time: metadata.column("EnqueuedTimeUtc", count)?,
        expires_at: metadata.column("ExpiresAtUtc", count)?,
        session_id: metadata.column("SessionId", count)?,
        correlation_id: metadata.column("CorrelationId", count)?,
        content_type: metadata.column("ContentType", count)?,
        subject: metadata.column("Subject", count)?,
        to: metadata.column("To", count)?,
        reply_to: metadata.column("ReplyTo", count)?,
        reply_to_session_id: metadata.column("ReplyToSessionId", count)?,
        partition_key: metadata.column("PartitionKey", count)?,
        dead_letter_source: metadata.column("DeadLetterSource", count)?,
        application_properties: metadata.column("ApplicationProperties", count)?,
    };
    columns.into_messages(bodies)
}

fn decode_body_array(raw: &RawValue, name: &str) -> Result<Vec<Bytes>, DecodeError> {
    let member = |source| DecodeError::Member {
        member: format!("Data.{name}"),
        source,
    };
    if raw.get().starts_with('"') {
        let text: Cow<'_, str> = Deserialize::deserialize(raw).map_err(member)?;
        let bodies: Vec<BorrowedText<'_>> = serde_json::from_str(&text).map_err(member)?;
        decode_bodies(&bodies.into_iter().map(|body| body.0).collect::<Vec<_>>())
    } else {
        let bodies: Vec<BorrowedText<'_>> = serde_json::from_str(raw.get()).map_err(member)?;
        decode_bodies(&bodies.into_iter().map(|body| body.0).collect::<Vec<_>>())
    }
}

/// A JSON string that is copied only when it holds an escape.
#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Decodes all bodies into one buffer and hands out slices of it.
fn decode_bodies(texts: &[Cow<'_, str>]) -> Result<Vec<Bytes>, DecodeError> {
    let room = texts.iter().map(|text| text.len() / 4 * 3).sum();
    let mut all = Vec::with_capacity(room);
    let mut ends = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        STANDARD
            .decode_append(text.as_bytes(), &mut all)
            .map_err(|_| DecodeError::Base64 { index })?;
        ends.push(all.len());
    }
    let all = Bytes::from(all);
    let mut start = 0;
    Ok(ends
        .into_iter()
        .map(|end| all.slice(std::mem::replace(&mut start, end)..end))
        .collect())
}

/// The value of `raw`, which is encoded as JSON text in a JSON string or plainly.
fn twice<T: DeserializeOwned>(raw: &RawValue, member: &str) -> Result<T, DecodeError> {
    let plain = |source| DecodeError::Member {
        member: member.to_owned(),
        source,
    };
    if raw.get().starts_with('"') {
        let text: Cow<'_, str> = Deserialize::deserialize(raw).map_err(plain)?;
        if let Ok(value) = serde_json::from_str(&text) {
            return Ok(value);
        }
    }
    serde_json::from_str(raw.get()).map_err(plain)
}

struct Metadata<'a> {
    members: &'a HashMap<Cow<'a, str>, &'a RawValue>,
    suffix: &'static str,
}

impl Metadata<'_> {
    fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, DecodeError> {
        let name = self.name(name);
        let raw = self
            .members
            .get(name.as_str())
            .ok_or_else(|| DecodeError::Missing(format!("Metadata.{name}")))?;
        twice(raw, &name)
    }

    fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DecodeError> {
        let name = self.name(name);
        match self.members.get(name.as_str()) {
            Some(raw) => twice(raw, &name),
            None => Ok(None),
        }
    }

    fn number<T: DeserializeOwned>(&self, name: &str) -> Result<T, DecodeError> {
        self.required(name)
    }

    fn numbers<T: DeserializeOwned>(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<T>, DecodeError> {
        self.aligned(name, self.required::<Vec<T>>(name)?, count)
    }

    /// An absent or `null` member stands for a column of nulls.
    fn column<T: DeserializeOwned>(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<Option<T>>, DecodeError> {
        match self.optional::<Vec<Option<T>>>(name)? {
            Some(column) => self.aligned(name, column, count),
            None => Ok(std::iter::repeat_with(|| None).take(count).collect()),
        }
    }

    fn aligned<T>(&self, name: &str, column: Vec<T>, count: usize) -> Result<Vec<T>, DecodeError> {
        if column.len() == count {
            return Ok(column);
        }
        let member = self.name(name);
        Err(DecodeError::Misaligned {
            member,
            expected: count,
            found: column.len(),
        })
    }
}

/// The metadata of a batch by column, as the wire has it.
struct Columns {
    message_id: Vec<Option<String>>,
    sequence_number: Vec<i64>,
    delivery_count: Vec<u32>,
    lock_token: Vec<Option<Uuid>>,
    enqueued_time: Vec<Option<String>>,
    expires_at: Vec<Option<String>>,
    session_id: Vec<Option<String>>,
    correlation_id: Vec<Option<String>>,
    content_type: Vec<Option<String>>,
    subject: Vec<Option<String>>,
    to: Vec<Option<String>>,
    reply_to: Vec<Option<String>>,
    reply_to_session_id: Vec<Option<String>>,
    partition_key: Vec<Option<String>>,
    dead_letter_source: Vec<Option<String>>,
    application_properties: Vec<Option<Map<String, Value>>>,
}

impl Columns {
    fn into_messages(mut self, bodies: Vec<Bytes>) -> Result<Vec<TriggerMessage>, DecodeError> {
        bodies
            .into_iter()
            .enumerate()
            .map(|(row, body)| self.take(row, body))
            .collect()
    }

    fn take(&mut self, row: usize, body: Bytes) -> Result<TriggerMessage, DecodeError> {
        let enqueued = self.enqueued_time[row]
            .take()
            .ok_or_else(|| DecodeError::Missing("Metadata.EnqueuedTimeUtc".to_owned()))?;
        let expires = self.expires_at[row].take();
        Ok(TriggerMessage {
            body,
            message_id: self.message_id[row].take(),
            sequence_number: self.sequence_number[row],
            delivery_count: self.delivery_count[row],
            lock_token: self.lock_token[row],
            enqueued_time: parse_time("EnqueuedTimeUtc", &enqueued)?,
            expires_at: expires
                .map(|text| parse_time("ExpiresAtUtc", &text))
                .transpose()?,
            session_id: self.session_id[row].take(),
            correlation_id: self.correlation_id[row].take(),
            content_type: self.content_type[row].take(),
            subject: self.subject[row].take(),
            to: self.to[row].take(),
            reply_to: self.reply_to[row].take(),
            reply_to_session_id: self.reply_to_session_id[row].take(),
            partition_key: self.partition_key[row].take(),
            dead_letter_source: self.dead_letter_source[row].take(),
            application_properties: self.application_properties[row].take().unwrap_or_default(),
        })
    }
}

/// RFC 3339, or a date and time without an offset, which `…Utc` members hold in UTC.
fn parse_time(member: &str, text: &str) -> Result<DateTime<Utc>, DecodeError> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .map(|time| time.and_utc())
        .map_err(|_| DecodeError::Time {
            member: member.to_owned(),
            text: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &str = r#"{"Data":{"message":"aGkgdGhlcmU="},"Metadata":{
        "MessageId":"\"m1\"","DeliveryCount":"1","SequenceNumber":"12","SessionId":"null",
        "EnqueuedTimeUtc":"2026-11-20T17:09:00","ExpiresAtUtc":"9999-12-31T23:59:59",
        "LockToken":"\"a3f1c2d4-0000-4000-8000-000000000001\"",
        "ApplicationProperties":{"kind":"welcome"},"Client":{"IsClosed":false},
        "sys":{"MethodName":"notifications-dispatch"}}}"#;

    #[test]
    fn a_single_message_as_the_host_encodes_it() {
        let message = decode_single(SINGLE.as_bytes(), "message").unwrap();
        assert_eq!(message.body.as_ref(), b"hi there");
        assert_eq!(message.message_id.as_deref(), Some("m1"));
        assert_eq!((message.sequence_number, message.delivery_count), (12, 1));
        assert_eq!(
            message.enqueued_time.to_rfc3339(),
            "2026-11-20T17:09:00+00:00"
        );
        assert_eq!(message.session_id, None);
        assert_eq!(message.application_properties["kind"], "welcome");
    }

    #[test]
    fn scalars_encoded_once_are_understood_too() {
        let body = r#"{"Data":{"message":"aGk="},"Metadata":{"MessageId":"m1","DeliveryCount":3,
            "SequenceNumber":12,"EnqueuedTimeUtc":"2026-11-20T17:09:00.25Z"}}"#;
        let message = decode_single(body.as_bytes(), "message").unwrap();
        assert_eq!(message.message_id.as_deref(), Some("m1"));
        assert_eq!(message.delivery_count, 3);
        assert_eq!(message.enqueued_time.timestamp_subsec_millis(), 250);
    }

    #[test]
    fn a_batch_keeps_its_order_and_its_columns() {
        let body = r#"{"Data":{"messages":"[\"YQ==\",\"\",\"Yg==\"]"},"Metadata":{
            "MessageIdArray":"[\"m1\",\"m2\",null]","DeliveryCountArray":"[1,2,3]",
            "SequenceNumberArray":"[7,8,9]",
            "EnqueuedTimeUtcArray":"[\"2026-11-20T17:09:00.1234567Z\",\"2026-11-20T17:09:01Z\",\"2026-11-20T17:09:02Z\"]",
            "ApplicationPropertiesArray":"[{},{\"a\":1},{}]"}}"#;
        let messages = decode_batch(body.as_bytes(), "messages").unwrap();
        let bodies: Vec<&[u8]> = messages
            .iter()
            .map(|message| message.body.as_ref())
            .collect();
        assert_eq!(bodies, [b"a".as_ref(), b"", b"b"]);
        assert_eq!(messages[1].message_id.as_deref(), Some("m2"));
        assert_eq!(messages[1].application_properties["a"], 1);
        assert_eq!(messages[2].message_id, None);
    }

    #[test]
    fn each_fault_names_its_member() {
        let cases = [
            (
                "[]",
                "the invocation is not a JSON object with the members Data and Metadata",
            ),
            (
                r#"{"Data":{},"Metadata":{}}"#,
                "the invocation has no member Data.messages",
            ),
            (
                r#"{"Data":{"messages":"[\"YQ==\"]"},"Metadata":{}}"#,
                "the invocation has no member Metadata.SequenceNumberArray",
            ),
            (
                r#"{"Data":{"messages":"[\"?\"]"},"Metadata":{}}"#,
                "body 0 of the invocation is not base64; does function.json say \"dataType\": \"binary\"?",
            ),
            (
                r#"{"Data":{"messages":"[\"YQ==\"]"},"Metadata":{"SequenceNumberArray":"[1,2]"}}"#,
                "the member SequenceNumberArray of the invocation has 2 elements for 1 bodies",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(
                decode_batch(body.as_bytes(), "messages")
                    .unwrap_err()
                    .to_string(),
                expected
            );
        }
    }
}
