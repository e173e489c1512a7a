//! Messages that go out: cut into frames, held back by the peer's session window.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::link::LinkState;
use super::outbox::Outbox;
use super::session::SessionState;
use super::slots::Key;
use super::{CommandError, Engine, LinkId};
use crate::encode::Encode;
use crate::frame::{self, FrameKind};
use crate::performative::{Role, Transfer};
use crate::value::DeliveryTag;

/// How a message is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewDelivery {
    /// Its tag, unique among the link's unsettled deliveries.
    pub tag: DeliveryTag,
    /// 0 for one message, or another format.
    pub message_format: u32,
    /// Whether it is settled already, so that no disposition will come.
    pub settled: bool,
}

/// Something that waits for the peer's session window.
#[derive(Debug)]
pub(super) struct Queued {
    link: Key,
    what: QueuedFrame,
}

#[derive(Debug)]
enum QueuedFrame {
    /// (The rest of) a message.
    Message { header: Transfer, rest: Bytes },
    /// The detach that ends the link after its messages.
    Detach { closed: bool },
    /// The answer to a drain.
    Drained { rest: u32 },
}

impl Engine {
    /// Sends a message whose octets are the concatenation of `payload`, and returns its
    /// delivery-id. What the session's window does not take waits inside the engine.
    pub fn send(
        &mut self,
        link: LinkId,
        delivery: NewDelivery,
        payload: &[&[u8]],
    ) -> Result<u32, CommandError> {
        let size = payload.iter().map(|part| part.len()).sum();
        let (session_key, handle) = self.take_credit(link, size)?;
        let Some(session) = self.sessions.get_mut(session_key) else {
            return Err(CommandError::NoSession);
        };
        let delivery_id = session.next_delivery_id;
        session.next_delivery_id = delivery_id.wrapping_add(1);
        let mut header = Transfer {
            delivery_id: Some(delivery_id),
            delivery_tag: Some(delivery.tag),
            message_format: Some(delivery.message_format),
            settled: Some(delivery.settled),
            ..continuation(handle)
        };
        let mut octets = Octets {
            parts: payload,
            offset: 0,
            remaining: size,
        };
        let mut done = false;
        let passing = session.queue.is_empty() && session.state == SessionState::Mapped;
        while passing && session.remote_window > 0 && !done {
            write_transfer(&mut self.outbox, session.channel, &mut header, &mut octets);
            session.remote_window -= 1;
            session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
            done = !header.more;
            header = continuation(handle);
        }
        if !done {
            session.queued_bytes += octets.remaining;
            let rest = octets.into_bytes();
            let what = QueuedFrame::Message { header, rest };
            session.queue.push_back(Queued { link: link.0, what });
        }
        if let Some(found) = self.links.get_mut(link.0) {
            found.delivery_count = found.delivery_count.wrapping_add(u32::from(done));
            found.queued += u32::from(!done);
        }
        Ok(delivery_id)
    }

    /// Checks that a message may be sent and takes one of the link's credit for it.
    fn take_credit(&mut self, link: LinkId, size: usize) -> Result<(Key, u32), CommandError> {
        let found = self.live_link(link)?;
        if found.role != Role::Sender {
            return Err(CommandError::WrongRole { expected: "sender" });
        }
        let (LinkState::Attached, Some(handle)) = (found.state, found.handle) else {
            return Err(CommandError::LinkState {
                state: "not attached yet",
            });
        };
        let (size, limit) = (
            u64::try_from(size).unwrap_or(u64::MAX),
            found.max_message_size,
        );
        if size > limit {
            return Err(CommandError::MessageTooLarge { size, limit });
        }
        let session = found.session;
        if self.credit(link) == 0 {
            return Err(CommandError::NoCredit);
        }
        self.live_link(link)?.credit -= 1;
        Ok((session, handle))
    }

    /// Whether so much waits for a session's window that nothing more is taken.
    pub(super) fn is_backlogged(&self, session: Key) -> bool {
        self.sessions
            .get(session)
            .is_none_or(|session| session.queued_bytes >= self.limits.max_queued_bytes)
    }

    pub(super) fn queue_detach(&mut self, key: Key, closed: bool) {
        self.queue(key, QueuedFrame::Detach { closed });
    }

    pub(super) fn queue_drained(&mut self, key: Key, rest: u32) {
        self.queue(key, QueuedFrame::Drained { rest });
    }

    fn queue(&mut self, key: Key, what: QueuedFrame) {
        let session = self
            .links
            .get(key)
            .and_then(|link| self.sessions.get_mut(link.session));
        if let Some(session) = session {
            session.queue.push_back(Queued { link: key, what });
        }
    }

    /// Drops what waits on a link.
    pub(super) fn drop_queued(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if link.queued == 0 && link.state != LinkState::DetachQueued {
            return;
        }
        link.queued = 0;
        let Some(session) = self.sessions.get_mut(link.session) else {
            return;
        };
        let mut dropped = 0;
        session.queue.retain(|queued| {
            let keep = queued.link != key;
            if let QueuedFrame::Message { rest, .. } = &queued.what
                && !keep
            {
                dropped += rest.len();
            }
            keep
        });
        session.queued_bytes -= dropped;
    }

    /// Sends what the session's window takes of what waits.
    pub(super) fn pump(&mut self, key: Key) {
        let backlogged = self.is_backlogged(key);
        self.pump_after(key, backlogged);
    }

    /// The same after part of what waits was dropped: frames behind it may need no window, and
    /// links that a backlog held up before may go on.
    pub(super) fn pump_after(&mut self, key: Key, backlogged: bool) {
        while self.send_next(key) {}
        if let Some(session) = self.sessions.get_mut(key)
            && session.queue.is_empty()
        {
            session.queue = VecDeque::new();
        }
        if backlogged && !self.is_backlogged(key) {
            self.report_relief(key);
        }
    }

    /// Sends one frame of what waits, if the window takes it.
    fn send_next(&mut self, key: Key) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(front) = session.queue.front_mut() else {
            return false;
        };
        let link = front.link;
        match &mut front.what {
            QueuedFrame::Message { header, rest } => {
                if session.remote_window == 0 || session.state != SessionState::Mapped {
                    return false;
                }
                session.remote_window -= 1;
                session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
                let sent = {
                    let parts = [&rest[..]];
                    let mut octets = Octets {
                        parts: &parts,
                        offset: 0,
                        remaining: rest.len(),
                    };
                    write_transfer(&mut self.outbox, session.channel, header, &mut octets);
                    rest.len() - octets.remaining
                };
                rest.advance(sent);
                session.queued_bytes -= sent;
                let done = !header.more;
                *header = continuation(header.handle);
                if done {
                    session.queue.pop_front();
                    self.count_sent(link);
                }
            }
            QueuedFrame::Detach { closed } => {
                let closed = *closed;
                session.queue.pop_front();
                self.send_detach(link, closed, None, true);
            }
            QueuedFrame::Drained { rest } => {
                let rest = *rest;
                session.queue.pop_front();
                self.send_drained(link, rest);
            }
        }
        true
    }

    /// Counts a delivery that has left the queue.
    fn count_sent(&mut self, key: Key) {
        if let Some(link) = self.links.get_mut(key) {
            link.delivery_count = link.delivery_count.wrapping_add(1);
            link.queued = link.queued.saturating_sub(1);
        }
    }

    /// Reports the credit of a session's links again, which a backlog had suspended.
    fn report_relief(&mut self, session: Key) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let links: Vec<Key> = session.handles.iter().flatten().copied().collect();
        for key in links {
            let ready = self.links.get(key).is_some_and(|link| {
                link.role == Role::Sender && link.state == LinkState::Attached && link.credit > 0
            });
            if ready {
                self.report_credit(key);
            }
        }
    }
}

/// A transfer that goes on with a delivery.
fn continuation(handle: u32) -> Transfer {
    Transfer {
        handle,
        delivery_id: None,
        delivery_tag: None,
        message_format: None,
        settled: None,
        more: false,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

/// Writes one frame with as much of `octets` as fits, and notes in `header.more` whether octets
/// are left.
fn write_transfer(
    outbox: &mut Outbox,
    channel: u16,
    header: &mut Transfer,
    octets: &mut Octets<'_>,
) {
    let body_limit = outbox.body_limit();
    outbox.wrote = true;
    let out = &mut outbox.octets;
    let start = frame::begin(out, FrameKind::Amqp, channel);
    let body = out.len();
    header.more = false;
    header.encode(out);
    if body_limit.saturating_sub(out.len() - body) < octets.remaining {
        out.truncate(body);
        header.more = true;
        header.encode(out);
    }
    // A header has less than a quarter of the smallest frame, so this moves on.
    let room = body_limit.saturating_sub(out.len() - body);
    octets.move_to(out, room.min(octets.remaining));
    frame::finish(out, start);
}

/// What is left of a message: parts that follow each other.
struct Octets<'a> {
    parts: &'a [&'a [u8]],
    /// Octets of the first part that are gone.
    offset: usize,
    remaining: usize,
}

impl Octets<'_> {
    /// Moves `count` octets on; the caller knows that there are so many.
    fn move_to(&mut self, out: &mut BytesMut, mut count: usize) {
        self.remaining -= count;
        while let Some((first, others)) = self.parts.split_first() {
            let left = &first[self.offset..];
            if left.len() > count {
                out.put_slice(&left[..count]);
                self.offset += count;
                return;
            }
            out.put_slice(left);
            count -= left.len();
            self.parts = others;
            self.offset = 0;
        }
    }

    fn into_bytes(mut self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.remaining);
        self.move_to(&mut out, self.remaining);
        out.freeze()
    }
}
