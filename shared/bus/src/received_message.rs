//! A message as it arrived, with what the broker says about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::message::Message;
use crate::property::PropertyValue;

/// A delivered message. Settle it on the receiver that it came from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// The sender's part. Its body is what [`body_kind`](Self::body_kind) says.
    pub message: Message,
    /// In which of AMQP's three forms the body came.
    pub body_kind: BodyKind,
    /// Identifies the lock; nil for a message received in receive-and-delete mode.
    pub lock_token: Uuid,
    /// Position in the queue, assigned by the broker (`x-opt-sequence-number`).
    pub sequence_number: i64,
    /// Which delivery this is, the first being 1: the header's count of failed deliveries plus
    /// one, as the .NET SDK and the Functions host count. For a message that was only peeked at,
    /// the failed deliveries so far.
    pub delivery_count: u32,
    /// When the broker accepted the message (`x-opt-enqueued-time`, milliseconds).
    pub enqueued_time: DateTime<Utc>,
    /// When the lock ends, by the broker's clock (`x-opt-locked-until`).
    pub locked_until: Option<DateTime<Utc>>,
    /// Whether the message is there to be received, put aside or still to come
    /// (`x-opt-message-state`).
    pub state: MessageState,
    /// When the message ends its life: `absolute-expiry-time`, else enqueued time plus ttl.
    pub expires_at: Option<DateTime<Utc>>,
    /// For a message in a dead-letter queue: the entity it was first dead-lettered in
    /// (`x-opt-deadletter-source`), when it was forwarded from there.
    pub dead_letter_source: Option<String>,
    /// The number it had before it was forwarded (`x-opt-enqueue-sequence-number`).
    pub enqueued_sequence_number: Option<i64>,
    pub(crate) delivery: DeliveryKey,
    /// Lets the lock be renewed for as long as a copy of the message lives.
    pub(crate) hold: Option<Arc<()>>,
}

impl ReceivedMessage {
    /// Why the message was dead-lettered (application property `DeadLetterReason`).
    pub fn dead_letter_reason(&self) -> Option<&str> {
        self.text_property("DeadLetterReason")
    }

    /// What was said when it was dead-lettered (property `DeadLetterErrorDescription`).
    pub fn dead_letter_error_description(&self) -> Option<&str> {
        self.text_property("DeadLetterErrorDescription")
    }

    fn text_property(&self, name: &str) -> Option<&str> {
        match self.message.application_properties.get(name) {
            Some(PropertyValue::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// What a message is doing on the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageState {
    /// It can be received, or has been.
    #[default]
    Active,
    /// It was put aside and is received by its sequence number.
    Deferred,
    /// It comes into the queue later.
    Scheduled,
}

/// Which body section a message had (AMQP 1.0, part 3, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyKind {
    /// Data sections: the message's body is their concatenation. What every SDK sends by default.
    Data,
    /// A value section that holds a string: the message's body is its UTF-8.
    Value(String),
    /// Another value, or sequences: the message's body is the encoded section as it came.
    Other,
}

/// Identifies a delivery within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryKey {
    /// The receiver that it is settled on.
    pub(crate) receiver: ReceiverKey,
    /// How it is settled.
    pub(crate) via: Via,
}

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// By its delivery-id on the link it came over, unique among the unsettled ones of that link.
    Link { link: LinkKey, id: u32 },
    /// By its lock token, over the management node.
    Token,
    /// Not at all: the broker had removed it when it came.
    Nothing,
    /// Not at all: it was only looked at.
    Peeked,
}

/// Identifies a receiver among all that this process ever opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverKey(pub(crate) u64);

impl ReceiverKey {
    /// A key that no other receiver has.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Identifies a link among all that this process ever opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub(crate) u64);
