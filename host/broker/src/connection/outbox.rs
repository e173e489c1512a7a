//! Handing messages to the client's receivers, as far as credit, window and output allow.
//!
//! A receiver is looked at when it gets credit, when its queue rings, and when output that stood in
//! its way is gone. It then takes what is there, a share at a time so that the other links of the
//! connection get theirs, or joins the line of its queue. While its output waits it stands in no
//! line, so that no message is locked for a client that cannot take it, and others are served.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use nightshift_amqp::{
    condition,
    engine::{CommandError, LinkId, NewDelivery},
    performative::AmqpError,
};

use super::{
    delivery::write_prefix,
    link::{Link, ReceiverLink},
    settlements::Outstanding,
    state::Connection,
    trace::record_wait,
};
use crate::queue::{Delivery, Doorbell, Handout, LockToken, Queue, SessionLost, Settlement};

/// Receivers are given no more while this much output waits for the client.
pub(super) const OUTPUT_HIGH: usize = 256 * 1024;

/// How many bytes one receiver takes before the next one's turn.
const SHARE: usize = 64 * 1024;

/// What is still to be handed out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Receivers to look at.
    due: VecDeque<LinkId>,
    /// Whether a receiver is kept waiting because its client settles nothing.
    stalled: bool,
    /// Whether receivers or answers wait for nothing but room in the output.
    held_up: bool,
    /// Whether answers of a node wait for room in the output.
    answers_wait: bool,
    /// The links by their numbers at the doorbell.
    numbers: HashMap<u64, LinkId>,
    last_number: u64,
    rung: Vec<u64>,
    deliveries: Vec<Delivery>,
    prefix: BytesMut,
}

/// What looking at a receiver came to.
enum Look {
    /// It took all it may, or all there is.
    Done,
    /// There is more for it.
    More,
    /// The client has to settle something first.
    Unsettled,
}

impl Connection {
    pub(super) fn on_credit(&mut self, id: LinkId, drain: bool) {
        match self.links.get_mut(&id) {
            Some(Link::Receiver(receiver)) => {
                // The last word counts: new credit after a drain ends it.
                receiver.drain = drain;
                self.outbox.look_at(id, receiver);
            }
            Some(Link::Responses(_)) => {
                self.send_responses(id);
                if drain {
                    self.tell(|engine| engine.drained(id));
                }
            }
            Some(Link::Sender(_) | Link::Accepting(_) | Link::Requests(_)) | None => {}
        }
    }

    /// Looks at every receiver for which something may have changed.
    pub(super) fn deliver(&mut self) {
        let bell = Arc::clone(self.bell());
        let mut rung = std::mem::take(&mut self.outbox.rung);
        bell.collect(&mut rung);
        for number in rung.drain(..) {
            let Some(&id) = self.outbox.numbers.get(&number) else {
                continue;
            };
            match self.links.get_mut(&id) {
                Some(Link::Receiver(receiver)) => self.outbox.look_at(id, receiver),
                Some(Link::Accepting(_)) => self.accept_next(id),
                _ => {}
            }
        }
        self.outbox.rung = rung;

        self.outbox.stalled = false;
        let mut waiting = VecDeque::new();
        while self.engine.output().len() < OUTPUT_HIGH {
            let Some(id) = self.outbox.due.pop_front() else {
                break;
            };
            match self.look(id) {
                Look::Done => {}
                Look::More => {
                    self.due_again(id);
                }
                Look::Unsettled => waiting.push_back(id),
            }
        }
        self.outbox.stalled = !waiting.is_empty();
        let answers = self.send_held_up_responses();
        self.outbox.held_up = answers || !self.outbox.due.is_empty();
        for id in waiting {
            self.due_again(id);
        }
        if self.engine.output().len() >= OUTPUT_HIGH {
            self.step_out_of_line();
        }
    }

    fn due_again(&mut self, id: LinkId) {
        if let Some(Link::Receiver(receiver)) = self.links.get_mut(&id) {
            self.outbox.look_at(id, receiver);
        }
    }

    /// Takes receivers that have to wait for output out of their queues' lines: their wake-ups
    /// belong to receivers that can use them.
    fn step_out_of_line(&mut self) {
        for id in &self.outbox.due {
            let Some(Link::Receiver(receiver)) = self.links.get_mut(id) else {
                continue;
            };
            if let Some(ticket) = receiver.ticket.take() {
                receiver
                    .queue
                    .with(|queue| queue.leave(receiver.sub_queue, ticket));
            }
        }
    }

    /// Gives a receiver its share.
    fn look(&mut self, id: LinkId) -> Look {
        let room = self.room_for_unsettled(id);
        let bell = Arc::clone(self.bell());
        let Some(Link::Receiver(receiver)) = self.links.get_mut(&id) else {
            return Look::Done;
        };
        receiver.due = false;
        let credit = usize::try_from(self.engine.credit(id)).unwrap_or(usize::MAX);
        let max_messages = if receiver.settles_on_send {
            credit
        } else {
            credit.min(room)
        };
        let now = self.shared.clock.now();
        let Ok(more) = receiver.take(now, max_messages, &bell, &mut self.outbox.deliveries) else {
            self.on_session_lost(id);
            return Look::Done;
        };
        let sent = self.send_deliveries(id, now);
        if more && sent < max_messages && sent > 0 {
            return Look::More;
        }
        self.end_drain(id);
        // The limit, not the credit, is used up: it stands in no line until there is room.
        if sent == max_messages && max_messages < credit && self.engine.credit(id) > 0 {
            return Look::Unsettled;
        }
        Look::Done
    }

    /// Everything that was there is sent, or the credit is used up: a drain ends here.
    fn end_drain(&mut self, id: LinkId) {
        if let Some(Link::Receiver(receiver)) = self.links.get_mut(&id)
            && std::mem::take(&mut receiver.drain)
        {
            self.tell(|engine| engine.drained(id));
        }
    }

    /// How many more deliveries the client may leave unsettled.
    fn room_for_unsettled(&mut self, id: LinkId) -> usize {
        let limit = self.shared.config.limits.unsettled_per_connection;
        let Some(Link::Receiver(receiver)) = self.links.get(&id) else {
            return 0;
        };
        if receiver.settles_on_send {
            return limit;
        }
        let count = |connection: &Self| {
            connection
                .unsettled
                .values()
                .map(nightshift_amqp::engine::Unsettled::len)
                .sum::<usize>()
        };
        if count(self) >= limit {
            // Locks that have ended need no settling any more; those that were renewed do.
            let now = self.shared.clock.now();
            let entities = &self.entities;
            let stands = |delivery: &Outstanding| {
                let holds = |queue: &mut Queue| queue.holds(now, delivery.lock.token);
                delivery.lock.until_ms > now.timestamp_millis()
                    || entities[delivery.entity].with(holds)
            };
            for unsettled in self.unsettled.values_mut() {
                unsettled.retain(|_, delivery| stands(delivery));
            }
        }
        limit.saturating_sub(count(self))
    }

    /// Sends what was taken from the queue of a link. Says how many messages went.
    fn send_deliveries(&mut self, id: LinkId, now: DateTime<Utc>) -> usize {
        let Some(Link::Receiver(receiver)) = self.links.get(&id) else {
            return 0;
        };
        let mut deliveries = std::mem::take(&mut self.outbox.deliveries);
        let settled = receiver.settles_on_send;
        let mut unsettled = self.unsettled.get_mut(&receiver.session);
        let mut gone: Vec<LockToken> = Vec::new();
        let mut failure = None;
        let mut sent = 0;
        for delivery in &deliveries {
            let token = delivery.lock.token;
            self.outbox.prefix.clear();
            let lock = (!settled).then_some(delivery.lock);
            write_prefix(&mut self.outbox.prefix, delivery, lock);
            let tag = token.delivery_tag().into();
            let new = NewDelivery {
                tag,
                message_format: 0,
                settled,
            };
            let (annotations, _) = delivery.content.annotations();
            let parts = [
                &self.outbox.prefix[..],
                annotations,
                delivery.content.bare(),
            ];
            match self.engine.send(id, new, &parts) {
                Ok(_) if settled => gone.push(token),
                Ok(delivery_id) => {
                    let outstanding = Outstanding {
                        entity: receiver.entity,
                        lock: delivery.lock,
                        session: receiver.owned,
                    };
                    if let Some(unsettled) = &mut unsettled {
                        unsettled.insert(delivery_id, outstanding);
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            record_wait(delivery, &receiver.queue.name);
            sent += 1;
        }
        let unsent = &deliveries[sent..];
        if !gone.is_empty() || !unsent.is_empty() {
            receiver.queue.with(|queue| {
                // The locks were given at this very instant, so none of them can be lost.
                for token in gone {
                    let _ = queue.settle(now, token, &Settlement::Complete);
                }
                for delivery in unsent {
                    let _ = queue.settle(now, delivery.lock.token, &Settlement::Release);
                }
            });
        }
        deliveries.clear();
        self.outbox.deliveries = deliveries;
        if let Some(error) = failure {
            self.on_unsendable(id, error);
        }
        sent
    }

    /// A message that the link cannot carry would come again and again; the client has to know.
    fn on_unsendable(&mut self, id: LinkId, error: CommandError) {
        if let CommandError::MessageTooLarge { .. } = error {
            let error = AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, error.to_string());
            self.forget_link(id);
            self.tell(|engine| engine.detach(id, true, Some(error)));
        } else {
            tracing::debug!(connection.id = self.id, error = %error, "could not send a message");
        }
    }
}

impl ReceiverLink {
    /// Takes up to `max_messages` messages, or as many as make a share, and waits for more when
    /// there were fewer. Says whether there are more.
    fn take(
        &mut self,
        now: DateTime<Utc>,
        max_messages: usize,
        bell: &Arc<Doorbell>,
        into: &mut Vec<Delivery>,
    ) -> Result<bool, SessionLost> {
        let handout = Handout {
            sub_queue: self.sub_queue,
            max_messages,
            max_bytes: SHARE,
        };
        let before = into.len();
        self.queue.with(|queue| {
            if let Some(ticket) = self.ticket.take() {
                queue.leave(self.sub_queue, ticket);
            }
            let more = match self.owned {
                Some(lock) => queue.receive_in_session(now, lock, handout, into)?,
                None => queue.receive(now, handout, into),
            };
            let left = max_messages - (into.len() - before);
            let waits = !more && !self.drain && left > 0;
            match self.owned {
                Some(lock) => queue.wait_in_session(lock, waits),
                None if waits => {
                    let ticket = queue.wait(self.sub_queue, bell, self.number, left);
                    self.ticket = Some(ticket);
                }
                None => {}
            }
            Ok(more)
        })
    }
}

impl Outbox {
    /// The number by which the queue of a new receiver calls it.
    pub(super) fn number(&mut self, id: LinkId) -> u64 {
        self.last_number += 1;
        self.numbers.insert(self.last_number, id);
        self.last_number
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.numbers.remove(&number);
    }

    /// Forgets what is due, because every link is gone.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.stalled = false;
        self.held_up = false;
        self.answers_wait = false;
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether there is more for the client once its output has gone.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up
    }

    pub(super) fn note_answers_wait(&mut self, wait: bool) {
        self.answers_wait |= wait;
    }

    pub(super) fn answers_wait(&self) -> bool {
        self.answers_wait
    }

    pub(super) fn take_answers_wait(&mut self) -> bool {
        std::mem::take(&mut self.answers_wait)
    }

    /// Notes that a receiver is to be looked at.
    fn look_at(&mut self, id: LinkId, receiver: &mut ReceiverLink) {
        if !std::mem::replace(&mut receiver.due, true) {
            self.due.push_back(id);
        }
    }
}
