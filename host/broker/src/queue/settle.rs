//! What a receiver says about a message it holds, and what becomes of the message.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{
    Queue,
    amend::{Amendments, IfMalformed, Unamendable},
    message::{Content, NEVER_MS, Standing, State, SubQueue},
    millis,
    sessions::Shelf,
    token::LockToken,
};

/// The reason of a dead letter that failed too often.
const TOO_MANY_DELIVERIES: &str = "MaxDeliveryCountExceeded";

/// What to do with a locked message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Settlement {
    /// It was processed: remove it.
    Complete,
    /// It failed: count the delivery and make it available again, with changed properties.
    Abandon(Amendments),
    /// It cannot be processed yet: count the delivery and set it aside, with changed properties.
    Defer(Amendments),
    /// It was not looked at: make it available again and do not count the delivery.
    Release,
    /// It can never be processed: keep it aside, with the reason among its properties.
    DeadLetter(Amendments),
}

/// Why a settlement did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSettled {
    /// The lock ended, was settled before, or never was.
    LockLost,
    /// The lock ended with that of the session, or the session is locked no more.
    SessionLost,
    /// The changed properties do not fit the message; the lock stands.
    Unamendable(Unamendable),
}

impl Settlement {
    /// The properties to change, and what becomes of malformed ones.
    fn amendments(&self) -> Option<(&Amendments, IfMalformed)> {
        match self {
            Self::Complete | Self::Release => None,
            Self::Abandon(amendments) | Self::Defer(amendments) => {
                Some((amendments, IfMalformed::Refuse))
            }
            Self::DeadLetter(amendments) => Some((amendments, IfMalformed::Replace)),
        }
    }
}

impl Queue {
    /// Settles the messages locked by `tokens`, all of them or none.
    pub(crate) fn settle_all(
        &mut self,
        now: DateTime<Utc>,
        mut tokens: Vec<LockToken>,
        settlement: &Settlement,
    ) -> Result<(), NotSettled> {
        // Whoever names a message twice means it once.
        let mut seen = HashSet::new();
        tokens.retain(|token| seen.insert(*token));
        if !tokens.iter().all(|token| self.holds(now, *token)) {
            return Err(NotSettled::LockLost);
        }
        if let Some((amendments, if_malformed)) = settlement.amendments() {
            for token in &tokens {
                self.amended(token.sequence, amendments, if_malformed)?;
            }
        }
        tokens
            .into_iter()
            .try_for_each(|token| self.settle(now, token, settlement))
    }

    /// Settles the message locked by `token`.
    pub(crate) fn settle(
        &mut self,
        now: DateTime<Utc>,
        token: LockToken,
        settlement: &Settlement,
    ) -> Result<(), NotSettled> {
        let now_ms = now.timestamp_millis();
        let message = self.log.get(token.sequence).ok_or(NotSettled::LockLost)?;
        if !self.is_locked_by(message, token, now_ms) {
            return Err(NotSettled::LockLost);
        }
        let sequence = token.sequence;
        let alive = message.sub_queue == SubQueue::Active;
        if let Some((amendments, if_malformed)) = settlement.amendments() {
            self.amend(sequence, amendments, if_malformed)?;
        }
        let standing = self.end_lock(sequence);
        match settlement {
            Settlement::Complete => drop(self.remove(sequence)),
            Settlement::Defer(_) => {
                self.count_delivery(sequence);
                self.set_aside(sequence);
            }
            Settlement::Abandon(_) => self.count_failure(sequence, standing, now_ms),
            Settlement::DeadLetter(_) if alive => self.bury(sequence),
            // A dead letter is where it should be; the settlement only changes its reason.
            Settlement::Release | Settlement::DeadLetter(_) => {
                self.put_back(sequence, standing, now_ms);
            }
        }
        Ok(())
    }

    /// Whether `token` locks a message at this moment.
    pub(crate) fn holds(&self, now: DateTime<Utc>, token: LockToken) -> bool {
        let now_ms = now.timestamp_millis();
        let message = self.log.get(token.sequence);
        message.is_some_and(|message| self.is_locked_by(message, token, now_ms))
    }

    /// Starts the lock of `token` anew and says when it now ends, in milliseconds. Locks of messages
    /// in a session are renewed with the session.
    pub(crate) fn renew(
        &mut self,
        now: DateTime<Utc>,
        token: LockToken,
    ) -> Result<i64, NotSettled> {
        let now_ms = now.timestamp_millis();
        let until_ms = now_ms.saturating_add(millis(self.settings.lock_duration));
        let message = self.log.get(token.sequence).ok_or(NotSettled::LockLost)?;
        if message.session.is_some() || !self.is_locked_by(message, token, now_ms) {
            return Err(NotSettled::LockLost);
        }
        let message = self
            .log
            .get_mut(token.sequence)
            .ok_or(NotSettled::LockLost)?;
        message.state = State::Locked {
            until_ms,
            nonce: token.nonce,
            was_deferred: message.state.standing() == Standing::Deferred,
        };
        self.locks.push(until_ms, token.sequence);
        self.sweep_locks();
        Ok(until_ms)
    }

    /// One more delivery failed: the message goes back to where it stood, or becomes a dead letter.
    pub(super) fn count_failure(&mut self, sequence: u64, standing: Standing, now_ms: i64) {
        self.count_delivery(sequence);
        let Some(message) = self.log.get(sequence) else {
            return;
        };
        let tries = message.delivery_count;
        let alive = message.sub_queue == SubQueue::Active;
        if alive && tries >= self.settings.max_delivery_count {
            let what = format!("Message could not be consumed after {tries} delivery attempts.");
            self.bury_because(sequence, TOO_MANY_DELIVERIES, &what);
        } else {
            self.put_back(sequence, standing, now_ms);
        }
    }

    fn count_delivery(&mut self, sequence: u64) {
        if let Some(message) = self.log.get_mut(sequence) {
            message.delivery_count = message.delivery_count.saturating_add(1);
            self.changes.changed(sequence);
        }
    }

    /// Puts a message whose lock ended back to where it stood before. A deferred one stays deferred.
    pub(super) fn put_back(&mut self, sequence: u64, standing: Standing, now_ms: i64) {
        if standing == Standing::Deferred {
            self.set_aside(sequence);
        } else {
            self.make_ready(sequence, now_ms);
        }
    }

    /// Makes an unlocked message of no list available, unless its time is up.
    fn make_ready(&mut self, sequence: u64, now_ms: i64) {
        if !self.expire_if_due(sequence, now_ms) {
            self.line_up(sequence);
        }
    }

    /// Moves an unlocked message of no list to the dead letters, with the broker's reason.
    pub(super) fn bury_because(&mut self, sequence: u64, reason: &str, description: &str) {
        // A message that cannot carry the reason is better kept without it than lost.
        let amendments = Amendments::dead_letter(Some(reason), Some(description));
        let amended = self.amend(sequence, &amendments, IfMalformed::Replace);
        if amended.is_err() {
            tracing::debug!(
                message.sequence = sequence,
                "a dead letter could not carry its reason"
            );
        }
        self.bury(sequence);
    }

    fn bury(&mut self, sequence: u64) {
        let Some(message) = self.log.get_mut(sequence) else {
            return;
        };
        message.sub_queue = SubQueue::DeadLetter;
        // Dead letters do not expire, and belong to no session.
        let expires_at_ms = std::mem::replace(&mut message.expires_at_ms, NEVER_MS);
        if let Some(key) = message.session.take() {
            self.sessions.review(key);
        }
        self.changes.changed(sequence);
        self.line_up(sequence);
        self.forget_expiry(expires_at_ms);
    }

    fn amend(
        &mut self,
        sequence: u64,
        amendments: &Amendments,
        if_malformed: IfMalformed,
    ) -> Result<(), NotSettled> {
        let Some(amended) = self.amended(sequence, amendments, if_malformed)? else {
            return Ok(());
        };
        let message = self.log.get_mut(sequence).ok_or(NotSettled::LockLost)?;
        let before = message.cost();
        message.content = amended;
        self.bytes = self.bytes - before + message.cost();
        self.changes.stored(sequence, message.content.len());
        Ok(())
    }

    /// What a message's content becomes, if it changes.
    fn amended(
        &self,
        sequence: u64,
        amendments: &Amendments,
        if_malformed: IfMalformed,
    ) -> Result<Option<Content>, NotSettled> {
        if amendments.is_empty() {
            return Ok(None);
        }
        let message = self.log.get(sequence).ok_or(NotSettled::LockLost)?;
        let amended = amendments.apply(&message.content, if_malformed);
        amended.map(Some).map_err(NotSettled::Unamendable)
    }

    /// Ends a lock and says where the message stood when it was locked.
    pub(super) fn end_lock(&mut self, sequence: u64) -> Standing {
        let Some(message) = self.log.get_mut(sequence) else {
            return Standing::Active;
        };
        let standing = message.state.standing();
        message.state = State::Ready;
        let sub_queue = message.sub_queue;
        if let Some(key) = message.session {
            self.sessions.take(key, sequence, Shelf::Locked);
        }
        self.lane(sub_queue).locked -= 1;
        self.sweep_locks();
        standing
    }

    fn sweep_locks(&mut self) {
        let live = self.active.locked + self.dead.locked;
        let log = &self.log;
        self.locks.sweep(live, |at_ms, sequence| {
            log.get(sequence).is_some_and(
                |m| matches!(m.state, State::Locked { until_ms, .. } if until_ms == at_ms),
            )
        });
    }
}
