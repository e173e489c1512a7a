//! `schedule-message` and `cancel-scheduled-message`.

use nightshift_amqp::{ElementType, Value, condition};

use super::{Operation, Outcome, Refusal, array, map};
use crate::{
    connection::{inbox, state::error_chain},
    queue::{SubQueue, read_submissions},
};

impl Operation<'_> {
    pub(super) fn schedule(&self) -> Outcome {
        if self.sub_queue == SubQueue::DeadLetter {
            let text = "messages cannot be scheduled into a dead-letter queue";
            return Err(Refusal::new(400, condition::NOT_ALLOWED, text));
        }
        if !self.entity.status.takes_messages() {
            let text = "the entity is disabled for sending";
            return Err(Refusal::new(403, condition::ENTITY_DISABLED, text));
        }
        let mut submissions = Vec::new();
        for message in self.arguments.messages()? {
            read_submissions(message, false, &mut submissions).map_err(|problem| {
                Refusal::new(400, condition::ARGUMENT_ERROR, error_chain(&problem))
            })?;
        }
        self.entity.check(&submissions).map_err(|problem| {
            let error = inbox::unsuitable(&problem);
            Refusal::new(400, error.condition, error.description.unwrap_or_default())
        })?;
        let now = self.connection.shared.clock.now();
        let stored = self.entity.with(|queue| queue.schedule(now, submissions));
        let sequences = stored.map_err(Refusal::full)?;
        let long = |sequence| Value::Long(i64::try_from(sequence).unwrap_or(i64::MAX));
        let sequences = sequences.into_iter().map(long).collect();
        Ok(Some(array(
            "sequence-numbers",
            ElementType::Long,
            sequences,
        )))
    }

    pub(super) fn cancel(&self) -> Outcome {
        let sequences = self.arguments.sequence_numbers()?;
        let now = self.connection.shared.clock.now();
        let cancelled = self.entity.with(|queue| queue.cancel(now, &sequences));
        cancelled.map_err(|missing| {
            let text = format!(
                "no message is scheduled under the sequence number {}",
                missing.sequence
            );
            Refusal::new(404, condition::MESSAGE_NOT_FOUND, text)
        })?;
        Ok(Some(map([])))
    }
}
