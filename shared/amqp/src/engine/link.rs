//! Links: attach and detach.

use super::handshake::Phase;
use super::incoming::Partial;
use super::slots::Key;
use super::{AttachAnswer, CommandError, Engine, Event, LinkId, NewLink, ProtocolError, SessionId};
use crate::condition;
use crate::performative::{AmqpError, Attach, Detach, ReceiverSettleMode, Role, SenderSettleMode};

/// Longest link name taken, in octets: names are kept until links are answered.
const MAX_NAME: usize = 2048;

/// One end of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) session: Key,
    pub(super) state: LinkState,
    /// Our role.
    pub(super) role: Role,
    /// The name, until both ends have attached.
    name: String,
    /// Our handle, once we have attached.
    pub(super) handle: Option<u32>,
    /// The peer's handle, once it has attached.
    pub(super) remote_handle: Option<u32>,
    /// Deliveries so far, as the wire counts them: those whose first transfer went or came.
    pub(super) delivery_count: u32,
    /// Sender: deliveries that may be sent, beyond those queued. Receiver: that may come.
    pub(super) credit: u32,
    /// Sender: deliveries that wait for the session's window and are not in `delivery_count`.
    pub(super) queued: u32,
    /// Sender: the receiver wants its credit used up. Receiver: we do.
    pub(super) drain: bool,
    /// Largest message that the receiving end takes, in octets.
    pub(super) max_message_size: u64,
    /// Receiver: a message that has come in part.
    pub(super) partial: Option<Box<Partial>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// We have attached; the peer has not answered.
    AttachSent,
    /// The peer has answered with a null terminus: its detach follows.
    Refused,
    /// The peer has attached; the application has not answered.
    Answerable,
    /// Both ends have attached.
    Attached,
    /// The application has detached; queued transfers go first.
    DetachQueued,
    /// We have detached; the peer has not confirmed. `report` if the application awaits it.
    DetachSent { report: bool },
}

impl Link {
    fn new(session: Key, state: LinkState, role: Role, name: String) -> Self {
        Self {
            session,
            state,
            role,
            name,
            handle: None,
            remote_handle: None,
            delivery_count: 0,
            credit: 0,
            queued: 0,
            drain: false,
            max_message_size: u64::MAX,
            partial: None,
        }
    }

    /// Whether the application still counts on hearing of the link's end.
    pub(super) fn is_reported(&self) -> bool {
        self.state != LinkState::DetachSent { report: false }
    }

    /// Whether commands are refused because the link is going.
    fn is_leaving(&self) -> bool {
        matches!(
            self.state,
            LinkState::DetachQueued | LinkState::DetachSent { .. }
        )
    }
}

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
        if role == Role::Receiver {
            link.max_message_size =
                size_limit(new.max_message_size).min(self.limits.max_message_size);
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
            name: new.name,
            handle,
            role,
            snd_settle_mode: new.snd_settle_mode,
            rcv_settle_mode: new.rcv_settle_mode,
            source: Some(new.source),
            target: Some(new.target),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: new
                .max_message_size
                .or((role == Role::Receiver).then_some(self.limits.max_message_size)),
            offered_capabilities: None,
            desired_capabilities: new.desired_capabilities,
            properties: new.properties,
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
            max_message_size = max_message_size.or(Some(engine_limit));
        }
        let attach = Attach {
            name: String::new(),
            handle: 0,
            role,
            snd_settle_mode: answer.snd_settle_mode,
            rcv_settle_mode: answer.rcv_settle_mode,
            source: answer.source,
            target: answer.target,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size,
            offered_capabilities: answer.offered_capabilities,
            desired_capabilities: None,
            properties: answer.properties,
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
    fn answer_nothing(&mut self, key: Key) -> Result<(), CommandError> {
        let role = self.links.get(key).ok_or(CommandError::NoLink)?.role;
        let attach = Attach {
            name: String::new(),
            handle: 0,
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.answer_attach(key, attach)
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

    /// Detaches a link, after what is queued on it unless there is an error.
    /// [`Event::LinkDetached`] follows when the peer has confirmed.
    pub fn detach(
        &mut self,
        link: LinkId,
        closed: bool,
        error: Option<AmqpError>,
    ) -> Result<(), CommandError> {
        let found = self.live_link(link)?;
        if found.state == LinkState::Answerable {
            return Err(CommandError::LinkState {
                state: "not answered yet",
            });
        }
        if found.queued > 0 && error.is_none() {
            found.state = LinkState::DetachQueued;
            self.queue_detach(link.0, closed);
        } else {
            self.send_detach(link.0, closed, error, true);
        }
        Ok(())
    }

    /// A link that takes commands.
    pub(super) fn live_link(&mut self, link: LinkId) -> Result<&mut Link, CommandError> {
        if self.phase != Phase::Open {
            return Err(CommandError::Closed);
        }
        match self.links.get_mut(link.0) {
            Some(link) if !link.is_leaving() => Ok(link),
            _ => Err(CommandError::NoLink),
        }
    }

    /// The session of a link.
    pub fn session_of(&self, link: LinkId) -> Option<SessionId> {
        self.links.get(link.0).map(|link| SessionId(link.session))
    }

    /// Sends a detach; what is queued or half received on the link is dropped.
    pub(super) fn send_detach(
        &mut self,
        key: Key,
        closed: bool,
        error: Option<AmqpError>,
        report: bool,
    ) {
        self.drop_queued(key);
        self.drop_partial(key);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.state = LinkState::DetachSent { report };
        let (Some(handle), Some(session)) = (link.handle, self.sessions.get(link.session)) else {
            return;
        };
        self.outbox.frame(
            session.channel,
            &Detach {
                handle,
                closed,
                error,
            },
        );
    }

    /// Closes a link because of the peer's fault.
    pub(super) fn fail_link(&mut self, key: Key, error: AmqpError) {
        self.send_detach(key, true, Some(error.clone()), false);
        let link = LinkId(key);
        self.events.push_back(Event::LinkDetached {
            link,
            closed: true,
            error: Some(error),
        });
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

    pub(super) fn on_detach(&mut self, session: Key, detach: Detach) {
        let Some(key) = self.remote_link(session, detach.handle, "detach") else {
            return;
        };
        let Some(link) = self.links.get(key) else {
            return;
        };
        let report = link.is_reported();
        match link.state {
            LinkState::DetachSent { .. } => {}
            LinkState::Answerable => {
                // A detach of ours has to follow an attach of ours.
                if self.answer_nothing(key).is_err() {
                    // The session failed over it, and has reported the link.
                    return;
                }
                self.send_detach(key, detach.closed, None, false);
            }
            _ => self.send_detach(key, detach.closed, None, false),
        }
        if let Some(link) = self.forget_link(key)
            && let Some(session) = self.sessions.get_mut(link.session)
        {
            session.free_handles(link.handle, link.remote_handle);
        }
        if report {
            let Detach { closed, error, .. } = detach;
            self.events.push_back(Event::LinkDetached {
                link: LinkId(key),
                closed,
                error,
            });
        }
    }

    /// The link that the peer calls by this handle; the session fails when there is none.
    pub(super) fn remote_link(&mut self, session: Key, handle: u32, frame: &str) -> Option<Key> {
        let found = self.sessions.get(session)?.link_by_remote(handle);
        if found.is_none() {
            let text = format!("{frame} for handle {handle}, which no link has");
            self.fail_session(session, AmqpError::new(condition::UNATTACHED_HANDLE, text));
        }
        found
    }

    /// Takes a link out; its handles are the caller's to free.
    pub(super) fn forget_link(&mut self, key: Key) -> Option<Link> {
        self.drop_partial(key);
        self.links.remove(key)
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
