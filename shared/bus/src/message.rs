//! A message as an application builds it.
//!
//! The names are Service Bus's, as in the official SDKs; where they live on the wire is said at
//! each field. What is `None` is not sent, and the broker decides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::property::PropertyValue;

/// A message to send, or the sender's part of a received one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The body: one data section.
    pub body: Bytes,
    /// `message-id` of the properties section; the broker makes one when there is none.
    pub message_id: Option<String>,
    /// `correlation-id` of the properties section.
    pub correlation_id: Option<String>,
    /// `content-type` of the properties section, such as `application/json`.
    pub content_type: Option<String>,
    /// `subject` of the properties section, once called label.
    pub subject: Option<String>,
    /// `to` of the properties section.
    pub to: Option<String>,
    /// `reply-to` of the properties section.
    pub reply_to: Option<String>,
    /// `group-id` of the properties section: the session the message belongs to.
    pub session_id: Option<String>,
    /// `reply-to-group-id` of the properties section.
    pub reply_to_session_id: Option<String>,
    /// Annotation `x-opt-partition-key`.
    pub partition_key: Option<String>,
    /// `ttl` of the header section, in whole milliseconds on the wire (at most about 49 days).
    pub time_to_live: Option<Duration>,
    /// Annotation `x-opt-scheduled-enqueue-time`: not delivered before, to the millisecond.
    pub scheduled_enqueue_time: Option<DateTime<Utc>>,
    /// The application-properties section.
    pub application_properties: BTreeMap<String, PropertyValue>,
}

macro_rules! text_setters {
    ($($(#[$doc:meta])* $setter:ident => $field:ident),+ $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<String>) -> Self {
            self.$field = Some(value.into());
            self
        })+
    };
}

impl Message {
    /// A message with a body and nothing else.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    text_setters! {
        /// Sets [`message_id`](Self::message_id).
        with_message_id => message_id,
        /// Sets [`correlation_id`](Self::correlation_id).
        with_correlation_id => correlation_id,
        /// Sets [`content_type`](Self::content_type).
        with_content_type => content_type,
        /// Sets [`subject`](Self::subject).
        with_subject => subject,
        /// Sets [`to`](Self::to).
        with_to => to,
        /// Sets [`reply_to`](Self::reply_to).
        with_reply_to => reply_to,
        /// Sets [`session_id`](Self::session_id).
        with_session_id => session_id,
        /// Sets [`reply_to_session_id`](Self::reply_to_session_id).
        with_reply_to_session_id => reply_to_session_id,
        /// Sets [`partition_key`](Self::partition_key).
        with_partition_key => partition_key,
    }

    /// Sets [`time_to_live`](Self::time_to_live).
    #[must_use]
    pub fn with_time_to_live(mut self, span: Duration) -> Self {
        self.time_to_live = Some(span);
        self
    }

    /// Sets [`scheduled_enqueue_time`](Self::scheduled_enqueue_time).
    #[must_use]
    pub fn with_scheduled_enqueue_time(mut self, instant: DateTime<Utc>) -> Self {
        self.scheduled_enqueue_time = Some(instant);
        self
    }

    /// Adds one application property, replacing one of the same name.
    #[must_use]
    pub fn with_property(
        mut self,
        name: impl Into<String>,
        value: impl Into<PropertyValue>,
    ) -> Self {
        self.application_properties
            .insert(name.into(), value.into());
        self
    }
}
