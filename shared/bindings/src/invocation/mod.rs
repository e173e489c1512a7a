//! One invocation of a function, as it travels from the host to the handler and back.
//!
//! The wire is the custom-handler contract of the Azure Functions host: a `POST` whose JSON body
//! has the members `Data` and `Metadata`, answered by `{"Outputs", "Logs", "ReturnValue"}`.
//! [`encode`] is the host's side, [`decode`] and [`response`] the handler's. Both stand in one
//! crate so that a round trip can be tested without either process.

pub mod decode;
pub mod encode;
#[cfg(test)]
mod fuzz;
mod members;
pub mod response;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One Service Bus message as a trigger hands it to a function.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerMessage {
    /// The body's bytes, exactly as the producer sent them.
    pub body: Bytes,
    /// The producer's id, or the one the broker gave; absent only for a hand-made invocation.
    pub message_id: Option<String>,
    /// The broker's number of the message, unique and ascending within its queue.
    pub sequence_number: i64,
    /// Which delivery this is, counted from 1.
    pub delivery_count: u32,
    /// The peek-lock of this delivery.
    pub lock_token: Option<Uuid>,
    /// When the broker accepted the message.
    pub enqueued_time: DateTime<Utc>,
    /// When the message's time to live ends, if it has one.
    pub expires_at: Option<DateTime<Utc>>,
    /// The session whose order the message belongs to.
    pub session_id: Option<String>,
    /// The producer's correlation id.
    pub correlation_id: Option<String>,
    /// The producer's RFC 2045 content type of the body.
    pub content_type: Option<String>,
    /// The producer's subject, formerly called label.
    pub subject: Option<String>,
    /// The producer's logical destination.
    pub to: Option<String>,
    /// Where the producer wants an answer.
    pub reply_to: Option<String>,
    /// The session of that answer.
    pub reply_to_session_id: Option<String>,
    /// The key by which a partitioned entity placed the message.
    pub partition_key: Option<String>,
    /// The entity the message was dead-lettered from, when read from a dead-letter queue.
    pub dead_letter_source: Option<String>,
    /// The producer's own properties.
    pub application_properties: Map<String, Value>,
}
