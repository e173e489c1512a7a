//! One message as the queue holds it.

use std::sync::Arc;

use nightshift_amqp::message::MessageId;

use super::{sessions::SessionKey, token::LockToken};

/// The instant of a message that never expires, in milliseconds.
pub(crate) const NEVER_MS: i64 = i64::MAX;

/// What a message costs beside its bytes, for the queue's size limit: the fixed fields, its place
/// in the log and in the list of ready messages, and the allocator's share of both.
pub(crate) const OVERHEAD_BYTES: usize = 192;

/// Which half of a queue a message is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SubQueue {
    /// The queue proper.
    Active,
    /// Its `$DeadLetterQueue`.
    DeadLetter,
}

/// The header fields that come back as they were sent.
///
/// `delivery-count` and `first-acquirer` are the broker's to tell; the rest is the sender's, and an
/// absent field stays absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeptHeader {
    pub(crate) durable: Option<bool>,
    pub(crate) priority: Option<u8>,
    pub(crate) ttl_ms: Option<u32>,
}

/// The sender's bytes: the entries of its message annotations, then the bare message with its
/// footer, untouched.
///
/// They are copied out of the read buffer once, in one exact allocation, so that a message that
/// stays for days does not keep alive the buffer in which it came.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    bytes: Arc<[u8]>,
    annotation_entries: u32,
    annotations_len: u32,
}

impl Content {
    /// Keeps `bytes`, which start with `annotation_entries` encoded map entries (keys and values
    /// counted separately) in `annotations_len` bytes.
    pub(crate) fn new(bytes: &[u8], annotation_entries: u32, annotations_len: u32) -> Self {
        Self {
            bytes: Arc::from(bytes),
            annotation_entries,
            annotations_len,
        }
    }

    /// The encoded entries of the sender's message annotations, and how many values they are.
    pub(crate) fn annotations(&self) -> (&[u8], u32) {
        let end = self.split();
        (&self.bytes[..end], self.annotation_entries)
    }

    /// The bare message and its footer.
    pub(crate) fn bare(&self) -> &[u8] {
        &self.bytes[self.split()..]
    }

    /// All of it: the annotations, then the bare message and its footer.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn split(&self) -> usize {
        usize::try_from(self.annotations_len).map_or(0, |len| len.min(self.bytes.len()))
    }
}

/// A message on its way into a queue.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) header: KeptHeader,
    /// When it is to become available, in milliseconds. At once when that is past, or `None`.
    pub(crate) scheduled_at_ms: Option<i64>,
    /// The id that its sender gave it.
    pub(crate) message_id: Option<MessageId>,
    /// The session that it belongs to, in a queue that has sessions.
    pub(crate) session_id: Option<String>,
    pub(crate) content: Content,
    /// Where it was before, if it was forwarded.
    pub(crate) origin: Option<Arc<Origin>>,
}

impl Submission {
    /// What the message will count for against the queue's size limit.
    pub(crate) fn cost(&self) -> usize {
        self.content.len() + OVERHEAD_BYTES
    }
}

/// A message in a queue.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) enqueued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) delivery_count: u32,
    pub(crate) header: KeptHeader,
    pub(crate) sub_queue: SubQueue,
    pub(crate) state: State,
    /// Its session, in a queue that has sessions. A dead letter has none.
    pub(crate) session: Option<SessionKey>,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) content: Content,
}

/// Where a message was before it was forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its number in the queue to which it was sent.
    pub(crate) sequence: u64,
    /// How often it was forwarded.
    pub(crate) hops: u8,
    /// The queue of which it was a dead letter.
    pub(crate) dead_letter_source: Option<Arc<str>>,
}

impl Message {
    pub(crate) fn cost(&self) -> usize {
        self.content.len() + OVERHEAD_BYTES
    }

    pub(crate) fn is_ready(&self, sub_queue: SubQueue) -> bool {
        self.sub_queue == sub_queue && self.state == State::Ready
    }

    /// The message as it leaves under `lock`.
    pub(crate) fn outgoing<L>(&self, lock: L) -> Outgoing<L> {
        Outgoing {
            sequence: self.sequence,
            enqueued_at_ms: self.enqueued_at_ms,
            expires_at_ms: self.expires_at_ms,
            delivery_count: self.delivery_count,
            header: self.header,
            standing: self.state.standing(),
            origin: self.origin.clone(),
            content: self.content.clone(),
            lock,
        }
    }

    #[cfg(test)]
    pub(crate) fn numbered(sequence: u64) -> Self {
        Self {
            sequence,
            enqueued_at_ms: 0,
            expires_at_ms: NEVER_MS,
            delivery_count: 0,
            header: KeptHeader::default(),
            sub_queue: SubQueue::Active,
            state: State::Ready,
            session: None,
            origin: None,
            content: Content::new(b"", 0, 0),
        }
    }
}

/// What a message in a queue is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for a receiver.
    Ready,
    /// A receiver holds it until the given instant, or as long as the session that it is in.
    Locked {
        until_ms: i64,
        nonce: u64,
        /// Whether it is set aside again when the lock ends.
        was_deferred: bool,
    },
    /// A receiver has set it aside; it is received by its number only.
    Deferred,
    /// It becomes available at the given instant.
    Scheduled { at_ms: i64 },
}

/// What clients are told about where a message stands. A lock does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Deferred,
    Scheduled,
}

impl State {
    pub(crate) fn standing(self) -> Standing {
        match self {
            Self::Ready
            | Self::Locked {
                was_deferred: false,
                ..
            } => Standing::Active,
            Self::Deferred
            | Self::Locked {
                was_deferred: true, ..
            } => Standing::Deferred,
            Self::Scheduled { .. } => Standing::Scheduled,
        }
    }
}

/// A message on its way to a receiver.
pub(crate) type Delivery = Outgoing<Lock>;

/// A message shown to somebody who does not receive it.
pub(crate) type Peeked = Outgoing<()>;

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing<L> {
    pub(crate) sequence: u64,
    pub(crate) enqueued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) delivery_count: u32,
    pub(crate) header: KeptHeader,
    pub(crate) standing: Standing,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) content: Content,
    /// The lock under which it leaves, if it does.
    pub(crate) lock: L,
}

/// A peek-lock just given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) token: LockToken,
    pub(crate) until_ms: i64,
}
