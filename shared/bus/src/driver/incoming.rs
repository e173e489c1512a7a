//! The receiving half of a link: arrivals into the inbox, decisions to the broker.
//!
//! Completions of one round are collected and leave as the fewest ranges of consecutive
//! delivery-ids, however many calls they came from.

use std::sync::Arc;

use nightshift_amqp::engine::{self, Engine, LinkId, SessionId};
use nightshift_amqp::performative::{DeliveryState, Disposition, Role};

use super::settlements::{Settlements, ranges};
use crate::connection::Reply;
use crate::error::BusError;
use crate::inbox::{Delivery, Inbox};
use crate::outcome::{self, Outcome};

pub(super) struct Incoming {
    link: LinkId,
    session: SessionId,
    inbox: Arc<Inbox>,
    /// Receive-and-delete: there is nothing to settle or to give back.
    settled: bool,
    settlements: Settlements,
    /// Arrivals of this round.
    arrived: Vec<Delivery>,
    /// Completions of this round.
    completed: Vec<u32>,
}

impl Incoming {
    pub(super) fn new(link: LinkId, session: SessionId, inbox: Arc<Inbox>, settled: bool) -> Self {
        Self {
            link,
            session,
            inbox,
            settled,
            settlements: Settlements::default(),
            arrived: Vec::new(),
            completed: Vec::new(),
        }
    }

    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    /// Takes an arrival. Says whether it is the first of this round.
    pub(super) fn deliver(&mut self, delivery: engine::Delivery) -> bool {
        let engine::Delivery {
            delivery_id: id,
            tag,
            settled,
            payload,
            ..
        } = delivery;
        if !settled {
            self.settlements.deliver(id);
        }
        self.arrived.push(Delivery {
            id,
            tag,
            settled,
            payload,
        });
        self.arrived.len() == 1
    }

    /// Notes an arrival that is not for the inbox, and renews the credit that it used.
    pub(super) fn pass_over(&self, engine: &mut Engine) {
        self.inbox.pass_over();
        self.adjust_credit(engine);
    }

    /// Takes a decision. Says whether [`flush`](Self::flush) has something to do now.
    pub(super) fn settle(
        &mut self,
        engine: &mut Engine,
        deliveries: Vec<u32>,
        outcome: Outcome,
        reply: Reply<Vec<Result<(), BusError>>>,
    ) -> bool {
        let mut asked = self.settlements.ask(deliveries, reply);
        if outcome == Outcome::Complete {
            self.completed.append(&mut asked);
            return !self.completed.is_empty();
        }
        self.tell(engine, &mut asked, false, &outcome.into_state());
        false
    }

    /// Ends a round: hands arrivals to the inbox and completions to the broker.
    pub(super) fn flush(&mut self, engine: &mut Engine) {
        if !self.arrived.is_empty() {
            self.inbox.put(&mut self.arrived);
        }
        if !self.completed.is_empty() {
            let mut completed = std::mem::take(&mut self.completed);
            self.tell(engine, &mut completed, false, &DeliveryState::Accepted);
            completed.clear();
            self.completed = completed;
        }
    }

    /// Announces the credit that the inbox asks for.
    pub(super) fn adjust_credit(&self, engine: &mut Engine) {
        if let Some(credit) = self.inbox.settle_credit() {
            // A link that is gone reports that itself.
            let _ = engine.set_credit(self.link, credit);
        }
    }

    /// Begins to close. Says whether the broker has to report a drained link first: until then
    /// messages may be on their way here, and they would stay locked if nobody gave them back.
    pub(super) fn begin_close(&self, engine: &mut Engine) -> bool {
        if engine.may_come(self.link) == 0 {
            return false;
        }
        // With credit left, a drain would have the broker send all that the credit allows.
        // A link that is gone reports that itself.
        let _ = engine.set_credit(self.link, 0);
        // What a receive-and-delete link brings now is lost in any case.
        !self.settled && engine.drain(self.link).is_ok()
    }

    /// Gives back what no call has taken.
    pub(super) fn release_unread(&mut self, engine: &mut Engine, entity: &str) {
        self.flush(engine);
        let unread = self.inbox.drain();
        if unread.is_empty() {
            return;
        }
        if self.settled {
            tracing::warn!(
                bus.entity = %entity,
                bus.messages = unread.len(),
                "a receive-and-delete receiver is closed with messages that nobody has taken; \
                 they are lost"
            );
            return;
        }
        let mut ids: Vec<u32> = unread.into_iter().map(|delivery| delivery.id).collect();
        for id in &ids {
            self.settlements.forget(*id);
        }
        self.tell(engine, &mut ids, true, &DeliveryState::Released);
    }

    /// Notes the broker's word about deliveries of its own.
    pub(super) fn confirm(&mut self, entity: &str, disposition: &Disposition) {
        if disposition.settled {
            let result = outcome::settlement_result(entity, disposition.state.as_ref());
            self.settlements
                .confirm(disposition.first, disposition.last_id(), &result);
        }
    }

    /// Answers everything with `failure`.
    pub(super) fn fail(&mut self, failure: &BusError) {
        self.settlements.fail(failure);
        // What came just before the end still counts in receive-and-delete mode.
        if !self.arrived.is_empty() {
            self.inbox.put(&mut self.arrived);
        }
        self.inbox.fail(failure.clone());
    }

    fn tell(&self, engine: &mut Engine, ids: &mut [u32], settled: bool, state: &DeliveryState) {
        for (first, last) in ranges(ids) {
            let state = Some(state.clone());
            let disposition = Disposition::new(Role::Receiver, first, last, settled, state);
            // A session that is gone fails its settlements itself.
            let _ = engine.disposition(self.session, &disposition);
        }
    }
}
