//! What clients send: collected event by event, stored queue by queue, answered range by range.

use nightshift_amqp::{
    condition,
    engine::{Delivery, LinkId, SessionId},
    message::BATCH_FORMAT,
    performative::{AmqpError, DeliveryState, Disposition, Role},
};

use super::{
    link::{Link, SenderLink},
    state::Connection,
};
use crate::{
    entity::Entity,
    queue::{QueueFull, Submission, Unsuitable, read_submissions},
};

/// The credit of a client's sender, given anew when half of it is used: what the service does.
pub(super) const CREDIT: u32 = 1_000;

/// Transfers that came and are not answered.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    transfers: Vec<Transfer>,
    /// The messages of all transfers, in their order.
    submissions: Vec<Submission>,
    /// The links whose credit was used, to be given new.
    links: Vec<LinkId>,
}

/// One transfer and the messages in it.
#[derive(Debug)]
struct Transfer {
    session: SessionId,
    delivery_id: u32,
    /// Whether the client wants no answer.
    settled: bool,
    entity: usize,
    /// How many messages, and what they count for.
    count: usize,
    cost: usize,
    refusal: Option<AmqpError>,
}

impl Connection {
    pub(super) fn on_delivery(&mut self, delivery: Delivery) {
        match self.links.get(&delivery.link) {
            Some(Link::Sender(link)) => {
                let entity = &self.entities[link.entity];
                self.inbox.take(link, entity, delivery);
            }
            Some(Link::Requests(_)) => self.on_request(delivery),
            // The engine lets nothing in on links that only send.
            Some(Link::Receiver(_) | Link::Accepting(_) | Link::Responses(_)) | None => {}
        }
    }

    /// Refuses a message whose octets were dropped as they came.
    pub(super) fn on_too_large(&mut self, delivery: &Delivery, size: u64, limit: u64) {
        let text = format!("the message has {size} bytes; the limit is {limit}");
        let error = AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text);
        match self.links.get(&delivery.link) {
            Some(Link::Sender(link)) => self.inbox.refuse(link, delivery, error),
            // Nobody can be answered by a message.
            Some(Link::Requests(_)) => {
                self.forget_link(delivery.link);
                self.tell(|engine| engine.detach(delivery.link, true, Some(error)));
            }
            Some(Link::Receiver(_) | Link::Accepting(_) | Link::Responses(_)) | None => {}
        }
    }

    /// A message that its sender gave up half-way has used credit all the same.
    pub(super) fn on_aborted(&mut self, id: LinkId) {
        match self.links.get(&id) {
            Some(Link::Sender(_)) => self.inbox.note_link(id),
            Some(Link::Requests(_)) => self.renew_credit(id),
            Some(Link::Receiver(_) | Link::Accepting(_) | Link::Responses(_)) | None => {}
        }
    }

    /// Gives a client's sender its full credit again when half of it is used.
    pub(super) fn renew_credit(&mut self, id: LinkId) {
        if self.engine.credit(id) <= CREDIT / 2 {
            self.tell(|engine| engine.set_credit(id, CREDIT));
        }
    }

    /// Stores what came, answers, and renews the credit that it used.
    pub(super) fn store_inbox(&mut self) {
        self.store_transfers();
        let mut links = std::mem::take(&mut self.inbox.links);
        for link in links.drain(..) {
            self.renew_credit(link);
        }
        // Keep the allocation for the next round.
        self.inbox.links = links;
    }

    fn store_transfers(&mut self) {
        if self.inbox.transfers.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let Inbox {
            transfers,
            submissions,
            ..
        } = &mut self.inbox;
        let mut submissions = submissions.drain(..);
        for group in transfers.chunk_by_mut(|a, b| a.entity == b.entity) {
            let entity = &self.entities[group[0].entity];
            entity.with(|queue| {
                for transfer in group
                    .iter_mut()
                    .filter(|transfer| transfer.refusal.is_none())
                {
                    let Transfer { count, cost, .. } = *transfer;
                    if let Err(full) = queue.enqueue(now, count, cost, submissions.by_ref()) {
                        submissions.by_ref().take(count).for_each(drop);
                        transfer.refusal = Some(queue_full(full));
                    }
                }
            });
        }
        drop(submissions);
        let transfers = std::mem::take(transfers);
        self.answer(&transfers);
        // Keep the allocation for the next round.
        self.inbox.transfers = transfers;
        self.inbox.transfers.clear();
    }

    /// Tells the client what became of its transfers: one frame for each run of accepted ones.
    fn answer(&mut self, transfers: &[Transfer]) {
        let follows = |a: &Transfer, b: &Transfer| {
            a.session == b.session
                && b.delivery_id == a.delivery_id.wrapping_add(1)
                && a.refusal.is_none()
                && b.refusal.is_none()
                && !a.settled
                && !b.settled
        };
        for run in transfers.chunk_by(follows) {
            let [first, last] = [&run[0], &run[run.len() - 1]];
            if first.settled {
                if let Some(error) = &first.refusal {
                    // The client does not want to know, so the operator should.
                    tracing::info!(connection.id = self.id, error = %error, "a message was dropped");
                }
                continue;
            }
            let state = match &first.refusal {
                None => DeliveryState::Accepted,
                Some(error) => DeliveryState::rejected(error.clone()),
            };
            let [from, to] = [first.delivery_id, last.delivery_id];
            let disposition = Disposition::new(Role::Receiver, from, to, true, Some(state));
            self.tell(|engine| engine.disposition(first.session, &disposition));
        }
    }
}

impl Inbox {
    /// Notes a link whose credit was used.
    fn note_link(&mut self, link: LinkId) {
        if self.links.last() != Some(&link) {
            self.links.push(link);
        }
    }

    fn take(&mut self, link: &SenderLink, entity: &Entity, delivery: Delivery) {
        let before = self.submissions.len();
        let is_batch = delivery.message_format == BATCH_FORMAT;
        let read = read_submissions(delivery.payload, is_batch, &mut self.submissions);
        let read = read.and_then(|()| entity.check(&self.submissions[before..]));
        if read.is_err() {
            self.submissions.truncate(before);
        }
        let new = &self.submissions[before..];
        self.transfers.push(Transfer {
            session: link.session,
            delivery_id: delivery.delivery_id,
            settled: delivery.settled,
            entity: link.entity,
            count: new.len(),
            cost: new.iter().map(Submission::cost).sum(),
            refusal: read.err().map(|problem| unsuitable(&problem)),
        });
        self.note_link(delivery.link);
    }

    fn refuse(&mut self, link: &SenderLink, delivery: &Delivery, error: AmqpError) {
        self.transfers.push(Transfer {
            session: link.session,
            delivery_id: delivery.delivery_id,
            settled: delivery.settled,
            entity: link.entity,
            count: 0,
            cost: 0,
            refusal: Some(error),
        });
        self.note_link(delivery.link);
    }
}

/// What the sender of a message that cannot be stored is told.
pub(super) fn unsuitable(problem: &Unsuitable) -> AmqpError {
    let condition = match problem {
        Unsuitable::Malformed(_) | Unsuitable::Encoding(_) => condition::DECODE_ERROR,
        Unsuitable::NoSessionId => condition::NOT_ALLOWED,
        Unsuitable::LongSessionId(_) => condition::ARGUMENT_OUT_OF_RANGE,
    };
    AmqpError::new(condition, super::state::error_chain(problem))
}

/// A quota that is used up stays so until somebody receives; being busy passes by itself.
pub(super) fn queue_full(full: QueueFull) -> AmqpError {
    let quota = condition::RESOURCE_LIMIT_EXCEEDED;
    let (condition, text) = match full {
        QueueFull::Messages(limit) => {
            let text = format!("the queue holds its limit of {limit} messages");
            (quota, text)
        }
        QueueFull::Bytes(limit) => (quota, format!("the queue holds its limit of {limit} bytes")),
        QueueFull::History(limit) => {
            let text = format!(
                "{limit} message ids came within the window of duplicate detection; try again later"
            );
            (condition::SERVER_BUSY, text)
        }
        QueueFull::Broker(limit) => {
            let text = format!("all queues together hold {limit} bytes; try again later");
            (condition::SERVER_BUSY, text)
        }
    };
    AmqpError::new(condition, text)
}
