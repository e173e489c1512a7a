//! The host's side of an invocation: from received messages to the `POST` body.
//!
//! What the real host sends follows from how .NET serialises what a trigger binds: a scalar or an
//! array is JSON text *inside* a JSON string, an object stands inline, bytes are base64, and a
//! batch has one `…Array` member per property, aligned by index. Everything is written straight
//! into one buffer, both escapes at once, because a batch of a thousand messages is the hot path
//! of the whole product. Not sent are the real host's reflections of its own client objects
//! (`MessageReceiver`, `Client`, …): they describe .NET objects that no handler can reach.

mod body_properties;
mod escape;
mod http;
mod metadata;
mod text;
mod time;
mod timer;

use base64_simd::STANDARD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::TriggerMessage;
use crate::function_json::DataType;
use body_properties::BodyProperties;
use escape::{Depth, push_compact_json, push_escaped};
pub use http::{HttpBody, HttpInvocation};
use metadata::{push_batch_metadata, push_single_metadata};
use text::body_text;
use time::{Form, push_time};
pub use timer::{RetryContext, ScheduleStatus, TimerInvocation};

/// Why messages cannot be put into an invocation; the invocation then fails before the handler is
/// called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A batch without `dataType` needs JSON bodies.
    #[error(
        "body {index} of the batch is not JSON, which a binding without dataType needs: say \
         \"dataType\": \"binary\" or \"string\" in function.json"
    )]
    NotJson {
        /// The position in the batch, from 0.
        index: usize,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
}

/// What an invocation says besides its messages.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The function's name, `sys.MethodName`.
    pub function: &'a str,
    /// The trigger binding's name.
    pub binding: &'a str,
    /// The form in which the function wants bodies.
    pub data_type: DataType,
    /// The current instant, `sys.UtcNow`.
    pub now: DateTime<Utc>,
    /// A fresh random id, `sys.RandGuid`.
    pub random: Uuid,
}

impl Envelope<'_> {
    /// The `POST` body of an invocation with one message (`"cardinality": "one"`).
    pub fn encode_single(&self, message: &TriggerMessage) -> Vec<u8> {
        let mut out = Vec::with_capacity(estimate(std::slice::from_ref(message)));
        self.push_data_name(&mut out);
        let text;
        let mut properties = BodyProperties::default();
        if self.data_type == DataType::Binary {
            STANDARD.encode_append(&message.body, &mut out);
        } else {
            text = body_text(&message.body);
            out.extend_from_slice(b"\\\"");
            push_escaped(&mut out, &text, Depth::Two);
            out.extend_from_slice(b"\\\"");
            properties = BodyProperties::parse(&text);
        }
        out.extend_from_slice(b"\"},\"Metadata\":{");
        push_single_metadata(&mut out, message, &properties);
        if properties.get("sys").is_none() {
            self.push_sys(&mut out);
        }
        close(&mut out);
        out
    }

    /// The `POST` body of an invocation with many messages (`"cardinality": "many"`).
    pub fn encode_batch(&self, messages: &[TriggerMessage]) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(estimate(messages));
        self.push_data_name(&mut out);
        out.push(b'[');
        for (index, message) in messages.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.push_element(&mut out, index, message)?;
        }
        out.extend_from_slice(b"]\"},\"Metadata\":{");
        push_batch_metadata(&mut out, messages);
        self.push_sys(&mut out);
        close(&mut out);
        Ok(out)
    }

    fn push_element(
        &self,
        out: &mut Vec<u8>,
        index: usize,
        message: &TriggerMessage,
    ) -> Result<(), EncodeError> {
        match self.data_type {
            DataType::Binary => {
                out.extend_from_slice(b"\\\"");
                STANDARD.encode_append(&message.body, out);
                out.extend_from_slice(b"\\\"");
            }
            DataType::String => {
                out.extend_from_slice(b"\\\"");
                push_escaped(out, &body_text(&message.body), Depth::Two);
                out.extend_from_slice(b"\\\"");
            }
            DataType::Unspecified => {
                let document: &RawValue = serde_json::from_slice(&message.body)
                    .map_err(|source| EncodeError::NotJson { index, source })?;
                push_compact_json(out, document.get());
            }
        }
        Ok(())
    }

    /// `{"Data":{"<binding>":"`, up to and with the quote that opens the value.
    fn push_data_name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"Data\":{\"");
        push_escaped(out, self.binding, Depth::One);
        out.extend_from_slice(b"\":\"");
    }

    fn sys(&self) -> Sys<'_> {
        Sys {
            method_name: self.function,
            utc_now: time::spelt_utc(self.now),
            rand_guid: self.random,
        }
    }

    fn push_sys(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"sys\":{\"MethodName\":\"");
        push_escaped(out, self.function, Depth::One);
        out.extend_from_slice(b"\",\"UtcNow\":\"");
        push_time(out, Some(self.now), Form::FullUtc);
        out.extend_from_slice(b"\",\"RandGuid\":\"");
        push_uuid(out, self.random);
        out.extend_from_slice(b"\"},");
    }
}

/// The metadata that every invocation has.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sys<'a> {
    method_name: &'a str,
    utc_now: String,
    rand_guid: Uuid,
}

/// Ends the metadata, whose members each end with a comma, and the document.
fn close(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"}}");
}

fn push_uuid(out: &mut Vec<u8>, uuid: Uuid) {
    let mut buffer = Uuid::encode_buffer();
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut buffer).as_bytes());
}

/// Roughly how many bytes `messages` become, so that the buffer grows at most once or twice.
fn estimate(messages: &[TriggerMessage]) -> usize {
    const PER_MESSAGE: usize = 420;
    const PER_PROPERTY: usize = 96;
    let each = |message: &TriggerMessage| {
        message.body.len() / 3 * 4
            + PER_MESSAGE
            + message.application_properties.len() * PER_PROPERTY
    };
    1_024 + messages.iter().map(each).sum::<usize>()
}

#[cfg(test)]
mod tests;
