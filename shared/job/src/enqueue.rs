//! Messages that a function sends: they leave if its transaction commits, and only then.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{Classify, Disposition};

/// The longest body, in bytes. The Standard tier's limit for a message is 256 KiB, its properties
/// included.
const MAX_BODY_BYTES: usize = 240 * 1024;

/// The longest id that the service takes, in characters.
const MAX_ID_CHARS: usize = 128;

/// The longest name of a queue, in characters.
const MAX_QUEUE_CHARS: usize = 260;

/// What the id of a message begins with whose sender has chosen a unique key.
const UNIQUE_PREFIX: &str = "unique:";

/// The longest unique key, in characters.
const MAX_KEY_CHARS: usize = MAX_ID_CHARS - UNIQUE_PREFIX.len();

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueue {
    queue: String,
    body: Bytes,
    when: When,
    unique: Option<String>,
    session_id: Option<String>,
}

/// When a message may be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    After(Duration),
    At(DateTime<Utc>),
}

/// Why a message cannot be sent. It is known before anything commits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The payload has no JSON form.
    #[error("the payload cannot be written as JSON")]
    Payload(#[from] serde_json::Error),
    /// The body is longer than a message takes.
    #[error(
        "the payload has {size_bytes} bytes and a message takes {MAX_BODY_BYTES}; store it and send a reference"
    )]
    TooLarge {
        /// The length of its JSON form, in bytes.
        size_bytes: usize,
    },
    /// No queue can have this name.
    #[error(
        "{0:?} is no name of a queue: 1 to {MAX_QUEUE_CHARS} letters, digits, '.', '-', '_' and '/'"
    )]
    Queue(String),
    /// The id would be longer than the service takes.
    #[error(
        "the unique key {0:?} is empty, longer than {MAX_KEY_CHARS} characters, or has control characters"
    )]
    Unique(String),
    /// The session's id is longer than the service takes.
    #[error(
        "the session id {0:?} is empty, longer than {MAX_ID_CHARS} characters, or has control characters"
    )]
    Session(String),
}

/// None of these is mended by trying again.
impl Classify for EnqueueError {
    fn disposition(&self) -> Disposition {
        Disposition::DeadLetter("cannot-enqueue")
    }
}

/// The JSON form of `payload`, if a message takes it.
pub(crate) fn body_of(payload: &impl Serialize) -> Result<Bytes, EnqueueError> {
    let body = serde_json::to_vec(payload)?;
    if body.len() > MAX_BODY_BYTES {
        let size_bytes = body.len();
        return Err(EnqueueError::TooLarge { size_bytes });
    }
    Ok(body.into())
}

/// Whether `text` is one that brokers and the database take as an id.
fn is_text(text: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&text.chars().count()) && !text.contains(char::is_control)
}

impl Enqueue {
    /// A message to `queue` with `payload` as JSON.
    ///
    /// # Errors
    /// When no queue can have this name, or no message this payload.
    pub fn to(queue: &str, payload: &impl Serialize) -> Result<Self, EnqueueError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if !(1..=MAX_QUEUE_CHARS).contains(&queue.len()) || !queue.chars().all(is_allowed) {
            return Err(EnqueueError::Queue(queue.to_owned()));
        }
        Ok(Self {
            queue: queue.to_owned(),
            body: body_of(payload)?,
            when: When::Now,
            unique: None,
            session_id: None,
        })
    }

    /// Delivered when `delay` has passed since the commit.
    #[must_use]
    pub fn delayed_by(self, delay: Duration) -> Self {
        let when = When::After(delay);
        Self { when, ..self }
    }

    /// Not delivered before `due`.
    #[must_use]
    pub fn not_before(self, due: DateTime<Utc>) -> Self {
        let when = When::At(due);
        Self { when, ..self }
    }

    /// The key becomes the message's id: of all messages to one function with one key, sent within
    /// 24 hours, one has an effect.
    ///
    /// # Errors
    /// When the key is empty or too long.
    pub fn unique(self, key: &str) -> Result<Self, EnqueueError> {
        if !is_text(key, MAX_KEY_CHARS) {
            return Err(EnqueueError::Unique(key.to_owned()));
        }
        let unique = Some(format!("{UNIQUE_PREFIX}{key}"));
        Ok(Self { unique, ..self })
    }

    /// As a part of the session `id`.
    ///
    /// # Errors
    /// When the id is empty or too long.
    pub fn in_session(self, id: &str) -> Result<Self, EnqueueError> {
        if !is_text(id, MAX_ID_CHARS) {
            return Err(EnqueueError::Session(id.to_owned()));
        }
        let session_id = Some(id.to_owned());
        Ok(Self { session_id, ..self })
    }

    /// Where it goes.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// What it says.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The instant before which it is not delivered, for a commit at `now`.
    pub fn due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.when {
            When::Now => None,
            When::After(delay) => {
                let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
                let due = now.checked_add_signed(delay);
                Some(due.unwrap_or(DateTime::<Utc>::MAX_UTC))
            }
            When::At(due) => Some(due),
        }
    }

    /// The id that its unique key makes.
    pub fn message_id(&self) -> Option<&str> {
        self.unique.as_deref()
    }

    /// The session that it is a part of.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_would_refuse_is_refused_before_the_commit() {
        let error = |result: Result<Enqueue, EnqueueError>| result.unwrap_err().to_string();
        let fine = || Enqueue::to("deliveries", &1).unwrap();
        let long = "x".repeat(MAX_BODY_BYTES);
        assert!(error(Enqueue::to("q", &long)).contains("245762 bytes"));
        assert!(error(Enqueue::to("no queue", &1)).contains("\"no queue\""));
        assert!(error(Enqueue::to("", &1)).contains("no name of a queue"));
        assert!(error(fine().unique(&"k".repeat(122))).contains("longer than 121"));
        assert!(fine().unique(&"k".repeat(121)).is_ok());
        assert!(error(fine().unique("")).contains("empty"));
        assert!(error(fine().in_session("")).contains("empty"));
        assert!(error(fine().in_session("a\0")).contains("control characters"));
    }

    #[test]
    fn a_delay_counts_from_the_commit_and_an_instant_stands() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(10);
        let message = || Enqueue::to("q", &1).unwrap();
        assert_eq!(message().due(now), None);
        let delayed = message().delayed_by(Duration::from_secs(5));
        assert_eq!(delayed.due(now).unwrap().timestamp(), 15);
        assert_eq!(message().not_before(now).due(now), Some(now));
    }
}
