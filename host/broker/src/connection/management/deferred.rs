//! `receive-by-sequence-number` and `update-disposition`: how deferred messages are received and
//! settled, which no link does. A lock token settles a message from any connection.

use nightshift_amqp::{Value, condition};

use super::{Operation, Outcome, Refusal, arguments::wrong, map};
use crate::{
    connection::{delivery, settlements},
    queue::{Amendments, Delivery, NotReceived, NotSettled, Place, Settlement},
};

/// The most that one answer brings.
const MAX_BYTES: usize = 8 * 1024 * 1024;

impl Operation<'_> {
    pub(super) fn receive_deferred(&self) -> Outcome {
        let sequences = self.arguments.sequence_numbers()?;
        let deletes = match self.arguments.integer("receiver-settle-mode")? {
            0 => true,
            1 => false,
            other => {
                return Err(wrong(format!(
                    "receiver-settle-mode must be 0 or 1; it is {other}"
                )));
            }
        };
        let place = self.place()?;
        if self.has_sessions() && matches!(place, Place::SubQueue(_)) {
            let text = "an entity that requires sessions needs the session-id of deferred messages";
            return Err(Refusal::new(400, condition::NOT_ALLOWED, text));
        }
        let now = self.connection.shared.clock.now();
        let received = self.entity.with(|queue| {
            let received = queue.receive_deferred(now, place, &sequences, MAX_BYTES)?;
            if deletes {
                for delivery in &received {
                    // The lock was given at this very instant, so it cannot be lost.
                    let _ = queue.settle(now, delivery.lock.token, &Settlement::Complete);
                }
            }
            Ok(received)
        });
        let received = received.map_err(not_received)?;
        let message = |delivery: &Delivery| {
            let encoded = |lock| Value::from(delivery::encoded(delivery, lock));
            if deletes {
                map([("message", encoded(None))])
            } else {
                let token = Value::Uuid(delivery.lock.token.uuid());
                let message = encoded(Some(delivery.lock));
                map([("message", message), ("lock-token", token)])
            }
        };
        let messages = Value::List(received.iter().map(message).collect());
        Ok(Some(map([("messages", messages)])))
    }

    pub(super) fn settle(&self) -> Outcome {
        let tokens = self.arguments.lock_tokens()?;
        let settlement = self.settlement()?;
        // Tells a client whose session is lost that it is the session.
        self.place()?;
        let now = self.connection.shared.clock.now();
        let settled = self
            .entity
            .with(|queue| queue.settle_all(now, tokens, &settlement));
        settled.map_err(|error| match error {
            NotSettled::LockLost => Refusal::lock_lost(),
            NotSettled::SessionLost => Refusal::session_lost(),
            NotSettled::Unamendable(_) => {
                let error = settlements::not_settled(error);
                Refusal::new(400, error.condition, error.description.unwrap_or_default())
            }
        })?;
        Ok(Some(map([])))
    }

    fn settlement(&self) -> Result<Settlement, Refusal> {
        let changes = self.arguments.get("properties-to-modify");
        let changes = Amendments::from_map(changes.and_then(Value::as_map).cloned());
        match self.arguments.text("disposition-status")? {
            "completed" => Ok(Settlement::Complete),
            "abandoned" => Ok(Settlement::Abandon(changes)),
            // The protocol's spelling, and what its authors meant.
            "defered" | "deferred" => Ok(Settlement::Defer(changes)),
            "suspended" => {
                let text = |name| self.arguments.get(name).and_then(Value::as_str);
                let reason = text("deadletter-reason");
                let description = text("deadletter-description");
                let changes = changes.with_dead_letter(reason, description);
                Ok(Settlement::DeadLetter(changes))
            }
            other => Err(wrong(format!(
                "disposition-status must be completed, abandoned, defered or suspended; \
                 it is {other:?}"
            ))),
        }
    }
}

fn not_received(problem: NotReceived) -> Refusal {
    match problem {
        NotReceived::Missing(sequence) => {
            let text = format!("no message is deferred under the sequence number {sequence}");
            Refusal::new(404, condition::MESSAGE_NOT_FOUND, text)
        }
        NotReceived::SessionLost => Refusal::session_lost(),
        NotReceived::TooLarge(limit) => {
            let text = format!("the messages are larger than {limit} bytes; ask for fewer");
            Refusal::new(400, condition::ARGUMENT_OUT_OF_RANGE, text)
        }
    }
}
