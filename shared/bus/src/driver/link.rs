//! One link from attach to detach, whatever its direction.
//!
//! ```text
//! attaching ──answered──▶ open ──handle gone──▶ (draining) ──▶ detaching ──confirmed──▶ removed
//!     └──────refused or detached by the broker──────▶ failed ──handle gone──▶ removed
//! ```
//!
//! A failed link stays in the table until its owner lets go of it, so that later calls learn why.

use std::sync::atomic::Ordering;

use nightshift_amqp::engine::{CommandError, Engine, LinkId, NewLink, SessionId};
use nightshift_amqp::performative::{
    AmqpError, Attach, ReceiverSettleMode, SenderSettleMode, Source, Target,
};
use nightshift_amqp::{Map, Value};

use super::answer;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::requests::Requests;
use crate::connection::{Attached, LinkName, LinkRole, LinkSpec, Reply, SessionFilter};
use crate::error::BusError;

pub(super) struct Link {
    pub(super) entity: String,
    pub(super) session: SessionId,
    pub(super) state: State,
    pub(super) body: Body,
    /// Links whose detach has not been confirmed: two for a pair, else one.
    alive: u8,
    /// Read by the owner, who opens another link when this one is lost.
    name: LinkName,
}

pub(super) enum State {
    Attaching(Reply<Result<Attached, BusError>>),
    Open,
    /// Waiting for what may be on its way, before giving it back and detaching.
    Draining(Vec<Reply<()>>),
    Detaching(Vec<Reply<()>>),
    Failed(BusError),
}

pub(super) enum Body {
    Sender(Outgoing),
    Receiver(Incoming),
    Requests(Requests),
}

impl Link {
    /// Begins a session and attaches the link or links of `spec` on it.
    pub(super) fn attach(
        engine: &mut Engine,
        name: LinkName,
        spec: LinkSpec,
        reply: Reply<Result<Attached, BusError>>,
    ) -> Result<Self, (Reply<Result<Attached, BusError>>, BusError)> {
        let LinkSpec {
            entity,
            address,
            role,
        } = spec;
        let session = match engine.begin_session() {
            Ok(session) => session,
            Err(error) => return Err((reply, refused(&entity, error))),
        };
        let body = match attach_body(engine, session, &name.text, &address, role) {
            Ok(body) => body,
            Err(error) => {
                // The session has nothing on it; whether it can still be ended does not matter.
                let _ = engine.end_session(session, None);
                return Err((reply, refused(&entity, error)));
            }
        };
        let alive = if matches!(body, Body::Requests(_)) {
            2
        } else {
            1
        };
        Ok(Self {
            entity,
            session,
            state: State::Attaching(reply),
            body,
            alive,
            name,
        })
    }

    /// The engine's links under this one.
    pub(super) fn ids(&self) -> Vec<LinkId> {
        match &self.body {
            Body::Sender(outgoing) => vec![outgoing.link()],
            Body::Receiver(incoming) => vec![incoming.link()],
            Body::Requests(requests) => requests.links().to_vec(),
        }
    }

    /// Notes the broker's answer to our attach.
    pub(super) fn attached(&mut self, engine: &mut Engine, link: LinkId, attach: &Attach) {
        let attached = answer::read(attach);
        match &mut self.body {
            Body::Sender(outgoing) => outgoing.set_limit(attached.max_message_size),
            Body::Receiver(incoming) => incoming.adjust_credit(engine),
            Body::Requests(requests) => {
                if !requests.attached(engine, link) {
                    return;
                }
            }
        }
        if matches!(self.state, State::Attaching(_))
            && let State::Attaching(reply) = std::mem::replace(&mut self.state, State::Open)
        {
            // A caller that gave up has dropped the handle, and a detach is on its way.
            let _ = reply.send(Ok(attached));
        }
    }

    /// The owner has let go. Says whether the link has to drain first.
    pub(super) fn begin_close(&mut self, engine: &mut Engine, reply: Option<Reply<()>>) -> bool {
        let replies = reply.into_iter().collect();
        if let (Body::Receiver(incoming), State::Open) = (&self.body, &self.state)
            && incoming.begin_close(engine)
        {
            self.state = State::Draining(replies);
            return true;
        }
        self.detach(engine, replies);
        false
    }

    /// What was on its way is here, or will not come any more.
    pub(super) fn end_drain(&mut self, engine: &mut Engine) {
        if let State::Draining(replies) = &mut self.state {
            let replies = std::mem::take(replies);
            self.detach(engine, replies);
        }
    }

    fn detach(&mut self, engine: &mut Engine, replies: Vec<Reply<()>>) {
        if let Body::Receiver(incoming) = &mut self.body {
            incoming.release_unread(engine, &self.entity);
        }
        for link in self.ids() {
            // A link that is gone is what we want.
            let _ = engine.detach(link, true, None);
        }
        self.state = State::Detaching(replies);
        self.fail_calls(&BusError::Closed { what: self.what() });
    }

    /// Notes that a link is gone. Says whether nothing is left to wait for.
    pub(super) fn detached(&mut self, engine: &mut Engine, error: Option<&AmqpError>) -> bool {
        self.alive = self.alive.saturating_sub(1);
        // Before any answer, so that whoever reads one sees this too.
        self.name.lost.store(true, Ordering::Release);
        let failure = BusError::from_detach(&self.entity, error);
        match std::mem::replace(&mut self.state, State::Failed(failure.clone())) {
            State::Failed(first) => self.state = State::Failed(first),
            State::Detaching(replies) if self.alive > 0 => {
                self.state = State::Detaching(replies);
                return false;
            }
            State::Detaching(replies) | State::Draining(replies) => {
                for reply in replies {
                    let _ = reply.send(());
                }
                self.end(engine, &failure);
                return true;
            }
            State::Attaching(reply) => {
                let _ = reply.send(Err(failure.clone()));
            }
            State::Open => {}
        }
        if self.alive > 0 {
            // Half a pair is of no use.
            for link in self.ids() {
                let _ = engine.detach(link, true, None);
            }
        } else {
            self.end(engine, &failure);
        }
        self.fail_calls(&failure);
        false
    }

    fn end(&mut self, engine: &mut Engine, failure: &BusError) {
        // A session that the broker has ended is what we want.
        let _ = engine.end_session(self.session, None);
        self.fail_calls(failure);
    }

    /// Answers everything that waits on this link, the owner's close included.
    pub(super) fn fail(&mut self, failure: &BusError) {
        self.name.lost.store(true, Ordering::Release);
        self.fail_calls(failure);
        match std::mem::replace(&mut self.state, State::Failed(failure.clone())) {
            State::Attaching(reply) => {
                let _ = reply.send(Err(failure.clone()));
            }
            State::Draining(replies) | State::Detaching(replies) => {
                for reply in replies {
                    let _ = reply.send(());
                }
            }
            State::Open | State::Failed(_) => {}
        }
    }

    fn fail_calls(&mut self, failure: &BusError) {
        match &mut self.body {
            Body::Sender(outgoing) => outgoing.fail(failure),
            Body::Receiver(incoming) => incoming.fail(failure),
            Body::Requests(requests) => requests.fail(failure),
        }
    }

    /// Why a call on this link cannot be served now, if it cannot.
    pub(super) fn refusal(&self) -> Option<BusError> {
        match &self.state {
            State::Failed(failure) => Some(failure.clone()),
            State::Detaching(_) => Some(BusError::Closed { what: self.what() }),
            State::Attaching(_) | State::Open | State::Draining(_) => None,
        }
    }

    fn what(&self) -> &'static str {
        match self.body {
            Body::Sender(_) => "sender",
            Body::Receiver(_) => "receiver",
            Body::Requests(_) => "request link",
        }
    }
}

fn attach_body(
    engine: &mut Engine,
    session: SessionId,
    name: &str,
    address: &str,
    role: LinkRole,
) -> Result<Body, CommandError> {
    Ok(match role {
        LinkRole::Sender => {
            let link = NewLink::new(name, Source::new(name), Target::new(address));
            Body::Sender(Outgoing::new(engine.attach_sender(session, link)?))
        }
        LinkRole::Receiver {
            inbox,
            settled,
            session: wanted,
        } => {
            let mut link = NewLink::new(name, Source::new(address), Target::new(name));
            if let Some(wanted) = wanted {
                ask_for_session(&mut link, wanted);
            }
            (link.snd_settle_mode, link.rcv_settle_mode) = if settled {
                (SenderSettleMode::Settled, ReceiverSettleMode::First)
            } else {
                // "Second" is what makes the broker confirm each settlement.
                (SenderSettleMode::Unsettled, ReceiverSettleMode::Second)
            };
            let link = engine.attach_receiver(session, link)?;
            Body::Receiver(Incoming::new(link, session, inbox, settled))
        }
        LinkRole::Requests { reply_to } => {
            let link = NewLink::new(
                format!("{name}-requests"),
                Source::new(reply_to.as_str()),
                Target::new(address),
            );
            let requests = engine.attach_sender(session, link)?;
            let link = NewLink::new(
                format!("{name}-responses"),
                Source::new(address),
                Target::new(reply_to.as_str()),
            );
            let responses = engine.attach_receiver(session, link)?;
            Body::Requests(Requests::new(session, requests, responses))
        }
    })
}

fn refused(entity: &str, error: CommandError) -> BusError {
    match error {
        CommandError::Exhausted { .. } => BusError::QuotaExceeded {
            entity: entity.to_owned(),
            description: format!("this connection cannot hold more links: {error}"),
        },
        other => BusError::Protocol(other.to_string()),
    }
}

/// Asks for a session: by the source's filter, whose value is the id, or null for the next one.
/// Plain, not described, as the service's own clients send it.
fn ask_for_session(link: &mut NewLink, wanted: SessionFilter) {
    let id = match wanted {
        SessionFilter::Named(id) => Value::String(id),
        SessionFilter::Next(wait) => {
            let mut properties = Map::new();
            let wait = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            properties.insert_symbol(answer::TIMEOUT, wait);
            link.properties = Some(properties);
            Value::Null
        }
    };
    let mut filter = Map::new();
    filter.insert_symbol(answer::SESSION_FILTER, id);
    link.source.filter = Some(filter);
}
