//! The sending half of a link: what waits for credit, and what waits for the broker's word.
//!
//! A send whose caller has given up before its turn is skipped, so nothing of it reaches the wire;
//! one that is on the wire already completes, and its answer goes nowhere. Either way the link
//! stays usable. A caller that gives up while the link has no credit leaves its message behind in
//! the queue; the queue is swept before it grows to twice its size, so callers that give up again
//! and again cost no more memory than those that wait.

use std::collections::VecDeque;

use nightshift_amqp::DeliveryTag;
use nightshift_amqp::engine::{CommandError, Engine, LinkId, NewDelivery, SessionId};
use nightshift_amqp::performative::{DeliveryState, Disposition, Role};
use tokio::time::Instant;

use super::window::Window;
use crate::connection::{Reply, Transfer};
use crate::error::BusError;
use crate::outcome;

/// The queue is not swept below this length.
const SWEEP_FLOOR: usize = 64;

pub(super) struct Outgoing {
    link: LinkId,
    waiting: VecDeque<Waiting>,
    /// Length of `waiting` at which those who gave up are swept out.
    sweep_at: usize,
    unconfirmed: Window<Unconfirmed>,
    next_tag: u32,
    /// What the broker takes, in bytes.
    limit: u64,
    /// The broker wants its credit used up or given back.
    drain: bool,
    /// Whether it is in the core's list of senders to pump.
    due: bool,
}

struct Waiting {
    transfer: Transfer,
    deadline: Instant,
    reply: Reply<Result<(), BusError>>,
}

struct Unconfirmed {
    size: u64,
    deadline: Instant,
    reply: Reply<Result<(), BusError>>,
}

impl Outgoing {
    pub(super) fn new(link: LinkId) -> Self {
        Self {
            link,
            waiting: VecDeque::new(),
            sweep_at: SWEEP_FLOOR,
            unconfirmed: Window::default(),
            next_tag: 0,
            limit: u64::MAX,
            drain: false,
            due: false,
        }
    }

    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    /// Notes the broker's limit, for errors.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Queues a message; [`pump`](Self::pump) sends it.
    pub(super) fn push(
        &mut self,
        transfer: Transfer,
        deadline: Instant,
        reply: Reply<Result<(), BusError>>,
    ) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|waiting| !waiting.reply.is_closed());
            self.sweep_at = SWEEP_FLOOR.max(self.waiting.len() * 2);
        }
        self.waiting.push_back(Waiting {
            transfer,
            deadline,
            reply,
        });
    }

    /// Notes what the broker last said about its credit.
    pub(super) fn set_drain(&mut self, drain: bool) {
        self.drain = drain;
    }

    /// Notes that there may be something to send. Says whether that is news.
    pub(super) fn becomes_due(&mut self) -> bool {
        !std::mem::replace(&mut self.due, true)
    }

    /// Sends as much as credit allows, while less than `high_water` bytes of output wait. Says
    /// whether that was all; if not, it is still due.
    pub(super) fn pump(&mut self, engine: &mut Engine, high_water: usize) -> bool {
        while let Some(waiting) = self.waiting.pop_front() {
            if waiting.reply.is_closed() {
                continue;
            }
            if engine.output().len() >= high_water {
                self.waiting.push_front(waiting);
                return false;
            }
            let delivery = NewDelivery {
                tag: DeliveryTag::from(self.next_tag.to_be_bytes()),
                message_format: waiting.transfer.format,
                settled: false,
            };
            let size = waiting.transfer.payload.len() as u64;
            match engine.send(self.link, delivery, &[&waiting.transfer.payload]) {
                Ok(id) => {
                    self.next_tag = self.next_tag.wrapping_add(1);
                    self.unconfirmed.insert(
                        id,
                        Unconfirmed {
                            size,
                            deadline: waiting.deadline,
                            reply: waiting.reply,
                        },
                    );
                }
                Err(CommandError::NoCredit) => {
                    self.waiting.push_front(waiting);
                    break;
                }
                Err(CommandError::MessageTooLarge { size, limit }) => {
                    let _ = waiting
                        .reply
                        .send(Err(BusError::MessageTooLarge { size, limit }));
                }
                Err(error) => {
                    let _ = waiting
                        .reply
                        .send(Err(BusError::Protocol(error.to_string())));
                }
            }
        }
        self.due = false;
        if std::mem::take(&mut self.drain) {
            // A link that is gone reports that itself.
            let _ = engine.drained(self.link);
        }
        true
    }

    /// Notes the broker's word about deliveries of ours.
    pub(super) fn confirm(
        &mut self,
        engine: &mut Engine,
        session: SessionId,
        entity: &str,
        disposition: &Disposition,
    ) {
        let (first, last) = (disposition.first, disposition.last_id());
        let state = disposition.state.as_ref();
        if matches!(state, None | Some(DeliveryState::Received(_))) && !disposition.settled {
            return;
        }
        let limit = self.limit;
        self.unconfirmed.take_range(first, last, |unconfirmed| {
            let undecided = || {
                Err(BusError::Protocol(
                    "the broker settled without an outcome".to_owned(),
                ))
            };
            let result = outcome::send_result(entity, unconfirmed.size, limit, state);
            // The caller may have given up; the outcome is then nobody's.
            let _ = unconfirmed.reply.send(result.unwrap_or_else(undecided));
        });
        if !disposition.settled {
            // The broker wants us to settle too.
            let answer = Disposition::new(Role::Sender, first, last, true, None);
            // A session that is gone needs no answer.
            let _ = engine.disposition(session, &answer);
        }
    }

    /// Answers what has waited for too long. Says when to look again.
    pub(super) fn expire(&mut self, now: Instant, timeout: &BusError) -> Option<Instant> {
        while let Some(late) = self.waiting.pop_front_if(|waiting| waiting.deadline <= now) {
            let _ = late.reply.send(Err(timeout.clone()));
        }
        while let Some((id, oldest)) = self.unconfirmed.oldest()
            && oldest.deadline <= now
        {
            if let Some(late) = self.unconfirmed.remove(id) {
                let unknown = timeout.clone().outcome_unknown();
                let _ = late.reply.send(Err(unknown));
            }
        }
        let waiting = self.waiting.front().map(|waiting| waiting.deadline);
        let unconfirmed = self.unconfirmed.oldest().map(|(_, oldest)| oldest.deadline);
        waiting.into_iter().chain(unconfirmed).min()
    }

    /// Answers everything with `failure`: what waited here was not sent, and what the broker had
    /// not confirmed may have been accepted.
    pub(super) fn fail(&mut self, failure: &BusError) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(Err(failure.clone()));
        }
        for unconfirmed in self.unconfirmed.drain() {
            let unknown = BusError::outcome_unknown(failure.clone());
            let _ = unconfirmed.reply.send(Err(unknown));
        }
    }
}
