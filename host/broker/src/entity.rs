//! The queues of a broker by name, and the lock and the alarm clock around each.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    config::BrokerConfig,
    queue::{Queue, Settings, Submission, Unsuitable, check_session_ids},
};

/// A queue that connections share.
///
/// The lock is held for a batch of pure operations at a time, never across an await and never while
/// anything is encoded, so it is held for microseconds.
#[derive(Debug)]
pub(crate) struct Entity {
    /// The name as it was configured.
    pub(crate) name: String,
    /// Whether its messages belong to sessions. Its dead letters never do.
    pub(crate) requires_session: bool,
    queue: Mutex<Queue>,
    alarm: Arc<Alarm>,
}

impl Entity {
    /// Runs a batch of operations, then wakes the receivers that it concerns.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        // The state is valid after every operation, so a panic elsewhere does not spoil it.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut queue);
        queue.wake();
        let deadline_ms = queue.next_deadline_ms();
        drop(queue);
        if let Some(deadline_ms) = deadline_ms {
            self.alarm.set(deadline_ms);
        }
        result
    }
}

impl Entity {
    /// Checks that messages can be stored here, as far as that depends on the messages alone.
    pub(crate) fn check(&self, submissions: &[Submission]) -> Result<(), Unsuitable> {
        if self.requires_session {
            check_session_ids(submissions)?;
        }
        Ok(())
    }
}

/// All queues of a broker. Which queues there are does not change while it runs.
#[derive(Debug)]
pub(crate) struct Namespace {
    entities: HashMap<String, Arc<Entity>>,
    alarm: Arc<Alarm>,
}

impl Namespace {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let alarm = Arc::<Alarm>::default();
        let entity = |queue: &crate::QueueConfig| Entity {
            name: queue.name.clone(),
            requires_session: queue.requires_session,
            queue: Mutex::new(Queue::new(Settings::new(queue, &config.limits))),
            alarm: Arc::clone(&alarm),
        };
        let named = |queue| {
            let entity = entity(queue);
            (entity.name.to_lowercase(), Arc::new(entity))
        };
        Self {
            entities: config.queues.iter().map(named).collect(),
            alarm,
        }
    }

    /// The queue with this path, which must be in lower case.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Entity>> {
        self.entities.get(path)
    }

    pub(crate) fn entities(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values()
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }
}

/// Wakes the timekeeper when something is due before it meant to wake.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// The soonest known deadline in milliseconds, `i64::MAX` when there is none.
    at_ms: AtomicI64,
    notify: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            at_ms: AtomicI64::new(i64::MAX),
            notify: Notify::new(),
        }
    }
}

impl Alarm {
    fn set(&self, deadline_ms: i64) {
        if self.at_ms.fetch_min(deadline_ms, Ordering::AcqRel) > deadline_ms {
            self.notify.notify_one();
        }
    }

    /// Forgets the deadline. Whoever calls this looks at every queue next.
    pub(crate) fn reset(&self) {
        self.at_ms.store(i64::MAX, Ordering::Release);
    }

    pub(crate) fn at_ms(&self) -> i64 {
        self.at_ms.load(Ordering::Acquire)
    }

    pub(crate) async fn moved(&self) {
        self.notify.notified().await;
    }
}
