//! The messages that wait to be handed out, lowest sequence number first.
//!
//! New messages come in ascending order and cost a push on a ring. The few that come back (an
//! abandoned message, an ended lock) go to a heap beside it; the smaller head of the two is next.
//! A message that expires while it waits leaves its entry behind; the queue skips such entries when
//! it meets them and sweeps when they outnumber the live ones.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Capacity below this number of entries is kept when the list runs empty.
const KEPT_CAPACITY: usize = 4_096;

/// Sequence numbers in ascending order.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    fresh: VecDeque<u64>,
    returned: BinaryHeap<Reverse<u64>>,
    /// How many entries stand for a message that is still ready.
    live: usize,
}

impl ReadyList {
    /// How many messages are ready.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Adds a message that became ready.
    pub(crate) fn push(&mut self, sequence: u64) {
        self.live += 1;
        if self.fresh.back().is_none_or(|last| *last < sequence) {
            self.fresh.push_back(sequence);
        } else {
            self.returned.push(Reverse(sequence));
        }
    }

    /// Takes the lowest entry for which `is_ready` holds, dropping dead ones on the way.
    pub(crate) fn pop(&mut self, is_ready: impl Fn(u64) -> bool) -> Option<u64> {
        while let Some(sequence) = self.pop_any() {
            if is_ready(sequence) {
                self.live = self.live.saturating_sub(1);
                return Some(sequence);
            }
        }
        None
    }

    /// Notes that a message stopped being ready without having been popped.
    pub(crate) fn forget_one(&mut self, is_ready: impl Fn(u64) -> bool) {
        self.live = self.live.saturating_sub(1);
        if self.fresh.len() + self.returned.len() > 2 * self.live + KEPT_CAPACITY {
            self.fresh.retain(|sequence| is_ready(*sequence));
            self.returned
                .retain(|Reverse(sequence)| is_ready(*sequence));
            self.fresh.shrink_to(2 * self.fresh.len());
        }
    }

    fn pop_any(&mut self) -> Option<u64> {
        let fresh = self.fresh.front().copied();
        let returned = self.returned.peek().map(|Reverse(sequence)| *sequence);
        match (fresh, returned) {
            (Some(a), Some(b)) if b < a => self.returned.pop().map(|Reverse(s)| s),
            (None, _) => self.returned.pop().map(|Reverse(s)| s),
            _ => {
                let first = self.fresh.pop_front();
                if self.fresh.is_empty() && self.fresh.capacity() > KEPT_CAPACITY {
                    self.fresh = VecDeque::new();
                }
                first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_message_takes_its_old_place() {
        let mut ready = ReadyList::default();
        for sequence in [1, 2, 3] {
            ready.push(sequence);
        }
        assert_eq!(ready.pop(|_| true), Some(1));
        assert_eq!(ready.pop(|_| true), Some(2));
        ready.push(1);
        assert_eq!(ready.len(), 2);
        assert_eq!(ready.pop(|_| true), Some(1));
        assert_eq!(ready.pop(|_| true), Some(3));
        assert_eq!(ready.pop(|_| true), None);
    }

    #[test]
    fn dead_entries_are_skipped_and_swept() {
        let mut ready = ReadyList::default();
        for sequence in 0..50_000 {
            ready.push(sequence);
            if sequence != 7 {
                ready.forget_one(|s| s == 7 || s > sequence);
            }
        }
        assert_eq!(ready.len(), 1);
        assert!(
            ready.fresh.len() <= KEPT_CAPACITY + 2,
            "{} entries",
            ready.fresh.len()
        );
        assert_eq!(ready.pop(|s| s == 7), Some(7));
    }
}
