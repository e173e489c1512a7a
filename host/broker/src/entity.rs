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
    config::{BrokerConfig, LONGEST_DUPLICATE_WINDOW, Limits, QueueConfig, QueueStatus},
    error::BrokerError,
    forwarding,
    queue::{
        Cursor, Queue, Restoring, Settings, SubQueue, Submission, Unsuitable, check_session_ids,
    },
    store::{Record, Restored},
    usage::Usage,
};

/// A queue that connections share.
///
/// The lock is held for a batch of pure operations at a time, never across an await and never while
/// anything but the journal's entries is encoded, so it is held for microseconds. While a queue forwards it holds the lock of
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
    /// Where changes are told, when they are to outlive the broker.
    record: Option<Record>,
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
        if let Some(record) = &self.record {
            record.tell(&mut queue);
        }
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
                if let (Some(record), Some(other)) = (&self.record, &target.record) {
                    // Together, so that a message is in one of the two whatever happens.
                    record.tell_both(queue, other, &mut into);
                }
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

    /// Appends the next piece of a checkpoint to `out`.
    pub(crate) fn snapshot(&self, cursor: Cursor, out: &mut Vec<u8>) -> Cursor {
        let queue = self.lock();
        let record = self.record.as_ref();
        record.map_or(Cursor::End, |record| record.snapshot(&queue, cursor, out))
    }

    /// Appends its name to a checkpoint.
    pub(crate) fn introduce(&self, out: &mut Vec<u8>) {
        if let Some(record) = &self.record {
            record.introduce(&self.name, out);
        }
    }

    /// About how many bytes of a checkpoint it stands for.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.lock().live_bytes()
    }

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
    entities: Entities,
    /// Queues that the journal tells of and nobody serves: their messages are kept.
    unserved: Vec<Arc<Entity>>,
    alarm: Arc<Alarm>,
}

impl Namespace {
    /// The queues of `config`, with what is in the journal when there is one. Fails when a queue
    /// forwards to nowhere, or in a circle.
    pub(crate) fn new(
        config: &BrokerConfig,
        clock: &SharedClock,
        mut restored: Option<Restored>,
    ) -> Result<Self, BrokerError> {
        let order = forwarding::order(&config.queues)?;
        let alarm = Arc::<Alarm>::default();
        let all = Surroundings {
            usage: Arc::new(Usage::new(config.limits.total_bytes)),
            limits: &config.limits,
            clock,
            alarm: &alarm,
        };
        let mut entities = Entities::new();
        for place in order {
            let queue = &config.queues[place];
            let known = restored.as_mut().map(|restored| restored.take(&queue.name));
            let entity = all.entity(queue, known, &entities);
            entities.insert(queue.name.to_lowercase(), entity);
        }
        let rest = restored.into_iter().flat_map(Restored::rest);
        let unserved = rest.map(|(name, queue, record)| {
            // Whatever its window was, it keeps the ids that it remembers.
            let config = QueueConfig::new(name).duplicate_detection(LONGEST_DUPLICATE_WINDOW);
            all.entity(&config, Some((queue, record)), &entities)
        });
        let unserved: Vec<Arc<Entity>> = unserved.collect();
        for entity in entities.values() {
            // What has waited to be forwarded, and which alarm to set.
            entity.with(|_| ());
        }
        Ok(Self {
            entities,
            unserved,
            alarm,
        })
    }

    /// The queue with this path, which must be in lower case.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Entity>> {
        self.entities.get(path)
    }

    pub(crate) fn entities(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values()
    }

    /// The queues that are served and those that are only kept.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values().chain(&self.unserved)
    }

    /// The names of queues that are only kept, and how many messages each has, if any.
    pub(crate) fn unserved(&self) -> impl Iterator<Item = (&str, usize)> {
        let total = |entity: &Entity| {
            let counts = entity.lock().counts();
            counts.total()
        };
        let all = self.unserved.iter();
        let named = all.map(move |entity| (entity.name.as_str(), total(entity)));
        named.filter(|(_, messages)| *messages > 0)
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }
}

/// Queues by name, in lower case.
type Entities = HashMap<String, Arc<Entity>>;

/// What all queues of a broker share.
struct Surroundings<'a> {
    usage: Arc<Usage>,
    limits: &'a Limits,
    clock: &'a SharedClock,
    alarm: &'a Arc<Alarm>,
}

impl Surroundings<'_> {
    /// A queue as it is configured, with what is known of it. `others` has those that it forwards to.
    fn entity(
        &self,
        queue: &QueueConfig,
        known: Option<(Restoring, Record)>,
        others: &Entities,
    ) -> Arc<Entity> {
        let target = |name: &Option<String>| -> Option<Arc<Entity>> {
            others.get(&name.as_ref()?.to_lowercase()).cloned()
        };
        let settings = Settings::new(queue, self.limits, &self.usage);
        let (state, record) = match known {
            None => (Queue::new(settings), None),
            Some((known, record)) => (known.finish(settings), Some(record)),
        };
        self.usage.change(0, state.bytes());
        Arc::new(Entity {
            name: queue.name.clone(),
            requires_session: queue.requires_session,
            status: queue.status,
            forward_to: target(&queue.forward_to),
            forward_dead_letters_to: target(&queue.forward_dead_letters_to),
            queue: Mutex::new(state),
            usage: Arc::clone(&self.usage),
            clock: Arc::clone(self.clock),
            alarm: Arc::clone(self.alarm),
            record,
        })
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
