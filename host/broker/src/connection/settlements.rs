//! What clients say about messages they hold: collected, settled queue by queue, confirmed in
//! ranges.
//!
//! The confirmation names the same kind of outcome as the client's. A dead letter is confirmed by
//! `rejected` *without* an error: one with an error tells the SDKs that settling failed.

use nightshift_amqp::{
    condition,
    engine::SessionId,
    performative::{AmqpError, DeliveryState, Disposition, Modified, Rejected, Role},
};

use super::state::Connection;
use crate::queue::{Amendments, Lock, LockToken, NotSettled, SessionLock, Settlement};

/// One delivery under a peek-lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outstanding {
    /// Where the queue is in the connection's list of entities.
    pub(super) entity: usize,
    pub(super) lock: Lock,
    /// The session that it is in.
    pub(super) session: Option<SessionLock>,
}

/// Settlements that came and are not carried out.
#[derive(Debug, Default)]
pub(super) struct Settlements {
    items: Vec<Item>,
    /// What the items ask for, each stated once for a run of items.
    wishes: Vec<Wish>,
}

#[derive(Debug)]
struct Item {
    session: SessionId,
    delivery_id: u32,
    entity: usize,
    token: LockToken,
    owned: Option<SessionLock>,
    wish: usize,
    result: Result<(), NotSettled>,
}

/// A settlement, and how it is confirmed.
#[derive(Debug)]
struct Wish {
    settlement: Settlement,
    confirmation: DeliveryState,
    /// Whether the client has settled already and waits for no confirmation.
    settled: bool,
}

impl Connection {
    pub(super) fn on_disposition(&mut self, session: SessionId, disposition: Disposition) {
        let [first, last] = [disposition.first, disposition.last_id()];
        if disposition.role == Role::Sender {
            // What we receive is settled as it comes, so there is nothing to say about it.
            return;
        }
        let Some(wish) = wish(disposition.state, disposition.settled) else {
            return;
        };
        let Some(unsettled) = self.unsettled.get_mut(&session) else {
            return;
        };
        let taken = unsettled.take_range(first, last);
        if taken.is_empty() {
            self.report_unknown(session, first, last, &wish);
            return;
        }
        let wish = self.settlements.state(wish);
        self.settlements
            .items
            .extend(taken.into_iter().map(|(delivery_id, delivery)| Item {
                session,
                delivery_id,
                entity: delivery.entity,
                token: delivery.lock.token,
                owned: delivery.session,
                wish,
                result: Ok(()),
            }));
    }

    /// Nothing in the range is known: it was settled before, or its locks ended so long ago that
    /// they were forgotten. The SDKs would wait a minute for an answer.
    fn report_unknown(&mut self, session: SessionId, first: u32, last: u32, wish: &Wish) {
        if !wish.settled {
            let state = DeliveryState::rejected(lock_lost());
            let disposition = Disposition::new(Role::Sender, first, last, true, Some(state));
            self.tell(|engine| engine.disposition(session, &disposition));
        }
    }

    /// Carries out what came, and confirms.
    pub(super) fn settle(&mut self) {
        if self.settlements.items.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let Settlements { items, wishes } = &mut self.settlements;
        for group in items.chunk_by_mut(|a, b| a.entity == b.entity) {
            let entity = &self.entities[group[0].entity];
            entity.with(|queue| {
                for item in group {
                    let lost = item.owned.filter(|lock| !queue.holds_session(now, *lock));
                    item.result = match lost {
                        Some(_) => Err(NotSettled::SessionLost),
                        None => queue.settle(now, item.token, &wishes[item.wish].settlement),
                    };
                }
            });
        }
        let mut settlements = std::mem::take(&mut self.settlements);
        self.confirm(&settlements);
        settlements.items.clear();
        settlements.wishes.clear();
        self.settlements = settlements;
    }

    fn confirm(&mut self, settlements: &Settlements) {
        let follows = |a: &Item, b: &Item| {
            a.session == b.session
                && b.delivery_id == a.delivery_id.wrapping_add(1)
                && a.wish == b.wish
                && a.result == b.result
        };
        for run in settlements.items.chunk_by(follows) {
            let [first, last] = [&run[0], &run[run.len() - 1]];
            let wish = &settlements.wishes[first.wish];
            if wish.settled {
                continue;
            }
            let state = match first.result {
                Ok(()) => wish.confirmation.clone(),
                Err(error) => DeliveryState::rejected(not_settled(error)),
            };
            let [from, to] = [first.delivery_id, last.delivery_id];
            let disposition = Disposition::new(Role::Sender, from, to, true, Some(state));
            self.tell(|engine| engine.disposition(first.session, &disposition));
        }
    }
}

impl Settlements {
    /// Adds a wish unless it is the one before, and says which it is.
    fn state(&mut self, wish: Wish) -> usize {
        let same = |last: &Wish| {
            last.settlement == wish.settlement
                && last.settled == wish.settled
                && last.confirmation == wish.confirmation
        };
        if !self.wishes.last().is_some_and(same) {
            self.wishes.push(wish);
        }
        self.wishes.len() - 1
    }
}

/// What a delivery state asks for. `None` when it asks for nothing yet.
fn wish(state: Option<DeliveryState>, settled: bool) -> Option<Wish> {
    let (settlement, confirmation) = match state {
        Some(DeliveryState::Accepted) => (Settlement::Complete, DeliveryState::Accepted),
        Some(DeliveryState::Released) => (Settlement::Release, DeliveryState::Released),
        Some(DeliveryState::Rejected(rejected)) => {
            let confirmation = DeliveryState::Rejected(Rejected { error: None });
            (Settlement::DeadLetter(reason_of(rejected)), confirmation)
        }
        Some(DeliveryState::Modified(modified)) => modified_wish(modified),
        // Forgotten without an outcome: as if it had not been delivered.
        None if settled => (Settlement::Release, DeliveryState::Released),
        // Partly received, or a state of transactions, or nothing at all.
        _ => return None,
    };
    Some(Wish {
        settlement,
        confirmation,
        settled,
    })
}

fn modified_wish(modified: Modified) -> (Settlement, DeliveryState) {
    let confirmation = Modified {
        message_annotations: None,
        ..modified
    };
    let amendments = Amendments::from_map(modified.message_annotations);
    let settlement = if modified.undeliverable_here {
        Settlement::Defer(amendments)
    } else {
        Settlement::Abandon(amendments)
    };
    (settlement, DeliveryState::Modified(confirmation))
}

/// The reason that a rejection gives: in the error's info by the SDKs, else the error itself.
fn reason_of(rejected: Rejected) -> Amendments {
    let Some(error) = rejected.error else {
        return Amendments::default();
    };
    let amendments = Amendments::from_map(error.info);
    if error.condition == condition::DEAD_LETTER {
        return amendments;
    }
    amendments.with_dead_letter(Some(error.condition.as_str()), error.description.as_deref())
}

pub(super) fn not_settled(error: NotSettled) -> AmqpError {
    match error {
        NotSettled::LockLost => lock_lost(),
        NotSettled::SessionLost => session_lost(),
        NotSettled::Unamendable(problem) => {
            AmqpError::new(condition::ARGUMENT_ERROR, problem.to_string())
        }
    }
}

pub(super) fn session_lost() -> AmqpError {
    let text = "the lock on the session has ended, or another receiver has it; accept it again";
    AmqpError::new(condition::SESSION_LOCK_LOST, text)
}

fn lock_lost() -> AmqpError {
    let text = "the lock has ended, or the message has been settled already";
    AmqpError::new(condition::MESSAGE_LOCK_LOST, text)
}
