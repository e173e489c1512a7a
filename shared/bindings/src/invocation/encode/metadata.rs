//! The `Metadata` of a Service Bus invocation: the names of version 5 of the extension.
//!
//! Every member is written with a comma behind it; the caller takes the last one away.

use std::fmt::Display;
use std::io::Write;

use serde_json::{Map, Value};

use super::body_properties::{BodyProperties, BodyValue};
use super::escape::{Depth, EscapedWriter, push_escaped};
use super::push_uuid;
use super::time::{Form, push_time};
use crate::invocation::TriggerMessage;

/// A text property by its name on the wire.
type TextProperty = (&'static str, fn(&TriggerMessage) -> Option<&str>);

/// The text properties. `Label` is the former name of `Subject` and carries the same.
const TEXTS: [TextProperty; 11] = [
    ("MessageId", |message| message.message_id.as_deref()),
    ("SessionId", |message| message.session_id.as_deref()),
    ("CorrelationId", |message| message.correlation_id.as_deref()),
    ("ContentType", |message| message.content_type.as_deref()),
    ("Subject", |message| message.subject.as_deref()),
    ("Label", |message| message.subject.as_deref()),
    ("To", |message| message.to.as_deref()),
    ("ReplyTo", |message| message.reply_to.as_deref()),
    ("ReplyToSessionId", |message| {
        message.reply_to_session_id.as_deref()
    }),
    ("PartitionKey", |message| message.partition_key.as_deref()),
    ("DeadLetterSource", |message| {
        message.dead_letter_source.as_deref()
    }),
];

/// Appends the members of a single message. Absent values have no member; those that the body's
/// `properties` replace keep their place and their spelling.
pub(super) fn push_single_metadata(
    out: &mut Vec<u8>,
    message: &TriggerMessage,
    properties: &BodyProperties<'_>,
) {
    let mut single = Single { out, properties };
    for (name, text) in TEXTS {
        single.member(name, text(message).is_some(), |out| {
            push_text(out, text(message).unwrap_or_default());
        });
    }
    single.member("SequenceNumber", true, |out| {
        push_number(out, message.sequence_number);
    });
    single.member("DeliveryCount", true, |out| {
        push_number(out, message.delivery_count);
    });
    single.member("LockToken", message.lock_token.is_some(), |out| {
        out.extend_from_slice(b"\"\\\"");
        push_uuid(out, message.lock_token.unwrap_or_default());
        out.extend_from_slice(b"\\\"\"");
    });
    let enqueued = Some(message.enqueued_time);
    for (name, time, form) in [
        ("EnqueuedTime", enqueued, Form::Offset),
        ("EnqueuedTimeUtc", enqueued, Form::Bare),
        ("ExpiresAt", message.expires_at, Form::Offset),
        ("ExpiresAtUtc", message.expires_at, Form::Bare),
    ] {
        single.member(name, true, |out| {
            out.push(b'"');
            push_time(out, time, form);
            out.push(b'"');
        });
    }
    for name in ["ApplicationProperties", "UserProperties"] {
        single.member(name, true, |out| {
            push_object(out, &message.application_properties);
        });
    }
    single.remaining_properties();
}

/// Writes the members of one message and lets body properties replace them.
struct Single<'a, 'b> {
    out: &'a mut Vec<u8>,
    properties: &'a BodyProperties<'b>,
}

/// Every name that a single message's own metadata may have.
fn is_own_name(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "SequenceNumber",
        "DeliveryCount",
        "LockToken",
        "EnqueuedTime",
        "EnqueuedTimeUtc",
        "ExpiresAt",
        "ExpiresAtUtc",
        "ApplicationProperties",
        "UserProperties",
    ];
    let mut names = TEXTS.iter().map(|(name, _)| *name).chain(OTHERS);
    names.any(|own| own.eq_ignore_ascii_case(name))
}

impl Single<'_, '_> {
    fn member(&mut self, name: &str, is_present: bool, push_value: impl FnOnce(&mut Vec<u8>)) {
        if let Some(value) = self.properties.get(name) {
            push_body_value(self.out, name, value);
        } else if is_present {
            push_name(self.out, name, "");
            push_value(self.out);
            self.out.push(b',');
        }
    }

    fn remaining_properties(&mut self) {
        for (name, value) in self
            .properties
            .iter()
            .filter(|(name, _)| !is_own_name(name))
        {
            // The real host leaves out every member whose name ends like this.
            if !name.to_lowercase().ends_with("trigger") {
                push_body_value(self.out, name, value);
            }
        }
    }
}

fn push_body_value(out: &mut Vec<u8>, name: &str, value: &BodyValue<'_>) {
    match value {
        BodyValue::Text(None) => return,
        BodyValue::Text(Some(text)) => {
            push_name(out, name, "");
            push_text(out, text);
        }
        BodyValue::Object(object) => {
            push_name(out, name, "");
            out.extend_from_slice(object.get().as_bytes());
        }
    }
    out.push(b',');
}

/// Appends the `…Array` members of a batch.
pub(super) fn push_batch_metadata(out: &mut Vec<u8>, messages: &[TriggerMessage]) {
    for (name, text) in TEXTS {
        push_text_column(out, name, messages, text);
    }
    // The extension fills this one from the partition keys, too.
    push_text_column(out, "TransactionPartitionKey", messages, |message| {
        message.partition_key.as_deref()
    });
    push_column(out, "SequenceNumber", messages, |out, message| {
        push_display(out, message.sequence_number);
    });
    push_column(out, "DeliveryCount", messages, |out, message| {
        push_display(out, message.delivery_count);
    });
    push_column(out, "LockToken", messages, |out, message| {
        match message.lock_token {
            Some(token) => {
                out.extend_from_slice(b"\\\"");
                push_uuid(out, token);
                out.extend_from_slice(b"\\\"");
            }
            None => out.extend_from_slice(b"null"),
        }
    });
    push_time_column(out, "EnqueuedTime", messages, Form::FullOffset, |m| {
        Some(m.enqueued_time)
    });
    push_time_column(out, "EnqueuedTimeUtc", messages, Form::FullUtc, |m| {
        Some(m.enqueued_time)
    });
    push_time_column(out, "ExpiresAt", messages, Form::FullOffset, |m| {
        m.expires_at
    });
    push_time_column(out, "ExpiresAtUtc", messages, Form::FullUtc, |m| {
        m.expires_at
    });
    for name in ["ApplicationProperties", "UserProperties"] {
        push_column(out, name, messages, |out, message| {
            push_object(&mut EscapedWriter(out), &message.application_properties);
        });
    }
}

fn push_text_column(
    out: &mut Vec<u8>,
    name: &str,
    messages: &[TriggerMessage],
    text: impl Fn(&TriggerMessage) -> Option<&str>,
) {
    push_column(out, name, messages, |out, message| match text(message) {
        Some(text) => {
            out.extend_from_slice(b"\\\"");
            push_escaped(out, text, Depth::Two);
            out.extend_from_slice(b"\\\"");
        }
        None => out.extend_from_slice(b"null"),
    });
}

fn push_time_column(
    out: &mut Vec<u8>,
    name: &str,
    messages: &[TriggerMessage],
    form: Form,
    time: impl Fn(&TriggerMessage) -> Option<chrono::DateTime<chrono::Utc>>,
) {
    push_column(out, name, messages, |out, message| {
        out.extend_from_slice(b"\\\"");
        push_time(out, time(message), form);
        out.extend_from_slice(b"\\\"");
    });
}

/// A string that holds a JSON array with one element for each message.
fn push_column(
    out: &mut Vec<u8>,
    name: &str,
    messages: &[TriggerMessage],
    push_element: impl Fn(&mut Vec<u8>, &TriggerMessage),
) {
    push_name(out, name, "Array");
    out.extend_from_slice(b"\"[");
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_element(out, message);
    }
    out.extend_from_slice(b"]\",");
}

fn push_name(out: &mut Vec<u8>, name: &str, suffix: &str) {
    out.push(b'"');
    push_escaped(out, name, Depth::One);
    out.extend_from_slice(suffix.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A text, encoded twice.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"\"\\\"");
    push_escaped(out, text, Depth::Two);
    out.extend_from_slice(b"\\\"\"");
}

/// A number as a string.
fn push_number(out: &mut Vec<u8>, number: impl Display) {
    out.push(b'"');
    push_display(out, number);
    out.push(b'"');
}

fn push_display(out: &mut Vec<u8>, number: impl Display) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{number}");
}

fn push_object(out: &mut impl Write, object: &Map<String, Value>) {
    // Writing a map of JSON values to memory cannot fail.
    let _ = serde_json::to_writer(out, object);
}
