//! How a message's work ended.

use chrono::{DateTime, Utc};

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
    /// The message cannot be processed by any try, and nothing was written for it: it becomes a
    /// dead letter while its neighbours commit.
    Refused(Refusal),
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
    /// A refusal.
    pub fn refused(reason: &'static str, description: impl Into<String>) -> Self {
        Self::Refused(Refusal {
            reason,
            description: description.into(),
        })
    }
}
