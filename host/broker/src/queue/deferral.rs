//! Messages that a receiver has set aside: they are received by their sequence numbers only.
//!
//! A deferred message stays deferred however often it is abandoned or its lock ends; it leaves by
//! being completed, dead-lettered, or found too old by somebody who asks for it.

use chrono::{DateTime, Utc};

use super::{
    Queue, SessionLock,
    message::{Delivery, State, SubQueue},
    sessions::Shelf,
};

/// Why no deferred message was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReceived {
    /// Nothing is set aside under this number, or another receiver holds it.
    Missing(u64),
    /// Together they are larger than the given number of bytes.
    TooLarge(usize),
    /// The session is not the receiver's.
    SessionLost,
}

/// Where somebody looks for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Among the messages of a queue, or its dead letters, that are in no session.
    SubQueue(SubQueue),
    /// In a session that the receiver owns.
    Session(SessionLock),
}

impl Queue {
    /// Locks the deferred messages with these numbers: all of them, or none when one is missing.
    pub(crate) fn receive_deferred(
        &mut self,
        now: DateTime<Utc>,
        place: Place,
        sequences: &[u64],
        max_bytes: usize,
    ) -> Result<Vec<Delivery>, NotReceived> {
        self.expire(now);
        if let Place::Session(lock) = place
            && !self.holds_session(now, lock)
        {
            return Err(NotReceived::SessionLost);
        }
        let now_ms = now.timestamp_millis();
        let mut bytes = 0;
        for &sequence in sequences {
            bytes += self
                .deferred_len(place, sequence, now_ms)
                .ok_or(NotReceived::Missing(sequence))?;
        }
        if bytes > max_bytes {
            return Err(NotReceived::TooLarge(max_bytes));
        }
        let locked = sequences
            .iter()
            .filter_map(|&sequence| self.lock(sequence, now_ms));
        Ok(locked.collect())
    }

    /// The size of a deferred message that is not too old. One that is ends here.
    fn deferred_len(&mut self, place: Place, sequence: u64, now_ms: i64) -> Option<usize> {
        let message = self.log.get_mut(sequence)?;
        let (sub_queue, session) = match place {
            Place::SubQueue(sub_queue) => (sub_queue, None),
            Place::Session(lock) => (SubQueue::Active, Some(lock.key)),
        };
        let is_here = message.sub_queue == sub_queue && message.session == session;
        if !is_here || message.state != State::Deferred {
            return None;
        }
        let len = message.content.len();
        if message.expires_at_ms <= now_ms {
            message.state = State::Ready;
            if let Some(key) = session {
                self.sessions.take(key, sequence, Shelf::Aside);
            }
            self.lane(sub_queue).deferred -= 1;
            self.expire_if_due(sequence, now_ms);
            return None;
        }
        Some(len)
    }

    /// Sets aside a message that is in no list and under no lock.
    pub(super) fn set_aside(&mut self, sequence: u64) {
        if let Some(message) = self.log.get_mut(sequence) {
            message.state = State::Deferred;
            let sub_queue = message.sub_queue;
            if let Some(key) = message.session {
                self.sessions.put(key, sequence, Shelf::Aside);
            }
            self.lane(sub_queue).deferred += 1;
        }
    }
}
