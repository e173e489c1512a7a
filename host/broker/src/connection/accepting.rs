//! Receivers of sessions: accepting one by name, or the next one that has something.
//!
//! A client asks by a filter of its source, `com.microsoft:session-filter`: a text is the session it
//! wants, null means any. When none is to be had the attach stays unanswered for the time that the
//! client allows by the link property `com.microsoft:timeout`, and the link stands in the queue's
//! line. The answer names the session in the same filter, and says in a link property how long the
//! session is locked.

use std::{sync::Arc, time::Duration};

use nightshift_amqp::{
    Map, Symbol, Value, condition,
    engine::{LinkId, SessionId},
    performative::{AmqpError, Attach, AttachTarget, Coordinator, Source, Target},
};

use super::{
    attach::receiver_answer,
    link::{AcceptingLink, Link, ReceiverLink},
    settlements::session_lost,
    state::Connection,
};
use crate::{
    entity::Entity,
    queue::{Accepted, MAX_SESSION_ID, Receiver, SubQueue},
};

/// The filter by which a receiver asks for a session.
const SESSION_FILTER: &str = "com.microsoft:session-filter";

/// How long a client waits for a session, in milliseconds.
const TIMEOUT: &str = "com.microsoft:timeout";

/// When the lock on the session ends.
const LOCKED_UNTIL: &str = "com.microsoft:locked-until-utc";

/// How long a client waits that does not say so: as long as its SDK would.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(65);

/// The instant 1970-01-01 on the clock of .NET, which counts steps of 100 ns from the year 1.
const UNIX_EPOCH_TICKS: i64 = 621_355_968_000_000_000;
const TICKS_PER_MS: i64 = 10_000;

/// The session that a receiver wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Next,
    Named(String),
}

/// The session that a receiver asks for, if it does.
pub(super) fn wanted(source: Option<&Source>) -> Result<Option<Wanted>, AmqpError> {
    let filter = source.and_then(|source| source.filter.as_ref());
    let Some(mut value) = filter.and_then(|filter| filter.get(SESSION_FILTER)) else {
        return Ok(None);
    };
    // SDKs send the value itself, or described by what kind of filter it is.
    if let Value::Described(described) = value {
        value = &described.value;
    }
    match value {
        Value::Null => Ok(Some(Wanted::Next)),
        Value::String(id) if id.chars().count() <= MAX_SESSION_ID => {
            Ok(Some(Wanted::Named(id.clone())))
        }
        Value::String(_) => {
            let text = format!("a session id has at most {MAX_SESSION_ID} characters");
            Err(AmqpError::new(condition::ARGUMENT_OUT_OF_RANGE, text))
        }
        _ => {
            let text = format!("{SESSION_FILTER} must be a session id or null");
            Err(AmqpError::new(condition::INVALID_FIELD, text))
        }
    }
}

impl Connection {
    /// Gives a receiver the session that it wants, or lets it wait for one.
    pub(super) fn accept_session(
        &mut self,
        session: SessionId,
        id: LinkId,
        attach: &Attach,
        queue: Arc<Entity>,
        wanted: &Wanted,
    ) {
        let number = self.outbox.number(id);
        let until = self.now + patience(attach);
        let attach = answerable(attach);
        let Wanted::Named(name) = wanted else {
            let waiting = AcceptingLink {
                session,
                number,
                queue,
                attach,
                until,
                ticket: None,
            };
            self.accepting.insert((until, id));
            self.remember_link(id, Link::Accepting(waiting));
            self.accept_next(id);
            return;
        };
        let bell = Arc::clone(self.bell());
        let receiver = Receiver {
            bell: &bell,
            link: number,
        };
        let now = self.shared.clock.now();
        match queue.with(|queue| queue.accept_session(now, name, receiver)) {
            Ok(accepted) => self.own_session(session, id, &attach, (number, queue), &accepted),
            Err(_taken) => {
                self.outbox.forget(number);
                let text = format!("the session {name:?} is locked by another receiver");
                let error = AmqpError::new(condition::SESSION_CANNOT_BE_LOCKED, text);
                self.refuse(id, error);
            }
        }
    }

    /// Looks whether there is a session for a receiver that waits for any.
    pub(super) fn accept_next(&mut self, id: LinkId) {
        let bell = Arc::clone(self.bell());
        let now = self.shared.clock.now();
        let Some(Link::Accepting(waiting)) = self.links.get_mut(&id) else {
            return;
        };
        let receiver = Receiver {
            bell: &bell,
            link: waiting.number,
        };
        let ticket = &mut waiting.ticket;
        let accepted = waiting.queue.with(|queue| {
            if let Some(ticket) = ticket.take() {
                queue.stop_waiting_for_session(ticket);
            }
            let accepted = queue.accept_next_session(now, receiver);
            if accepted.is_none() {
                *ticket = Some(queue.wait_for_session(receiver));
            }
            accepted
        });
        if let Some(accepted) = accepted
            && let Some(Link::Accepting(waiting)) = self.links.remove(&id)
        {
            self.accepting.remove(&(waiting.until, id));
            let place = (waiting.number, waiting.queue);
            self.own_session(waiting.session, id, &waiting.attach, place, &accepted);
        }
    }

    /// Answers an attach with the session that was accepted.
    fn own_session(
        &mut self,
        session: SessionId,
        id: LinkId,
        attach: &Attach,
        (number, queue): (u64, Arc<Entity>),
        accepted: &Accepted,
    ) {
        let mut answer = receiver_answer(attach);
        let source = answer.source.get_or_insert_with(Source::anonymous);
        let filter = source.filter.get_or_insert_default();
        filter.remove(SESSION_FILTER);
        filter.insert(Symbol::from_static(SESSION_FILTER), &*accepted.id);
        let ticks = accepted.until_ms.saturating_mul(TICKS_PER_MS);
        let mut properties = Map::new();
        properties.insert_symbol(LOCKED_UNTIL, ticks.saturating_add(UNIX_EPOCH_TICKS));
        answer.properties = Some(properties);
        let link = ReceiverLink {
            owned: Some(accepted.lock),
            ..self.receiver_link(session, number, attach, queue, SubQueue::Active)
        };
        self.remember_link(id, Link::Receiver(link));
        self.tell(|engine| engine.accept_link(id, answer));
        self.accepted = true;
    }

    /// Ends the wait of receivers for whom there was no session in time.
    pub(super) fn give_up_accepting(&mut self) {
        let now = self.now;
        while let Some(&(until, id)) = self.accepting.first()
            && until <= now
        {
            self.forget_link(id);
            let text = "no session had messages for a receiver within the time it allowed";
            let error = AmqpError::new(condition::TIMEOUT, text);
            self.refuse(id, error);
        }
    }

    /// Forgets that a link waits for a session.
    pub(super) fn stop_accepting(&mut self, id: LinkId, waiting: &AcceptingLink) {
        self.accepting.remove(&(waiting.until, id));
        self.outbox.forget(waiting.number);
        if let Some(ticket) = waiting.ticket {
            waiting
                .queue
                .with(|queue| queue.stop_waiting_for_session(ticket));
        }
    }

    /// Tells a receiver that its session is no longer its own.
    pub(super) fn on_session_lost(&mut self, id: LinkId) {
        self.forget_link(id);
        self.tell(|engine| engine.detach(id, true, Some(session_lost())));
    }
}

/// What the answer to an attach needs of it. A link may wait for a day, and a client may have
/// thousands of them; whatever else an attach says is not kept for that long.
fn answerable(attach: &Attach) -> Box<Attach> {
    let source = attach.source.as_ref().map(|source| Source {
        address: source.address.clone(),
        durable: source.durable,
        timeout: source.timeout,
        ..Source::anonymous()
    });
    let target = attach.target.as_ref().map(|target| match target {
        AttachTarget::Target(target) => AttachTarget::Target(Target {
            address: target.address.clone(),
            durable: target.durable,
            timeout: target.timeout,
            ..Target::anonymous()
        }),
        AttachTarget::Coordinator(_) => {
            AttachTarget::Coordinator(Coordinator { capabilities: None })
        }
    });
    Box::new(Attach {
        snd_settle_mode: attach.snd_settle_mode,
        rcv_settle_mode: attach.rcv_settle_mode,
        source,
        target,
        ..Attach::new(String::new(), attach.handle, attach.role)
    })
}

fn patience(attach: &Attach) -> Duration {
    let properties = attach.properties.as_ref();
    let timeout = properties.and_then(|properties| properties.get(TIMEOUT));
    let millis = timeout.and_then(|value| {
        let signed = || value.as_i64().and_then(|millis| u64::try_from(millis).ok());
        value.as_u64().or_else(signed)
    });
    // Who asks for longer than this is content with less, and instants stay within their range.
    let longest = Duration::from_hours(24);
    millis.map_or(DEFAULT_TIMEOUT, |millis| {
        Duration::from_millis(millis).min(longest)
    })
}
