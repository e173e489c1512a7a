//! Which message ids were seen within the window of duplicate detection.
//!
//! Of an id, only the first half of a SHA-256 is kept: 16 bytes however long the id, and nobody can
//! make up an id that looks like another one's.
//!
//! Ids end in the order in which they stand in the list, so those that have ended are at its front.
//! A clock that is set back and a window that was shortened by a restart would break that order, and
//! would make ids outlive the window; so nothing ends later than an id would that came now.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use nightshift_amqp::message::MessageId;
use sha2::{Digest, Sha256};

use super::millis;

type Key = [u8; 16];

/// The ids seen within the window.
#[derive(Debug)]
pub(super) struct History {
    window_ms: i64,
    /// The sequence number that the first message with an id was given.
    seen: HashMap<Key, u64>,
    /// When each id is forgotten, soonest first.
    ends: VecDeque<(i64, Key)>,
    /// How many were forgotten.
    forgotten: u64,
}

impl History {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window_ms: millis(window),
            seen: HashMap::new(),
            ends: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// How many ids are remembered.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The sequence number of an earlier message with this id that is not forgotten.
    pub(super) fn find(&self, id: &MessageId) -> Option<u64> {
        self.seen.get(&key(id)).copied()
    }

    /// Remembers an id that was not found at this instant. Says its hash, and until when in
    /// milliseconds.
    pub(super) fn remember(&mut self, now_ms: i64, id: &MessageId, sequence: u64) -> (Key, i64) {
        let key = key(id);
        let end_ms = now_ms.saturating_add(self.window_ms);
        self.seen.insert(key, sequence);
        self.ends.push_back((end_ms, key));
        (key, end_ms)
    }

    /// Takes over what was remembered before a restart: until when, the hash, and the sequence
    /// number, in the order in which the ids came.
    pub(super) fn restore(&mut self, now_ms: i64, mut ids: Vec<(i64, Key, u64)>) {
        for (_, key, sequence) in &ids {
            self.seen.insert(*key, *sequence);
        }
        // An id that came twice counts from the second time.
        ids.retain(|(_, key, sequence)| self.seen.get(key) == Some(sequence));
        ids.sort_by_key(|(end_ms, ..)| *end_ms);
        self.ends = ids
            .into_iter()
            .map(|(end_ms, key, _)| (end_ms, key))
            .collect();
        self.forget_old(now_ms);
    }

    /// What is remembered, beginning with the `from`-th id ever: which one it is, its hash, its
    /// sequence number, and until when.
    pub(super) fn remembered_from(&self, from: u64) -> impl Iterator<Item = (u64, Key, u64, i64)> {
        let skipped = usize::try_from(from.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let numbers = self.forgotten.max(from)..;
        let ends = numbers.zip(self.ends.iter().skip(skipped));
        ends.filter_map(|(number, (end_ms, key))| {
            let sequence = self.seen.get(key)?;
            Some((number, *key, *sequence, *end_ms))
        })
    }

    /// Forgets the ids whose window is over.
    pub(super) fn forget_old(&mut self, now_ms: i64) {
        let latest_ms = now_ms.saturating_add(self.window_ms);
        let too_late = |(end_ms, _): &&mut (i64, Key)| *end_ms > latest_ms;
        for (end_ms, _) in self.ends.iter_mut().rev().take_while(too_late) {
            *end_ms = latest_ms;
        }
        while let Some((_, key)) = self.ends.pop_front_if(|(end_ms, _)| *end_ms <= now_ms) {
            self.seen.remove(&key);
            self.forgotten += 1;
        }
        if self.ends.len() < self.ends.capacity() / 8 {
            self.ends.shrink_to(self.ends.len() * 2);
            self.seen.shrink_to(self.ends.len() * 2);
        }
    }
}

/// An id of another type is another id.
fn key(id: &MessageId) -> Key {
    let mut hash = Sha256::new();
    match id {
        MessageId::Ulong(number) => {
            hash.update([0]);
            hash.update(number.to_be_bytes());
        }
        MessageId::Uuid(uuid) => {
            hash.update([1]);
            hash.update(uuid.as_bytes());
        }
        MessageId::Binary(bytes) => {
            hash.update([2]);
            hash.update(bytes);
        }
        MessageId::String(text) => {
            hash.update([3]);
            hash.update(text);
        }
    }
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}
