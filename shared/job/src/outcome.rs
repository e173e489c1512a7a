//! How a message's work ended.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_contract::Payload;
use serde::Serialize;

use crate::enqueue::{Enqueue, EnqueueError, body_of};

/// The end of one message's work in a transaction that commits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The effect happened.
    Completed,
    /// There was nothing to do, for the reason given.
    Skipped(String),
    /// It is not yet time: the message comes back at that instant. No try is counted, and nothing
    /// may have been written for it.
    Snooze(DateTime<Utc>),
    /// A slice of the work is done, and this is where to go on: the message comes back at once with
    /// this body. No try is counted, and those that failed before are forgotten.
    Continue(Bytes),
    /// The work is split: these messages are sent, and when the last of them has ended, done or dead,
    /// the finish message is.
    Children(Children),
    /// The message cannot be processed by any try, and nothing was written for it: it becomes a
    /// dead letter while its neighbours commit.
    Refused(Refusal),
}

/// Parts of one piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Children {
    /// The parts; without any, the finish message is sent at once. A unique key means nothing here.
    pub parts: Vec<Enqueue>,
    /// Sent when all of them have ended. Its item says how many are dead. A part that is redriven later
    /// does not count again.
    pub finish: Enqueue,
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A short, stable word for grouping and alerting, such as `unknown-user`.
    pub reason: &'static str,
    /// A sentence for a person: what is wrong, with which value, and what to do.
    pub description: String,
}

impl Outcome {
    /// The work goes on with `next`.
    ///
    /// # Errors
    /// When `next` cannot be serialised or is too large for a message.
    pub fn go_on_with<P: Payload + Serialize>(next: &P) -> Result<Self, EnqueueError> {
        Ok(Self::Continue(body_of(next)?))
    }

    /// A refusal.
    pub fn refused(reason: &'static str, description: impl Into<String>) -> Self {
        Self::Refused(Refusal {
            reason,
            description: description.into(),
        })
    }
}
