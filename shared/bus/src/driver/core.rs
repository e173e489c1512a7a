//! The driver without its socket: the protocol engine, the links, and what moves between them.
//!
//! A round is: all commands that wait, then all events that the input holds, then
//! [`Core::end_round`]. Nothing here waits or does IO.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use nightshift_amqp::Map;
use nightshift_amqp::engine::{Delivery, Engine, Event, LinkId, ProtocolError, SessionId};
use nightshift_amqp::performative::{Attach, Disposition, Role};
use tokio::time::Instant;

use super::OUTPUT_HIGH_WATER;
use super::link::{Body, Link};
use super::numbers::NumberMap;
use crate::connection::{Attached, Command, LinkName, LinkSpec, Reply, SENDING, instant_later};
use crate::error::BusError;
use crate::outcome::Outcome;
use crate::received_message::LinkKey;

/// How long a closing receiver waits for the broker to say that nothing more is on its way. Not
/// every broker does when there is no credit left; what comes later stays locked until its lock
/// ends.
const DRAINING_GRACE: Duration = Duration::from_secs(1);
/// How long a closing connection waits for everything else.
const CLOSING_GRACE: Duration = Duration::from_secs(5);

pub(super) struct Core {
    engine: Engine,
    host: String,
    links: NumberMap<LinkKey, Link>,
    by_link: NumberMap<LinkId, LinkKey>,
    by_session: NumberMap<SessionId, LinkKey>,
    /// Links with something to hand over at the end of the round.
    dirty: Vec<LinkKey>,
    /// Senders that may have something to send.
    unsent: VecDeque<LinkKey>,
    /// How much of the output is messages that senders were let write.
    message_octets: usize,
    /// Links that wait for a drain, with the end of their patience.
    draining: Vec<(LinkKey, Instant)>,
    /// How long a message may take to be accepted.
    try_timeout: Duration,
    /// When this round began.
    now: Instant,
    /// When to look for messages that have waited for too long.
    expiry: Option<Instant>,
    /// Taken when the broker's open comes.
    opened: Option<Reply<()>>,
    closing: Option<Closing>,
}

/// The orderly end of the connection.
struct Closing {
    replies: Vec<Reply<()>>,
    patience: Instant,
    /// The close frame is out; only the broker's answer is missing.
    announced: bool,
}

impl Core {
    pub(super) fn new(
        engine: Engine,
        host: String,
        try_timeout: Duration,
        opened: Reply<()>,
    ) -> Self {
        Self {
            engine,
            host,
            links: NumberMap::default(),
            by_link: NumberMap::default(),
            by_session: NumberMap::default(),
            dirty: Vec::new(),
            unsent: VecDeque::new(),
            message_octets: 0,
            draining: Vec::new(),
            try_timeout,
            now: Instant::now(),
            expiry: None,
            opened: Some(opened),
            closing: None,
        }
    }

    pub(super) fn input(&mut self) -> &mut BytesMut {
        self.engine.input()
    }

    /// How much waits to be written, in bytes.
    pub(super) fn output_len(&mut self) -> usize {
        self.engine.output().len()
    }

    /// How much of it the broker asked for, in bytes: all but messages.
    pub(super) fn answers_len(&mut self) -> usize {
        self.output_len().saturating_sub(self.message_octets)
    }

    pub(super) fn take_output(&mut self) -> BytesMut {
        self.message_octets = 0;
        self.engine.output().split()
    }

    /// Begins a round.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.now = now;
    }

    /// Does what a caller asks.
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Attach {
                key,
                name,
                spec,
                reply,
            } => self.attach(key, name, spec, reply),
            Command::Send {
                link: key,
                transfer,
                reply,
            } => {
                let Some(link) = self.links.get_mut(&key) else {
                    return;
                };
                match (link.refusal(), &mut link.body) {
                    (None, Body::Sender(outgoing)) => {
                        let deadline = instant_later(self.now, self.try_timeout);
                        self.expiry.get_or_insert(deadline);
                        outgoing.push(transfer, deadline, reply);
                        if outgoing.becomes_due() {
                            self.unsent.push_back(key);
                        }
                    }
                    (refusal, _) => {
                        let _ = reply.send(Err(refusal.unwrap_or_else(wrong_link)));
                    }
                }
            }
            Command::Settle {
                link: key,
                deliveries,
                outcome,
                reply,
            } => {
                let Some(link) = self.links.get_mut(&key) else {
                    return;
                };
                match (link.refusal(), &mut link.body) {
                    (None, Body::Receiver(incoming)) => {
                        if incoming.settle(&mut self.engine, deliveries, outcome, reply) {
                            self.dirty.push(key);
                        }
                    }
                    (refusal, _) => {
                        let refusal = refusal.unwrap_or_else(wrong_link);
                        let _ = reply.send(vec![Err(refusal); deliveries.len()]);
                    }
                }
            }
            Command::AdjustCredit { link } => {
                if let Some(Link {
                    body: Body::Receiver(incoming),
                    ..
                }) = self.links.get(&link)
                {
                    incoming.adjust_credit(&mut self.engine);
                }
            }
            Command::Request {
                link: key,
                id,
                payload,
                reply,
            } => {
                let Some(link) = self.links.get_mut(&key) else {
                    return;
                };
                match (link.refusal(), &mut link.body) {
                    (None, Body::Requests(requests)) => {
                        requests.push(id, payload, reply);
                        requests.pump(&mut self.engine);
                    }
                    (refusal, _) => {
                        let _ = reply.send(Err(refusal.unwrap_or_else(wrong_link)));
                    }
                }
            }
            Command::Detach { link, reply } => self.detach(link, reply),
            Command::Close { reply } => self.close(Some(reply)),
        }
    }

    fn attach(
        &mut self,
        key: LinkKey,
        name: LinkName,
        spec: LinkSpec,
        reply: Reply<Result<Attached, BusError>>,
    ) {
        if self.closing.is_some() {
            let _ = reply.send(Err(BusError::Closed { what: "client" }));
            return;
        }
        match Link::attach(&mut self.engine, name, spec, reply) {
            Ok(link) => {
                self.by_session.insert(link.session, key);
                self.by_link
                    .extend(link.ids().into_iter().map(|id| (id, key)));
                self.links.insert(key, link);
            }
            Err((reply, error)) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn detach(&mut self, key: LinkKey, reply: Option<Reply<()>>) {
        let Some(link) = self.links.get_mut(&key) else {
            // A link that was never opened, or is gone with its session.
            if let Some(reply) = reply {
                let _ = reply.send(());
            }
            return;
        };
        if matches!(link.state, super::link::State::Failed(_)) {
            self.links.remove(&key);
            if let Some(reply) = reply {
                let _ = reply.send(());
            }
            return;
        }
        if link.begin_close(&mut self.engine, reply) {
            self.draining.push((key, Instant::now() + DRAINING_GRACE));
        }
    }

    /// Begins the orderly end: links first, so that unread messages go back, then the connection.
    pub(super) fn close(&mut self, reply: Option<Reply<()>>) {
        if let Some(closing) = &mut self.closing {
            closing.replies.extend(reply);
            return;
        }
        let patience = Instant::now() + CLOSING_GRACE;
        let replies = reply.into_iter().collect();
        self.closing = Some(Closing {
            replies,
            patience,
            announced: false,
        });
        let keys: Vec<LinkKey> = self.links.keys().copied().collect();
        for key in keys {
            self.detach(key, None);
        }
    }

    /// Works through the events that the input holds. An error is the end of the connection.
    pub(super) fn process_input(&mut self) -> Result<(), BusError> {
        loop {
            match self.engine.next_event() {
                Ok(Some(event)) => self.event(event)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), BusError> {
        match event {
            Event::Opened(_) => {
                if let Some(opened) = self.opened.take() {
                    let _ = opened.send(());
                }
            }
            Event::LinkAttached { link: id, attach } => self.attached(id, &attach),
            Event::LinkDetached {
                link: id, error, ..
            } => {
                let Some(key) = self.by_link.remove(&id) else {
                    return Ok(());
                };
                let Some(link) = self.links.get_mut(&key) else {
                    return Ok(());
                };
                if link.detached(&mut self.engine, error.as_ref()) {
                    self.links.remove(&key);
                }
            }
            Event::SessionEnded { session, .. } => {
                self.by_session.remove(&session);
            }
            Event::Credit { link, drain, .. } => self.credit(link, drain),
            Event::Drained { link } => {
                if let Some(key) = self.by_link.get(&link).copied() {
                    self.end_drain(key);
                }
            }
            Event::Delivery(delivery) => {
                let Some(key) = self.by_link.get(&delivery.link).copied() else {
                    return Ok(());
                };
                match self.links.get_mut(&key).map(|link| &mut link.body) {
                    Some(Body::Receiver(incoming)) => {
                        if incoming.deliver(delivery) {
                            self.dirty.push(key);
                        }
                    }
                    Some(Body::Requests(requests)) => requests.deliver(&mut self.engine, delivery),
                    Some(Body::Sender(_)) | None => {}
                }
            }
            Event::TooLarge {
                delivery,
                size,
                limit,
            } => self.set_aside(&delivery, size, limit),
            Event::Aborted { link } => self.aborted(link),
            Event::Disposition {
                session,
                disposition,
            } => self.confirm(session, &disposition),
            Event::LinkAttaching { link, .. } => {
                // A broker has no reason to attach links of its own.
                let condition = nightshift_amqp::condition::NOT_ALLOWED;
                let _ = self.engine.refuse_link(link, condition.into());
            }
            Event::Closed(error) => {
                return Err(match (error, &self.closing) {
                    (None, Some(_)) => BusError::Closed { what: "client" },
                    (None, None) => lost("the broker closed it"),
                    (Some(error), _) => lost(&format!("the broker closed it with {error}")),
                });
            }
            // Links follow their session by themselves; the credentials are a server's to judge.
            Event::SessionBegun { .. } | Event::PlainCredentials(_) => {}
        }
        Ok(())
    }

    fn attached(&mut self, id: LinkId, attach: &Attach) {
        if let Some(link) = self
            .by_link
            .get(&id)
            .and_then(|key| self.links.get_mut(key))
        {
            link.attached(&mut self.engine, id, attach);
        }
    }

    /// A message that is too large to be received would come again and again.
    fn set_aside(&mut self, delivery: &Delivery, size: u64, limit: u64) {
        let link = self
            .by_link
            .get(&delivery.link)
            .and_then(|key| self.links.get(key));
        if let Some(link) = link {
            let text = format!("the message has {size} bytes; this client takes {limit}");
            tracing::warn!(bus.entity = %link.entity, "{text}; it is dead-lettered");
            let outcome = Outcome::DeadLetter {
                reason: "MessageTooLarge".to_owned(),
                description: text,
                properties: Map::new(),
            };
            let id = delivery.delivery_id;
            let state = Some(outcome.into_state());
            let settle = Disposition::new(Role::Receiver, id, id, true, state);
            // A session that is gone has given the message back.
            let _ = self.engine.disposition(link.session, &settle);
            if let Body::Receiver(incoming) = &link.body {
                incoming.pass_over(&mut self.engine);
            }
        }
    }

    /// A message that the broker gave up half-way has used credit all the same.
    fn aborted(&mut self, id: LinkId) {
        let link = self.by_link.get(&id).and_then(|key| self.links.get(key));
        match link.map(|link| &link.body) {
            Some(Body::Receiver(incoming)) => incoming.pass_over(&mut self.engine),
            Some(Body::Requests(requests)) => requests.renew_credit(&mut self.engine),
            Some(Body::Sender(_)) | None => {}
        }
    }

    fn credit(&mut self, id: LinkId, drain: bool) {
        let Some(key) = self.by_link.get(&id).copied() else {
            return;
        };
        match self.links.get_mut(&key).map(|link| &mut link.body) {
            Some(Body::Sender(outgoing)) => {
                outgoing.set_drain(drain);
                if outgoing.becomes_due() {
                    self.unsent.push_back(key);
                }
            }
            Some(Body::Requests(requests)) => {
                requests.pump(&mut self.engine);
                if drain {
                    // A link that is gone reports that itself.
                    let _ = self.engine.drained(id);
                }
            }
            Some(Body::Receiver(_)) | None => {}
        }
    }

    fn confirm(&mut self, session: SessionId, disposition: &Disposition) {
        let Some(link) = self
            .by_session
            .get(&session)
            .and_then(|key| self.links.get_mut(key))
        else {
            return;
        };
        let Link { entity, body, .. } = link;
        match (body, disposition.role) {
            (Body::Sender(outgoing), Role::Receiver) => {
                outgoing.confirm(&mut self.engine, session, entity, disposition);
            }
            (Body::Receiver(incoming), Role::Sender) => incoming.confirm(entity, disposition),
            (Body::Requests(requests), _) => requests.confirm(entity, disposition),
            _ => {}
        }
    }

    fn end_drain(&mut self, key: LinkKey) {
        self.draining.retain(|(draining, _)| *draining != key);
        if let Some(link) = self.links.get_mut(&key) {
            link.end_drain(&mut self.engine);
        }
    }

    /// Lets senders write until enough waits for the socket, each in its turn: what waits here
    /// can still be skipped when its caller gives up, and costs no second copy.
    fn send(&mut self) {
        let before = self.output_len();
        while let Some(key) = self.unsent.pop_front() {
            let Some(Body::Sender(outgoing)) = self.links.get_mut(&key).map(|link| &mut link.body)
            else {
                continue;
            };
            if !outgoing.pump(&mut self.engine, OUTPUT_HIGH_WATER) {
                self.unsent.push_back(key);
                break;
            }
        }
        self.message_octets += self.output_len() - before;
    }

    /// Sends, hands over what the round has gathered, and takes the orderly end a step further.
    pub(super) fn end_round(&mut self) {
        self.send();
        for key in self.dirty.drain(..) {
            if let Some(Link {
                body: Body::Receiver(incoming),
                ..
            }) = self.links.get_mut(&key)
            {
                incoming.flush(&mut self.engine);
            }
        }
        let done = self
            .links
            .values()
            .all(|link| matches!(link.state, super::link::State::Failed(_)));
        if let Some(closing) = &mut self.closing
            && done
            && !closing.announced
        {
            closing.announced = true;
            self.engine.close(None);
        }
    }

    /// Looks at the clock. Says when to look again; an error is the end of the connection.
    pub(super) fn tick(&mut self, now: Instant) -> Result<Option<Instant>, BusError> {
        let mut next = match self.engine.tick(now.into_std()) {
            Ok(next) => next.map(Instant::from_std),
            Err(error) => return Err(self.broken(&error)),
        };
        let late: Vec<LinkKey> = self
            .draining
            .iter()
            .filter(|(_, end)| *end <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.end_drain(key);
        }
        self.expire(now);
        let patience = self.closing.as_ref().map(|closing| closing.patience);
        if patience.is_some_and(|end| end <= now) {
            return Err(BusError::Closed { what: "client" });
        }
        let ends = self.draining.iter().map(|(_, end)| *end);
        let ends = ends.chain(patience).chain(self.expiry);
        for end in ends {
            next = Some(next.map_or(end, |next| next.min(end)));
        }
        Ok(next)
    }

    /// Answers messages that have waited for too long, if it is time to look for some.
    fn expire(&mut self, now: Instant) {
        if self.expiry.is_none_or(|expiry| expiry > now) {
            return;
        }
        let timeout = BusError::Timeout {
            operation: SENDING,
            after: self.try_timeout,
        };
        let next = self
            .links
            .values_mut()
            .filter_map(|link| match &mut link.body {
                Body::Sender(outgoing) => outgoing.expire(now, &timeout),
                Body::Receiver(_) | Body::Requests(_) => None,
            });
        self.expiry = next.min();
    }

    /// Answers everything that still waits: the connection is over.
    pub(super) fn fail(&mut self, failure: &BusError) {
        for (_, mut link) in self.links.drain() {
            link.fail(failure);
        }
        for reply in self
            .closing
            .take()
            .into_iter()
            .flat_map(|closing| closing.replies)
        {
            let _ = reply.send(());
        }
    }

    fn broken(&self, error: &ProtocolError) -> BusError {
        use std::error::Error as _;

        if matches!(error, ProtocolError::Sasl { .. }) {
            let (entity, description) = (self.host.clone(), error.to_string());
            return BusError::Unauthorized {
                entity,
                description,
            };
        }
        match error.source() {
            Some(source) => lost(&format!("{error}: {source}")),
            None => lost(&error.to_string()),
        }
    }
}

pub(super) fn lost(reason: &str) -> BusError {
    BusError::ConnectionLost {
        reason: reason.to_owned(),
        source: None,
    }
}

/// A command for another kind of link: the callers' types make this impossible.
fn wrong_link() -> BusError {
    BusError::Protocol("the link is of another kind".to_owned())
}
