//! Where the messages of a queue lie: by sequence number, in the order in which they came.
//!
//! Sequence numbers are given out without gaps, so a message is found by arithmetic: chunk, then
//! place in the chunk. A chunk whose messages are all gone is freed. Chunks stand in a row as long
//! as a fair part of the row is in use; old ones that stay behind (dead letters) move to a map, so
//! that they do not keep the row from its end to here. What an old message costs is therefore its
//! chunk, half a kilobyte, however many come and go after it.

use std::collections::{BTreeMap, VecDeque};

use super::message::Message;

/// Messages per chunk: large enough that chunks are rarely allocated, small enough that a chunk
/// kept alive by one old message is cheap.
const SLOTS: usize = 64;
const CHUNK: u64 = SLOTS as u64;

/// A row of more chunks than this gives up its oldest when less than one in `SPARSE` is in use.
const SHORT_ROW: usize = 64;
const SPARSE: usize = 4;

#[derive(Debug)]
struct Chunk {
    messages: [Option<Box<Message>>; SLOTS],
    live: usize,
}

/// The messages of one queue by sequence number.
#[derive(Debug, Default)]
pub(crate) struct MessageLog {
    /// The newest chunks, with gaps where one was freed.
    row: VecDeque<Option<Box<Chunk>>>,
    /// The number of the first chunk in `row`.
    first: u64,
    /// How many chunks are in `row`, its gaps not counted.
    in_row: usize,
    /// Chunks older than the row, by number.
    old: BTreeMap<u64, Box<Chunk>>,
    len: usize,
}

impl MessageLog {
    /// How many messages are held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The message with this number.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Message> {
        let number = sequence / CHUNK;
        let chunk = match self.index(number) {
            Some(index) => self.row.get(index)?.as_deref()?,
            None => self.old.get(&number)?,
        };
        chunk.messages[place(sequence)].as_deref()
    }

    /// The message with this number, to be changed.
    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Message> {
        self.chunk_mut(sequence / CHUNK)?.messages[place(sequence)].as_deref_mut()
    }

    /// The messages with this number and above, in their order. Finding the next one costs no more
    /// than its chunk, and gaps of the row.
    pub(crate) fn iter_from(&self, sequence: u64) -> impl Iterator<Item = &Message> {
        let number = sequence / CHUNK;
        let skipped = self.index(number).unwrap_or(0);
        let old = self.old.range(number..).map(|(_, chunk)| chunk);
        let row = self.row.iter().skip(skipped).flatten();
        old.chain(row)
            .flat_map(|chunk| chunk.messages.iter().flatten())
            .map(Box::as_ref)
            .filter(move |message| message.sequence >= sequence)
    }

    /// Adds a message. Its number must be above every number added so far.
    pub(crate) fn append(&mut self, message: Message) {
        let number = message.sequence / CHUNK;
        let next = self.first + self.row.len() as u64;
        if number.saturating_sub(next) > SHORT_ROW as u64 {
            self.retire_row();
        }
        if self.row.is_empty() {
            self.first = number;
        }
        while self.first + (self.row.len() as u64) <= number {
            self.row.push_back(None);
        }
        let place = place(message.sequence);
        if let Some(slot) = self.row.back_mut() {
            self.in_row += usize::from(slot.is_none());
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
        if number > next {
            self.shorten();
        }
    }

    /// Takes the message with this number out.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Message> {
        let number = sequence / CHUNK;
        let chunk = self.chunk_mut(number)?;
        let message = chunk.messages[place(sequence)].take()?;
        chunk.live -= 1;
        let emptied = chunk.live == 0;
        self.len -= 1;
        if emptied {
            self.free(number);
        }
        Some(*message)
    }

    fn free(&mut self, number: u64) {
        let Some(index) = self.index(number) else {
            self.old.remove(&number);
            return;
        };
        if let Some(slot) = self.row.get_mut(index) {
            *slot = None;
            self.in_row -= 1;
        }
        self.shorten();
    }

    /// Takes gaps off the front of the row, and chunks too while it is long and mostly gaps. Each
    /// chunk moves at most once, so this costs no more than what was appended.
    fn shorten(&mut self) {
        // The last place stays even when empty: the next message probably goes there.
        while self.row.len() > 1 {
            let sparse = self.row.len() > SHORT_ROW && self.in_row * SPARSE < self.row.len();
            if !sparse && matches!(self.row.front(), Some(Some(_))) {
                break;
            }
            if let Some(Some(chunk)) = self.row.pop_front() {
                self.in_row -= 1;
                self.old.insert(self.first, chunk);
            }
            self.first += 1;
        }
        if self.row.capacity() > 1_024 && self.row.len() < self.row.capacity() / 8 {
            self.row.shrink_to(self.row.len() * 2);
        }
    }

    /// Begins a new row: the next message is so far from the last one that a gap between them would
    /// cost more than it saves. That happens when a queue is restored.
    fn retire_row(&mut self) {
        for chunk in std::mem::take(&mut self.row) {
            if let Some(chunk) = chunk {
                self.old.insert(self.first, chunk);
            }
            self.first += 1;
        }
        self.in_row = 0;
    }

    fn chunk_mut(&mut self, number: u64) -> Option<&mut Chunk> {
        match self.index(number) {
            Some(index) => self.row.get_mut(index)?.as_deref_mut(),
            None => self.old.get_mut(&number).map(Box::as_mut),
        }
    }

    /// Where a chunk is in the row, or would be; `None` when it is older.
    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
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
        assert_eq!(log.old.len() + log.in_row, 1);
        assert_eq!(log.get(70).map(|m| m.sequence), Some(70));
        log.remove(70);
        assert_eq!((log.row.len(), log.old.len()), (1, 0));
        log.append(Message::numbered(100_000));
        assert_eq!(log.get(100_000).map(|m| m.sequence), Some(100_000));
    }

    #[test]
    fn messages_are_walked_in_order_across_old_chunks_and_gaps() {
        let mut log = filled(1..20_000);
        for sequence in (1..20_000).filter(|s| s % 5_000 != 3) {
            log.remove(sequence);
        }
        assert!(!log.old.is_empty());
        let from = |sequence| -> Vec<u64> { log.iter_from(sequence).map(|m| m.sequence).collect() };
        assert_eq!(from(0), [3, 5_003, 10_003, 15_003]);
        assert_eq!(from(3), from(0));
        assert_eq!(from(5_004), [10_003, 15_003]);
        assert_eq!(from(15_003), [15_003]);
        assert!(from(15_004).is_empty() && from(u64::MAX).is_empty());
    }

    #[test]
    fn messages_that_are_far_apart_do_not_make_the_row_grow() {
        let mut log = MessageLog::default();
        let numbers: Vec<u64> = (0..60).map(|power| 1 << power).collect();
        for &number in &numbers {
            log.append(Message::numbered(number));
            assert!(log.row.len() <= 2 * SHORT_ROW, "{}", log.row.len());
        }
        let found: Vec<u64> = log.iter_from(0).map(|message| message.sequence).collect();
        assert_eq!(found, numbers);
        for number in numbers {
            assert!(log.get_mut(number).is_some() && log.remove(number).is_some());
        }
        assert_eq!((log.len(), log.old.len()), (0, 0));

        let every: Vec<u64> = (1..2_000).map(|n| n * 4_000).collect();
        for &number in &every {
            log.append(Message::numbered(number + (1 << 60)));
            assert!(log.row.len() <= 2 * SHORT_ROW, "{}", log.row.len());
        }
        assert_eq!(log.iter_from(0).count(), every.len());
    }

    #[test]
    fn an_old_message_does_not_make_the_row_grow() {
        let mut log = filled(1..2);
        let window = 1_000;
        for sequence in 2..1_000_000 {
            log.append(Message::numbered(sequence));
            // Another one in ten thousand stays.
            if let Some(done) = sequence.checked_sub(window)
                && done > 1
                && done % 10_000 != 0
            {
                assert_eq!(log.remove(done).map(|m| m.sequence), Some(done));
            }
            assert!(log.row.len() <= 80, "{} at {sequence}", log.row.len());
        }
        assert!(log.row.capacity() <= 1_024);
        for kept in std::iter::once(1).chain((1..=99).map(|n| n * 10_000)) {
            let message = log.get_mut(kept).unwrap();
            assert_eq!(message.sequence, kept);
            assert!(log.get(kept + 1).is_none() || kept > 990_000);
            assert!(log.remove(kept).is_some() && log.get(kept).is_none());
        }
        assert!(log.old.is_empty());
    }
}
