//! Flow: session windows and link credit, in both directions.

use super::link::LinkState;
use super::slots::Key;
use super::{CommandError, Engine, Event, LinkId};
use crate::condition;
use crate::performative::{AmqpError, Flow, Role};

impl Engine {
    /// Sender: deliveries that may be sent now, none while too much waits for the session's
    /// window. Receiver: what is left of the credit set last; more may come, see
    /// [`may_come`](Self::may_come). None on either side once the connection
    /// [is closing](Self::is_closing).
    pub fn credit(&self, link: LinkId) -> u32 {
        let Some(found) = self.links.get(link.0).filter(|_| !self.is_closing()) else {
            return 0;
        };
        let backlogged = found.role == Role::Sender && self.is_backlogged(found.session);
        let usable = found.state == LinkState::Attached || found.role == Role::Receiver;
        if backlogged || !usable {
            0
        } else {
            found.credit
        }
    }

    /// Receiver: deliveries that may still come: those that the credit allows, and those that the
    /// sender may have sent before it knew that credit was taken back. A drain brings it to 0.
    pub fn may_come(&self, link: LinkId) -> u32 {
        match self.links.get(link.0) {
            Some(found) if found.role == Role::Receiver && !self.is_closing() => {
                found.credit.saturating_add(found.revoked)
            }
            _ => 0,
        }
    }

    /// Receiver: sets how many deliveries may come from now on, in place of what was left of
    /// earlier credit, and tells the sender.
    pub fn set_credit(&mut self, link: LinkId, credit: u32) -> Result<(), CommandError> {
        self.receiver(link)?.grant(credit);
        self.send_link_flow(link.0, false);
        Ok(())
    }

    /// Receiver: asks the sender to use up its credit at once or to give it back.
    /// [`Event::Drained`] follows, after everything that was under way, also when there is no
    /// credit left. Setting credit again ends a drain.
    pub fn drain(&mut self, link: LinkId) -> Result<(), CommandError> {
        self.receiver(link)?.drain = true;
        self.send_link_flow(link.0, true);
        Ok(())
    }

    fn receiver(&mut self, link: LinkId) -> Result<&mut super::Link, CommandError> {
        let link = self.live_link(link)?;
        if link.role != Role::Receiver {
            return Err(CommandError::WrongRole {
                expected: "receiver",
            });
        }
        match link.state {
            LinkState::AttachSent | LinkState::Attached => {
                link.drain = false;
                Ok(link)
            }
            LinkState::Answerable => Err(CommandError::LinkState {
                state: "not answered yet",
            }),
            _ => Err(CommandError::NoLink),
        }
    }

    /// Sender: answers a drain when there is nothing more to send: gives the rest of the credit
    /// back, after what is queued.
    pub fn drained(&mut self, link: LinkId) -> Result<(), CommandError> {
        let found = self.live_link(link)?;
        if found.role != Role::Sender {
            return Err(CommandError::WrongRole { expected: "sender" });
        }
        if found.state != LinkState::Attached {
            return Err(CommandError::LinkState {
                state: "not attached yet",
            });
        }
        let rest = std::mem::take(&mut found.credit);
        found.returning = found.returning.saturating_add(rest);
        if found.queued > 0 {
            self.queue_drained(link.0, rest);
        } else {
            self.send_drained(link.0, rest);
        }
        Ok(())
    }

    /// Tells the receiver that `rest` deliveries will not come.
    pub(super) fn send_drained(&mut self, key: Key, rest: u32) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.returning = link.returning.saturating_sub(rest);
        link.delivery_count = link.delivery_count.wrapping_add(rest);
        let drain = std::mem::take(&mut link.drain);
        self.write_link_flow(key, |flow| flow.drain = drain);
    }

    /// Sends a link's state, as its receiver.
    fn send_link_flow(&mut self, key: Key, echo: bool) {
        self.write_link_flow(key, |flow| flow.echo = echo);
    }

    fn write_link_flow(&mut self, key: Key, adjust: impl FnOnce(&mut Flow)) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        let (Some(session), Some(handle)) = (self.sessions.get(link.session), link.handle) else {
            return;
        };
        let mut flow = session.flow();
        flow.handle = Some(handle);
        // A receiver does not know the count before the sender has attached.
        let known = link.role == Role::Sender || link.remote_handle.is_some();
        flow.delivery_count = known.then_some(link.delivery_count);
        let pending = link.queued.saturating_add(link.returning);
        flow.link_credit = Some(link.credit.saturating_add(pending));
        flow.drain = link.drain;
        adjust(&mut flow);
        self.outbox.frame(session.channel, &flow);
    }

    pub(super) fn on_flow(&mut self, key: Key, flow: &Flow) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        // What it takes from now on, less what it had not seen when it said so.
        let seen = flow.next_incoming_id.unwrap_or(0);
        let under_way = session.next_outgoing_id.wrapping_sub(seen);
        if under_way >= 1 << 31 {
            let text = format!(
                "next-incoming-id {seen} is beyond the {} transfers that were sent",
                session.next_outgoing_id
            );
            self.fail_session(key, AmqpError::new(condition::INVALID_FIELD, text));
            return;
        }
        session.remote_window = flow.incoming_window.saturating_sub(under_way);
        let mut link = None;
        if let Some(handle) = flow.handle {
            link = self.remote_link(key, handle, "flow");
            let Some(link) = link else { return };
            self.on_link_flow(link, flow);
        }
        self.pump(key);
        if flow.echo {
            self.answer_echo(key, link);
        }
    }

    fn on_link_flow(&mut self, key: Key, flow: &Flow) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if !matches!(link.state, LinkState::Attached | LinkState::Answerable) {
            return;
        }
        match link.role {
            Role::Sender => {
                let Some(credit) = flow.link_credit else {
                    return;
                };
                // Its limit, less what has gone out, waits, or is on its way back since (2.6.7).
                let limit = flow.delivery_count.unwrap_or(0).wrapping_add(credit);
                let pending = link.queued.wrapping_add(link.returning);
                let gone = link.delivery_count.wrapping_add(pending);
                let left = limit.wrapping_sub(gone);
                link.credit = if left >= 1 << 31 && credit < 1 << 31 {
                    0
                } else {
                    left
                };
                link.drain = flow.drain;
                if link.state == LinkState::Attached {
                    self.report_credit(key);
                }
            }
            Role::Receiver => {
                let Some(count) = flow.delivery_count else {
                    return;
                };
                let advanced = count.wrapping_sub(link.delivery_count);
                if advanced < 1 << 31 {
                    link.revoked = link
                        .revoked
                        .saturating_sub(advanced.saturating_sub(link.credit));
                    link.credit = link.credit.saturating_sub(advanced);
                    link.delivery_count = count;
                }
                // A sender that answers an echo while messages wait has credit left in its count.
                let finished = link.credit == 0 && flow.link_credit.unwrap_or(0) == 0;
                if link.drain && finished {
                    link.drain = false;
                    link.revoked = 0;
                    self.events.push_back(Event::Drained { link: LinkId(key) });
                }
            }
        }
    }

    /// Reports a sending link's credit.
    pub(super) fn report_credit(&mut self, key: Key) {
        let credit = self.credit(LinkId(key));
        let Some(link) = self.links.get(key) else {
            return;
        };
        let drain = link.drain;
        self.events.push_back(Event::Credit {
            link: LinkId(key),
            credit,
            drain,
        });
    }

    /// Answers a flow that asked for our state.
    fn answer_echo(&mut self, session: Key, link: Option<Key>) {
        if let Some(key) = link
            && let Some(link) = self.links.get(key)
            && link.state == LinkState::Attached
        {
            // A drain that is still under way is answered when it is done.
            self.write_link_flow(key, |_| {});
            return;
        }
        if let Some(session) = self.sessions.get(session) {
            self.outbox.frame(session.channel, &session.flow());
        }
    }
}
