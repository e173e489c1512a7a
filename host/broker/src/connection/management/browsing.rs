//! `peek-message`: looking at messages without receiving them.

use nightshift_amqp::{Value, condition};

use super::{Operation, Outcome, Refusal, map};
use crate::{connection::delivery, queue::Browse};

/// An answer ends with the message that makes it this large. Peeking goes on from where it ended.
const MAX_BYTES: usize = 256 * 1024;

impl Operation<'_> {
    pub(super) fn peek(&self) -> Outcome {
        let from = self.arguments.integer("from-sequence-number")?;
        let count = self.arguments.integer("message-count")?;
        let Some(max_messages) = usize::try_from(count).ok().filter(|count| *count > 0) else {
            let text = format!("message-count must be at least 1; it is {count}");
            return Err(Refusal::new(400, condition::ARGUMENT_OUT_OF_RANGE, text));
        };
        let now = self.connection.shared.clock.now();
        let mut browse = Some(Browse {
            place: self.place()?,
            from: u64::try_from(from).unwrap_or(0),
            max_messages,
            max_bytes: MAX_BYTES,
        });
        let mut found = Vec::new();
        self.entity.with(|queue| queue.expire(now));
        while let Some(next) = browse {
            browse = self.entity.with(|queue| queue.browse(next, &mut found));
        }
        if found.is_empty() {
            return Ok(None);
        }
        let message = |peeked| map([("message", Value::from(delivery::encoded(peeked, None)))]);
        let messages = Value::List(found.iter().map(message).collect());
        Ok(Some(map([("messages", messages)])))
    }
}
