//! One end of a link, and what every command on it checks.

use super::handshake::Phase;
use super::incoming::Partial;
use super::slots::Key;
use super::{CommandError, Engine, LinkId};
use crate::condition;
use crate::performative::{AmqpError, Role};

/// One end of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) session: Key,
    pub(super) state: LinkState,
    /// Our role.
    pub(super) role: Role,
    /// The name, until both ends have attached.
    pub(super) name: String,
    /// Our handle, once we have attached.
    pub(super) handle: Option<u32>,
    /// The peer's handle, once it has attached.
    pub(super) remote_handle: Option<u32>,
    /// Deliveries so far, as the wire counts them. Sender: those whose last transfer has gone.
    /// Receiver: those whose first has come.
    pub(super) delivery_count: u32,
    /// Sender: deliveries that may be sent, beyond those queued. Receiver: that may come.
    pub(super) credit: u32,
    /// Receiver: credit that was taken back, and that the sender may have used before it knew.
    pub(super) revoked: u32,
    /// Sender: deliveries that wait for the session's window and are not in `delivery_count`.
    pub(super) queued: u32,
    /// Sender: credit given back by drains whose answers wait behind queued deliveries.
    pub(super) returning: u32,
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
    /// Receiver: grants `credit` in place of what was left.
    pub(super) fn grant(&mut self, credit: u32) {
        let granted = self.credit.saturating_add(self.revoked);
        self.credit = credit;
        self.revoked = granted.saturating_sub(credit);
    }

    /// Receiver: uses up credit for one delivery. Says whether there was any.
    pub(super) fn use_credit(&mut self) -> bool {
        let pool = if self.credit > 0 {
            &mut self.credit
        } else {
            &mut self.revoked
        };
        let had = *pool > 0;
        *pool = pool.saturating_sub(1);
        had
    }

    pub(super) fn new(session: Key, state: LinkState, role: Role, name: String) -> Self {
        Self {
            session,
            state,
            role,
            name,
            handle: None,
            remote_handle: None,
            delivery_count: 0,
            credit: 0,
            revoked: 0,
            queued: 0,
            returning: 0,
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

impl Engine {
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
