//! The identity of a piece of work: what makes a redelivery the same message.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The first 16 bytes of a SHA-256 over the function's name and the message's identity. Sixteen
/// bytes make an accidental collision less likely than a failing disk, and fit the database's
/// fixed-size `uuid` type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey(pub Uuid);

impl JobKey {
    /// The key of the message that `function` received with the producer's `message_id`.
    pub fn of_message_id(function: &str, message_id: &str) -> Self {
        Self(first_half(&[
            function.as_bytes(),
            b"\0id\0",
            message_id.as_bytes(),
        ]))
    }

    /// The key of a message without an id: its place in its queue. The enqueue time counts in
    /// whole seconds, because the host hands it on with and without fractions.
    pub fn of_position(function: &str, sequence_number: i64, enqueued: DateTime<Utc>) -> Self {
        let seconds = enqueued.timestamp();
        Self(first_half(&[
            function.as_bytes(),
            b"\0position\0",
            &sequence_number.to_be_bytes(),
            &seconds.to_be_bytes(),
        ]))
    }

    /// The key under which a message is kept that carries another one's id but a body of its own.
    #[must_use]
    pub fn reused_with(self, body: BodyHash) -> Self {
        Self(first_half(&[
            self.0.as_bytes(),
            b"\0reused\0",
            body.0.as_bytes(),
        ]))
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// The first 16 bytes of a SHA-256 over a function's name and what its messages have in common of which
/// only so many are to be at work at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConcurrencyKey(pub Uuid);

impl ConcurrencyKey {
    /// The key of the messages of `function` that have `key` in common.
    pub fn of(function: &str, key: &str) -> Self {
        Self(first_half(&[
            function.as_bytes(),
            b"\0concurrency\0",
            key.as_bytes(),
        ]))
    }
}

/// The first 16 bytes of a body's SHA-256, to tell a redelivery from another message that was
/// given the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyHash(pub Uuid);

impl BodyHash {
    /// The hash of `body`.
    pub fn of(body: &[u8]) -> Self {
        Self(first_half(&[body]))
    }
}

fn first_half(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    Uuid::from_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_function_and_by_id() {
        let key = JobKey::of_message_id("notifications-dispatch", "m1");
        assert_eq!(key, JobKey::of_message_id("notifications-dispatch", "m1"));
        assert_ne!(key, JobKey::of_message_id("notifications-dispatch", "m2"));
        assert_ne!(key, JobKey::of_message_id("notifications-deliver", "m1"));
    }

    #[test]
    fn a_position_ignores_fractions_of_a_second() {
        let whole = DateTime::from_timestamp(1_000, 0).unwrap();
        let late = DateTime::from_timestamp(1_000, 999_000_000).unwrap();
        assert_eq!(
            JobKey::of_position("f", 7, whole),
            JobKey::of_position("f", 7, late)
        );
        assert_ne!(
            JobKey::of_position("f", 7, whole),
            JobKey::of_position("f", 8, whole)
        );
    }

    #[test]
    fn a_body_hash_is_the_start_of_sha_256() {
        let hash = BodyHash::of(b"abc").0.simple().to_string();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223");
    }
}
