//! The sessions of a queue: which messages each has, who owns it, and which is next to be accepted.
//!
//! A session is a message's `group-id`, and exists as long as something of it does: a message that
//! is not a dead letter, a state, or an owner. A message lies on one of three shelves of its
//! session, in the order of the queue; between two shelves it is on none, while an operation of the
//! queue has it in hand. Sessions that have something ready and no owner stand in line to be
//! accepted, each since the moment it became free, so that a busy session does not keep the others
//! waiting. Every step costs at most the logarithm of what is held; nothing is ever searched for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU64,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    deadlines::Deadlines,
    message::NEVER_MS,
    waiters::{Doorbell, Waiters},
};

/// What a session costs beside its messages and its state, for the queue's size limit: its fields,
/// its shelves, its places in the indexes, and the allocator's share of them.
const OVERHEAD_BYTES: usize = 416;

/// Names a session within its queue. Never reused, so a stale one is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(NonZeroU64);

impl SessionKey {
    const FIRST: Self = Self(NonZeroU64::MIN);

    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The key that an entry of [`Sessions::locks`] names.
    pub(super) fn of_deadline(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Arc<str>,
    ready: BTreeSet<u64>,
    locked: BTreeSet<u64>,
    /// Deferred and scheduled messages.
    aside: BTreeSet<u64>,
    pub(super) state: Option<StoredState>,
    owner: Option<Box<Owner>>,
    /// Its place in the line of sessions to be accepted.
    turn: Option<u64>,
    /// What it counts for, since it holds something.
    cost: usize,
}

/// What a receiver left in a session.
#[derive(Debug)]
pub(super) struct StoredState {
    pub(super) octets: Bytes,
    pub(super) set_at_ms: i64,
}

/// The receiver that has a session to itself.
#[derive(Debug)]
pub(super) struct Owner {
    /// What tells this ownership from every other one of the session.
    pub(super) nonce: u64,
    pub(super) until_ms: i64,
    pub(super) bell: Arc<Doorbell>,
    pub(super) link: u64,
    /// Whether it has credit and found nothing.
    pub(super) waits: bool,
}

/// Where a message of a session lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    Ready,
    Locked,
    Aside,
}

/// All sessions of a queue.
#[derive(Debug)]
pub(super) struct Sessions {
    by_id: BTreeMap<Arc<str>, SessionKey>,
    by_key: HashMap<SessionKey, Session>,
    next_key: SessionKey,
    /// What the sessions that hold something cost.
    bytes: usize,
    /// Sessions to be accepted, by turn.
    line: BTreeMap<u64, SessionKey>,
    last_turn: u64,
    /// Receivers that wait for any session.
    pub(super) waiters: Waiters,
    /// When ownerships end.
    pub(super) locks: Deadlines,
    owned: usize,
    /// How many messages are ready in all sessions.
    ready: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_key: HashMap::new(),
            next_key: SessionKey::FIRST,
            bytes: 0,
            line: BTreeMap::new(),
            last_turn: 0,
            waiters: Waiters::default(),
            locks: Deadlines::default(),
            owned: 0,
            ready: 0,
        }
    }
}

impl Sessions {
    /// What the sessions that hold something cost beside that. Of the others there are no more than
    /// links.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages are ready in all sessions.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Wakes as many of the receivers that wait for any session as there are sessions to accept.
    pub(super) fn wake(&mut self) {
        self.waiters.wake(self.line.len());
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.by_key.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn find(&self, id: &str) -> Option<SessionKey> {
        self.by_id.get(id).copied()
    }

    /// The sessions whose ids come after `id`, in the order of their ids.
    pub(super) fn after(&self, id: Option<&Arc<str>>) -> impl Iterator<Item = &Session> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_id.range::<Arc<str>, _>((from, Bound::Unbounded));
        let keys = range.map(|(_, key)| key);
        keys.filter_map(|key| self.by_key.get(key))
    }

    /// The session with this id, made if there is none. Something has to be put into it, or it has
    /// to be reviewed.
    pub(super) fn enter(&mut self, id: &str) -> SessionKey {
        if let Some(key) = self.find(id) {
            return key;
        }
        let key = self.next_key;
        self.next_key = key.next();
        let id: Arc<str> = Arc::from(id);
        self.by_id.insert(Arc::clone(&id), key);
        let session = Session {
            id,
            ready: BTreeSet::new(),
            locked: BTreeSet::new(),
            aside: BTreeSet::new(),
            state: None,
            owner: None,
            turn: None,
            cost: 0,
        };
        self.by_key.insert(key, session);
        key
    }

    /// Puts a message on a shelf of its session.
    pub(super) fn put(&mut self, key: SessionKey, sequence: u64, place: Shelf) {
        let Some(session) = self.by_key.get_mut(&key) else {
            return;
        };
        let is_new = session.shelf(place).insert(sequence);
        self.bytes += session.count();
        if place == Shelf::Ready {
            self.ready += usize::from(is_new);
            if let Some(owner) = &mut session.owner
                && std::mem::take(&mut owner.waits)
            {
                owner.bell.ring(owner.link);
            }
            self.review(key);
        }
    }

    /// Takes a message off a shelf of its session.
    pub(super) fn take(&mut self, key: SessionKey, sequence: u64, place: Shelf) {
        if let Some(session) = self.by_key.get_mut(&key) {
            let was_there = session.shelf(place).remove(&sequence);
            if place == Shelf::Ready {
                self.ready -= usize::from(was_there);
            }
        }
    }

    /// Takes the first ready message of a session.
    pub(super) fn pop_ready(&mut self, key: SessionKey) -> Option<u64> {
        let sequence = self.by_key.get_mut(&key)?.ready.pop_first()?;
        self.ready -= 1;
        Some(sequence)
    }

    /// The session whose turn it is to be accepted.
    pub(super) fn next_in_line(&self) -> Option<SessionKey> {
        self.line.first_key_value().map(|(_, key)| *key)
    }

    /// Gives a session an owner until `owner.until_ms`.
    pub(super) fn occupy(&mut self, key: SessionKey, owner: Owner) {
        if let Some(session) = self.by_key.get_mut(&key) {
            self.locks.push(owner.until_ms, key.0.get());
            self.owned += usize::from(session.owner.is_none());
            session.owner = Some(Box::new(owner));
            self.review(key);
        }
    }

    /// Prolongs the ownership of a session.
    pub(super) fn prolong(&mut self, key: SessionKey, until_ms: i64) {
        if let Some(owner) = self.by_key.get_mut(&key).and_then(Session::owner_mut) {
            owner.until_ms = until_ms;
            self.locks.push(until_ms, key.0.get());
            self.sweep_locks();
        }
    }

    /// Takes everything off the shelf of locked messages. It is the caller's to put back, before the
    /// owner goes: without an owner an empty session is forgotten.
    pub(super) fn take_held(&mut self, key: SessionKey) -> BTreeSet<u64> {
        let Some(session) = self.by_key.get_mut(&key) else {
            return BTreeSet::new();
        };
        if let Some(owner) = &mut session.owner {
            owner.waits = false;
        }
        std::mem::take(&mut session.locked)
    }

    /// Takes a session away from its owner.
    pub(super) fn vacate(&mut self, key: SessionKey) -> Option<Owner> {
        let owner = self.by_key.get_mut(&key)?.owner.take()?;
        self.owned -= 1;
        self.sweep_locks();
        self.review(key);
        Some(*owner)
    }

    /// Lets a session join or leave the line, and forgets it when nothing of it is left. To be
    /// called whenever a message, the state or the owner left it.
    pub(super) fn review(&mut self, key: SessionKey) {
        let Some(session) = self.by_key.get_mut(&key) else {
            return;
        };
        let acceptable = session.owner.is_none() && !session.ready.is_empty();
        match session.turn {
            None if acceptable => {
                self.last_turn += 1;
                session.turn = Some(self.last_turn);
                self.line.insert(self.last_turn, key);
            }
            Some(turn) if !acceptable => {
                session.turn = None;
                self.line.remove(&turn);
            }
            _ => {}
        }
        if session.is_empty() {
            self.bytes -= std::mem::take(&mut session.cost);
        } else {
            self.bytes += session.count();
        }
        if session.is_empty() && session.owner.is_none() {
            let id = Arc::clone(&session.id);
            self.by_id.remove(&id);
            self.by_key.remove(&key);
        }
    }

    /// Reviews every session.
    pub(super) fn review_all(&mut self) {
        let keys: Vec<SessionKey> = self.by_id.values().copied().collect();
        for key in keys {
            self.review(key);
        }
    }

    fn sweep_locks(&mut self) {
        let sessions = &self.by_key;
        self.locks.sweep(self.owned, |at_ms, key| {
            let session = SessionKey::of_deadline(key).and_then(|key| sessions.get(&key));
            let owner = session.and_then(Session::owner);
            owner.is_some_and(|owner| owner.until_ms == at_ms)
        });
    }
}

impl Session {
    pub(super) fn owner(&self) -> Option<&Owner> {
        self.owner.as_deref()
    }

    pub(super) fn owner_mut(&mut self) -> Option<&mut Owner> {
        self.owner.as_deref_mut()
    }

    /// When the ownership ends. One that nobody has is over.
    pub(super) fn owned_until_ms(&self) -> i64 {
        self.owner().map_or(i64::MIN, |owner| owner.until_ms)
    }

    /// Whether a message of it can be received, now or at the end of a lock.
    pub(super) fn has_active(&self) -> bool {
        !self.ready.is_empty() || !self.locked.is_empty()
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The numbers of its next messages, whatever their state: at least `count` of them if there
    /// are so many.
    pub(super) fn messages_from(&self, sequence: u64, count: usize) -> Vec<u64> {
        let shelves = [&self.ready, &self.locked, &self.aside];
        let each = |shelf: &BTreeSet<u64>| -> Vec<u64> {
            shelf.range(sequence..).take(count).copied().collect()
        };
        let mut all: Vec<u64> = shelves.into_iter().flat_map(each).collect();
        all.sort_unstable();
        all.truncate(count);
        all
    }

    fn shelf(&mut self, place: Shelf) -> &mut BTreeSet<u64> {
        match place {
            Shelf::Ready => &mut self.ready,
            Shelf::Locked => &mut self.locked,
            Shelf::Aside => &mut self.aside,
        }
    }

    /// Whether it holds nothing. What an operation has in hand is on no shelf; nobody asks then.
    fn is_empty(&self) -> bool {
        let shelves = [&self.ready, &self.locked, &self.aside];
        self.state.is_none() && shelves.into_iter().all(BTreeSet::is_empty)
    }

    /// Begins to count. Says by how much more that is.
    fn count(&mut self) -> usize {
        if self.cost > 0 {
            return 0;
        }
        self.cost = OVERHEAD_BYTES + self.id.len();
        self.cost
    }
}

impl Owner {
    /// Whether the ownership stands. It ends at its last instant.
    pub(super) fn stands(&self, now_ms: i64) -> bool {
        self.until_ms > now_ms
    }
}

/// When a lock ends that a message has through its session: not before that of the session.
pub(super) const WITH_ITS_SESSION: i64 = NEVER_MS;

#[cfg(test)]
impl Sessions {
    pub(super) fn is_empty(&self) -> bool {
        let empty = self.by_key.is_empty() && self.by_id.is_empty() && self.line.is_empty();
        empty && self.ready == 0 && self.owned == 0 && self.bytes() == 0
    }
}
