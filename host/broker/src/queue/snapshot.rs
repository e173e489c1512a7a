//! The whole state of a queue for a checkpoint, a piece at a time while the queue goes on.
//!
//! Each piece says at which position of the journal it was taken, under the lock that changes are
//! told under. So for everything in it, it is known which changes it already contains. Messages and
//! sessions are walked in the order of their numbers and ids, in which new ones come last or are
//! changes after the piece; what a message is renumbered to is walked after what it was.

use std::sync::Arc;

use super::{Queue, duplicates::History};
use crate::journal::Entry;

/// A piece ends with the item that makes it this large, or with this many.
const PIECE_BYTES: usize = 256 * 1024;
const PIECE_ITEMS: usize = if cfg!(test) { 3 } else { 4_096 };

/// How far a snapshot has come.
#[derive(Debug, Clone, Default)]
pub(crate) enum Cursor {
    #[default]
    Begin,
    /// Messages from this number on are to come.
    Messages(u64),
    /// The states of sessions after this id, if any, are to come.
    States(Option<Arc<str>>),
    /// The history of message ids is to come, from this one ever remembered.
    History(u64),
    End,
}

/// What an id in the history takes in a checkpoint, in bytes.
const HISTORY_ENTRY: usize = 33;

impl Queue {
    /// About how many bytes a checkpoint of the queue has, rather more than less.
    pub(crate) fn live_bytes(&self) -> u64 {
        let history = self.history.as_ref().map_or(0, History::len);
        (self.bytes + history * HISTORY_ENTRY) as u64
    }

    /// Appends the next piece, taken at `position`, and says how to go on. The queue has the number
    /// `queue`.
    pub(crate) fn snapshot(
        &self,
        cursor: Cursor,
        queue: u32,
        position: u64,
        out: &mut Vec<u8>,
    ) -> Cursor {
        let totals = self.totals();
        Entry::Queue { queue, totals }.encode(out);
        match cursor {
            Cursor::Begin => self.snapshot_messages(0, position, out),
            Cursor::Messages(from) => self.snapshot_messages(from, position, out),
            Cursor::States(after) => self.snapshot_states(after.as_ref(), out),
            Cursor::History(from) => self.snapshot_history(from, position, out),
            Cursor::End => Cursor::End,
        }
    }

    fn snapshot_messages(&self, from: u64, position: u64, out: &mut Vec<u8>) -> Cursor {
        Entry::MessagesAsOf { from, position }.encode(out);
        let end = out.len() + PIECE_BYTES;
        for (count, message) in self.log.iter_from(from).enumerate() {
            if count == PIECE_ITEMS || out.len() >= end {
                return Cursor::Messages(message.sequence);
            }
            Entry::Stored(self.stored(message)).encode(out);
        }
        Cursor::States(None)
    }

    fn snapshot_states(&self, after: Option<&Arc<str>>, out: &mut Vec<u8>) -> Cursor {
        let end = out.len() + PIECE_BYTES;
        for (count, session) in self.sessions.after(after).enumerate() {
            if session.state.is_some() {
                self.session_state_entry(&session.id).encode(out);
            }
            if count == PIECE_ITEMS || out.len() >= end {
                return Cursor::States(Some(Arc::clone(&session.id)));
            }
        }
        Cursor::History(0)
    }

    fn snapshot_history(&self, from: u64, position: u64, out: &mut Vec<u8>) -> Cursor {
        let Some(history) = &self.history else {
            Entry::HistoryAsOf { position }.encode(out);
            return Cursor::End;
        };
        let mut next = from;
        for (number, id, sequence, until_ms) in history.remembered_from(from).take(PIECE_ITEMS) {
            Entry::Remembered {
                id,
                sequence,
                until_ms,
            }
            .encode(out);
            next = number + 1;
        }
        if history.remembered_from(next).next().is_some() {
            return Cursor::History(next);
        }
        Entry::HistoryAsOf { position }.encode(out);
        Cursor::End
    }
}
