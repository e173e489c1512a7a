//! A queue as the journal tells it.
//!
//! Entries change the log of messages, the states and the history only; the lists that name
//! messages are made at the end, from what is there then. So an entry costs little, and there is
//! one place that knows which list a message belongs to.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Queue, Settings,
    log::MessageLog,
    message::{Content, Message, NEVER_MS, Origin, State, SubQueue},
    session_state,
    sessions::{Sessions, Shelf, StoredState},
};
use crate::journal::{Entry, Fields, Forwarded, IdHash, Stored, Totals};

/// What is known of a queue so far.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    log: MessageLog,
    /// Which sessions messages are in, and what state sessions have.
    sessions: Sessions,
    states: BTreeMap<Arc<str>, StoredState>,
    history: Vec<(i64, IdHash, u64)>,
    totals: Totals,
    /// The highest number that a message had.
    last: u64,
    /// Ids that were to be forgotten by this instant are forgotten.
    now_ms: i64,
    /// From which number on messages are of which moment; and of which moment the history is.
    messages_as_of: Vec<(u64, u64)>,
    history_as_of: u64,
}

/// An entry contradicts those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contradiction;

impl Restoring {
    /// A queue of which nothing is known, at this instant.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            now_ms,
            ..Self::default()
        }
    }

    /// Takes in an entry. In a checkpoint it has no position.
    pub(crate) fn apply(
        &mut self,
        entry: Entry<'_>,
        position: Option<u64>,
    ) -> Result<(), Contradiction> {
        match entry {
            Entry::Queue { totals, .. } => self.totals = totals,
            Entry::Stored(stored) if self.is_news(stored.fields.sequence, position) => {
                return self.store(&stored);
            }
            Entry::Changed(fields) if self.is_news(fields.sequence, position) => {
                return self.change(fields);
            }
            Entry::Renumbered { from, to } if self.is_news(from, position) => {
                return self.renumber(from, to, position);
            }
            Entry::Removed { sequence } if self.is_news(sequence, position) => {
                self.log.remove(sequence);
            }
            Entry::Remembered {
                id,
                sequence,
                until_ms,
            } if until_ms > self.now_ms
                && position.is_none_or(|position| position >= self.history_as_of) =>
            {
                self.history.push((until_ms, id, sequence));
            }
            Entry::SessionState {
                id,
                set_at_ms,
                state,
            } => self.set_state(id, set_at_ms, state),
            Entry::MessagesAsOf { from, position } => self.messages_as_of.push((from, position)),
            Entry::HistoryAsOf { position } => self.history_as_of = position,
            // It is older than what is known, or a name, which the caller takes.
            _ => {}
        }
        Ok(())
    }

    /// Whether a change to this message is not in the checkpoint.
    fn is_news(&self, sequence: u64, position: Option<u64>) -> bool {
        let Some(position) = position else {
            return true;
        };
        let next = self
            .messages_as_of
            .partition_point(|(from, _)| *from <= sequence);
        let piece = next
            .checked_sub(1)
            .and_then(|last| self.messages_as_of.get(last));
        piece.is_none_or(|(_, as_of)| position >= *as_of)
    }

    fn store(&mut self, stored: &Stored<'_>) -> Result<(), Contradiction> {
        let fields = stored.fields;
        let annotations_len = usize::try_from(stored.annotations_len).map_err(|_| Contradiction)?;
        if annotations_len > stored.content.len() {
            return Err(Contradiction);
        }
        let content = Content::new(
            stored.content,
            stored.annotation_values,
            stored.annotations_len,
        );
        let session = fields
            .is_in_session
            .then(|| self.sessions.enter(stored.session));
        let message = Message {
            sequence: fields.sequence,
            enqueued_at_ms: fields.enqueued_at_ms,
            expires_at_ms: fields.expires_at_ms,
            delivery_count: fields.delivery_count,
            header: stored.header,
            sub_queue: sub_queue(fields),
            state: state(fields),
            session,
            origin: stored
                .origin
                .as_ref()
                .map(|origin| Arc::new(origin_of(origin))),
            content,
        };
        if let Some(known) = self.log.get_mut(fields.sequence) {
            *known = message;
            return Ok(());
        }
        self.append(message)
    }

    fn append(&mut self, message: Message) -> Result<(), Contradiction> {
        if message.sequence <= self.last {
            return Err(Contradiction);
        }
        self.last = message.sequence;
        self.log.append(message);
        Ok(())
    }

    fn change(&mut self, fields: Fields) -> Result<(), Contradiction> {
        let message = self.log.get_mut(fields.sequence).ok_or(Contradiction)?;
        set(message, fields);
        Ok(())
    }

    fn renumber(
        &mut self,
        from: u64,
        to: Fields,
        position: Option<u64>,
    ) -> Result<(), Contradiction> {
        let mut message = self.log.remove(from).ok_or(Contradiction)?;
        if self.is_news(to.sequence, position) {
            set(&mut message, to);
            return self.append(message);
        }
        Ok(())
    }

    fn set_state(&mut self, id: &str, set_at_ms: i64, state: Option<&[u8]>) {
        match state {
            Some(state) => {
                let octets = Bytes::copy_from_slice(state);
                let state = StoredState { octets, set_at_ms };
                self.states.insert(Arc::from(id), state);
            }
            None => drop(self.states.remove(id)),
        }
    }

    /// The queue as it goes on with these settings.
    pub(crate) fn finish(self, settings: Settings) -> Queue {
        let mut queue = Queue::new(settings);
        queue.last_sequence = self.totals.last_sequence.max(self.last);
        queue.accepted = self.totals.accepted;
        queue.removed = self.totals.removed;
        queue.log = self.log;
        queue.sessions = self.sessions;
        if let Some(history) = &mut queue.history {
            history.restore(self.now_ms, self.history);
        }
        for (id, state) in self.states {
            let key = queue.sessions.enter(&id);
            if let Some(session) = queue.sessions.get_mut(key) {
                queue.bytes += session_state::cost(Some(state.octets.len()));
                session.state = Some(state);
            }
        }
        queue.line_up_all();
        queue.keep_changes();
        queue
    }
}

impl Queue {
    /// Puts every message into the lists that it belongs to.
    fn line_up_all(&mut self) {
        let numbers: Vec<u64> = self
            .log
            .iter_from(0)
            .map(|message| message.sequence)
            .collect();
        for sequence in numbers {
            self.review_session_of(sequence);
            let Some(message) = self.log.get(sequence) else {
                continue;
            };
            self.bytes += message.cost();
            if message.expires_at_ms != NEVER_MS {
                self.mortal += 1;
                self.expiries.push(message.expires_at_ms, sequence);
            }
            match message.state {
                State::Deferred => self.set_aside(sequence),
                State::Scheduled { at_ms } => {
                    if let Some(key) = message.session {
                        self.sessions.put(key, sequence, Shelf::Aside);
                    }
                    self.scheduled += 1;
                    self.schedule.push(at_ms, sequence);
                }
                State::Ready | State::Locked { .. } => self.line_up(sequence),
            }
        }
        self.sessions.review_all();
    }

    /// Gives a message the session that it belongs to now: whether the queue has sessions may have
    /// changed since it came.
    fn review_session_of(&mut self, sequence: u64) {
        let requires = self.settings.requires_session;
        let Some(message) = self.log.get_mut(sequence) else {
            return;
        };
        if !requires {
            message.session = None;
        } else if message.session.is_none() && message.sub_queue == SubQueue::Active {
            // One without an id could not be received at all.
            let id = message.content.session_id().unwrap_or_default();
            message.session = Some(self.sessions.enter(&id));
        }
    }
}

fn origin_of(forwarded: &Forwarded<'_>) -> Origin {
    let source = forwarded.dead_letter_source;
    Origin {
        sequence: forwarded.sequence,
        hops: forwarded.hops,
        dead_letter_source: (!source.is_empty()).then(|| Arc::from(source)),
    }
}

fn sub_queue(fields: Fields) -> SubQueue {
    if fields.is_dead {
        SubQueue::DeadLetter
    } else {
        SubQueue::Active
    }
}

fn state(fields: Fields) -> State {
    match fields.scheduled_at_ms {
        Some(at_ms) => State::Scheduled { at_ms },
        None if fields.is_deferred => State::Deferred,
        None => State::Ready,
    }
}

fn set(message: &mut Message, fields: Fields) {
    message.sequence = fields.sequence;
    message.enqueued_at_ms = fields.enqueued_at_ms;
    message.expires_at_ms = fields.expires_at_ms;
    message.delivery_count = fields.delivery_count;
    message.sub_queue = sub_queue(fields);
    message.state = state(fields);
    message.session = message.session.filter(|_| fields.is_in_session);
}
