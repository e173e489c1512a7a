//! Keeps the locks of held messages from ending.
//!
//! A receiver with automatic renewal gives every message a hold. As long as a copy of the message
//! lives, it has not been settled, and the maximal duration is not over, its lock is renewed when
//! half of its time is gone. One task per receiver does this, with as few requests for the locks
//! that are due as the broker allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_time::SharedClock;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::BusError;
use crate::management::Management;
use crate::received_message::ReceivedMessage;

/// Lock tokens in one request; brokers bound them.
pub(crate) const TOKENS_PER_REQUEST: usize = 1_000;

/// The shortest time between two renewals of a lock: what a clock that is ahead of the broker's
/// makes of it.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// The longest: what remains right when the clock is some way behind the broker's.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Renews locks until it is dropped.
pub(crate) struct LockKeeper {
    held: Arc<Held>,
    task: AbortHandle,
}

impl Drop for LockKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Held {
    locks: Mutex<HashMap<Uuid, Lock>>,
    added: Notify,
    clock: SharedClock,
    longest: Duration,
}

#[derive(Clone)]
struct Lock {
    renew_at: Instant,
    give_up_at: Instant,
    /// Gone with the last copy of the message.
    hold: Weak<()>,
}

impl LockKeeper {
    /// Begins to renew locks through `management`, each for `longest` at most.
    pub(crate) fn new(management: Arc<Management>, clock: SharedClock, longest: Duration) -> Self {
        let held = Arc::new(Held {
            locks: Mutex::default(),
            added: Notify::new(),
            clock,
            longest,
        });
        let task = tokio::spawn(keep(Arc::clone(&held), management)).abort_handle();
        Self { held, task }
    }

    /// Takes charge of the locks of messages that were just received.
    pub(crate) fn hold(&self, messages: &mut [ReceivedMessage]) {
        let now = Instant::now();
        let mut locks = self.held.locks();
        for message in messages {
            let hold = Arc::new(());
            let lock = Lock {
                renew_at: now + self.held.wait(message.locked_until),
                give_up_at: now + self.held.longest,
                hold: Arc::downgrade(&hold),
            };
            message.hold = Some(hold);
            locks.insert(message.lock_token, lock);
        }
        drop(locks);
        self.held.added.notify_one();
    }

    /// Leaves the lock alone from now on: its message is being settled.
    pub(crate) fn let_go(&self, token: Uuid) {
        self.held.locks().remove(&token);
    }
}

/// How long a lock can be left alone that ends at `end` by the broker's clock.
pub(crate) fn renewal_wait(clock: &SharedClock, end: Option<DateTime<Utc>>) -> Duration {
    let left = end.and_then(|end| (end - clock.now()).to_std().ok());
    (left.unwrap_or_default() / 2).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

impl Held {
    fn locks(&self) -> MutexGuard<'_, HashMap<Uuid, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a lock can be left alone that ends at `end` by the broker's clock.
    fn wait(&self, end: Option<DateTime<Utc>>) -> Duration {
        renewal_wait(&self.clock, end)
    }

    /// The locks to renew now, and when to look again. Forgets those that nobody needs.
    fn due(&self, now: Instant) -> (Vec<Uuid>, Option<Instant>) {
        let mut locks = self.locks();
        locks.retain(|_, lock| lock.hold.strong_count() > 0 && lock.give_up_at > now);
        let is_due = |lock: &Lock| lock.renew_at <= now;
        let due = locks.iter().filter(|(_, lock)| is_due(lock));
        let due = due.map(|(token, _)| *token).collect();
        let later = locks.values().filter(|lock| !is_due(lock));
        (due, later.map(|lock| lock.renew_at).min())
    }

    fn renewed(&self, token: Uuid, end: DateTime<Utc>) {
        let renew_at = Instant::now() + self.wait(Some(end));
        if let Some(lock) = self.locks().get_mut(&token) {
            lock.renew_at = renew_at;
        }
    }

    /// A renewal that failed is tried again soon, unless the lock is lost.
    fn failed(&self, token: Uuid, error: &BusError) {
        let mut locks = self.locks();
        let Some(lock) = locks.get_mut(&token) else {
            // It was settled meanwhile.
            return;
        };
        if error.is_transient() {
            lock.renew_at = Instant::now() + SHORTEST_WAIT;
            return;
        }
        locks.remove(&token);
        drop(locks);
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the lock of a message in work could not be renewed; it will be delivered again"
        );
    }
}

/// The task. It is aborted with its [`LockKeeper`].
async fn keep(held: Arc<Held>, management: Arc<Management>) {
    loop {
        let (due, later) = held.due(Instant::now());
        if due.is_empty() {
            let timer = async {
                match later {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                () = held.added.notified() => {}
            }
            continue;
        }
        for tokens in due.chunks(TOKENS_PER_REQUEST) {
            renew(&held, &management, tokens).await;
        }
    }
}

async fn renew(held: &Held, management: &Management, tokens: &[Uuid]) {
    match management.renew_locks(tokens).await {
        Ok(ends) => {
            for (token, end) in tokens.iter().zip(ends) {
                held.renewed(*token, end);
            }
        }
        // One lock that is lost, or refused for another reason, fails all that were asked for with
        // it.
        Err(error) if tokens.len() > 1 && !error.is_transient() => {
            for token in tokens {
                match management.renew_locks(std::slice::from_ref(token)).await {
                    Ok(ends) => ends.into_iter().for_each(|end| held.renewed(*token, end)),
                    Err(error) => held.failed(*token, &error),
                }
            }
        }
        Err(error) => {
            for token in tokens {
                held.failed(*token, &error);
            }
        }
    }
}
