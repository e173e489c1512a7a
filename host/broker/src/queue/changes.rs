//! What has happened to a queue and the journal has not been told.
//!
//! An operation notes which messages it has touched; what became of them is looked up when the
//! journal is told, which happens before the queue is unlocked. A message that was stored and
//! removed in between is not mentioned at all, and one that changed twice is told as it is in the
//! end. Locks are not noted: nothing of them outlives the broker.

use std::sync::Arc;

use super::{
    Queue,
    message::{Message, State, SubQueue},
};
use crate::journal::{Entry, Fields, Forwarded, IdHash, Stored, Totals};

/// One call tells the journal this much at most, or one change that is larger.
const PIECE: usize = 4 * 1024 * 1024;

/// The list of changes keeps room for this many.
const KEPT_CAPACITY: usize = 4_096;

/// One change that is not told.
#[derive(Debug)]
enum Change {
    /// A message has come, or has another content.
    Stored(u64),
    /// It has not, and something else of it has changed.
    Changed(u64),
    /// A scheduled message was given another number.
    Renumbered {
        from: u64,
        to: u64,
    },
    Removed(u64),
    Remembered {
        id: IdHash,
        sequence: u64,
        until_ms: i64,
    },
    /// The session with this id has another state.
    SessionState(Arc<str>),
}

/// The changes that are not told, if there is anyone to tell them to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    is_kept: bool,
    list: Vec<Change>,
    /// How many bytes the contents in it have.
    bytes: usize,
    /// Messages with higher numbers were never told of.
    told: u64,
}

impl Changes {
    fn note(&mut self, change: Change) {
        if self.is_kept {
            self.list.push(change);
        }
    }

    /// Notes a message with a content of so many bytes.
    pub(super) fn stored(&mut self, sequence: u64, len: usize) {
        self.bytes += len;
        self.note(Change::Stored(sequence));
    }

    /// Whether there is so much to tell that an operation which may be continued should pause.
    pub(super) fn are_many(&self) -> bool {
        self.is_kept && self.bytes >= PIECE
    }

    pub(super) fn changed(&mut self, sequence: u64) {
        let is_known = matches!(self.list.last(),
            Some(Change::Stored(last) | Change::Changed(last)) if *last == sequence);
        if !is_known {
            self.note(Change::Changed(sequence));
        }
    }

    /// Takes the place of the note that the message was stored under its new number: its content
    /// need not be told again.
    pub(super) fn renumbered(&mut self, from: u64, to: u64) {
        if from > self.told {
            return;
        }
        self.list
            .pop_if(|last| matches!(last, Change::Stored(sequence) if *sequence == to));
        self.note(Change::Renumbered { from, to });
    }

    pub(super) fn removed(&mut self, sequence: u64) {
        self.note(Change::Removed(sequence));
    }

    pub(super) fn remembered(&mut self, id: IdHash, sequence: u64, until_ms: i64) {
        self.note(Change::Remembered {
            id,
            sequence,
            until_ms,
        });
    }

    pub(super) fn session_state(&mut self, id: &Arc<str>) {
        self.note(Change::SessionState(Arc::clone(id)));
    }
}

impl Queue {
    /// From now on, changes are kept until they are told.
    pub(crate) fn keep_changes(&mut self) {
        self.changes.is_kept = true;
        self.changes.told = self.last_sequence;
    }

    /// Whether there are changes to tell.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.list.is_empty()
    }

    /// Drops the changes: there is nobody to tell them to.
    pub(crate) fn forget_changes(&mut self) {
        self.changes = Changes::default();
    }

    /// Tells the oldest changes by entries at the end of `out`, in which this queue has the number
    /// `queue`. There may be more.
    pub(crate) fn tell_changes(&mut self, queue: u32, out: &mut Vec<u8>) {
        let totals = self.totals();
        Entry::Queue { queue, totals }.encode(out);
        let end = out.len() + PIECE;
        let mut list = std::mem::take(&mut self.changes.list);
        let mut told = 0;
        for change in &list {
            if out.len() >= end {
                break;
            }
            self.tell(change, out);
            told += 1;
        }
        list.drain(..told);
        if list.is_empty() {
            list.shrink_to(KEPT_CAPACITY);
            self.changes.bytes = 0;
            self.changes.told = self.last_sequence;
        }
        self.changes.list = list;
    }

    fn tell(&self, change: &Change, out: &mut Vec<u8>) {
        match *change {
            Change::Stored(sequence) => {
                if let Some(message) = self.log.get(sequence) {
                    Entry::Stored(self.stored(message)).encode(out);
                }
            }
            Change::Changed(sequence) => {
                if let Some(message) = self.log.get(sequence) {
                    Entry::Changed(fields(message)).encode(out);
                }
            }
            Change::Renumbered { from, to } => match self.log.get(to) {
                Some(message) => {
                    let to = fields(message);
                    Entry::Renumbered { from, to }.encode(out);
                }
                None => Entry::Removed { sequence: from }.encode(out),
            },
            Change::Removed(sequence) => Entry::Removed { sequence }.encode(out),
            Change::Remembered {
                id,
                sequence,
                until_ms,
            } => Entry::Remembered {
                id,
                sequence,
                until_ms,
            }
            .encode(out),
            Change::SessionState(ref id) => self.session_state_entry(id).encode(out),
        }
    }

    /// The numbers that belong to no message.
    pub(super) fn totals(&self) -> Totals {
        Totals {
            last_sequence: self.last_sequence,
            accepted: self.accepted,
            removed: self.removed,
        }
    }

    /// A message as the journal tells it.
    pub(super) fn stored<'a>(&'a self, message: &'a Message) -> Stored<'a> {
        let session = message.session.and_then(|key| self.sessions.get(key));
        let (annotations, annotation_values) = message.content.annotations();
        Stored {
            fields: fields(message),
            session: session.map_or("", |session| &session.id),
            header: message.header,
            origin: message.origin.as_deref().map(|origin| Forwarded {
                sequence: origin.sequence,
                hops: origin.hops,
                dead_letter_source: origin.dead_letter_source.as_deref().unwrap_or_default(),
            }),
            annotation_values,
            annotations_len: u32::try_from(annotations.len()).unwrap_or(u32::MAX),
            content: message.content.bytes(),
        }
    }

    /// The state of a session as the journal tells it.
    pub(super) fn session_state_entry<'a>(&'a self, id: &'a str) -> Entry<'a> {
        let key = self.sessions.find(id);
        let session = key.and_then(|key| self.sessions.get(key));
        let state = session.and_then(|session| session.state.as_ref());
        Entry::SessionState {
            id,
            set_at_ms: state.map_or(0, |state| state.set_at_ms),
            state: state.map(|state| &state.octets[..]),
        }
    }
}

/// Everything of a message that changes. A lock does not count.
fn fields(message: &Message) -> Fields {
    Fields {
        sequence: message.sequence,
        enqueued_at_ms: message.enqueued_at_ms,
        expires_at_ms: message.expires_at_ms,
        delivery_count: message.delivery_count,
        is_dead: message.sub_queue == SubQueue::DeadLetter,
        is_deferred: matches!(
            message.state,
            State::Deferred
                | State::Locked {
                    was_deferred: true,
                    ..
                }
        ),
        scheduled_at_ms: match message.state {
            State::Scheduled { at_ms } => Some(at_ms),
            _ => None,
        },
        is_in_session: message.session.is_some(),
    }
}
