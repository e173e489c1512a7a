//! Which messages are tried alone.
//!
//! A message that has failed several times in company may be the reason, so in default mode it gets
//! calls of its own: one that kills the handler takes no neighbours along. The broker counts the
//! failures, except one kind: what the handler refuses with 503 goes back uncounted, and would be
//! tried in the same company for ever. So the host counts these itself, in a row and for itself
//! alone. It forgets them all when there are too many, which costs some more tries together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightshift_bus::ReceivedMessage;

use super::Listener;
use crate::app::Mode;

/// How often a message may fail in company before it is tried alone.
const TRIES_TOGETHER: u32 = 3;

/// The most messages whose refusals are counted.
const MOST_COUNTED: usize = 10_000;

/// How often in a row the handler refused messages, by their sequence number.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<i64, u32>>);

impl Refusals {
    fn counts(&self) -> MutexGuard<'_, HashMap<i64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more for each.
    pub(super) fn add(&self, messages: &[ReceivedMessage]) {
        self.count(messages.iter().map(|message| message.sequence_number));
    }

    /// These were not refused.
    pub(super) fn forget(&self, messages: &[ReceivedMessage]) {
        let mut counts = self.counts();
        for message in messages {
            counts.remove(&message.sequence_number);
        }
    }

    fn count(&self, numbers: impl Iterator<Item = i64>) {
        let mut counts = self.counts();
        for number in numbers {
            if counts.len() >= MOST_COUNTED && !counts.contains_key(&number) {
                counts.clear();
            }
            let count = counts.entry(number).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn of(&self, number: i64) -> u32 {
        self.counts().get(&number).copied().unwrap_or_default()
    }
}

impl Listener {
    /// Whether a message is tried alone.
    pub(super) fn is_suspect(&self, message: &ReceivedMessage) -> bool {
        self.mode() == Mode::Default
            && (message.delivery_count > TRIES_TOGETHER
                || self.refusals.of(message.sequence_number) >= TRIES_TOGETHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_bounded() {
        let refusals = Refusals::default();
        let all = || (0..).take(MOST_COUNTED);
        refusals.count(all());
        refusals.count(all());
        assert_eq!((refusals.of(0), refusals.of(-1)), (2, 0));
        refusals.count(std::iter::once(-1));
        assert_eq!((refusals.of(0), refusals.of(-1)), (0, 1));
        assert_eq!(refusals.counts().len(), 1);
    }
}
