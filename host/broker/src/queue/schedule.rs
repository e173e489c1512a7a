//! Messages for later.
//!
//! A scheduled message has a sequence number from the beginning, by which it can be cancelled. When
//! its time comes it is given a new one, as in the service: it stands in line behind what was
//! available before it, and its time to live starts.

use chrono::{DateTime, Utc};

use super::{
    Parcel, Queue, QueueFull, Submission,
    message::{NEVER_MS, State},
    sessions::Shelf,
};

/// Why no message was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotScheduled {
    /// A number under which nothing is scheduled.
    pub(crate) sequence: u64,
}

impl Queue {
    /// Stores all submissions, or none when they do not fit, and says their sequence numbers.
    pub(crate) fn schedule(
        &mut self,
        now: DateTime<Utc>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<u64>, QueueFull> {
        let cost = submissions.iter().map(Submission::cost).sum();
        let now_ms = now.timestamp_millis();
        self.admit_new(now_ms, submissions.len(), cost)?;
        let accept = |submission| self.accept(now_ms, submission);
        Ok(submissions.into_iter().map(accept).collect())
    }

    /// Removes the scheduled messages with these numbers: all of them, or none when one is not
    /// scheduled (any more).
    pub(crate) fn cancel(
        &mut self,
        now: DateTime<Utc>,
        sequences: &[u64],
    ) -> Result<(), NotScheduled> {
        self.expire(now);
        for &sequence in sequences {
            if self.scheduled_at(sequence).is_none() {
                return Err(NotScheduled { sequence });
            }
        }
        for &sequence in sequences {
            self.unschedule(sequence);
            self.remove(sequence);
        }
        Ok(())
    }

    pub(super) fn store_scheduled(&mut self, now_ms: i64, at_ms: i64, parcel: Parcel) -> u64 {
        let session = parcel.session;
        let state = State::Scheduled { at_ms };
        let sequence = self.append(now_ms, parcel, NEVER_MS, state);
        if let Some(key) = session {
            self.sessions.put(key, sequence, Shelf::Aside);
        }
        self.scheduled += 1;
        self.schedule.push(at_ms, sequence);
        sequence
    }

    /// Makes a message available whose time has come, unless it was cancelled.
    pub(super) fn activate(&mut self, at_ms: i64, sequence: u64, now_ms: i64) {
        if self.scheduled_at(sequence) != Some(at_ms) {
            return;
        }
        self.unschedule(sequence);
        if let Some(message) = self.log.remove(sequence) {
            self.bytes -= message.cost();
            let number = self.store(now_ms, Parcel::of(message));
            self.changes.renumbered(sequence, number);
        }
    }

    fn scheduled_at(&self, sequence: u64) -> Option<i64> {
        match self.log.get(sequence)?.state {
            State::Scheduled { at_ms } => Some(at_ms),
            _ => None,
        }
    }

    /// Notes that a scheduled message is about to leave; from here on it is in no list.
    fn unschedule(&mut self, sequence: u64) {
        let Some(message) = self.log.get_mut(sequence) else {
            return;
        };
        message.state = State::Ready;
        if let Some(key) = message.session {
            self.sessions.take(key, sequence, Shelf::Aside);
        }
        self.scheduled -= 1;
        let log = &self.log;
        self.schedule.sweep(self.scheduled, |at_ms, sequence| {
            log.get(sequence)
                .is_some_and(|message| message.state == State::Scheduled { at_ms })
        });
    }
}
