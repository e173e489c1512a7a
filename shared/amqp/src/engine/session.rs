//! Sessions: begin, end, and the windows of transfers.

use std::collections::VecDeque;

use super::handshake::Phase;
use super::outgoing::Queued;
use super::slots::Key;
use super::{CommandError, Engine, Event, LinkId, ProtocolError, SessionId};
use crate::performative::{AmqpError, Begin, Disposition, End, Flow};

/// Transfers that we announce to have under way; peers do not hold us to it.
const OUTGOING_WINDOW: u32 = 0x7fff_ffff;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: SessionState,
    /// Our channel.
    pub(super) channel: u16,
    /// The peer's channel, once it has begun.
    remote_channel: Option<u16>,
    /// Transfers the peer takes before it sends another flow.
    pub(super) remote_window: u32,
    /// The number of our next transfer.
    pub(super) next_outgoing_id: u32,
    /// The number of our next delivery.
    pub(super) next_delivery_id: u32,
    /// What waits for the peer's window, in order.
    pub(super) queue: VecDeque<Queued>,
    /// Octets in the queue.
    pub(super) queued_bytes: usize,
    /// The number of the peer's next transfer.
    next_incoming_id: u32,
    /// Transfers the peer may still send.
    window: u32,
    /// Highest handle that the peer takes.
    handle_max: u32,
    /// Links by the peer's handle.
    remote_handles: Vec<Option<Key>>,
    /// Links by our handle.
    pub(super) handles: Vec<Option<Key>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    /// We have begun; the peer has not answered.
    BeginSent,
    /// Both have begun.
    Mapped,
    /// We have ended; the peer has not answered. `report` if the application awaits it.
    EndSent { report: bool },
}

impl Session {
    fn new(state: SessionState, channel: u16, window: u32) -> Self {
        Self {
            state,
            channel,
            remote_channel: None,
            remote_window: 0,
            next_outgoing_id: 0,
            next_delivery_id: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            next_incoming_id: 0,
            window,
            handle_max: u32::MAX,
            remote_handles: Vec::new(),
            handles: Vec::new(),
        }
    }

    /// Takes over what the peer's begin says.
    fn map(&mut self, remote_channel: u16, begin: &Begin) {
        self.remote_channel = Some(remote_channel);
        self.next_incoming_id = begin.next_outgoing_id;
        self.remote_window = begin.incoming_window;
        self.handle_max = begin.handle_max;
    }

    /// The session's own part of a flow.
    pub(super) fn flow(&self) -> Flow {
        Flow {
            next_incoming_id: self.remote_channel.map(|_| self.next_incoming_id),
            incoming_window: self.window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
            handle: None,
            delivery_count: None,
            link_credit: None,
            available: None,
            drain: false,
            echo: false,
            properties: None,
        }
    }

    /// The link that the peer calls by this handle.
    pub(super) fn link_by_remote(&self, handle: u32) -> Option<Key> {
        self.remote_handles.get(handle as usize).copied().flatten()
    }

    /// Notes how the peer calls a link; the caller has checked the handle against our limit.
    pub(super) fn map_remote(&mut self, handle: u32, link: Key) {
        place(&mut self.remote_handles, handle as usize, link);
    }

    /// Takes a handle for a link, `wish` if it is free; `None` when the peer takes no more.
    pub(super) fn take_handle(&mut self, wish: u32, limit: u32, link: Key) -> Option<u32> {
        let limit = limit.min(self.handle_max) as usize;
        let at = take_place(&mut self.handles, wish as usize, limit, link)?;
        u32::try_from(at).ok()
    }

    /// Frees both handles of a link.
    pub(super) fn free_handles(&mut self, handle: Option<u32>, remote: Option<u32>) {
        free_place(&mut self.handles, handle.map(|handle| handle as usize));
        free_place(
            &mut self.remote_handles,
            remote.map(|handle| handle as usize),
        );
    }

    /// All links, whoever attached them.
    fn links(&self) -> Vec<Key> {
        let mut links: Vec<Key> = self
            .handles
            .iter()
            .chain(&self.remote_handles)
            .flatten()
            .copied()
            .collect();
        links.sort_unstable();
        links.dedup();
        links
    }
}

/// Puts `key` at the place `at`.
fn place(places: &mut Vec<Option<Key>>, at: usize, key: Key) {
    if places.len() <= at {
        places.resize(at + 1, None);
    }
    places[at] = Some(key);
}

/// Puts `key` at `wish`, or else at the lowest free place up to `limit`.
fn take_place(places: &mut Vec<Option<Key>>, wish: usize, limit: usize, key: Key) -> Option<usize> {
    let free = |at: usize| places.get(at).is_none_or(Option::is_none);
    let at = if wish <= limit && free(wish) {
        wish
    } else {
        let at = places
            .iter()
            .position(Option::is_none)
            .unwrap_or(places.len());
        if at > limit {
            return None;
        }
        at
    };
    place(places, at, key);
    Some(at)
}

fn free_place(places: &mut [Option<Key>], at: Option<usize>) {
    if let Some(place) = at.and_then(|at| places.get_mut(at)) {
        *place = None;
    }
}

impl Engine {
    /// Begins a session. Links may be attached at once; [`Event::SessionBegun`] follows when the
    /// peer has answered. Possible from [`Event::Opened`] on.
    pub fn begin_session(&mut self) -> Result<SessionId, CommandError> {
        if self.phase != Phase::Open {
            return Err(CommandError::Closed);
        }
        let key = self
            .new_session(SessionState::BeginSent, 0)
            .ok_or(CommandError::Exhausted {
                what: "channels",
                limit: u64::from(self.channel_max) + 1,
            })?;
        self.send_begin(key);
        Ok(SessionId(key))
    }

    /// Ends a session: its links are reported as detached now, the session as ended when the
    /// peer has confirmed.
    pub fn end_session(
        &mut self,
        session: SessionId,
        error: Option<AmqpError>,
    ) -> Result<(), CommandError> {
        self.live_session(session)?;
        self.send_end(session.0, error, true);
        Ok(())
    }

    /// Tells the peer the state of deliveries, or settles them. `disposition.role` is our role:
    /// receiver for what came, sender for what we sent.
    pub fn disposition(
        &mut self,
        session: SessionId,
        disposition: &Disposition,
    ) -> Result<(), CommandError> {
        let channel = self.live_session(session)?.channel;
        self.outbox.frame(channel, disposition);
        Ok(())
    }

    pub(super) fn live_session(
        &mut self,
        session: SessionId,
    ) -> Result<&mut Session, CommandError> {
        if !matches!(self.phase, Phase::Open) {
            return Err(CommandError::Closed);
        }
        match self.sessions.get_mut(session.0) {
            Some(found) if !matches!(found.state, SessionState::EndSent { .. }) => Ok(found),
            _ => Err(CommandError::NoSession),
        }
    }

    /// Makes a session on a free channel of ours, `wish` if possible; `None` when all are in use.
    fn new_session(&mut self, state: SessionState, wish: u16) -> Option<Key> {
        let session = Session::new(state, 0, self.limits.incoming_window);
        let key = self.sessions.insert(session);
        let limit = usize::from(self.channel_max);
        let place = take_place(&mut self.outgoing_channels, usize::from(wish), limit, key);
        if let Some(channel) = place.and_then(|at| u16::try_from(at).ok())
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.channel = channel;
            return Some(key);
        }
        self.sessions.remove(key);
        None
    }

    fn send_begin(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let begin = Begin {
            remote_channel: session.remote_channel,
            next_outgoing_id: session.next_outgoing_id,
            incoming_window: session.window,
            outgoing_window: OUTGOING_WINDOW,
            handle_max: self.limits.handle_max,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.outbox.frame(session.channel, &begin);
    }

    /// The session that the peer's channel belongs to.
    pub(super) fn session_on(&self, channel: u16) -> Option<Key> {
        self.incoming_channels
            .get(usize::from(channel))
            .copied()
            .flatten()
    }

    pub(super) fn is_ending(&self, session: Key) -> bool {
        self.sessions
            .get(session)
            .is_none_or(|session| matches!(session.state, SessionState::EndSent { .. }))
    }

    pub(super) fn on_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), ProtocolError> {
        if channel > self.limits.channel_max {
            return Err(ProtocolError::OutOfRange {
                what: "channel",
                number: channel.into(),
                limit: self.limits.channel_max.into(),
            });
        }
        let unexpected = |why| ProtocolError::UnexpectedFrame {
            frame: "begin",
            channel,
            why,
        };
        if self.session_on(channel).is_some() {
            return Err(unexpected("the channel has a session already"));
        }
        let Some(ours) = begin.remote_channel else {
            return self.on_new_session(channel, begin);
        };
        let key = self
            .outgoing_channels
            .get(usize::from(ours))
            .copied()
            .flatten();
        let session = key.and_then(|key| Some((key, self.sessions.get_mut(key)?)));
        let Some((key, session)) = session.filter(|(_, s)| s.remote_channel.is_none()) else {
            return Err(unexpected("it answers no begin"));
        };
        session.map(channel, begin);
        let awaited = session.state == SessionState::BeginSent;
        if awaited {
            session.state = SessionState::Mapped;
        }
        place(&mut self.incoming_channels, usize::from(channel), key);
        if awaited {
            let session = SessionId(key);
            self.events.push_back(Event::SessionBegun {
                session,
                by_peer: false,
            });
            self.pump(key);
        }
        Ok(())
    }

    /// The peer begins a session: it is answered at once.
    fn on_new_session(&mut self, channel: u16, begin: &Begin) -> Result<(), ProtocolError> {
        let key = self.new_session(SessionState::Mapped, channel).ok_or(
            ProtocolError::LimitExceeded {
                what: "sessions",
                limit: usize::from(self.channel_max) + 1,
            },
        )?;
        if let Some(session) = self.sessions.get_mut(key) {
            session.map(channel, begin);
        }
        place(&mut self.incoming_channels, usize::from(channel), key);
        self.send_begin(key);
        self.events.push_back(Event::SessionBegun {
            session: SessionId(key),
            by_peer: true,
        });
        Ok(())
    }

    pub(super) fn on_end(&mut self, key: Key, error: Option<AmqpError>) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let report = if let SessionState::EndSent { report } = session.state {
            report
        } else {
            self.outbox.frame(session.channel, &End { error: None });
            self.drop_links(key, error.as_ref());
            true
        };
        if let Some(session) = self.sessions.remove(key) {
            free_place(&mut self.outgoing_channels, Some(session.channel.into()));
            free_place(
                &mut self.incoming_channels,
                session.remote_channel.map(usize::from),
            );
        }
        if report {
            self.events.push_back(Event::SessionEnded {
                session: SessionId(key),
                error,
            });
        }
    }

    /// Ends a session because of the peer's fault.
    pub(super) fn fail_session(&mut self, key: Key, error: AmqpError) {
        self.send_end(key, Some(error.clone()), false);
        let session = SessionId(key);
        self.events.push_back(Event::SessionEnded {
            session,
            error: Some(error),
        });
    }

    fn send_end(&mut self, key: Key, error: Option<AmqpError>, report: bool) {
        self.drop_links(key, error.as_ref());
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.state = SessionState::EndSent { report };
        session.queue = VecDeque::new();
        session.queued_bytes = 0;
        self.outbox.frame(session.channel, &End { error });
    }

    /// Forgets all links of a session and reports those that were in use.
    fn drop_links(&mut self, key: Key, error: Option<&AmqpError>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let links = session.links();
        session.handles = Vec::new();
        session.remote_handles = Vec::new();
        for link in links {
            if self
                .forget_link(link)
                .is_some_and(|link| link.is_reported())
            {
                let (link, error) = (LinkId(link), error.cloned());
                self.events.push_back(Event::LinkDetached {
                    link,
                    closed: false,
                    error,
                });
            }
        }
    }

    /// Counts an incoming transfer against the window, and renews the window when half of it is
    /// used. `false` when the session failed.
    pub(super) fn count_transfer(&mut self, key: Key) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
        session.window = session.window.saturating_sub(1);
        if session.window <= self.limits.incoming_window / 2 {
            session.window = self.limits.incoming_window;
            let flow = session.flow();
            self.outbox.frame(session.channel, &flow);
        }
        true
    }
}
