//! What the owner of a session does with it besides receiving, and which sessions there are.
//!
//! An operation on a session is its owner's: a request counts as the owner's when it comes over the
//! connection whose link owns the session. From anybody else, and after the lock has ended, every
//! one is answered as a lost lock.

use nightshift_amqp::{Array, ElementType, Timestamp, Value, condition};

use super::{Operation, Outcome, Refusal, arguments::wrong, map};
use crate::queue::{MAX_STATE, Place, SessionList, SessionLock, StateRefused, SubQueue};

/// The most ids that one answer names.
const MAX_LISTED: usize = 10_000;

/// Later instants than this mean "no instant": .NET's `DateTime.MaxValue`, in whole seconds.
const END_OF_TIME_MS: i64 = 253_402_300_799_000;

impl Operation<'_> {
    /// Whether this is the half of a queue that has sessions.
    pub(super) fn has_sessions(&self) -> bool {
        self.entity.requires_session && self.sub_queue == SubQueue::Active
    }

    /// Where the request looks for messages: in the session that it names, or outside of all.
    pub(super) fn place(&self) -> Result<Place, Refusal> {
        match self.arguments.get("session-id") {
            Some(_) => self.session().map(Place::Session),
            None => Ok(Place::SubQueue(self.sub_queue)),
        }
    }

    /// The session that the request names, if it is the client's.
    fn session(&self) -> Result<SessionLock, Refusal> {
        let id = self.arguments.text("session-id")?;
        self.need_sessions()?;
        let now = self.connection.shared.clock.now();
        let bell = self.connection.bell();
        let lock = self.entity.with(|queue| queue.session_of(now, id, bell));
        lock.map_err(|_| Refusal::session_lost())
    }

    fn need_sessions(&self) -> Result<(), Refusal> {
        if self.has_sessions() {
            return Ok(());
        }
        let text = "the entity does not require sessions";
        Err(Refusal::new(400, condition::NOT_ALLOWED, text))
    }

    pub(super) fn renew_session(&self) -> Outcome {
        let lock = self.session()?;
        let now = self.connection.shared.clock.now();
        let until_ms = self.entity.with(|queue| queue.renew_session(now, lock));
        let until_ms = until_ms.map_err(|_| Refusal::session_lost())?;
        let expiration = Value::from(Timestamp::from_millis(until_ms));
        Ok(Some(map([("expiration", expiration)])))
    }

    pub(super) fn session_state(&self) -> Outcome {
        let lock = self.session()?;
        let now = self.connection.shared.clock.now();
        let state = self.entity.with(|queue| queue.session_state(now, lock));
        let state = state.map_err(|_| Refusal::session_lost())?;
        let state = state.map_or(Value::Null, Value::from);
        Ok(Some(map([("session-state", state)])))
    }

    pub(super) fn set_session_state(&self) -> Outcome {
        let lock = self.session()?;
        let state = match self.arguments.get("session-state") {
            None => None,
            Some(Value::Binary(octets)) => Some(&octets[..]),
            Some(_) => return Err(wrong("session-state must be binary or null".to_owned())),
        };
        let now = self.connection.shared.clock.now();
        let set = self
            .entity
            .with(|queue| queue.set_session_state(now, lock, state));
        set.map_err(|refused| match refused {
            StateRefused::Lost => Refusal::session_lost(),
            StateRefused::TooLarge => {
                let text = format!("the state of a session has at most {MAX_STATE} bytes");
                Refusal::new(400, condition::ARGUMENT_OUT_OF_RANGE, text)
            }
            StateRefused::Full(full) => Refusal::full(full),
        })?;
        Ok(Some(map([])))
    }

    pub(super) fn list_sessions(&self) -> Outcome {
        self.need_sessions()?;
        let since = self.arguments.get("last-updated-time");
        let updated_since_ms = match since.map(|value| (value, value.as_timestamp())) {
            None => None,
            Some((_, Some(time))) => Some(time.as_millis()).filter(|ms| *ms < END_OF_TIME_MS),
            Some(_) => return Err(wrong("last-updated-time must be a timestamp".to_owned())),
        };
        let skip = usize::try_from(self.arguments.integer("skip")?);
        let top = usize::try_from(self.arguments.integer("top")?);
        let (Ok(skip), Ok(top @ 1..)) = (skip, top) else {
            let text = "skip must not be negative, and top must be at least 1";
            return Err(Refusal::new(400, condition::ARGUMENT_OUT_OF_RANGE, text));
        };
        let mut list = Some(SessionList {
            updated_since_ms,
            skip,
            top: top.min(MAX_LISTED),
            after: None,
        });
        let mut ids = Vec::new();
        while let Some(next) = list {
            list = self
                .entity
                .with(|queue| queue.list_sessions(next, &mut ids));
        }
        if ids.is_empty() {
            return Ok(None);
        }
        let skipped = i32::try_from(skip).unwrap_or(i32::MAX);
        let ids = ids.into_iter().map(Value::from).collect();
        let ids = Array::new(ElementType::String, ids).map_or(Value::Null, Value::from);
        Ok(Some(map([
            ("skip", Value::from(skipped)),
            ("sessions-ids", ids),
        ])))
    }
}
