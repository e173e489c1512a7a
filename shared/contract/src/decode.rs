//! From the bytes of a message to a typed payload.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::PayloadError;

/// A typed message body.
pub trait Payload: DeserializeOwned + Send + Sync + 'static {
    /// The schema versions that this release reads.
    const VERSIONS: RangeInclusive<u32>;
}

/// Names under which the Functions host hands a message's metadata to a function. For a trigger
/// bound as text the host merges the body's own properties into the same map and lets them win.
/// Our bindings are binary, where it does not, but a body that carries such a name would change
/// its meaning the day somebody reads it through another binding.
const RESERVED: [&str; 22] = [
    "MessageId",
    "SequenceNumber",
    "DeliveryCount",
    "LockToken",
    "ContentType",
    "CorrelationId",
    "Subject",
    "Label",
    "To",
    "ReplyTo",
    "ReplyToSessionId",
    "SessionId",
    "PartitionKey",
    "TransactionPartitionKey",
    "DeadLetterSource",
    "EnqueuedTime",
    "EnqueuedTimeUtc",
    "ExpiresAt",
    "ExpiresAtUtc",
    "ApplicationProperties",
    "UserProperties",
    "sys",
];

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Reads `body` as a `P`. A body longer than `limit_bytes` is refused unread.
pub fn decode<P: Payload>(body: &[u8], limit_bytes: usize) -> Result<P, PayloadError> {
    if body.is_empty() {
        return Err(PayloadError::Empty);
    }
    if body.len() > limit_bytes {
        return Err(PayloadError::TooLarge {
            size_bytes: body.len(),
            limit_bytes,
        });
    }
    let text = std::str::from_utf8(body).map_err(|error| PayloadError::NotUtf8 {
        position: error.valid_up_to(),
    })?;
    let members = object(text)?;
    if let Some(name) = RESERVED.iter().find(|name| members.contains_key(**name)) {
        return Err(PayloadError::ReservedName((*name).to_owned()));
    }
    if members.contains_key("specversion") {
        let data = unwrap_cloud_event(&members)?;
        let members = object(data.get())?;
        return typed(data.get(), &members);
    }
    typed(text, &members)
}

fn object(text: &str) -> Result<Members<'_>, PayloadError> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => PayloadError::NotAnObject,
        _ => PayloadError::NotJson(error.to_string()),
    })
}

/// The `data` of a structured-mode event of `CloudEvents` 1.0, section 3.1 of its JSON format.
fn unwrap_cloud_event<'a>(members: &Members<'a>) -> Result<&'a RawValue, PayloadError> {
    let refuse = |what: &str| PayloadError::CloudEvent(what.to_owned());
    let text = |name: &str| {
        let raw = members
            .get(name)
            .ok_or_else(|| refuse(&format!("{name:?} is missing")))?;
        serde_json::from_str::<String>(raw.get())
            .map_err(|_| refuse(&format!("{name:?} is not a string")))
    };
    let version = text("specversion")?;
    if version != "1.0" {
        return Err(refuse(&format!("specversion {version:?} is not \"1.0\"")));
    }
    for name in ["id", "source", "type"] {
        if text(name)?.is_empty() {
            return Err(refuse(&format!("{name:?} is empty")));
        }
    }
    match members.get("data") {
        Some(data) => Ok(data),
        None if members.contains_key("data_base64") => Err(refuse(
            "\"data_base64\" is not supported; send JSON in \"data\"",
        )),
        None => Err(refuse("\"data\" is missing")),
    }
}

fn typed<P: Payload>(text: &str, members: &Members<'_>) -> Result<P, PayloadError> {
    let (oldest, newest) = (*P::VERSIONS.start(), *P::VERSIONS.end());
    let found: u64 = members
        .get("schema_version")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or(PayloadError::NoSchemaVersion { oldest, newest })?;
    if !u32::try_from(found).is_ok_and(|version| P::VERSIONS.contains(&version)) {
        return Err(PayloadError::UnknownSchemaVersion {
            found,
            oldest,
            newest,
        });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| PayloadError::Property {
        path: error.path().to_string(),
        what: without_position(&error.inner().to_string()).to_owned(),
    })
}

/// The path says where the fault is; a line and column of a one-line body add nothing.
fn without_position(message: &str) -> &str {
    message
        .rfind(" at line ")
        .map_or(message, |at| &message[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationRequested;

    const LIMIT: usize = 262_144;
    const GOOD: &str = r#"{"schema_version":1,"user_id":"00000000-0000-4000-8000-000000000001","kind":"creature.liked","title":"Hello","body":"Your creature was liked","new_in_the_next_release":[1]}"#;

    fn refuse(body: &[u8]) -> (&'static str, String) {
        let error = decode::<NotificationRequested>(body, LIMIT).unwrap_err();
        (error.reason(), error.to_string())
    }

    #[test]
    fn plain_json_decodes_and_unknown_properties_are_ignored() {
        let payload: NotificationRequested = decode(GOOD.as_bytes(), LIMIT).unwrap();
        assert_eq!(payload.title.as_str(), "Hello");
        assert_eq!(payload.kind.as_str(), "creature.liked");
    }

    #[test]
    fn a_structured_cloud_event_is_unwrapped() {
        let event = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/game","type":"creature.liked","data":{GOOD}}}"#
        );
        let payload: NotificationRequested = decode(event.as_bytes(), LIMIT).unwrap();
        assert_eq!(payload.title.as_str(), "Hello");
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        let with = |from: &str, to: &str| GOOD.replace(from, to).into_bytes();
        let cases: Vec<(Vec<u8>, &str, &str)> = vec![
            (
                vec![],
                "empty-body",
                "the body is empty; send a JSON object",
            ),
            (
                b"hello".to_vec(),
                "not-json",
                "the body is not JSON: expected value at line 1 column 1",
            ),
            (
                b"{\"a\":\xff}".to_vec(),
                "not-utf8",
                "the body is not UTF-8: byte 5 does not belong; send JSON encoded as UTF-8",
            ),
            (
                b"[1]".to_vec(),
                "not-an-object",
                "the body is JSON but not an object; send an object such as {\"schema_version\": 1, …}",
            ),
            (
                with("\"schema_version\":1,", ""),
                "no-schema-version",
                "the property \"schema_version\" must be a whole number; this release reads 1 to 1",
            ),
            (
                with("\"schema_version\":1", "\"schema_version\":7"),
                "unknown-schema-version",
                "schema version 7 is not known; this release reads 1 to 1",
            ),
            (
                with("\"Hello\"", "5"),
                "invalid-property",
                "title: invalid type: integer `5`, expected a string",
            ),
            (
                with("\"Hello\"", r#""a\u0000b""#),
                "invalid-property",
                "title: contains the NUL character, which the database cannot store",
            ),
            (
                with("00000000-0000", "zz"),
                "invalid-property",
                "user_id: UUID parsing failed: invalid character: found `z` at 0",
            ),
            (
                with("\"title\":\"Hello\",", ""),
                "invalid-property",
                ".: missing field `title`",
            ),
            (
                with("\"kind\"", "\"MessageId\":\"x\",\"kind\""),
                "reserved-name",
                "the body has a property \"MessageId\", a name that the Functions host keeps for the message's own metadata; rename it or move it below another property",
            ),
            (
                br#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#.to_vec(),
                "bad-cloud-event",
                "the CloudEvents envelope cannot be read: \"data\" is missing",
            ),
        ];
        for (body, reason, message) in cases {
            assert_eq!(refuse(&body), (reason, message.to_owned()), "{body:?}");
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        assert!(decode::<NotificationRequested>(GOOD.as_bytes(), GOOD.len()).is_ok());
        let error = decode::<NotificationRequested>(GOOD.as_bytes(), GOOD.len() - 1).unwrap_err();
        assert_eq!(error.reason(), "body-too-large");
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let skipped = GOOD.replace("[1]", &deep);
        assert!(decode::<NotificationRequested>(skipped.as_bytes(), usize::MAX).is_ok());
        let read = GOOD.replace("\"Hello\"", &deep);
        let error = decode::<NotificationRequested>(read.as_bytes(), usize::MAX).unwrap_err();
        assert_eq!(error.reason(), "invalid-property");
    }
}
