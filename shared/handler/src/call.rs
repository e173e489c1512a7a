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
    /// How long a batch may take.
    batch_budget: Duration,
    /// How long the host waits, if it says so.
    host_budget: Option<Duration>,
    /// Fires when the process is asked to stop.
    pub cancellation: CancellationToken,
    /// The trace context of the host's call, if it has one.
    pub(crate) traceparent: Option<String>,
}

impl Call {
    /// A call that may take `batch_budget`, or less if the host says that it gives up at
    /// `host_deadline`.
    pub fn new(
        invocation_id: String,
        batch_budget: Duration,
        host_deadline: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        cancellation: CancellationToken,
    ) -> Self {
        Self {
            invocation_id,
            batch_budget,
            host_budget: host_deadline.map(|at| (at - now).to_std().unwrap_or(Duration::ZERO)),
            cancellation,
            traceparent: None,
        }
    }

    /// The same call, as a part of the trace of the context `traceparent`.
    #[must_use]
    pub fn within(self, traceparent: Option<String>) -> Self {
        Self {
            traceparent,
            ..self
        }
    }

    /// How long it may take: what a batch may, or `wish` if that is longer, but no longer than the host
    /// waits.
    pub(crate) fn budget(&self, wish: Option<Duration>) -> Duration {
        let wanted = self.batch_budget.max(wish.unwrap_or_default());
        self.host_budget.map_or(wanted, |host| host.min(wanted))
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
