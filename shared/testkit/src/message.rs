//! Messages as a trigger would deliver them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::TriggerMessage;

/// A user that exists in every test database.
pub const USER: &str = "00000000-0000-4000-8000-000000000001";

/// The body of a valid notification for `user` with `title`.
pub fn notification(user: &str, title: &str) -> String {
    serde_json::json!({
        "schema_version": 1, "user_id": user, "kind": "creature.liked",
        "title": title, "body": "Your creature was liked",
    })
    .to_string()
}

/// A message under construction, enqueued at `enqueued`, first delivery.
#[derive(Debug, Clone)]
pub struct MessageBuilder(TriggerMessage);

/// A message with the id `id` and the body `body`.
pub fn message(id: &str, body: impl Into<Vec<u8>>, enqueued: DateTime<Utc>) -> MessageBuilder {
    MessageBuilder(TriggerMessage {
        body: Bytes::from(body.into()),
        message_id: Some(id.to_owned()),
        sequence_number: 1,
        delivery_count: 1,
        lock_token: None,
        enqueued_time: enqueued,
        expires_at: None,
        session_id: None,
        correlation_id: None,
        content_type: None,
        subject: None,
        to: None,
        reply_to: None,
        reply_to_session_id: None,
        partition_key: None,
        dead_letter_source: None,
        application_properties: serde_json::Map::new(),
    })
}

impl MessageBuilder {
    /// Without an id, as the broker's `sequence_number`-th message.
    #[must_use]
    pub fn without_id(mut self, sequence_number: i64) -> Self {
        self.0.message_id = None;
        self.0.sequence_number = sequence_number;
        self
    }

    /// With an application property.
    #[must_use]
    pub fn with_property(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0
            .application_properties
            .insert(name.to_owned(), value.into());
        self
    }

    /// As the broker's `sequence_number`-th message.
    #[must_use]
    pub fn numbered(mut self, sequence_number: i64) -> Self {
        self.0.sequence_number = sequence_number;
        self
    }

    /// As a part of the session `id`.
    #[must_use]
    pub fn in_session(mut self, id: &str) -> Self {
        self.0.session_id = Some(id.to_owned());
        self
    }

    /// In its `count`-th delivery, from 1.
    #[must_use]
    pub fn delivered(mut self, count: u32) -> Self {
        self.0.delivery_count = count;
        self
    }

    /// The message.
    pub fn build(self) -> TriggerMessage {
        self.0
    }
}
