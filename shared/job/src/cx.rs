//! What a running function knows about its call, besides its input.

use chrono::{DateTime, Utc};
use nightshift_time::SharedClock;
use tokio_util::sync::CancellationToken;

/// The context of one call.
#[derive(Debug, Clone)]
pub struct Cx {
    clock: SharedClock,
    deadline: DateTime<Utc>,
    cancellation: CancellationToken,
}

impl Cx {
    /// The context of a call that must be over at `deadline`.
    pub fn new(
        clock: SharedClock,
        deadline: DateTime<Utc>,
        cancellation: CancellationToken,
    ) -> Self {
        Self {
            clock,
            deadline,
            cancellation,
        }
    }

    /// The current instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// When the call is given up: its transaction is rolled back and the messages go back.
    pub fn deadline(&self) -> DateTime<Utc> {
        self.deadline
    }

    /// Fires when the process is asked to stop.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}
