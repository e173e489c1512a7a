//! What time does to a queue: scheduled messages become available, locks end, and messages die.
//!
//! A deferred message does not die while nobody asks for it; its age is looked at when somebody
//! does, as in the service.

use chrono::{DateTime, Utc};

use super::{
    Queue,
    message::{State, SubQueue},
    sessions::Shelf,
};

/// The reason of a dead letter whose time ran out.
const EXPIRED: &str = "TTLExpiredException";
const EXPIRED_DESCRIPTION: &str = "The message expired and was dead lettered.";

/// How many deadlines one call works off, so that a million messages expiring at one instant do not
/// hold up everyone who wants to use the queue.
const ROUND: usize = 4_096;

impl Queue {
    /// Does what is due at `now`, up to a bounded number of messages and of their bytes. When
    /// [`Queue::next_deadline_ms`] is still in the past afterwards, call again.
    pub(crate) fn expire(&mut self, now: DateTime<Utc>) {
        let now_ms = now.timestamp_millis();
        for _ in 0..ROUND {
            if self.changes.are_many() {
                return;
            }
            if let Some((at_ms, sequence)) = self.schedule.pop_due(now_ms) {
                self.activate(at_ms, sequence, now_ms);
            } else if let Some((at_ms, sequence)) = self.locks.pop_due(now_ms) {
                self.end_lock_of(at_ms, sequence, now_ms);
            } else if let Some((at_ms, key)) = self.sessions.locks.pop_due(now_ms) {
                self.end_session_lock_of(at_ms, key, now_ms);
            } else if let Some((at_ms, sequence)) = self.expiries.pop_due(now_ms) {
                self.end_life_of(at_ms, sequence, now_ms);
            } else {
                return;
            }
        }
    }

    fn end_lock_of(&mut self, at_ms: i64, sequence: u64, now_ms: i64) {
        let held = |state| matches!(state, State::Locked { until_ms, .. } if until_ms == at_ms);
        if self
            .log
            .get(sequence)
            .is_some_and(|message| held(message.state))
        {
            let standing = self.end_lock(sequence);
            self.count_failure(sequence, standing, now_ms);
        }
    }

    fn end_life_of(&mut self, at_ms: i64, sequence: u64, now_ms: i64) {
        // A locked message does not expire under its lock; it is looked at again when that ends.
        let Some(message) = self.log.get(sequence) else {
            return;
        };
        if message.expires_at_ms != at_ms || !message.is_ready(SubQueue::Active) {
            return;
        }
        if let Some(key) = message.session {
            self.sessions.take(key, sequence, Shelf::Ready);
            self.expire_if_due(sequence, now_ms);
        } else {
            self.expire_if_due(sequence, now_ms);
            let log = &self.log;
            self.active.waiting().forget_one(|other| {
                log.get(other)
                    .is_some_and(|message| message.is_ready(SubQueue::Active))
            });
        }
    }

    /// Ends the life of an unlocked message if it is over. Says whether it was.
    pub(super) fn expire_if_due(&mut self, sequence: u64, now_ms: i64) -> bool {
        let Some(message) = self.log.get(sequence) else {
            return false;
        };
        if message.expires_at_ms > now_ms {
            return false;
        }
        if self.settings.dead_letter_on_expiration {
            self.bury_because(sequence, EXPIRED, EXPIRED_DESCRIPTION);
        } else {
            self.remove(sequence);
        }
        true
    }
}
