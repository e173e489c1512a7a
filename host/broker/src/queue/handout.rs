//! Handing messages out: under a peek-lock, or for good.

use chrono::{DateTime, Utc};
use rand::RngCore;

use super::{
    Queue,
    message::{Delivery, Lock, Message, State, SubQueue},
    millis,
    token::LockToken,
};

/// What becomes of a message that is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiveMode {
    /// It stays, locked to the receiver until it is settled or the lock ends.
    PeekLock,
    /// It is gone.
    ReceiveAndDelete,
}

/// How much to hand out, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handout {
    pub(crate) sub_queue: SubQueue,
    pub(crate) mode: ReceiveMode,
    pub(crate) max_messages: usize,
    /// Hand out nothing more once this many bytes are reached.
    pub(crate) max_bytes: usize,
}

impl Queue {
    /// Hands out what is ready, lowest sequence number first, at the end of `into`. Says how many
    /// messages those are.
    pub(crate) fn receive(
        &mut self,
        now: DateTime<Utc>,
        handout: Handout,
        into: &mut Vec<Delivery>,
    ) -> usize {
        self.expire(now);
        let now_ms = now.timestamp_millis();
        let [mut count, mut bytes] = [0, 0];
        while count < handout.max_messages && bytes < handout.max_bytes {
            let Some(sequence) = self.pop_ready(handout.sub_queue) else { break };
            if self.expire_if_due(sequence, now_ms) {
                continue;
            }
            let delivery = match handout.mode {
                ReceiveMode::PeekLock => self.lock(sequence, now_ms),
                ReceiveMode::ReceiveAndDelete => self.remove(sequence).map(gone),
            };
            let Some(delivery) = delivery else { continue };
            bytes += delivery.content.len();
            count += 1;
            into.push(delivery);
        }
        count
    }

    fn pop_ready(&mut self, sub_queue: SubQueue) -> Option<u64> {
        let lane = match sub_queue {
            SubQueue::Active => &mut self.active,
            SubQueue::DeadLetter => &mut self.dead,
        };
        let log = &self.log;
        lane.ready.pop(|sequence| log.get(sequence).is_some_and(|m| m.is_ready(sub_queue)))
    }

    fn lock(&mut self, sequence: u64, now_ms: i64) -> Option<Delivery> {
        let nonce = self.nonces.next_u64();
        let until_ms = now_ms.saturating_add(millis(self.settings.lock_duration));
        let message = self.log.get_mut(sequence)?;
        message.state = State::Locked { until_ms, nonce };
        let sub_queue = message.sub_queue;
        let lock = Lock { token: LockToken { nonce, sequence }, until_ms };
        let delivery = copy(message, lock);
        self.lane(sub_queue).locked += 1;
        self.locks.push(until_ms, sequence);
        Some(delivery)
    }
}

fn copy(message: &Message, lock: Lock) -> Delivery {
    Delivery {
        sequence: message.sequence,
        enqueued_at_ms: message.enqueued_at_ms,
        expires_at_ms: message.expires_at_ms,
        delivery_count: message.delivery_count,
        header: message.header,
        content: message.content.clone(),
        lock: Some(lock),
    }
}

fn gone(message: Message) -> Delivery {
    Delivery {
        sequence: message.sequence,
        enqueued_at_ms: message.enqueued_at_ms,
        expires_at_ms: message.expires_at_ms,
        delivery_count: message.delivery_count,
        header: message.header,
        content: message.content,
        lock: None,
    }
}
