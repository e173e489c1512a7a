//! Looking at messages without receiving them.

use super::{
    Queue,
    message::{Peeked, SubQueue},
};

/// How many messages one call looks at, so that somebody who looks for the one dead letter behind a
/// million messages does not keep everybody else from the queue.
const ROUND: usize = 4_096;

/// What to look for, and how far one has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Browse {
    pub(crate) sub_queue: SubQueue,
    /// The lowest sequence number that is of interest.
    pub(crate) from: u64,
    /// How many messages to show at most, and to stop at how many bytes.
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
}

impl Queue {
    /// Adds the next messages to `into`, in the order of their numbers and whatever their state.
    /// Returns how to go on when there may be more that is wanted.
    pub(crate) fn browse(&self, browse: Browse, into: &mut Vec<Peeked>) -> Option<Browse> {
        let Browse {
            sub_queue,
            mut max_messages,
            mut max_bytes,
            ..
        } = browse;
        let mut messages = self.log.iter_from(browse.from);
        for message in messages.by_ref().take(ROUND) {
            if message.sub_queue != sub_queue {
                continue;
            }
            into.push(message.outgoing(()));
            max_messages = max_messages.saturating_sub(1);
            max_bytes = max_bytes.saturating_sub(message.content.len());
            if max_messages == 0 || max_bytes == 0 {
                return None;
            }
        }
        let from = messages.next()?.sequence;
        Some(Browse {
            from,
            max_messages,
            max_bytes,
            ..browse
        })
    }
}
