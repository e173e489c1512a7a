//! Keeps the lock of a session from ending.
//!
//! One small task per session receiver that wants it. It renews the lock when half of its time is
//! gone, until the maximal duration is over, the session is lost, or the receiver is gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_time::SharedClock;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::connection::{LinkName, instant_after};
use crate::error::BusError;
use crate::lock_keeper::{SHORTEST_WAIT, renewal_wait};
use crate::management::Management;

/// When the lock of a session ends, as the broker last said.
#[derive(Clone, Default)]
pub(crate) struct SessionLock(Arc<Mutex<Option<DateTime<Utc>>>>);

impl SessionLock {
    pub(crate) fn end(&self) -> Option<DateTime<Utc>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ends_at(&self, end: Option<DateTime<Utc>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

/// What a keeper needs to renew a session's lock.
pub(crate) struct Kept {
    pub(crate) management: Arc<Management>,
    pub(crate) clock: SharedClock,
    /// The link that holds the session.
    pub(crate) link: LinkName,
    pub(crate) lock: SessionLock,
}

/// Renews the lock until it is dropped.
pub(crate) struct SessionKeeper(AbortHandle);

impl SessionKeeper {
    /// Begins to renew the lock, for `longest` at most.
    pub(crate) fn new(kept: Kept, longest: Duration) -> Self {
        Self(tokio::spawn(keep(kept, instant_after(longest))).abort_handle())
    }
}

impl Drop for SessionKeeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(kept: Kept, give_up_at: Instant) {
    let mut wait = renewal_wait(&kept.clock, kept.lock.end());
    loop {
        let renew_at = instant_after(wait);
        if renew_at > give_up_at {
            return;
        }
        tokio::time::sleep_until(renew_at).await;
        // Another receiver may hold a session that is lost here.
        if kept.link.is_lost() {
            return;
        }
        wait = match kept.management.renew_session_lock().await {
            Ok(end) => {
                kept.lock.ends_at(Some(end));
                renewal_wait(&kept.clock, Some(end))
            }
            Err(error) if error.is_transient() => SHORTEST_WAIT,
            Err(error) => return tell(&error),
        };
    }
}

fn tell(error: &BusError) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the lock of a session in work could not be renewed; its messages will be delivered again"
    );
}
