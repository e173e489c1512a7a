//! One call from the host: how long it may take and how it can fail.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::decode::DecodeError;
use nightshift_postgres::schedule::ScheduleError;
use tokio_util::sync::CancellationToken;

/// The circumstances of one invocation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// The host's id of the invocation, for the log.
    pub invocation_id: String,
    /// How long it may still take.
    pub budget: Duration,
    /// Fires when the process is asked to stop.
    pub cancellation: CancellationToken,
}

impl Call {
    /// A call that may take `budget`, or less if the host says that it gives up at `host_deadline`.
    pub fn new(
        invocation_id: String,
        budget: Duration,
        host_deadline: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        cancellation: CancellationToken,
    ) -> Self {
        let left = host_deadline.map(|at| (at - now).to_std().unwrap_or(Duration::ZERO));
        let budget = left.map_or(budget, |left| left.min(budget));
        Self {
            invocation_id,
            budget,
            cancellation,
        }
    }
}

/// Why an invocation is answered with a failure, upon which the host gives its messages back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvocationFailed {
    /// The request does not follow the custom-handler contract.
    #[error("the invocation cannot be read")]
    Unreadable(#[from] DecodeError),
    /// The time was over. Whether a commit that was under way happened is unknown.
    #[error("not done after {seconds} s")]
    Deadline {
        /// The time that was given, in seconds.
        seconds: f64,
    },
    /// The database could not be used for as long as the invocation was held. No message is at
    /// fault; whether a commit that was under way happened is unknown.
    #[error("the database could not be used for {seconds} s; last: {last_error}")]
    Unavailable {
        /// The time that was given, in seconds.
        seconds: f64,
        /// What went wrong in the last try.
        last_error: String,
    },
    /// A timer's invocation has found something that no other try will change.
    #[error("the schedule cannot be followed")]
    Schedule(#[source] ScheduleError),
    /// Some messages failed for a cause that may pass; the others are done.
    #[error("{failed} of {all} messages must be delivered again; first: {first}")]
    SomeFailed {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
        /// The first failure.
        first: String,
    },
}
