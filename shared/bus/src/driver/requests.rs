//! Requests to a node such as `$cbs`, and their responses: one link each way, on one session.
//!
//! A request is registered before its bytes leave. Its response names it by correlation-id; one
//! that names nothing we wait for (its caller gave up) is dropped.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use nightshift_amqp::DeliveryTag;
use nightshift_amqp::engine::{
    self, CommandError, Engine, LinkId, NewDelivery, SessionId, Unsettled,
};
use nightshift_amqp::performative::{DeliveryState, Disposition, Rejected, Role};

use crate::cbs;
use crate::connection::Reply;
use crate::error::BusError;

/// Responses that may be on their way at once; renewed when half are used.
const RESPONSE_CREDIT: u32 = 64;

pub(super) struct Requests {
    session: SessionId,
    outward: LinkId,
    inward: LinkId,
    /// How many of the two links the broker has opened.
    attached: u8,
    waiting: VecDeque<(String, Bytes)>,
    pending: HashMap<String, Reply<Result<Bytes, BusError>>>,
    /// Which request each unacknowledged transfer carries.
    unconfirmed: Unsettled<String>,
    next_tag: u32,
}

impl Requests {
    pub(super) fn new(session: SessionId, outward: LinkId, inward: LinkId) -> Self {
        Self {
            session,
            outward,
            inward,
            attached: 0,
            waiting: VecDeque::new(),
            pending: HashMap::new(),
            unconfirmed: Unsettled::new(),
            next_tag: 0,
        }
    }

    pub(super) fn links(&self) -> [LinkId; 2] {
        [self.outward, self.inward]
    }

    /// Notes that one of the links is open. Says whether both are.
    pub(super) fn attached(&mut self, engine: &mut Engine, link: LinkId) -> bool {
        self.attached += 1;
        if link == self.inward {
            // A link that is gone reports that itself.
            let _ = engine.set_credit(link, RESPONSE_CREDIT);
        }
        self.attached == 2
    }

    /// Queues a request; [`pump`](Self::pump) sends it.
    pub(super) fn push(
        &mut self,
        id: String,
        payload: Bytes,
        reply: Reply<Result<Bytes, BusError>>,
    ) {
        self.pending.retain(|_, reply| !reply.is_closed());
        self.waiting.retain(|(id, _)| self.pending.contains_key(id));
        self.pending.insert(id.clone(), reply);
        self.waiting.push_back((id, payload));
    }

    /// Sends as much as credit allows.
    pub(super) fn pump(&mut self, engine: &mut Engine) {
        while let Some((id, payload)) = self.waiting.pop_front() {
            let delivery = NewDelivery {
                tag: DeliveryTag::from(self.next_tag.to_be_bytes()),
                message_format: nightshift_amqp::message::MESSAGE_FORMAT,
                settled: false,
            };
            match engine.send(self.outward, delivery, &[&payload]) {
                Ok(delivery_id) => {
                    self.next_tag = self.next_tag.wrapping_add(1);
                    self.unconfirmed.insert(delivery_id, id);
                }
                Err(CommandError::NoCredit) => {
                    self.waiting.push_front((id, payload));
                    return;
                }
                Err(error) => self.answer(&id, Err(BusError::Protocol(error.to_string()))),
            }
        }
    }

    /// Gives the broker its full credit again when half of it is used.
    pub(super) fn renew_credit(&self, engine: &mut Engine) {
        if engine.credit(self.inward) <= RESPONSE_CREDIT / 2 {
            // A link that is gone reports that itself.
            let _ = engine.set_credit(self.inward, RESPONSE_CREDIT);
        }
    }

    /// Matches a response to its request.
    pub(super) fn deliver(&mut self, engine: &mut Engine, delivery: engine::Delivery) {
        let id = delivery.delivery_id;
        if !delivery.settled {
            let state = Some(DeliveryState::Accepted);
            let accepted = Disposition::new(Role::Receiver, id, id, true, state);
            // A session that is gone needs no answer.
            let _ = engine.disposition(self.session, &accepted);
        }
        self.renew_credit(engine);
        if let Some(request) = cbs::correlation(&delivery.payload) {
            self.answer(&request, Ok(delivery.payload));
        } else {
            tracing::debug!("a response without correlation-id is dropped");
        }
    }

    /// Notes the broker's word about requests that were transferred: only a refusal matters, since
    /// the response says the rest.
    pub(super) fn confirm(&mut self, entity: &str, disposition: &Disposition) {
        if disposition.role != Role::Receiver {
            return;
        }
        let ids = self
            .unconfirmed
            .take_range(disposition.first, disposition.last_id());
        if let Some(DeliveryState::Rejected(Rejected { error })) = &disposition.state {
            for (_, id) in ids {
                self.answer(&id, Err(BusError::from_detach(entity, error.as_ref())));
            }
        }
    }

    /// Answers everything with `failure`.
    pub(super) fn fail(&mut self, failure: &BusError) {
        self.waiting.clear();
        for (_, reply) in self.pending.drain() {
            let _ = reply.send(Err(failure.clone()));
        }
    }

    fn answer(&mut self, id: &str, result: Result<Bytes, BusError>) {
        if let Some(reply) = self.pending.remove(id) {
            // The caller may have given up.
            let _ = reply.send(result);
        }
    }
}
