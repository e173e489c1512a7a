//! What receivers leave in a session for the next owner, and which sessions there are.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Queue, QueueFull, SessionLock, SessionLost,
    sessions::{Session, StoredState},
};

/// The largest state of a session, in bytes: the service's limit for a message.
pub(crate) const MAX_STATE: usize = 256 * 1024;

/// What a state costs beside its octets.
const OVERHEAD_BYTES: usize = 64;

/// How many sessions one call looks at, so that listing many does not keep everybody else from the
/// queue.
const ROUND: usize = 4_096;

/// Why a state was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateRefused {
    Lost,
    /// It has more than [`MAX_STATE`] bytes.
    TooLarge,
    Full(QueueFull),
}

/// Which sessions to list, and how far one has come.
#[derive(Debug, Clone)]
pub(crate) struct SessionList {
    /// Sessions whose state was set at this instant or later; with `None`, those with messages to
    /// receive.
    pub(crate) updated_since_ms: Option<i64>,
    /// How many to leave out, and how many to name.
    pub(crate) skip: usize,
    pub(crate) top: usize,
    /// The id where to go on.
    pub(crate) after: Option<Arc<str>>,
}

impl Queue {
    /// The state of a session, if one was set.
    pub(crate) fn session_state(
        &self,
        now: DateTime<Utc>,
        lock: SessionLock,
    ) -> Result<Option<Bytes>, SessionLost> {
        if !self.holds_session(now, lock) {
            return Err(SessionLost);
        }
        let session = self.sessions.get(lock.key).ok_or(SessionLost)?;
        Ok(session.state.as_ref().map(|state| state.octets.clone()))
    }

    /// Sets the state of a session, or with `None` removes it.
    pub(crate) fn set_session_state(
        &mut self,
        now: DateTime<Utc>,
        lock: SessionLock,
        state: Option<&[u8]>,
    ) -> Result<(), StateRefused> {
        if !self.holds_session(now, lock) {
            return Err(StateRefused::Lost);
        }
        if state.is_some_and(|state| state.len() > MAX_STATE) {
            return Err(StateRefused::TooLarge);
        }
        let session = self.sessions.get(lock.key).ok_or(StateRefused::Lost)?;
        let [before, after] = [
            cost(session.state.as_ref().map(|state| state.octets.len())),
            cost(state.map(<[u8]>::len)),
        ];
        if after > before {
            let admitted = self.admit_by_broker();
            admitted
                .and_then(|()| self.admit_bytes(after - before))
                .map_err(StateRefused::Full)?;
        }
        self.bytes = self.bytes - before + after;
        if let Some(session) = self.sessions.get_mut(lock.key) {
            self.changes.session_state(&session.id);
            // A copy: what came shares the buffer in which it came.
            session.state = state.map(|state| StoredState {
                octets: Bytes::copy_from_slice(state),
                set_at_ms: now.timestamp_millis(),
            });
        }
        self.sessions.review(lock.key);
        Ok(())
    }

    /// Adds the ids of the next sessions to `into`. Returns how to go on when there may be more.
    pub(crate) fn list_sessions(
        &self,
        mut list: SessionList,
        into: &mut Vec<String>,
    ) -> Option<SessionList> {
        let mut seen = None;
        let after = list.after.take();
        for (round, session) in self.sessions.after(after.as_ref()).enumerate() {
            if list.top == 0 {
                return None;
            }
            if round == ROUND {
                list.after = seen.map(Arc::clone);
                return Some(list);
            }
            seen = Some(&session.id);
            if !session.is_listed(list.updated_since_ms) {
            } else if list.skip > 0 {
                list.skip -= 1;
            } else {
                into.push(session.id.to_string());
                list.top -= 1;
            }
        }
        None
    }
}

impl Session {
    fn is_listed(&self, updated_since_ms: Option<i64>) -> bool {
        match updated_since_ms {
            None => self.has_active(),
            Some(since_ms) => {
                let state = self.state.as_ref();
                state.is_some_and(|state| state.set_at_ms >= since_ms)
            }
        }
    }
}

/// What a state counts for against the queue's size limit.
pub(super) fn cost(len: Option<usize>) -> usize {
    len.map_or(0, |len| len + OVERHEAD_BYTES)
}
