//! Handing messages out, each under a peek-lock.
//!
//! Receive-and-delete is a lock that the wire layer completes as soon as the message is in its
//! output buffer, so a message that cannot be sent after all is not lost.

use chrono::{DateTime, Utc};
use rand::RngCore;

use super::{
    Queue,
    message::{Delivery, Lock, Standing, State, SubQueue},
    millis,
    sessions::{Session, Shelf, WITH_ITS_SESSION},
    token::LockToken,
};

/// How much to hand out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handout {
    pub(crate) sub_queue: SubQueue,
    pub(crate) max_messages: usize,
    /// Hand out nothing more once this many bytes are reached.
    pub(crate) max_bytes: usize,
}

impl Queue {
    /// Locks what is ready, lowest sequence number first, and adds it to the end of `into`. Says
    /// whether more is ready.
    pub(crate) fn receive(
        &mut self,
        now: DateTime<Utc>,
        handout: Handout,
        into: &mut Vec<Delivery>,
    ) -> bool {
        self.expire(now);
        let now_ms = now.timestamp_millis();
        let [mut count, mut bytes] = [0, 0];
        while count < handout.max_messages && bytes < handout.max_bytes {
            let Some(sequence) = self.pop_ready(handout.sub_queue) else {
                return false;
            };
            if self.expire_if_due(sequence, now_ms) {
                continue;
            }
            let Some(delivery) = self.lock(sequence, now_ms) else {
                continue;
            };
            bytes += delivery.content.len();
            count += 1;
            into.push(delivery);
        }
        self.lane(handout.sub_queue).ready.len() > 0
    }

    fn pop_ready(&mut self, sub_queue: SubQueue) -> Option<u64> {
        let lane = match sub_queue {
            SubQueue::Active => &mut self.active,
            SubQueue::DeadLetter => &mut self.dead,
        };
        let log = &self.log;
        lane.ready
            .pop(|sequence| log.get(sequence).is_some_and(|m| m.is_ready(sub_queue)))
    }

    /// Locks a message that is in no ready list and under no lock.
    pub(super) fn lock(&mut self, sequence: u64, now_ms: i64) -> Option<Delivery> {
        let nonce = self.nonces.next_u64();
        let message = self.log.get_mut(sequence)?;
        let was_deferred = message.state.standing() == Standing::Deferred;
        let session = message.session;
        let until_ms = if let Some(key) = session {
            if was_deferred {
                self.sessions.take(key, sequence, Shelf::Aside);
            }
            self.sessions.put(key, sequence, Shelf::Locked);
            self.sessions
                .get(key)
                .map_or(now_ms, Session::owned_until_ms)
        } else {
            let until_ms = now_ms.saturating_add(millis(self.settings.lock_duration));
            self.locks.push(until_ms, sequence);
            until_ms
        };
        message.state = State::Locked {
            until_ms: session.map_or(until_ms, |_| WITH_ITS_SESSION),
            nonce,
            was_deferred,
        };
        let sub_queue = message.sub_queue;
        let token = LockToken { nonce, sequence };
        let delivery = message.outgoing(Lock { token, until_ms });
        let lane = self.lane(sub_queue);
        lane.locked += 1;
        lane.deferred -= usize::from(was_deferred);
        Some(delivery)
    }
}
