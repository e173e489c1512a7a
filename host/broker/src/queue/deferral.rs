//! Messages that a receiver has set aside: they are received by their sequence numbers only.
//!
//! A deferred message stays deferred however often it is abandoned or its lock ends; it leaves by
//! being completed, dead-lettered, or found too old by somebody who asks for it.

use chrono::{DateTime, Utc};

use super::{
    Queue,
    message::{Delivery, State, SubQueue},
};

/// Why no deferred message was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReceived {
    /// Nothing is set aside under this number, or another receiver holds it.
    Missing(u64),
    /// Together they are larger than the given number of bytes.
    TooLarge(usize),
}

impl Queue {
    /// Locks the deferred messages with these numbers: all of them, or none when one is missing.
    pub(crate) fn receive_deferred(
        &mut self,
        now: DateTime<Utc>,
        sub_queue: SubQueue,
        sequences: &[u64],
        max_bytes: usize,
    ) -> Result<Vec<Delivery>, NotReceived> {
        self.expire(now);
        let now_ms = now.timestamp_millis();
        let mut bytes = 0;
        for &sequence in sequences {
            bytes += self
                .deferred_len(sub_queue, sequence, now_ms)
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
    fn deferred_len(&mut self, sub_queue: SubQueue, sequence: u64, now_ms: i64) -> Option<usize> {
        let message = self.log.get_mut(sequence)?;
        if message.sub_queue != sub_queue || message.state != State::Deferred {
            return None;
        }
        let len = message.content.len();
        if message.expires_at_ms <= now_ms {
            message.state = State::Ready;
            self.lane(sub_queue).deferred -= 1;
            self.expire_if_due(sequence, now_ms);
            return None;
        }
        Some(len)
    }

    /// Sets aside a message that is in no ready list and under no lock.
    pub(super) fn set_aside(&mut self, sequence: u64) {
        if let Some(message) = self.log.get_mut(sequence) {
            message.state = State::Deferred;
            let sub_queue = message.sub_queue;
            self.lane(sub_queue).deferred += 1;
        }
    }
}
