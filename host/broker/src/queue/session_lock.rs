//! Owning a session: one receiver at a time has all its messages to itself.
//!
//! The messages that the owner holds are locked by the session and as long as it is: renewing the
//! session renews them all at once, and when it ends they are available again. When it ends by
//! itself each message that was held counts one more failed delivery; when its owner gives it back
//! none does. This is the service's rule, since only the first may be the messages' fault.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rand::RngCore;

use super::{
    Queue,
    handout::Handout,
    message::{Delivery, Message, State},
    millis,
    sessions::{Owner, Session, SessionKey},
    token::LockToken,
    waiters::{Doorbell, Ticket},
};

/// The right to a session, for as long as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionLock {
    pub(super) key: SessionKey,
    nonce: u64,
}

/// A session just accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) lock: SessionLock,
    pub(crate) id: Arc<str>,
    pub(crate) until_ms: i64,
}

/// Another receiver owns the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionTaken;

/// The session was not the receiver's, or is not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionLost;

/// Who accepts a session, or waits for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver<'a> {
    pub(crate) bell: &'a Arc<Doorbell>,
    pub(crate) link: u64,
}

impl Queue {
    /// Makes `receiver` the owner of the session with this id, whether there is anything in it or
    /// not.
    pub(crate) fn accept_session(
        &mut self,
        now: DateTime<Utc>,
        id: &str,
        receiver: Receiver<'_>,
    ) -> Result<Accepted, SessionTaken> {
        self.expire(now);
        let key = self.sessions.enter(id);
        let owner = self.sessions.get(key).and_then(Session::owner);
        if owner.is_some_and(|owner| owner.stands(now.timestamp_millis())) {
            return Err(SessionTaken);
        }
        self.end_session_lock(key, true, now.timestamp_millis());
        self.occupy(now, id, receiver).ok_or(SessionTaken)
    }

    /// Makes `receiver` the owner of the session whose turn it is, if any has a message.
    pub(crate) fn accept_next_session(
        &mut self,
        now: DateTime<Utc>,
        receiver: Receiver<'_>,
    ) -> Option<Accepted> {
        self.expire(now);
        let key = self.sessions.next_in_line()?;
        let id = Arc::clone(&self.sessions.get(key)?.id);
        self.occupy(now, &id, receiver)
    }

    fn occupy(&mut self, now: DateTime<Utc>, id: &str, receiver: Receiver<'_>) -> Option<Accepted> {
        let key = self.sessions.enter(id);
        let nonce = self.nonces.next_u64();
        let until_ms = self.session_lock_end(now);
        let owner = Owner {
            nonce,
            until_ms,
            bell: Arc::clone(receiver.bell),
            link: receiver.link,
            waits: false,
        };
        self.sessions.occupy(key, owner);
        let id = Arc::clone(&self.sessions.get(key)?.id);
        let lock = SessionLock { key, nonce };
        Some(Accepted { lock, id, until_ms })
    }

    fn session_lock_end(&self, now: DateTime<Utc>) -> i64 {
        let span = millis(self.settings.lock_duration);
        now.timestamp_millis().saturating_add(span)
    }

    /// Puts a receiver in line for any session.
    pub(crate) fn wait_for_session(&mut self, receiver: Receiver<'_>) -> Ticket {
        let Receiver { bell, link } = receiver;
        self.sessions.waiters.join(bell, link, 1)
    }

    /// Takes a receiver out of the line for any session.
    pub(crate) fn stop_waiting_for_session(&mut self, ticket: Ticket) {
        self.sessions.waiters.leave(ticket);
    }

    /// The session with this id, if a link of the connection with this bell owns it.
    pub(crate) fn session_of(
        &self,
        now: DateTime<Utc>,
        id: &str,
        bell: &Arc<Doorbell>,
    ) -> Result<SessionLock, SessionLost> {
        let key = self.sessions.find(id).ok_or(SessionLost)?;
        let owner = self.sessions.get(key).and_then(Session::owner);
        let owner = owner.filter(|owner| Arc::ptr_eq(&owner.bell, bell));
        let owner = owner.filter(|owner| owner.stands(now.timestamp_millis()));
        let nonce = owner.ok_or(SessionLost)?.nonce;
        Ok(SessionLock { key, nonce })
    }

    /// Whether the ownership stands at this moment.
    pub(crate) fn holds_session(&self, now: DateTime<Utc>, lock: SessionLock) -> bool {
        let owner = self.sessions.get(lock.key).and_then(Session::owner);
        owner.is_some_and(|owner| owner.nonce == lock.nonce && owner.stands(now.timestamp_millis()))
    }

    /// Starts the ownership anew, and with it the locks of the session's messages. Says when it now
    /// ends, in milliseconds.
    pub(crate) fn renew_session(
        &mut self,
        now: DateTime<Utc>,
        lock: SessionLock,
    ) -> Result<i64, SessionLost> {
        if !self.holds_session(now, lock) {
            return Err(SessionLost);
        }
        let until_ms = self.session_lock_end(now);
        self.sessions.prolong(lock.key, until_ms);
        Ok(until_ms)
    }

    /// Gives a session back with all that is held of it.
    pub(crate) fn release_session(&mut self, now: DateTime<Utc>, lock: SessionLock) {
        if self.holds_session(now, lock) {
            self.end_session_lock(lock.key, false, now.timestamp_millis());
        }
    }

    /// Like [`Queue::receive`], from one session.
    pub(crate) fn receive_in_session(
        &mut self,
        now: DateTime<Utc>,
        lock: SessionLock,
        handout: Handout,
        into: &mut Vec<Delivery>,
    ) -> Result<bool, SessionLost> {
        self.expire(now);
        if !self.holds_session(now, lock) {
            return Err(SessionLost);
        }
        let now_ms = now.timestamp_millis();
        let [mut count, mut bytes] = [0, 0];
        while count < handout.max_messages && bytes < handout.max_bytes {
            let Some(sequence) = self.sessions.pop_ready(lock.key) else {
                return Ok(false);
            };
            if self.expire_if_due(sequence, now_ms) {
                continue;
            }
            let Some(delivery) = self.lock(sequence, now_ms) else {
                continue;
            };
            bytes += delivery.content.len();
            count += 1;
            into.push(delivery);
        }
        let session = self.sessions.get(lock.key);
        Ok(session.is_some_and(Session::has_ready))
    }

    /// Notes whether the owner of a session wants to be woken when something comes.
    pub(crate) fn wait_in_session(&mut self, lock: SessionLock, waits: bool) {
        let owner = self.sessions.get_mut(lock.key).and_then(Session::owner_mut);
        if let Some(owner) = owner.filter(|owner| owner.nonce == lock.nonce) {
            owner.waits = waits;
        }
    }

    /// Ends the ownership that was to end at `at_ms`, unless it was renewed.
    pub(super) fn end_session_lock_of(&mut self, at_ms: i64, key: u64, now_ms: i64) {
        let Some(key) = SessionKey::of_deadline(key) else {
            return;
        };
        let session = self.sessions.get(key);
        if session.is_some_and(|session| session.owned_until_ms() == at_ms) {
            self.end_session_lock(key, true, now_ms);
        }
    }

    /// Takes a session from its owner and makes the messages that it held available again. When the
    /// lock was lost, each of them has failed once more, and the owner is told.
    fn end_session_lock(&mut self, key: SessionKey, was_lost: bool, now_ms: i64) {
        for sequence in self.sessions.take_held(key) {
            let standing = self.end_lock(sequence);
            if was_lost {
                self.count_failure(sequence, standing, now_ms);
            } else {
                self.put_back(sequence, standing, now_ms);
            }
        }
        let owner = self.sessions.vacate(key);
        if let Some(owner) = owner.filter(|_| was_lost) {
            owner.bell.ring(owner.link);
        }
    }

    /// Whether `token` locks this message at `now_ms`, by itself or through its session.
    pub(super) fn is_locked_by(&self, message: &Message, token: LockToken, now_ms: i64) -> bool {
        let State::Locked {
            until_ms, nonce, ..
        } = message.state
        else {
            return false;
        };
        let until_ms = match message.session {
            Some(key) => self
                .sessions
                .get(key)
                .map_or(i64::MIN, Session::owned_until_ms),
            None => until_ms,
        };
        nonce == token.nonce && until_ms > now_ms
    }
}
