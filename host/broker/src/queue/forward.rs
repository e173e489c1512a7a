//! Passing messages on to another queue.
//!
//! A message that becomes available in a queue that forwards stands in a list of its own until the
//! target has taken it. Both queues are in hand while it passes, so it is always in exactly one of
//! them. When the target is full it stays where it is and is tried again. In the target it is a new
//! message: with a new number, a new enqueue time and a new life; where it was first is remembered.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_amqp::message::{Properties, RawMessage};

use super::{
    Parcel, Queue, QueueFull, SubQueue, Submission, content,
    message::{Message, Origin},
    ready::ReadyList,
};

/// How often a message may be forwarded. The service's limit.
const MAX_HOPS: u8 = 4;

/// The reason of a dead letter that was to be forwarded once too often.
const TOO_MANY_HOPS: &str = "MaxTransferHopCountExceeded";
const TOO_MANY_HOPS_DESCRIPTION: &str =
    "The message has been forwarded four times and may not be forwarded again.";

/// The reason of a dead letter that its target can never take.
const REFUSED: &str = "ForwardingRefused";

/// How soon a target that is full is tried again, in milliseconds.
const RETRY_MS: i64 = 250;

/// How many messages one call passes on, so that a long list does not keep everybody else from both
/// queues.
const ROUND: usize = 1_024;

/// What is to be passed on.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) list: ReadyList,
    /// Not before this instant, because the target was full.
    not_before_ms: i64,
}

impl Outbound {
    /// The next instant at which something is to be passed on, in milliseconds.
    pub(super) fn next_ms(&self) -> Option<i64> {
        (self.list.len() > 0).then_some(self.not_before_ms)
    }
}

/// The target did not take a message.
enum NotTaken {
    /// It will when there is room, or when it is enabled again.
    Yet,
    /// It never will, and why.
    Ever(String),
}

impl Queue {
    /// Whether there is something of `sub_queue` to be passed on at this moment.
    pub(crate) fn has_outbound(&self, now: DateTime<Utc>, sub_queue: SubQueue) -> bool {
        let lane = match sub_queue {
            SubQueue::Active => &self.active,
            SubQueue::DeadLetter => &self.dead,
        };
        let next = lane.outbound.as_ref().and_then(Outbound::next_ms);
        next.is_some_and(|at_ms| at_ms <= now.timestamp_millis())
    }

    /// Passes messages of `sub_queue` on to `target`, up to a bounded number and size; `name` is that of this
    /// queue. Says how many went.
    pub(crate) fn forward(
        &mut self,
        now: DateTime<Utc>,
        sub_queue: SubQueue,
        name: &str,
        target: &mut Queue,
    ) -> usize {
        let now_ms = now.timestamp_millis();
        let mut count = 0;
        for _ in 0..ROUND {
            if target.changes.are_many() {
                break;
            }
            let Some(sequence) = self.pop_outbound(sub_queue) else {
                break;
            };
            if self.expire_if_due(sequence, now_ms) {
                continue;
            }
            let Some(message) = self.log.get(sequence) else {
                continue;
            };
            if message.hops() >= MAX_HOPS {
                self.not_forwarded(
                    sequence,
                    sub_queue,
                    TOO_MANY_HOPS,
                    TOO_MANY_HOPS_DESCRIPTION,
                );
                continue;
            }
            match target.take_over(now_ms, message, name) {
                Ok(()) => {
                    self.remove(sequence);
                    count += 1;
                }
                Err(NotTaken::Yet) => {
                    self.line_up(sequence);
                    if let Some(outbound) = &mut self.lane(sub_queue).outbound {
                        outbound.not_before_ms = now_ms.saturating_add(RETRY_MS);
                    }
                    break;
                }
                Err(NotTaken::Ever(why)) => self.not_forwarded(sequence, sub_queue, REFUSED, &why),
            }
        }
        count
    }

    fn pop_outbound(&mut self, sub_queue: SubQueue) -> Option<u64> {
        let lane = match sub_queue {
            SubQueue::Active => &mut self.active,
            SubQueue::DeadLetter => &mut self.dead,
        };
        let log = &self.log;
        let outbound = lane.outbound.as_mut()?;
        outbound
            .list
            .pop(|sequence| log.get(sequence).is_some_and(|m| m.is_ready(sub_queue)))
    }

    /// Keeps a message among the dead letters of this queue that cannot be passed on.
    fn not_forwarded(&mut self, sequence: u64, sub_queue: SubQueue, reason: &str, why: &str) {
        match sub_queue {
            SubQueue::Active => self.bury_because(sequence, reason, why),
            SubQueue::DeadLetter => self.dead.ready.push(sequence),
        }
    }

    /// Stores a message of another queue, which is called `name`.
    fn take_over(&mut self, now_ms: i64, message: &Message, name: &str) -> Result<(), NotTaken> {
        let mut submission = Submission {
            header: message.header,
            scheduled_at_ms: None,
            message_id: None,
            session_id: None,
            content: message.content.clone(),
            origin: Some(Arc::new(message.origin_elsewhere(name))),
        };
        if self.settings.requires_session || self.history.is_some() {
            let properties = properties(message);
            submission.message_id = properties.message_id;
            submission.session_id = properties.group_id;
        }
        if self.settings.requires_session {
            let checked = content::check_session_ids(std::slice::from_ref(&submission));
            checked.map_err(|problem| NotTaken::Ever(problem.to_string()))?;
        }
        if !self.settings.status.takes_messages() {
            return Err(NotTaken::Yet);
        }
        let admitted = self.admit(now_ms, 1, submission.cost());
        admitted.map_err(|_: QueueFull| NotTaken::Yet)?;
        self.accept(now_ms, submission);
        Ok(())
    }
}

impl Message {
    fn hops(&self) -> u8 {
        self.origin.as_ref().map_or(0, |origin| origin.hops)
    }

    /// What another queue remembers of where the message was: here, in the queue called `name`, and
    /// before.
    fn origin_elsewhere(&self, name: &str) -> Origin {
        let before = self.origin.as_ref();
        let dead_letter_source = match self.sub_queue {
            SubQueue::Active => before.and_then(|origin| origin.dead_letter_source.clone()),
            SubQueue::DeadLetter => Some(Arc::from(name)),
        };
        Origin {
            sequence: before.map_or(self.sequence, |origin| origin.sequence),
            hops: self.hops().saturating_add(1),
            dead_letter_source,
        }
    }
}

/// The properties of a stored message. They were read when it came, so they can be read again.
fn properties(message: &Message) -> Properties {
    let raw = RawMessage::split(Bytes::copy_from_slice(message.content.bare()));
    let properties = raw.and_then(|raw| raw.properties());
    properties.ok().flatten().unwrap_or_default()
}

impl Parcel {
    /// The content of a message that changes its number within its queue.
    pub(super) fn of(message: Message) -> Self {
        Self {
            header: message.header,
            session: message.session,
            origin: message.origin,
            content: message.content,
        }
    }
}
