//! One queue as a state machine: messages, locks, lives and dead letters, without any IO.
//!
//! Every operation is synchronous and is told what time it is, so that a lock of a minute expires
//! in a microsecond of a test. A queue and its dead letters are one state: dead-lettering a message
//! flips a field and can neither lose nor double it, and the message keeps its sequence number.
//!
//! A message is in exactly one place. `MessageLog` owns it; the ready lists, the lock and expiry
//! deadlines and the tokens of clients only name it by number and are checked against the message
//! itself whenever they are used. What is left of a settled message in those lists is therefore
//! harmless, and is swept when it outnumbers the living.
//!
//! Nothing here knows of connections. A receiver that vanishes leaves its locks behind; they end by
//! themselves, as in the service.

mod amend;
mod content;
mod deadlines;
mod expiry;
mod handout;
mod log;
mod message;
mod ready;
mod settle;
#[cfg(test)]
mod tests;
mod token;
mod waiters;

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::{SeedableRng, rngs::StdRng};

#[cfg(test)]
pub(crate) use self::message::Content;
pub(crate) use self::{
    amend::Amendments,
    content::{Unsuitable, read_submissions},
    handout::Handout,
    message::{Delivery, KeptHeader, Lock, NEVER_MS, SubQueue, Submission},
    settle::{NotSettled, Settlement},
    token::LockToken,
    waiters::{Doorbell, Ticket},
};
use self::{
    deadlines::Deadlines,
    log::MessageLog,
    message::{Message, State},
    ready::ReadyList,
    waiters::Waiters,
};
use crate::config::{Limits, QueueConfig};

/// How one queue behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lock_duration: Duration,
    pub(crate) max_delivery_count: u32,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) dead_letter_on_expiration: bool,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
}

impl Settings {
    pub(crate) fn new(queue: &QueueConfig, limits: &Limits) -> Self {
        Self {
            lock_duration: queue.lock_duration,
            max_delivery_count: queue.max_delivery_count,
            default_ttl: queue.default_ttl,
            dead_letter_on_expiration: queue.dead_letter_on_expiration,
            max_messages: limits.queue_messages,
            max_bytes: limits.queue_bytes,
        }
    }
}

/// How many messages a queue holds, by what they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Messages that wait for a receiver.
    pub active: usize,
    /// Messages that a receiver holds under a peek-lock.
    pub locked: usize,
    /// Messages in `$DeadLetterQueue`, locked or not.
    pub dead_letter: usize,
    /// What all of them count for against the queue's size limit, in bytes.
    pub bytes: usize,
    /// How many messages were ever accepted.
    pub accepted: u64,
    /// How many messages left for good: completed, received and deleted, or expired.
    pub removed: u64,
}

/// The queue is full; nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueFull {
    Messages(usize),
    Bytes(usize),
}

/// One half of a queue: what is ready in it, and who waits for it.
#[derive(Debug, Default)]
struct Lane {
    ready: ReadyList,
    waiters: Waiters,
    locked: usize,
}

/// The state of one queue.
#[derive(Debug)]
pub(crate) struct Queue {
    settings: Settings,
    log: MessageLog,
    active: Lane,
    dead: Lane,
    locks: Deadlines,
    expiries: Deadlines,
    /// How many messages may expire.
    mortal: usize,
    bytes: usize,
    last_sequence: u64,
    removed: u64,
    nonces: StdRng,
}

impl Queue {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            log: MessageLog::default(),
            active: Lane::default(),
            dead: Lane::default(),
            locks: Deadlines::default(),
            expiries: Deadlines::default(),
            mortal: 0,
            bytes: 0,
            last_sequence: 0,
            removed: 0,
            nonces: StdRng::from_os_rng(),
        }
    }

    /// Stores `count` submissions that together cost `cost` bytes, or none when they do not fit.
    pub(crate) fn enqueue(
        &mut self,
        now: DateTime<Utc>,
        count: usize,
        cost: usize,
        submissions: impl Iterator<Item = Submission>,
    ) -> Result<(), QueueFull> {
        if self.log.len() + count > self.settings.max_messages {
            return Err(QueueFull::Messages(self.settings.max_messages));
        }
        if self.bytes + cost > self.settings.max_bytes {
            return Err(QueueFull::Bytes(self.settings.max_bytes));
        }
        for submission in submissions.take(count) {
            self.store(now.timestamp_millis(), submission);
        }
        Ok(())
    }

    fn store(&mut self, now_ms: i64, submission: Submission) {
        self.last_sequence += 1;
        let expires_at_ms = self.expiry_of(now_ms, submission.header);
        let message = Message {
            sequence: self.last_sequence,
            enqueued_at_ms: now_ms,
            expires_at_ms,
            delivery_count: 0,
            header: submission.header,
            sub_queue: SubQueue::Active,
            state: State::Ready,
            content: submission.content,
        };
        self.bytes += message.cost();
        self.active.ready.push(message.sequence);
        if expires_at_ms != NEVER_MS {
            self.mortal += 1;
            self.expiries.push(expires_at_ms, message.sequence);
        }
        self.log.append(message);
    }

    fn expiry_of(&self, now_ms: i64, header: KeptHeader) -> i64 {
        let own = header.ttl_ms.map(i64::from);
        let queue = self.settings.default_ttl.map(millis);
        let ttl = [own, queue].into_iter().flatten().min();
        ttl.map_or(NEVER_MS, |ttl| now_ms.saturating_add(ttl))
    }

    /// Wakes the receivers that the ready messages call for. Call it once after a round of
    /// operations.
    pub(crate) fn wake(&mut self) {
        for lane in [&mut self.active, &mut self.dead] {
            let ready = lane.ready.len();
            lane.waiters.wake(ready);
        }
    }

    /// Puts a receiver in line for messages of `sub_queue`.
    pub(crate) fn wait(
        &mut self,
        sub_queue: SubQueue,
        bell: &std::sync::Arc<Doorbell>,
        link: u64,
        credit: usize,
    ) -> Ticket {
        self.lane(sub_queue).waiters.join(bell, link, credit)
    }

    /// Takes a receiver out of the line.
    pub(crate) fn leave(&mut self, sub_queue: SubQueue, ticket: Ticket) {
        self.lane(sub_queue).waiters.leave(ticket);
    }

    /// The next instant at which [`Queue::expire`] has something to do, in milliseconds.
    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        [self.locks.next_ms(), self.expiries.next_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        let [active, locked] = [self.active.ready.len(), self.active.locked];
        QueueCounts {
            active,
            locked,
            dead_letter: self.log.len() - active - locked,
            bytes: self.bytes,
            accepted: self.last_sequence,
            removed: self.removed,
        }
    }

    fn lane(&mut self, sub_queue: SubQueue) -> &mut Lane {
        match sub_queue {
            SubQueue::Active => &mut self.active,
            SubQueue::DeadLetter => &mut self.dead,
        }
    }

    /// Takes a message out for good. It must be in no ready list and under no lock any more.
    fn remove(&mut self, sequence: u64) -> Option<Message> {
        let message = self.log.remove(sequence)?;
        self.bytes -= message.cost();
        self.removed += 1;
        self.forget_expiry(message.expires_at_ms);
        Some(message)
    }

    /// Notes that a message with this expiry left the queue or became immortal.
    fn forget_expiry(&mut self, expires_at_ms: i64) {
        if expires_at_ms != NEVER_MS {
            self.mortal -= 1;
            let log = &self.log;
            self.expiries.sweep(self.mortal, |at_ms, sequence| {
                log.get(sequence)
                    .is_some_and(|message| message.expires_at_ms == at_ms)
            });
        }
    }
}

/// A span in milliseconds.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
