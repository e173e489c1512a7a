//! The queues of a broker by name, and the lock and the alarm clock around each.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use nightshift_time::SharedClock;
use tokio::sync::Notify;

use crate::{
    config::{BrokerConfig, QueueStatus},
    error::BrokerError,
    forwarding,
    queue::{Queue, Settings, SubQueue, Submission, Unsuitable, check_session_ids},
    usage::Usage,
};

/// A queue that connections share.
///
/// The lock is held for a batch of pure operations at a time, never across an await and never while
/// anything is encoded, so it is held for microseconds. While a queue forwards it holds the lock of
/// one target besides its own; targets never lead back, so that nobody waits for anybody in a circle.
#[derive(Debug)]
pub(crate) struct Entity {
    /// The name as it was configured.
    pub(crate) name: String,
    /// Whether its messages belong to sessions. Its dead letters never do.
    pub(crate) requires_session: bool,
    pub(crate) status: QueueStatus,
    forward_to: Option<Arc<Entity>>,
    forward_dead_letters_to: Option<Arc<Entity>>,
    queue: Mutex<Queue>,
    usage: Arc<Usage>,
    clock: SharedClock,
    alarm: Arc<Alarm>,
}

impl Entity {
    /// Runs a batch of operations, forwards what is to be forwarded, and wakes the receivers that it
    /// concerns.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        let mut onward = Vec::new();
        let result = self.with_lock(work, &mut onward);
        while let Some(target) = onward.pop() {
            target.with_lock(|_| (), &mut onward);
        }
        result
    }

    /// Adds the queues to `onward` that were given something, for receivers wait there.
    fn with_lock<T>(&self, work: impl FnOnce(&mut Queue) -> T, onward: &mut Vec<Arc<Entity>>) -> T {
        let mut queue = self.lock();
        let bytes = queue.bytes();
        let result = work(&mut queue);
        self.forward(&mut queue, onward);
        self.usage.change(bytes, queue.bytes());
        queue.wake();
        let deadline_ms = queue.next_deadline_ms();
        drop(queue);
        if let Some(deadline_ms) = deadline_ms {
            self.alarm.set(deadline_ms);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The state is valid after every operation, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, queue: &mut Queue, onward: &mut Vec<Arc<Entity>>) {
        for (sub_queue, target) in [
            (SubQueue::Active, &self.forward_to),
            (SubQueue::DeadLetter, &self.forward_dead_letters_to),
        ] {
            let Some(target) = target else { continue };
            let now = self.clock.now();
            if queue.has_outbound(now, sub_queue) {
                let mut into = target.lock();
                let bytes = into.bytes();
                let forwarded = queue.forward(now, sub_queue, &self.name, &mut into);
                self.usage.change(bytes, into.bytes());
                if forwarded > 0 {
                    onward.push(Arc::clone(target));
                }
            }
        }
    }

    /// Whether its messages go to another queue. Its dead letters are another matter.
    pub(crate) fn forwards(&self) -> bool {
        self.forward_to.is_some()
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
    /// Fails when a queue forwards to nowhere, or in a circle.
    pub(crate) fn new(config: &BrokerConfig, clock: &SharedClock) -> Result<Self, BrokerError> {
        let alarm = Arc::<Alarm>::default();
        let usage = Arc::new(Usage::new(config.limits.total_bytes));
        let mut entities = HashMap::new();
        for place in forwarding::order(&config.queues)? {
            let queue = &config.queues[place];
            let target = |name: &Option<String>| -> Option<Arc<Entity>> {
                entities.get(&name.as_ref()?.to_lowercase()).cloned()
            };
            let entity = Entity {
                name: queue.name.clone(),
                requires_session: queue.requires_session,
                status: queue.status,
                forward_to: target(&queue.forward_to),
                forward_dead_letters_to: target(&queue.forward_dead_letters_to),
                queue: Mutex::new(Queue::new(Settings::new(queue, &config.limits, &usage))),
                usage: Arc::clone(&usage),
                clock: Arc::clone(clock),
                alarm: Arc::clone(&alarm),
            };
            entities.insert(queue.name.to_lowercase(), Arc::new(entity));
        }
        Ok(Self { entities, alarm })
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
