//! What a running function knows about its call, besides its input.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use nightshift_time::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::{Enqueue, Item};

/// Work that is done once a transaction has committed.
pub type AfterCommit = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The context of one call, and what the call leaves behind for its commit.
pub struct Cx {
    clock: SharedClock,
    deadline: DateTime<Utc>,
    cancellation: CancellationToken,
    enqueued: Mutex<Vec<(Enqueue, Option<String>)>>,
    after_commit: Mutex<Vec<AfterCommit>>,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
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
            enqueued: Mutex::default(),
            after_commit: Mutex::default(),
        }
    }

    /// The current instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// When the call is given up: its transaction is rolled back and counts as failed.
    pub fn deadline(&self) -> DateTime<Utc> {
        self.deadline
    }

    /// Fires when the process is asked to stop.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Sends `message`, a consequence of `item`, if and when the transaction of this call commits.
    /// It is sent at least once; its receiver's claim makes one effect of it.
    pub fn enqueue<I>(&self, item: &Item<I>, message: Enqueue) {
        let mut enqueued = self.enqueued.lock().unwrap_or_else(PoisonError::into_inner);
        enqueued.push((message, item.traceparent.clone()));
    }

    /// Does `work` once the transaction of this call has committed, at most once and without
    /// anybody waiting for it: a process that dies in between leaves it undone. For the publication
    /// of what can be rebuilt, such as a cache entry with its version, and nothing else.
    pub fn after_commit(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut after = self
            .after_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        after.push(Box::pin(work));
    }

    /// Takes what was enqueued, each with the trace context that it carries on.
    pub fn take_enqueued(&self) -> Vec<(Enqueue, Option<String>)> {
        let mut enqueued = self.enqueued.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *enqueued)
    }

    /// Enqueues what [`Self::take_enqueued`] has taken from the context of an earlier part of the same
    /// call.
    pub fn enqueue_all(&self, messages: &[(Enqueue, Option<String>)]) {
        let mut enqueued = self.enqueued.lock().unwrap_or_else(PoisonError::into_inner);
        enqueued.extend_from_slice(messages);
    }

    /// Takes what is to be done after the commit.
    pub fn take_after_commit(&self) -> Vec<AfterCommit> {
        let mut after = self
            .after_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *after)
    }
}
