//! When something happens next: the ends of locks and of lives, soonest first.
//!
//! Entries are not removed when a message is settled; that would cost a search for each. They are
//! left behind and dropped when half of the list is dead, so the list stays within twice the number
//! of live entries (plus a constant) at a constant cost per message.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Dead entries below this number are not worth a sweep.
const SWEEP_SLACK: usize = 256;

/// A priority queue of `(instant, sequence number)`.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(i64, u64)>>,
}

impl Deadlines {
    /// Adds an entry. The instant is in milliseconds since 1970.
    pub(crate) fn push(&mut self, at_ms: i64, sequence: u64) {
        self.heap.push(Reverse((at_ms, sequence)));
    }

    /// The soonest instant, which may belong to an entry that is dead by now.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// Takes the soonest entry if it is due at `now_ms`.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<(i64, u64)> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops dead entries when they outnumber the `live` ones.
    pub(crate) fn sweep(&mut self, live: usize, is_live: impl Fn(i64, u64) -> bool) {
        if self.heap.len() > 2 * live + SWEEP_SLACK {
            self.heap
                .retain(|Reverse((at_ms, sequence))| is_live(*at_ms, *sequence));
            self.heap.shrink_to(2 * self.heap.len() + SWEEP_SLACK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_soonest_first_and_only_when_due() {
        let mut deadlines = Deadlines::default();
        deadlines.push(30, 1);
        deadlines.push(10, 2);
        assert_eq!(deadlines.next_ms(), Some(10));
        assert_eq!(deadlines.pop_due(9), None);
        assert_eq!(deadlines.pop_due(20), Some((10, 2)));
        assert_eq!(deadlines.pop_due(20), None);
    }

    #[test]
    fn dead_entries_do_not_pile_up() {
        let mut deadlines = Deadlines::default();
        for sequence in 0..100_000 {
            deadlines.push(1_000, sequence);
            deadlines.sweep(1, |_, s| s == sequence);
        }
        assert!(
            deadlines.heap.len() <= 2 + SWEEP_SLACK,
            "{} entries",
            deadlines.heap.len()
        );
    }
}
