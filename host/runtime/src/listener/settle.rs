//! Giving messages back to the broker, done or not.

use nightshift_bus::{BusError, ReceivedMessage, Receiver};

use super::Listener;
use crate::app::Mode;

/// What becomes of messages after their invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Done.
    Complete,
    /// Failed: given back, and the delivery counts.
    Abandon,
    /// Given back as if it had not been delivered: nobody has tried it.
    Release,
}

impl Listener {
    /// Settles `messages`; what the broker does not confirm is counted and told, and makes the answer
    /// false. Such messages come again once their lock ends, and the handler's own record of them
    /// makes that harmless.
    pub(super) async fn settle(
        &self,
        receiver: &Receiver,
        messages: &[ReceivedMessage],
        settlement: Settlement,
    ) -> bool {
        let outcome = match settlement {
            Settlement::Complete => receiver.complete_messages(messages).await,
            Settlement::Abandon => receiver.abandon_messages(messages).await,
            Settlement::Release => receiver.release_messages(messages).await,
        };
        let (lost, first) = match outcome {
            Ok(results) => {
                let mut errors = results.into_iter().filter_map(Result::err);
                let first = errors.next();
                (usize::from(first.is_some()) + errors.count(), first)
            }
            Err(error) => (messages.len(), Some(error)),
        };
        if let Some(error) = &first {
            self.tell_lost(lost, settlement, error);
        }
        first.is_none()
    }

    /// Leaves out messages whose lock ended before it was their turn, in the buffer of what was
    /// fetched ahead or while a batch was filled: whoever has them next would work on them at the
    /// same time. They have come again already. The real host calls the handler with them.
    pub(super) async fn leave_out_unlocked(
        &self,
        receiver: &Receiver,
        batch: Vec<ReceivedMessage>,
    ) -> Vec<ReceivedMessage> {
        let now = self.caller.config.clock.now();
        let is_over =
            |message: &ReceivedMessage| message.locked_until.is_some_and(|until| until <= now);
        if self.mode() == Mode::Strict || !batch.iter().any(is_over) {
            return batch;
        }
        let (over, held): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_over);
        tracing::warn!(
            function.name = %self.function.name,
            lock.lost = over.len(),
            "the locks of messages ended before it was their turn; they come again (prefetchCount \
             may be too large, or this machine's clock be wrong)"
        );
        // Forgets them on this side, too. The broker has nothing to take back, unless its clock
        // and this one differ.
        let _ = receiver.release_messages(&over).await;
        held
    }

    /// Moves a message whose body no function can be given to the dead-letter queue. False when the
    /// broker does not confirm it.
    pub(super) async fn dead_letter(&self, receiver: &Receiver, message: &ReceivedMessage) -> bool {
        const REASON: &str = "UnsupportedBody";
        const WHAT: &str =
            "the body is an AMQP value or sequence; send it as data (bytes), as the SDKs do";
        let outcome = receiver.dead_letter_message(message, REASON, WHAT).await;
        match &outcome {
            Ok(()) => tracing::warn!(
                function.name = %self.function.name,
                message.sequence_number = message.sequence_number,
                "a message was dead-lettered: {WHAT}"
            ),
            Err(error) => self.tell_lost(1, Settlement::Abandon, error),
        }
        outcome.is_ok()
    }

    fn tell_lost(&self, lost: usize, settlement: Settlement, error: &BusError) {
        self.counters.settlements_lost(lost);
        let verb = match settlement {
            Settlement::Complete => "completed",
            Settlement::Abandon | Settlement::Release => "given back",
        };
        tracing::warn!(
            function.name = %self.function.name,
            settlement.lost = lost,
            error = %error,
            "messages could not be {verb}; they come again when their lock ends"
        );
    }
}
