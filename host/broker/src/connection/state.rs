//! What a connection knows, and one round of its work.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use nightshift_amqp::{
    condition,
    engine::{CommandError, Engine, Event, Limits, LinkId, ServerOptions, SessionId, Unsettled},
    performative::AmqpError,
    sasl::{PlainCredentials, SaslCode},
};
use tokio::time::Instant;

use super::{
    grants::Grants, inbox::Inbox, link::Link, outbox::Outbox, settlements::Outstanding,
    settlements::Settlements,
};
use crate::{auth, broker::Shared, entity::Entity, queue::Doorbell};

/// How the broker names itself to clients.
const CONTAINER: &str = "nightshift-broker";

/// How soon a connection that was given nothing because it settles nothing is looked at again: its
/// locks may have ended.
const STALLED_PAUSE: Duration = Duration::from_secs(1);

/// Everything about one connection but its socket.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) engine: Engine,
    pub(super) shared: Arc<Shared>,
    pub(super) links: HashMap<LinkId, Link>,
    /// What each session's client has not settled.
    pub(super) unsettled: HashMap<SessionId, Unsettled<Outstanding>>,
    /// The queues that links of this connection lead to.
    pub(super) entities: Vec<Arc<Entity>>,
    pub(super) grants: Grants,
    pub(super) inbox: Inbox,
    pub(super) settlements: Settlements,
    pub(super) outbox: Outbox,
    /// Links that wait for a session, and until when.
    pub(super) accepting: BTreeSet<(Instant, LinkId)>,
    /// Whether one of them was accepted in this round.
    pub(super) accepted: bool,
    bell: Arc<Doorbell>,
    /// When the round of work began.
    pub(super) now: Instant,
    started: Instant,
    /// Since when the connection has had no link.
    linkless_since: Option<Instant>,
}

impl Connection {
    pub(super) fn new(id: u64, shared: Arc<Shared>, now: Instant) -> Self {
        let config = &shared.config;
        let limits = Limits {
            max_message_size: config.max_message_size,
            ..Limits::default()
        };
        let options = ServerOptions {
            limits,
            ..ServerOptions::new(CONTAINER)
        };
        Self {
            id,
            engine: Engine::server(options),
            links: HashMap::new(),
            unsettled: HashMap::new(),
            entities: Vec::new(),
            grants: Grants::default(),
            inbox: Inbox::default(),
            settlements: Settlements::default(),
            outbox: Outbox::default(),
            accepting: BTreeSet::new(),
            accepted: false,
            bell: Arc::default(),
            now,
            started: now,
            linkless_since: Some(now),
            shared,
        }
    }

    pub(super) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// Does all there is to do at `now`: what the client sent, and what the queues have for it. Says
    /// when to come back at the latest.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Instant> {
        self.now = now;
        while self.round() {}
        self.next_deadline()
    }

    /// Says whether there are new events already.
    fn round(&mut self) -> bool {
        loop {
            match self.engine.next_event() {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) => break,
                Err(error) => {
                    // The engine has said so to the client and will read nothing more.
                    let error = error_chain(&error);
                    tracing::info!(connection.id = self.id, error, "client broke the protocol");
                    break;
                }
            }
        }
        self.work_off();
        if !self.engine.is_closing() {
            self.deliver();
            self.give_up_accepting();
            self.end_grants();
            self.close_when_due();
        }
        if self.engine.is_closing() {
            self.withdraw();
        }
        // Credit that came before the session did is reported when the link is accepted.
        std::mem::take(&mut self.accepted) && !self.engine.is_closing()
    }

    /// Tells the client that the broker stops.
    pub(super) fn stop(&mut self) {
        let error = AmqpError::new(condition::CONNECTION_FORCED, "the broker is stopping");
        self.engine.close(Some(error));
    }

    fn on_event(&mut self, event: Event) {
        if !is_worked_off_later(&event) {
            // What was sent before a link or session ended is answered before its end.
            self.work_off();
        }
        match event {
            Event::Delivery(delivery) => self.on_delivery(delivery),
            Event::TooLarge {
                delivery,
                size,
                limit,
            } => self.on_too_large(&delivery, size, limit),
            Event::Aborted { link } => self.on_aborted(link),
            Event::Disposition {
                session,
                disposition,
            } => self.on_disposition(session, disposition),
            Event::Credit { link, drain, .. } => self.on_credit(link, drain),
            Event::PlainCredentials(credentials) => self.on_credentials(&credentials),
            Event::SessionBegun { session, .. } => {
                self.unsettled.insert(session, Unsettled::new());
            }
            Event::SessionEnded { session, .. } => {
                self.unsettled.remove(&session);
            }
            Event::LinkAttaching {
                session,
                link,
                attach,
            } => self.on_attach(session, link, &attach),
            Event::LinkDetached { link, .. } => self.forget_link(link),
            Event::Closed(error) => {
                let error = error.map(|error| error.to_string());
                tracing::debug!(connection.id = self.id, error, "connection closed");
            }
            // Nothing hangs on the client's open; we attach no links and drain none.
            Event::Opened(_) | Event::LinkAttached { .. } | Event::Drained { .. } => {}
        }
    }

    fn on_credentials(&mut self, credentials: &PlainCredentials) {
        let key = self.shared.config.access_key.as_ref();
        let code = match auth::check_password(key, &credentials.user, &credentials.password) {
            Ok(grant) => {
                self.grants.add(grant);
                SaslCode::Ok
            }
            Err(_) => SaslCode::Auth,
        };
        self.tell(|engine| engine.answer_credentials(code));
    }

    /// Stores and settles what the events since the last time brought.
    fn work_off(&mut self) {
        self.store_inbox();
        self.settle();
    }

    /// Forgets a link that is gone.
    pub(super) fn forget_link(&mut self, link: LinkId) {
        match self.links.remove(&link) {
            Some(Link::Receiver(receiver)) => {
                self.outbox.forget(receiver.number);
                let now = self.shared.clock.now();
                if let Some(lock) = receiver.owned {
                    receiver
                        .queue
                        .with(|queue| queue.release_session(now, lock));
                }
                if let Some(ticket) = receiver.ticket {
                    receiver
                        .queue
                        .with(|queue| queue.leave(receiver.sub_queue, ticket));
                }
            }
            Some(Link::Accepting(waiting)) => self.stop_accepting(link, &waiting),
            Some(Link::Sender(_) | Link::Requests(_) | Link::Responses(_)) | None => {}
        }
        if self.links.is_empty() {
            self.linkless_since = Some(self.now);
        }
    }

    /// Notes a link that was accepted.
    pub(super) fn remember_link(&mut self, id: LinkId, link: Link) {
        self.links.insert(id, link);
        self.linkless_since = None;
    }

    /// Leaves every line, gives its sessions back, and looks at no receiver any more. The locks of
    /// messages that are in no session stay until they end, as in the service.
    pub(super) fn withdraw(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.forget_link(link);
        }
        self.outbox.clear();
    }

    /// Gives the engine a command. One that fails concerns something that the client has ended
    /// meanwhile; that is its right, and it is told about the end by other means.
    pub(super) fn tell<T>(&mut self, command: impl FnOnce(&mut Engine) -> Result<T, CommandError>) {
        if let Err(error) = command(&mut self.engine) {
            tracing::debug!(connection.id = self.id, error = %error, "an answer came too late");
        }
    }

    fn close_when_due(&mut self) {
        let limits = &self.shared.config.limits;
        let now = self.now;
        let unauthenticated =
            !self.grants.was_given() && self.started + limits.authentication <= now;
        let idle = self
            .linkless_since
            .is_some_and(|since| since + limits.idle_connection <= now);
        let error = if unauthenticated {
            let text = "no token was set in time";
            AmqpError::new(condition::UNAUTHORIZED_ACCESS, text)
        } else if self.grants.have_ended() {
            AmqpError::new(condition::UNAUTHORIZED_ACCESS, "the last token has expired")
        } else if idle {
            let seconds = limits.idle_connection.as_secs();
            let text = format!("the connection had no link for {seconds} s");
            AmqpError::new(condition::CONNECTION_FORCED, text)
        } else {
            return;
        };
        self.engine.close(Some(error));
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let limits = &self.shared.config.limits;
        let now = self.now;
        let protocol = match self.engine.tick(now.into_std()) {
            Ok(deadline) => deadline.map(Instant::from_std),
            Err(error) => {
                let error = error_chain(&error);
                tracing::info!(connection.id = self.id, error, "client gone silent");
                Some(now)
            }
        };
        if self.engine.is_closing() {
            // Its other deadlines have no say any more, and may have passed.
            return protocol;
        }
        let authentication =
            (!self.grants.was_given()).then(|| self.started + limits.authentication);
        let expiry = self
            .grants
            .time_left(self.shared.clock.now())
            .map(|left| now + left);
        let idle = self
            .linkless_since
            .map(|since| since + limits.idle_connection);
        let stalled = self.outbox.is_stalled().then(|| now + STALLED_PAUSE);
        let accepting = self.accepting.first().map(|(until, _)| *until);
        let all = [protocol, authentication, expiry, idle, stalled, accepting];
        all.into_iter().flatten().min()
    }
}

/// Whether an event is only collected: those that come in great numbers are worked off together.
fn is_worked_off_later(event: &Event) -> bool {
    matches!(
        event,
        Event::Delivery(_)
            | Event::TooLarge { .. }
            | Event::Aborted { .. }
            | Event::Disposition { .. }
            | Event::Credit { .. }
    )
}

/// An error with its causes on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
