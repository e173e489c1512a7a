//! One queue as a state machine: messages, locks, lives and dead letters, without any IO.
//!
//! Every operation is synchronous and is told what time it is, so that a lock of a minute expires
//! in a microsecond of a test. A queue and its dead letters are one state: dead-lettering a message
//! flips a field and can neither lose nor double it, and the message keeps its sequence number.
//!
//! A message is in exactly one place. `MessageLog` owns it; the ready lists, the lock and expiry
//! deadlines and the tokens of clients only name it by number and are checked against the message
//! itself whenever they are used. What is left of a settled message in those lists is therefore
//! harmless, and is swept when it outnumbers the living.
//!
//! Nothing here knows of connections. A receiver that vanishes leaves its locks behind; they end by
//! themselves, as in the service.

mod amend;
mod browse;
mod changes;
mod content;
mod deadlines;
mod deferral;
mod duplicates;
mod expiry;
mod forward;
mod handout;
mod log;
mod message;
mod ready;
mod restore;
mod schedule;
mod session_lock;
mod session_state;
mod sessions;
mod settle;
mod snapshot;
#[cfg(test)]
mod tests;
mod token;
mod waiters;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rand::{SeedableRng, rngs::StdRng};

pub(crate) use self::{
    amend::Amendments,
    browse::Browse,
    content::{MAX_SESSION_ID, Unsuitable, check_session_ids, read_submissions},
    deferral::{NotReceived, Place},
    handout::Handout,
    message::{
        Content, Delivery, KeptHeader, Lock, NEVER_MS, Origin, Outgoing, Standing, SubQueue,
        Submission,
    },
    restore::Restoring,
    session_lock::{Accepted, Receiver, SessionLock, SessionLost},
    session_state::{MAX_STATE, SessionList, StateRefused},
    settle::{NotSettled, Settlement},
    snapshot::Cursor,
    token::LockToken,
    waiters::{Doorbell, Ticket},
};
use self::{
    changes::Changes,
    deadlines::Deadlines,
    duplicates::History,
    forward::Outbound,
    log::MessageLog,
    message::{Message, State},
    ready::ReadyList,
    sessions::{SessionKey, Sessions, Shelf},
    waiters::Waiters,
};
use crate::{
    config::{Limits, QueueConfig, QueueStatus},
    usage::Usage,
};

/// How one queue behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lock_duration: Duration,
    pub(crate) max_delivery_count: u32,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) dead_letter_on_expiration: bool,
    pub(crate) requires_session: bool,
    pub(crate) forwards: Forwards,
    pub(crate) status: QueueStatus,
    /// How long a message id is remembered, where duplicates are dropped.
    pub(crate) duplicate_window: Option<Duration>,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_history: usize,
    /// What all queues of the broker hold.
    pub(crate) usage: Arc<Usage>,
}

/// What is passed on to other queues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwards {
    pub(crate) messages: bool,
    pub(crate) dead_letters: bool,
}

impl Settings {
    pub(crate) fn new(queue: &QueueConfig, limits: &Limits, usage: &Arc<Usage>) -> Self {
        Self {
            lock_duration: queue.lock_duration,
            max_delivery_count: queue.max_delivery_count,
            default_ttl: queue.default_ttl,
            dead_letter_on_expiration: queue.dead_letter_on_expiration,
            requires_session: queue.requires_session,
            status: queue.status,
            forwards: Forwards {
                messages: queue.forward_to.is_some(),
                dead_letters: queue.forward_dead_letters_to.is_some(),
            },
            duplicate_window: queue.duplicate_detection,
            max_messages: limits.queue_messages,
            max_bytes: limits.queue_bytes,
            max_history: limits.duplicate_history,
            usage: Arc::clone(usage),
        }
    }
}

/// How many messages a queue holds, by what they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Messages that wait for a receiver, or for being forwarded.
    pub active: usize,
    /// Messages that a receiver holds under a peek-lock.
    pub locked: usize,
    /// Messages that a receiver has set aside and nobody holds.
    pub deferred: usize,
    /// Messages whose time to become available has not come.
    pub scheduled: usize,
    /// Messages in `$DeadLetterQueue`, whatever their state.
    pub dead_letter: usize,
    /// What all of them, with sessions and their states, count for against the queue's size limit,
    /// in bytes.
    pub bytes: usize,
    /// How many messages were ever accepted.
    pub accepted: u64,
    /// How many messages left for good: completed, received and deleted, cancelled, expired, or
    /// forwarded.
    pub removed: u64,
}

impl QueueCounts {
    /// How many messages there are, whatever they are doing.
    pub(crate) fn total(&self) -> usize {
        self.active + self.locked + self.deferred + self.scheduled + self.dead_letter
    }
}

/// The queue is full; nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueFull {
    Messages(usize),
    Bytes(usize),
    /// So many message ids came within the window of duplicate detection.
    History(usize),
    /// All queues together hold so many bytes.
    Broker(usize),
}

/// What is stored of a submission.
#[derive(Debug)]
struct Parcel {
    header: KeptHeader,
    session: Option<SessionKey>,
    origin: Option<Arc<Origin>>,
    content: Content,
}

/// One half of a queue: what is ready in it, and who waits for it.
#[derive(Debug, Default)]
struct Lane {
    ready: ReadyList,
    waiters: Waiters,
    locked: usize,
    /// Messages set aside and under no lock.
    deferred: usize,
    /// What is to be passed on to another queue, in a queue that does.
    outbound: Option<Outbound>,
}

impl Lane {
    fn new(forwards: bool) -> Self {
        Self {
            outbound: forwards.then(Outbound::default),
            ..Self::default()
        }
    }

    /// The list in which a message that becomes available waits.
    fn waiting(&mut self) -> &mut ReadyList {
        match &mut self.outbound {
            Some(outbound) => &mut outbound.list,
            None => &mut self.ready,
        }
    }

    fn available(&self) -> usize {
        let outbound = self.outbound.as_ref();
        self.ready.len() + outbound.map_or(0, |outbound| outbound.list.len())
    }
}

/// The state of one queue.
#[derive(Debug)]
pub(crate) struct Queue {
    settings: Settings,
    log: MessageLog,
    active: Lane,
    dead: Lane,
    sessions: Sessions,
    history: Option<History>,
    schedule: Deadlines,
    /// How many messages are scheduled.
    scheduled: usize,
    locks: Deadlines,
    expiries: Deadlines,
    /// How many messages may expire.
    mortal: usize,
    /// What messages and states count for.
    bytes: usize,
    last_sequence: u64,
    accepted: u64,
    removed: u64,
    nonces: StdRng,
    changes: Changes,
}

impl Queue {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            history: settings.duplicate_window.map(History::new),
            active: Lane::new(settings.forwards.messages),
            dead: Lane::new(settings.forwards.dead_letters),
            settings,
            log: MessageLog::default(),
            sessions: Sessions::default(),
            schedule: Deadlines::default(),
            scheduled: 0,
            locks: Deadlines::default(),
            expiries: Deadlines::default(),
            mortal: 0,
            bytes: 0,
            last_sequence: 0,
            accepted: 0,
            removed: 0,
            nonces: StdRng::from_os_rng(),
            changes: Changes::default(),
        }
    }

    /// Stores `count` submissions that together cost `cost` bytes, or none when they do not fit.
    pub(crate) fn enqueue(
        &mut self,
        now: DateTime<Utc>,
        count: usize,
        cost: usize,
        submissions: impl Iterator<Item = Submission>,
    ) -> Result<(), QueueFull> {
        self.admit_new(now.timestamp_millis(), count, cost)?;
        for submission in submissions.take(count) {
            self.accept(now.timestamp_millis(), submission);
        }
        Ok(())
    }

    /// What comes from outside is admitted only while the whole broker has room.
    fn admit_new(&mut self, now_ms: i64, count: usize, cost: usize) -> Result<(), QueueFull> {
        self.admit_by_broker()?;
        self.admit(now_ms, count, cost)
    }

    fn admit_by_broker(&self) -> Result<(), QueueFull> {
        let exceeded = self.settings.usage.exceeded();
        exceeded.map_or(Ok(()), |limit| Err(QueueFull::Broker(limit)))
    }

    fn admit(&mut self, now_ms: i64, count: usize, cost: usize) -> Result<(), QueueFull> {
        if self.log.len() + count > self.settings.max_messages {
            return Err(QueueFull::Messages(self.settings.max_messages));
        }
        self.admit_bytes(cost)?;
        if let Some(history) = &mut self.history {
            history.forget_old(now_ms);
            if history.len() + count > self.settings.max_history {
                return Err(QueueFull::History(self.settings.max_history));
            }
        }
        Ok(())
    }

    fn admit_bytes(&self, cost: usize) -> Result<(), QueueFull> {
        if self.bytes() + cost > self.settings.max_bytes {
            return Err(QueueFull::Bytes(self.settings.max_bytes));
        }
        Ok(())
    }

    /// Takes a submission in and says its sequence number. A duplicate is dropped and has that of
    /// the message that was there before.
    fn accept(&mut self, now_ms: i64, mut submission: Submission) -> u64 {
        let id = submission.message_id.take();
        let known = |history: &History| history.find(id.as_ref()?);
        if let Some(sequence) = self.history.as_ref().and_then(known) {
            return sequence;
        }
        self.accepted += 1;
        let session = submission
            .session_id
            .filter(|_| self.settings.requires_session);
        let parcel = Parcel {
            header: submission.header,
            session: session.map(|id| self.sessions.enter(&id)),
            origin: submission.origin,
            content: submission.content,
        };
        let sequence = match submission.scheduled_at_ms {
            Some(at_ms) if at_ms > now_ms => self.store_scheduled(now_ms, at_ms, parcel),
            _ => self.store(now_ms, parcel),
        };
        if let (Some(history), Some(id)) = (&mut self.history, &id) {
            let (id, until_ms) = history.remember(now_ms, id, sequence);
            self.changes.remembered(id, sequence, until_ms);
        }
        sequence
    }

    /// Stores a message that is available at once.
    fn store(&mut self, now_ms: i64, parcel: Parcel) -> u64 {
        let expires_at_ms = self.expiry_of(now_ms, parcel.header);
        let sequence = self.append(now_ms, parcel, expires_at_ms, State::Ready);
        self.line_up(sequence);
        if expires_at_ms != NEVER_MS {
            self.mortal += 1;
            self.expiries.push(expires_at_ms, sequence);
        }
        sequence
    }

    fn append(&mut self, now_ms: i64, parcel: Parcel, expires_at_ms: i64, state: State) -> u64 {
        self.last_sequence += 1;
        let message = Message {
            sequence: self.last_sequence,
            enqueued_at_ms: now_ms,
            expires_at_ms,
            delivery_count: 0,
            header: parcel.header,
            sub_queue: SubQueue::Active,
            state,
            session: parcel.session,
            origin: parcel.origin,
            content: parcel.content,
        };
        self.bytes += message.cost();
        self.changes.stored(message.sequence, message.content.len());
        self.log.append(message);
        self.last_sequence
    }

    /// Lets a ready message of no list wait for a receiver, or for being passed on.
    fn line_up(&mut self, sequence: u64) {
        let Some(message) = self.log.get(sequence) else {
            return;
        };
        let sub_queue = message.sub_queue;
        match message.session {
            Some(key) => self.sessions.put(key, sequence, Shelf::Ready),
            None => self.lane(sub_queue).waiting().push(sequence),
        }
    }

    fn expiry_of(&self, now_ms: i64, header: KeptHeader) -> i64 {
        let own = header.ttl_ms.map(i64::from);
        let queue = self.settings.default_ttl.map(millis);
        let ttl = [own, queue].into_iter().flatten().min();
        ttl.map_or(NEVER_MS, |ttl| now_ms.saturating_add(ttl))
    }

    /// Wakes the receivers that the ready messages call for. Call it once after a round of
    /// operations.
    pub(crate) fn wake(&mut self) {
        for lane in [&mut self.active, &mut self.dead] {
            let ready = lane.ready.len();
            lane.waiters.wake(ready);
        }
        self.sessions.wake();
    }

    /// Puts a receiver in line for messages of `sub_queue`.
    pub(crate) fn wait(
        &mut self,
        sub_queue: SubQueue,
        bell: &Arc<Doorbell>,
        link: u64,
        credit: usize,
    ) -> Ticket {
        self.lane(sub_queue).waiters.join(bell, link, credit)
    }

    /// Takes a receiver out of the line.
    pub(crate) fn leave(&mut self, sub_queue: SubQueue, ticket: Ticket) {
        self.lane(sub_queue).waiters.leave(ticket);
    }

    /// The next instant at which [`Queue::expire`] or [`Queue::forward`] has something to do, in
    /// milliseconds.
    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        let all = [
            &self.schedule,
            &self.locks,
            &self.sessions.locks,
            &self.expiries,
        ];
        let outbound = [&self.active.outbound, &self.dead.outbound];
        let outbound = outbound.into_iter().flatten().filter_map(Outbound::next_ms);
        let all = all.into_iter().filter_map(Deadlines::next_ms);
        all.chain(outbound).min()
    }

    /// What messages, sessions and states count for against the limits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.sessions.bytes()
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        let Lane {
            locked, deferred, ..
        } = &self.active;
        let ready = self.active.available() + self.sessions.ready();
        let alive = ready + locked + deferred + self.scheduled;
        QueueCounts {
            active: ready,
            locked: *locked,
            deferred: *deferred,
            scheduled: self.scheduled,
            dead_letter: self.log.len() - alive,
            bytes: self.bytes(),
            accepted: self.accepted,
            removed: self.removed,
        }
    }

    fn lane(&mut self, sub_queue: SubQueue) -> &mut Lane {
        match sub_queue {
            SubQueue::Active => &mut self.active,
            SubQueue::DeadLetter => &mut self.dead,
        }
    }

    /// Takes a message out for good. It must be in no list and under no lock any more.
    fn remove(&mut self, sequence: u64) -> Option<Message> {
        let message = self.log.remove(sequence)?;
        self.changes.removed(sequence);
        self.bytes -= message.cost();
        self.removed += 1;
        if let Some(key) = message.session {
            self.sessions.review(key);
        }
        self.forget_expiry(message.expires_at_ms);
        Some(message)
    }

    /// Notes that a message with this expiry left the queue or became immortal.
    fn forget_expiry(&mut self, expires_at_ms: i64) {
        if expires_at_ms != NEVER_MS {
            self.mortal -= 1;
            let log = &self.log;
            self.expiries.sweep(self.mortal, |at_ms, sequence| {
                log.get(sequence)
                    .is_some_and(|message| message.expires_at_ms == at_ms)
            });
        }
    }
}

/// A span in milliseconds.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
