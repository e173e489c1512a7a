//! How much all queues of a broker hold together, and when that is too much.
//!
//! Each queue has a limit of its own, but many queues can be more than the machine has. Above the
//! high-water mark nothing new is taken by any queue until receivers have brought the whole below
//! the low-water mark: senders are told that the broker is busy, which passes by itself. What is
//! there already may be received, settled and forwarded all the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The low-water mark is this part of the high one below it.
const GAP: usize = 8;

/// The bytes that all queues hold.
#[derive(Debug)]
pub(crate) struct Usage {
    bytes: AtomicUsize,
    is_high: AtomicBool,
    high: usize,
}

impl Usage {
    pub(crate) fn new(high: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            is_high: AtomicBool::new(false),
            high,
        }
    }

    /// The high-water mark, if it was reached and the low one not since.
    pub(crate) fn exceeded(&self) -> Option<usize> {
        self.is_high.load(Ordering::Relaxed).then_some(self.high)
    }

    /// Notes that a queue that held `before` bytes now holds `after`.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if before == after {
            return;
        }
        // The difference may be negative; addition that wraps is right for both.
        let difference = after.wrapping_sub(before);
        let bytes = self
            .bytes
            .fetch_add(difference, Ordering::Relaxed)
            .wrapping_add(difference);
        if bytes >= self.high {
            if !self.is_high.swap(true, Ordering::Relaxed) {
                let limit = self.high;
                tracing::warn!(
                    broker.bytes = bytes,
                    broker.limit = limit,
                    "all queues together are full"
                );
            }
        } else if bytes <= self.high - self.high / GAP && self.exceeded().is_some() {
            self.is_high.store(false, Ordering::Relaxed);
            tracing::info!(broker.bytes = bytes, "there is room again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_marks_it_stays_as_it_was() {
        let usage = Usage::new(800);
        usage.change(0, 799);
        assert_eq!(usage.exceeded(), None);
        usage.change(799, 800);
        assert_eq!(usage.exceeded(), Some(800));
        usage.change(800, 701);
        assert_eq!(usage.exceeded(), Some(800));
        usage.change(701, 700);
        assert_eq!(usage.exceeded(), None);
        usage.change(700, 799);
        assert_eq!(usage.exceeded(), None);
        // Several queues are one sum.
        usage.change(0, 5);
        assert_eq!(usage.exceeded(), Some(800));
        usage.change(799, 0);
        assert_eq!(usage.exceeded(), None);
    }
}
