//! What the journal says: the effects of what happened, not what was asked for.
//!
//! An entry is a tag of one byte and its fields, numbers little-endian. Peek-locks are not
//! written: a broker that starts has no receivers, so its messages are unlocked, and the deliveries
//! that were under way do not count.
//!
//! | tag | entry | fields |
//! | --- | --- | --- |
//! | 1 | a queue gets a number | number u32, name |
//! | 2 | what follows is about this queue | number u32, last sequence number, accepted, removed (u64) |
//! | 3 | a message is stored, or has another content | message |
//! | 4 | a message has changed | standing |
//! | 5 | a scheduled message gets another number | its number u64, standing |
//! | 6 | a message is gone | its number u64 |
//! | 7 | a message id is remembered | hash of 16 octets, number u64, until ms i64 |
//! | 8 | a session has a state, or none | id, set at ms i64, length + 1 or 0 u32, octets |
//! | 9 | messages from this number on are as of | number u64, position u64 |
//! | 10 | the history of message ids is as of | position u64 |
//!
//! *Standing*: number u64, enqueued ms i64, expires ms i64, delivery count u32, flags u8 (1 dead
//! letter, 2 deferred, 4 scheduled, 8 in a session), when scheduled the time in ms i64.
//! *Message*: standing, session id when in one, header flags u8 (1 durable known, 2 durable, 4
//! priority, 8 time to live) with priority u8 and time to live u32 when there, number of annotation
//! values u32, their length u32, content; header flag 16 says that it was forwarded: then come, before
//! the annotations, its first number u64, how often u8, and of which queue it was a dead letter, if
//! not empty. A text or content has its length before it, as u32.
//!
//! Entries 9 and 10 stand in checkpoints, which are written while the queue goes on: a change in the
//! journal that is older than what it concerns is in the checkpoint already, and is passed over.
//! The state of a session and the numbers of a queue need no such word, since the last one holds.

use bytes::BufMut;

use super::Unreadable;
use crate::queue::KeptHeader;

/// What all messages of a queue come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) last_sequence: u64,
    pub(crate) accepted: u64,
    pub(crate) removed: u64,
}

/// Everything of a message that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) sequence: u64,
    pub(crate) enqueued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) delivery_count: u32,
    pub(crate) is_dead: bool,
    pub(crate) is_deferred: bool,
    pub(crate) scheduled_at_ms: Option<i64>,
    pub(crate) is_in_session: bool,
}

/// A whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) fields: Fields,
    /// Empty when it is in no session.
    pub(crate) session: &'a str,
    pub(crate) header: KeptHeader,
    pub(crate) origin: Option<Forwarded<'a>>,
    pub(crate) annotation_values: u32,
    pub(crate) annotations_len: u32,
    pub(crate) content: &'a [u8],
}

/// Where a message was before it was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    pub(crate) sequence: u64,
    pub(crate) hops: u8,
    /// Empty when it was no dead letter.
    pub(crate) dead_letter_source: &'a str,
}

/// The hash of a message id.
pub(crate) type IdHash = [u8; 16];

/// One thing that the journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Named {
        queue: u32,
        name: &'a str,
    },
    Queue {
        queue: u32,
        totals: Totals,
    },
    Stored(Stored<'a>),
    Changed(Fields),
    Renumbered {
        from: u64,
        to: Fields,
    },
    Removed {
        sequence: u64,
    },
    Remembered {
        id: IdHash,
        sequence: u64,
        until_ms: i64,
    },
    SessionState {
        id: &'a str,
        set_at_ms: i64,
        state: Option<&'a [u8]>,
    },
    MessagesAsOf {
        from: u64,
        position: u64,
    },
    HistoryAsOf {
        position: u64,
    },
}

const DEAD: u8 = 1;
const DEFERRED: u8 = 2;
const SCHEDULED: u8 = 4;
const IN_SESSION: u8 = 8;

const DURABLE_KNOWN: u8 = 1;
const DURABLE: u8 = 2;
const PRIORITY: u8 = 4;
const TTL: u8 = 8;
const FORWARDED: u8 = 16;

impl Entry<'_> {
    /// Appends the entry to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Named { queue, name } => {
                out.put_u8(1);
                out.put_u32_le(queue);
                put_bytes(out, name.as_bytes());
            }
            Self::Queue { queue, totals } => put_queue(out, queue, totals),
            Self::Stored(stored) => stored.encode(out),
            Self::Changed(fields) => {
                out.put_u8(4);
                fields.encode(out);
            }
            Self::Renumbered { from, to } => {
                out.put_u8(5);
                out.put_u64_le(from);
                to.encode(out);
            }
            Self::Removed { sequence } => {
                out.put_u8(6);
                out.put_u64_le(sequence);
            }
            Self::Remembered {
                id,
                sequence,
                until_ms,
            } => {
                out.put_u8(7);
                out.put_slice(&id);
                out.put_u64_le(sequence);
                out.put_i64_le(until_ms);
            }
            Self::SessionState {
                id,
                set_at_ms,
                state,
            } => put_session_state(out, id, set_at_ms, state),
            Self::MessagesAsOf { from, position } => {
                out.put_u8(9);
                out.put_u64_le(from);
                out.put_u64_le(position);
            }
            Self::HistoryAsOf { position } => {
                out.put_u8(10);
                out.put_u64_le(position);
            }
        }
    }
}

impl Fields {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.sequence);
        out.put_i64_le(self.enqueued_at_ms);
        out.put_i64_le(self.expires_at_ms);
        out.put_u32_le(self.delivery_count);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out.put_u8(
            flag(self.is_dead, DEAD)
                | flag(self.is_deferred, DEFERRED)
                | flag(self.scheduled_at_ms.is_some(), SCHEDULED)
                | flag(self.is_in_session, IN_SESSION),
        );
        if let Some(at_ms) = self.scheduled_at_ms {
            out.put_i64_le(at_ms);
        }
    }
}

impl Stored<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        // One check of the buffer's room for all of it.
        out.reserve(self.content.len() + self.session.len() + 80);
        out.put_u8(3);
        self.fields.encode(out);
        if self.fields.is_in_session {
            put_bytes(out, self.session.as_bytes());
        }
        let KeptHeader {
            durable,
            priority,
            ttl_ms,
        } = self.header;
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out.put_u8(
            flag(durable.is_some(), DURABLE_KNOWN)
                | flag(durable == Some(true), DURABLE)
                | flag(priority.is_some(), PRIORITY)
                | flag(ttl_ms.is_some(), TTL)
                | flag(self.origin.is_some(), FORWARDED),
        );
        if let Some(priority) = priority {
            out.put_u8(priority);
        }
        if let Some(ttl_ms) = ttl_ms {
            out.put_u32_le(ttl_ms);
        }
        if let Some(origin) = &self.origin {
            out.put_u64_le(origin.sequence);
            out.put_u8(origin.hops);
            put_bytes(out, origin.dead_letter_source.as_bytes());
        }
        out.put_u32_le(self.annotation_values);
        out.put_u32_le(self.annotations_len);
        put_bytes(out, self.content);
    }
}

fn put_queue(out: &mut Vec<u8>, queue: u32, totals: Totals) {
    out.put_u8(2);
    out.put_u32_le(queue);
    out.put_u64_le(totals.last_sequence);
    out.put_u64_le(totals.accepted);
    out.put_u64_le(totals.removed);
}

fn put_session_state(out: &mut Vec<u8>, id: &str, set_at_ms: i64, state: Option<&[u8]>) {
    out.put_u8(8);
    put_bytes(out, id.as_bytes());
    out.put_i64_le(set_at_ms);
    out.put_u32_le(state.map_or(0, |state| length(state).saturating_add(1)));
    out.put_slice(state.unwrap_or_default());
}

fn length(bytes: &[u8]) -> u32 {
    // Nothing that is kept comes near 4 GiB: the link's limit is announced as such.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(length(bytes));
    out.put_slice(bytes);
}

/// The entries of a group, one after the other.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }

    /// Where the next entry begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Reads the next entry, unless this is the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Unreadable> {
        if self.at == self.payload.len() {
            return Ok(None);
        }
        let at = self.at;
        let entry = self.read();
        entry.map(Some).ok_or(Unreadable {
            at,
            problem: "an entry makes no sense",
        })
    }

    fn read(&mut self) -> Option<Entry<'a>> {
        Some(match self.u8()? {
            1 => Entry::Named {
                queue: self.u32()?,
                name: self.text()?,
            },
            2 => Entry::Queue {
                queue: self.u32()?,
                totals: Totals {
                    last_sequence: self.u64()?,
                    accepted: self.u64()?,
                    removed: self.u64()?,
                },
            },
            3 => Entry::Stored(self.stored()?),
            4 => Entry::Changed(self.fields()?),
            5 => Entry::Renumbered {
                from: self.u64()?,
                to: self.fields()?,
            },
            6 => Entry::Removed {
                sequence: self.u64()?,
            },
            7 => Entry::Remembered {
                id: self.array()?,
                sequence: self.u64()?,
                until_ms: self.i64()?,
            },
            8 => Entry::SessionState {
                id: self.text()?,
                set_at_ms: self.i64()?,
                state: match self.u32()? {
                    0 => None,
                    len => Some(self.take(len - 1)?),
                },
            },
            9 => Entry::MessagesAsOf {
                from: self.u64()?,
                position: self.u64()?,
            },
            10 => Entry::HistoryAsOf {
                position: self.u64()?,
            },
            _ => return None,
        })
    }

    fn fields(&mut self) -> Option<Fields> {
        let (sequence, enqueued_at_ms) = (self.u64()?, self.i64()?);
        let (expires_at_ms, delivery_count) = (self.i64()?, self.u32()?);
        let flags = self.u8()?;
        let scheduled_at_ms = if flags & SCHEDULED == 0 {
            None
        } else {
            Some(self.i64()?)
        };
        Some(Fields {
            sequence,
            enqueued_at_ms,
            expires_at_ms,
            delivery_count,
            is_dead: flags & DEAD != 0,
            is_deferred: flags & DEFERRED != 0,
            scheduled_at_ms,
            is_in_session: flags & IN_SESSION != 0,
        })
    }

    fn stored(&mut self) -> Option<Stored<'a>> {
        let fields = self.fields()?;
        let session = if fields.is_in_session {
            self.text()?
        } else {
            ""
        };
        let flags = self.u8()?;
        let durable = (flags & DURABLE_KNOWN != 0).then_some(flags & DURABLE != 0);
        let priority = if flags & PRIORITY == 0 {
            None
        } else {
            Some(self.u8()?)
        };
        let ttl_ms = if flags & TTL == 0 {
            None
        } else {
            Some(self.u32()?)
        };
        let origin = if flags & FORWARDED == 0 {
            None
        } else {
            Some(Forwarded {
                sequence: self.u64()?,
                hops: self.u8()?,
                dead_letter_source: self.text()?,
            })
        };
        Some(Stored {
            fields,
            session,
            header: KeptHeader {
                durable,
                priority,
                ttl_ms,
            },
            origin,
            annotation_values: self.u32()?,
            annotations_len: self.u32()?,
            content: self.bytes()?,
        })
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = self.payload.get(self.at..)?.first_chunk::<N>().copied()?;
        self.at += N;
        Some(array)
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(len).ok()?)?;
        let taken = self.payload.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}
