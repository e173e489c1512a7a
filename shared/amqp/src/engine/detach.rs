//! Detaching links.

use super::link::LinkState;
use super::slots::Key;
use super::{CommandError, Engine, Event, LinkId};
use crate::performative::{AmqpError, Detach};

impl Engine {
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
            self.end_link(link.0, closed, error, true);
        }
        Ok(())
    }

    /// Sends a detach, and lets the session's other links go on if what was dropped held them up.
    fn end_link(&mut self, key: Key, closed: bool, error: Option<AmqpError>, report: bool) {
        let Some(session) = self.links.get(key).map(|link| link.session) else {
            return;
        };
        let backlogged = self.is_backlogged(session);
        self.send_detach(key, closed, error, report);
        self.pump_after(session, backlogged);
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
        self.end_link(key, true, Some(error.clone()), false);
        let link = LinkId(key);
        self.events.push_back(Event::LinkDetached {
            link,
            closed: true,
            error: Some(error),
        });
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
                self.end_link(key, detach.closed, None, false);
            }
            _ => self.end_link(key, detach.closed, None, false),
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
}
