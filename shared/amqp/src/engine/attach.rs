//! Attaching links: ours, and the peer's, which the application accepts or refuses.

use super::link::{Link, LinkState};
use super::slots::Key;
use super::{AttachAnswer, CommandError, Engine, Event, LinkId, NewLink, ProtocolError, SessionId};
use crate::condition;
use crate::engine::handshake::Phase;
use crate::performative::{AmqpError, Attach, Role};

/// Longest link name taken, in octets: names are kept until links are answered.
const MAX_NAME: usize = 2048;

/// Zero and absent both mean that there is no limit.
fn size_limit(announced: Option<u64>) -> u64 {
    announced.filter(|limit| *limit > 0).unwrap_or(u64::MAX)
}

impl Engine {
    /// Attaches a link that we send on. [`Event::LinkAttached`] follows, or
    /// [`Event::LinkDetached`] when the peer refuses.
    pub fn attach_sender(
        &mut self,
        session: SessionId,
        link: NewLink,
    ) -> Result<LinkId, CommandError> {
        self.attach(session, link, Role::Sender)
    }

    /// Attaches a link that we receive on. Credit may be set at once.
    pub fn attach_receiver(
        &mut self,
        session: SessionId,
        link: NewLink,
    ) -> Result<LinkId, CommandError> {
        self.attach(session, link, Role::Receiver)
    }

    fn attach(
        &mut self,
        session: SessionId,
        new: NewLink,
        role: Role,
    ) -> Result<LinkId, CommandError> {
        self.live_session(session)?;
        if self.links.len() >= self.limits.max_links {
            let limit = u64::try_from(self.limits.max_links).unwrap_or(u64::MAX);
            return Err(CommandError::Exhausted {
                what: "links",
                limit,
            });
        }
        let mut link = Link::new(session.0, LinkState::AttachSent, role, new.name.clone());
        let mut max_message_size = new.max_message_size;
        if role == Role::Receiver {
            link.max_message_size = size_limit(max_message_size).min(self.limits.max_message_size);
            max_message_size = Some(link.max_message_size);
        }
        let key = self.links.insert(link);
        let Some((channel, handle)) = self.take_handle(key, session.0, 0) else {
            self.links.remove(key);
            let limit = u64::from(self.limits.handle_max) + 1;
            return Err(CommandError::Exhausted {
                what: "handles",
                limit,
            });
        };
        let attach = Attach {
            snd_settle_mode: new.snd_settle_mode,
            rcv_settle_mode: new.rcv_settle_mode,
            source: Some(new.source),
            target: Some(new.target),
            max_message_size,
            desired_capabilities: new.desired_capabilities,
            properties: new.properties,
            ..Attach::new(new.name, handle, role)
        };
        self.outbox.frame(channel, &attach);
        Ok(LinkId(key))
    }

    /// Gives a link a handle of ours; returns it with the session's channel.
    fn take_handle(&mut self, key: Key, session: Key, wish: u32) -> Option<(u16, u32)> {
        let limit = self.limits.handle_max;
        let session = self.sessions.get_mut(session)?;
        let handle = session.take_handle(wish, limit, key)?;
        self.links.get_mut(key)?.handle = Some(handle);
        Some((session.channel, handle))
    }

    /// Answers [`Event::LinkAttaching`] with yes. A receiver's credit that came already is
    /// reported after it.
    pub fn accept_link(&mut self, link: LinkId, answer: AttachAnswer) -> Result<(), CommandError> {
        let engine_limit = self.limits.max_message_size;
        let found = self.answerable(link)?;
        let role = found.role;
        let mut max_message_size = answer.max_message_size;
        if role == Role::Receiver {
            found.max_message_size = size_limit(max_message_size).min(engine_limit);
            max_message_size = Some(found.max_message_size);
        }
        let attach = Attach {
            snd_settle_mode: answer.snd_settle_mode,
            rcv_settle_mode: answer.rcv_settle_mode,
            source: answer.source,
            target: answer.target,
            max_message_size,
            offered_capabilities: answer.offered_capabilities,
            properties: answer.properties,
            ..Attach::new(String::new(), 0, role)
        };
        self.answer_attach(link.0, attach)?;
        let Some(found) = self.links.get_mut(link.0) else {
            return Err(CommandError::NoLink);
        };
        found.state = LinkState::Attached;
        if found.role == Role::Sender && (found.credit > 0 || found.drain) {
            self.report_credit(link.0);
        }
        Ok(())
    }

    /// Answers [`Event::LinkAttaching`] with no: an attach without source and target, then a
    /// closing detach with the error (2.6.3). Nothing more is reported of the link.
    pub fn refuse_link(&mut self, link: LinkId, error: AmqpError) -> Result<(), CommandError> {
        self.answerable(link)?;
        self.answer_nothing(link.0)?;
        self.send_detach(link.0, true, Some(error), false);
        Ok(())
    }

    fn answerable(&mut self, link: LinkId) -> Result<&mut Link, CommandError> {
        if self.phase != Phase::Open {
            return Err(CommandError::Closed);
        }
        let link = self.links.get_mut(link.0).ok_or(CommandError::NoLink)?;
        if link.state == LinkState::Answerable {
            Ok(link)
        } else {
            Err(CommandError::LinkState {
                state: "answered already",
            })
        }
    }

    /// Answers an attach without source and target.
    pub(super) fn answer_nothing(&mut self, key: Key) -> Result<(), CommandError> {
        let role = self.links.get(key).ok_or(CommandError::NoLink)?.role;
        self.answer_attach(key, Attach::new(String::new(), 0, role))
    }

    /// Sends the answer to the peer's attach, under the peer's handle if that is free.
    fn answer_attach(&mut self, key: Key, mut attach: Attach) -> Result<(), CommandError> {
        let link = self.links.get_mut(key).ok_or(CommandError::NoLink)?;
        attach.name = std::mem::take(&mut link.name);
        let (session, wish) = (link.session, link.remote_handle.unwrap_or(0));
        let Some((channel, handle)) = self.take_handle(key, session, wish) else {
            // The peer attached more links than it takes handles for: it cannot be answered.
            let text = "no handle is left for the answer to an attach";
            self.fail_session(
                session,
                AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text),
            );
            let limit = u64::from(self.limits.handle_max) + 1;
            return Err(CommandError::Exhausted {
                what: "handles",
                limit,
            });
        };
        attach.handle = handle;
        self.outbox.frame(channel, &attach);
        Ok(())
    }

    pub(super) fn on_attach(
        &mut self,
        session: Key,
        attach: Box<Attach>,
    ) -> Result<(), ProtocolError> {
        if attach.handle > self.limits.handle_max {
            return Err(ProtocolError::OutOfRange {
                what: "handle",
                number: attach.handle,
                limit: self.limits.handle_max,
            });
        }
        if attach.name.len() > MAX_NAME {
            return Err(ProtocolError::InvalidField {
                field: "attach.name",
                why: "it has more than 2048 octets",
            });
        }
        let Some(found) = self.sessions.get(session) else {
            return Ok(());
        };
        if found.link_by_remote(attach.handle).is_some() {
            let text = format!("handle {} is in use", attach.handle);
            self.fail_session(session, AmqpError::new(condition::HANDLE_IN_USE, text));
            return Ok(());
        }
        let awaiting = |key: &Key| {
            self.links.get(*key).is_some_and(|link| {
                link.remote_handle.is_none() && link.role != attach.role && link.name == attach.name
            })
        };
        match found.handles.iter().flatten().copied().find(awaiting) {
            Some(key) => self.on_attach_answer(session, key, attach),
            None => return self.on_new_link(session, attach),
        }
        Ok(())
    }

    /// The peer attaches a link.
    fn on_new_link(&mut self, session: Key, attach: Box<Attach>) -> Result<(), ProtocolError> {
        if self.links.len() >= self.limits.max_links {
            let limit = self.limits.max_links;
            return Err(ProtocolError::LimitExceeded {
                what: "links",
                limit,
            });
        }
        let role = attach.role.peer();
        let mut link = Link::new(session, LinkState::Answerable, role, attach.name.clone());
        link.remote_handle = Some(attach.handle);
        link.take_over(&attach);
        let key = self.links.insert(link);
        if let Some(session) = self.sessions.get_mut(session) {
            session.map_remote(attach.handle, key);
        }
        let (session, link) = (SessionId(session), LinkId(key));
        self.events.push_back(Event::LinkAttaching {
            session,
            link,
            attach,
        });
        Ok(())
    }

    /// The peer answers a link that we attached.
    fn on_attach_answer(&mut self, session: Key, key: Key, attach: Box<Attach>) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.map_remote(attach.handle, key);
        }
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.remote_handle = Some(attach.handle);
        link.name = String::new();
        link.take_over(&attach);
        if link.state != LinkState::AttachSent {
            // Detached meanwhile: only the confirmation counts now.
            return;
        }
        // A refusal has no terminus at the refusing end (2.6.3).
        let refused = match link.role {
            Role::Sender => attach.target.is_none(),
            Role::Receiver => attach.source.is_none(),
        };
        link.state = if refused {
            LinkState::Refused
        } else {
            LinkState::Attached
        };
        if !refused {
            self.events.push_back(Event::LinkAttached {
                link: LinkId(key),
                attach,
            });
        }
    }
}

impl Link {
    /// Takes over what the peer's attach says.
    fn take_over(&mut self, attach: &Attach) {
        match self.role {
            Role::Sender => self.max_message_size = size_limit(attach.max_message_size),
            Role::Receiver => self.delivery_count = attach.initial_delivery_count.unwrap_or(0),
        }
    }
}
