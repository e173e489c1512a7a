//! Where the messages of a queue lie: by sequence number, in the order in which they came.
//!
//! Sequence numbers are given out without gaps, so a message is found by arithmetic: chunk, then
//! place in the chunk. A chunk whose messages are all gone is freed. What an old message that stays
//! (a dead letter) costs is its chunk, half a kilobyte; what a freed chunk between two living ones
//! costs is eight bytes.

use std::collections::VecDeque;

use super::message::Message;

/// Messages per chunk: large enough that chunks are rarely allocated, small enough that a chunk
/// kept alive by one old message is cheap.
const SLOTS: usize = 64;
const CHUNK: u64 = SLOTS as u64;

#[derive(Debug)]
struct Chunk {
    messages: [Option<Box<Message>>; SLOTS],
    live: usize,
}

/// The messages of one queue by sequence number.
#[derive(Debug, Default)]
pub(crate) struct MessageLog {
    chunks: VecDeque<Option<Box<Chunk>>>,
    /// The number of the first chunk in `chunks`.
    first: u64,
    len: usize,
}

impl MessageLog {
    /// How many messages are held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The message with this number.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Message> {
        let chunk = self.chunks.get(self.index(sequence)?)?.as_deref()?;
        chunk.messages[place(sequence)].as_deref()
    }

    /// The message with this number, to be changed.
    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Message> {
        let index = self.index(sequence)?;
        let chunk = self.chunks.get_mut(index)?.as_deref_mut()?;
        chunk.messages[place(sequence)].as_deref_mut()
    }

    /// Adds a message. Its number must be above every number added so far.
    pub(crate) fn append(&mut self, message: Message) {
        let number = message.sequence / CHUNK;
        if self.chunks.is_empty() {
            self.first = number;
        }
        while self.first + (self.chunks.len() as u64) <= number {
            self.chunks.push_back(None);
        }
        let place = place(message.sequence);
        if let Some(slot) = self.chunks.back_mut() {
            let empty = || {
                Box::new(Chunk {
                    messages: [const { None }; SLOTS],
                    live: 0,
                })
            };
            let chunk = slot.get_or_insert_with(empty);
            debug_assert!(
                chunk.messages[place].is_none(),
                "sequence numbers are never reused"
            );
            chunk.messages[place] = Some(Box::new(message));
            chunk.live += 1;
            self.len += 1;
        }
    }

    /// Takes the message with this number out.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Message> {
        let index = self.index(sequence)?;
        let slot = self.chunks.get_mut(index)?;
        let chunk = slot.as_deref_mut()?;
        let message = chunk.messages[place(sequence)].take()?;
        chunk.live -= 1;
        self.len -= 1;
        if chunk.live == 0 {
            *slot = None;
            self.drop_empty_front();
        }
        Some(*message)
    }

    fn drop_empty_front(&mut self) {
        // The last chunk stays in the list even when empty: the next message probably goes there.
        while self.chunks.len() > 1 && matches!(self.chunks.front(), Some(None)) {
            self.chunks.pop_front();
            self.first += 1;
        }
        if self.chunks.len() == 1 && self.chunks.capacity() > 1_024 {
            self.chunks.shrink_to_fit();
        }
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from((sequence / CHUNK).checked_sub(self.first)?).ok()
    }
}

fn place(sequence: u64) -> usize {
    // The remainder is below 64, so the conversion cannot fail.
    usize::try_from(sequence % CHUNK).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(numbers: std::ops::Range<u64>) -> MessageLog {
        let mut log = MessageLog::default();
        for sequence in numbers {
            log.append(Message::numbered(sequence));
        }
        log
    }

    #[test]
    fn a_message_is_found_by_its_number_until_it_is_removed() {
        let mut log = filled(1..1_000);
        assert_eq!(log.get(500).map(|m| m.sequence), Some(500));
        assert!(log.get(0).is_none() && log.get(1_000).is_none() && log.get(u64::MAX).is_none());
        assert_eq!(log.remove(500).map(|m| m.sequence), Some(500));
        assert!(log.get(500).is_none() && log.remove(500).is_none());
        assert_eq!(log.len(), 998);
    }

    #[test]
    fn what_is_gone_costs_nothing_and_what_stays_costs_its_chunk() {
        let mut log = filled(1..100_000);
        for sequence in (1..100_000).filter(|s| *s != 70) {
            log.remove(sequence);
        }
        assert_eq!(log.len(), 1);
        assert_eq!(log.chunks.iter().flatten().count(), 1);
        log.remove(70);
        assert_eq!(log.chunks.len(), 1);
        log.append(Message::numbered(100_000));
        assert_eq!(log.get(100_000).map(|m| m.sequence), Some(100_000));
    }
}
