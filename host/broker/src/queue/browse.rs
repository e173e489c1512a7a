//! Looking at messages without receiving them.

use super::{
    Place, Queue, SessionLock,
    message::{Message, Peeked},
    sessions::Session,
};

/// How many messages one call looks at, so that somebody who looks for the one dead letter behind a
/// million messages does not keep everybody else from the queue.
const ROUND: usize = 4_096;

/// What to look for, and how far one has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Browse {
    pub(crate) place: Place,
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
        match browse.place {
            Place::SubQueue(sub_queue) => {
                let messages = self.log.iter_from(browse.from);
                look_at(
                    browse,
                    messages,
                    |message| message.sub_queue == sub_queue,
                    into,
                )
            }
            Place::Session(lock) => look_at(browse, self.in_session(lock, browse), |_| true, into),
        }
    }

    /// The next messages of a session, one more than a round of them at most.
    fn in_session(&self, lock: SessionLock, browse: Browse) -> impl Iterator<Item = &Message> {
        let count = browse.max_messages.min(ROUND) + 1;
        let session = self.sessions.get(lock.key);
        let of = |session: &Session| session.messages_from(browse.from, count);
        let numbers = session.map(of).unwrap_or_default();
        numbers
            .into_iter()
            .filter_map(|sequence| self.log.get(sequence))
    }
}

/// Looks at a round of messages.
fn look_at<'a>(
    browse: Browse,
    mut messages: impl Iterator<Item = &'a Message>,
    is_wanted: impl Fn(&Message) -> bool,
    into: &mut Vec<Peeked>,
) -> Option<Browse> {
    let Browse {
        mut max_messages,
        mut max_bytes,
        ..
    } = browse;
    for message in messages.by_ref().take(ROUND) {
        if !is_wanted(message) {
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
