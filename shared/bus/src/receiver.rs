//! Receiving: wait for messages, decide about each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::authorization::Grant;
use crate::connection::{Command, Connection, LinkHandle};
use crate::decode;
use crate::error::BusError;
use crate::inbox::{Delivery, Inbox};
use crate::outcome::Outcome;
use crate::received_message::ReceivedMessage;

/// How a receiver takes messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Whether messages are locked until settled, or gone when delivered.
    pub mode: ReceiveMode,
    /// How many messages are fetched ahead of the calls that want them. 0 fetches only what a
    /// waiting call asks for. Locks run from the fetch, not from the call; and in
    /// receive-and-delete mode what was fetched ahead is lost when the process ends.
    pub prefetch: u32,
    /// Receive from a sub-queue of the entity instead of the entity itself.
    pub sub_queue: Option<SubQueue>,
}

/// What a delivery means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveMode {
    /// The message is locked for this receiver until it is settled or the lock ends: at least
    /// once.
    #[default]
    PeekLock,
    /// The broker removes the message as it sends it: at most once.
    ReceiveAndDelete,
}

/// The queues that hang below an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubQueue {
    /// Messages that were given up: `/$DeadLetterQueue`.
    DeadLetter,
}

impl SubQueue {
    /// What is added to the entity's address.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::DeadLetter => "/$DeadLetterQueue",
        }
    }
}

/// Receives messages from one entity. Several calls may wait at once; each message goes to one.
///
/// Dropping it gives fetched messages that no call has taken back to the broker and detaches the
/// link; [`close`](Self::close) also waits until that has happened. Messages that a call returned
/// and nobody settled stay locked until their lock ends.
pub struct Receiver {
    connection: Arc<Connection>,
    inbox: Arc<Inbox>,
    entity: String,
    link: LinkHandle,
    _grant: Grant,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("entity", &self.entity)
            .finish_non_exhaustive()
    }
}

/// Registers a waiting call with the inbox for as long as it lives.
struct Waiting<'a> {
    receiver: &'a Receiver,
    max: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.receiver.inbox.unwant(self.max) {
            self.receiver.adjust_credit();
        }
    }
}

impl Receiver {
    pub(crate) fn new(
        connection: Arc<Connection>,
        inbox: Arc<Inbox>,
        entity: String,
        link: LinkHandle,
        grant: Grant,
    ) -> Self {
        Self {
            connection,
            inbox,
            entity,
            link,
            _grant: grant,
        }
    }

    /// The entity's address, sub-queue included.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Waits up to `max_wait` for the first message, then returns at once all that are here, at
    /// most `max`. No message in time is an empty list. Dropping the call loses nothing.
    ///
    /// A message that is no AMQP message is dead-lettered with the reason `MalformedMessage`
    /// (in the dead-letter queue it is left locked), and the call goes on with the others.
    pub async fn receive_messages(
        &self,
        max: usize,
        max_wait: Duration,
    ) -> Result<Vec<ReceivedMessage>, BusError> {
        if max == 0 {
            let text = "receive_messages needs a maximum of at least one message";
            return Err(BusError::InvalidArgument(text.to_owned()));
        }
        let deadline = Instant::now() + max_wait;
        let wanted = u32::try_from(max).unwrap_or(u32::MAX);
        self.inbox.want(wanted);
        let _waiting = Waiting {
            receiver: self,
            max: wanted,
        };
        loop {
            let mut changed = std::pin::pin!(self.inbox.changed());
            changed.as_mut().enable();
            let (taken, messages) = self.take(max)?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            if taken > 0 {
                // What could not be decoded has used credit that the call still needs.
                continue;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                // What came in the last instant is still worth returning.
                return Ok(self.take(max)?.1);
            }
        }
    }

    /// Takes and decodes what is here, without waiting. Says how many deliveries that were.
    fn take(&self, max: usize) -> Result<(usize, Vec<ReceivedMessage>), BusError> {
        let taken = self.inbox.take(max)?;
        if taken.adjust_credit {
            self.adjust_credit();
        }
        let count = taken.deliveries.len();
        let mut messages = Vec::with_capacity(count);
        for delivery in taken.deliveries {
            match decode::received(self.link.key(), &delivery) {
                Ok(message) => messages.push(message),
                Err(error) => self.set_aside(&delivery, &error),
            }
        }
        Ok((count, messages))
    }

    /// Puts a delivery that cannot be decoded where people look for such things. In the
    /// dead-letter queue it is there already: settled it would come again at once, so it stays
    /// locked, and those behind it have their turn.
    fn set_aside(&self, delivery: &Delivery, error: &BusError) {
        let dead_letters = SubQueue::DeadLetter.suffix();
        let is_dead = self
            .entity
            .to_ascii_lowercase()
            .ends_with(&dead_letters.to_ascii_lowercase());
        let dead_letters_it = !delivery.settled && !is_dead;
        tracing::warn!(
            bus.entity = %self.entity,
            bus.payload_bytes = delivery.payload.len(),
            bus.dead_lettered = dead_letters_it,
            error = %error,
            "a delivery is not an AMQP message; it is passed over"
        );
        if !dead_letters_it {
            return;
        }
        let (reply, _) = tokio::sync::oneshot::channel();
        self.connection.post(Command::Settle {
            link: self.link.key(),
            deliveries: vec![delivery.id],
            outcome: Outcome::DeadLetter {
                reason: "MalformedMessage".to_owned(),
                description: error.to_string(),
            },
            reply,
        });
    }

    fn adjust_credit(&self) {
        self.connection.post(Command::AdjustCredit {
            link: self.link.key(),
        });
    }

    /// Settles a message as done; the broker removes it.
    pub async fn complete_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Complete).await
    }

    /// Gives a message back as failed: it is delivered again at once, with a higher delivery
    /// count, or dead-lettered when that count reaches the entity's maximum.
    pub async fn abandon_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Abandon).await
    }

    /// Moves a message to the dead-letter queue. Reason and description become the application
    /// properties `DeadLetterReason` and `DeadLetterErrorDescription`, cut to the 4,096 characters
    /// that the service allows.
    pub async fn dead_letter_message(
        &self,
        message: &ReceivedMessage,
        reason: &str,
        description: &str,
    ) -> Result<(), BusError> {
        let cut = |text: &str| text.chars().take(4096).collect();
        let outcome = Outcome::DeadLetter {
            reason: cut(reason),
            description: cut(description),
        };
        self.settle_one(message, outcome).await
    }

    /// Completes many messages in few frames. The inner results are in the order of `messages`.
    pub async fn complete_messages(
        &self,
        messages: &[ReceivedMessage],
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        self.settle(messages, Outcome::Complete).await
    }

    /// Abandons many messages in few frames. The inner results are in the order of `messages`.
    pub async fn abandon_messages(
        &self,
        messages: &[ReceivedMessage],
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        self.settle(messages, Outcome::Abandon).await
    }

    /// Gives messages back that were not worked on, in few frames: the delivery state is
    /// `released`. Each is available again at once. A broker that honours the state does not
    /// count the delivery as failed; the Azure service treats it as an abandon and counts it. The
    /// inner results are in the order of `messages`.
    pub async fn release_messages(
        &self,
        messages: &[ReceivedMessage],
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        self.settle(messages, Outcome::Release).await
    }

    /// Gives fetched messages that no call has taken back to the broker, detaches the link and
    /// waits for the broker to confirm.
    pub async fn close(self) {
        self.link.detach().await;
    }

    async fn settle_one(
        &self,
        message: &ReceivedMessage,
        outcome: Outcome,
    ) -> Result<(), BusError> {
        self.settle(std::slice::from_ref(message), outcome)
            .await?
            .pop()
            .unwrap_or(Ok(()))
    }

    async fn settle(
        &self,
        messages: &[ReceivedMessage],
        outcome: Outcome,
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        let link = self.link.key();
        for message in messages {
            if message.delivery.link != link {
                return Err(BusError::InvalidArgument(format!(
                    "message {} was received by another receiver and must be settled there",
                    message.sequence_number
                )));
            }
            if !message.delivery.unsettled {
                return Err(BusError::InvalidArgument(format!(
                    "message {} was received in receive-and-delete mode; there is nothing to settle",
                    message.sequence_number
                )));
            }
        }
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let deliveries = messages.iter().map(|message| message.delivery.id).collect();
        let settle = |reply| Command::Settle {
            link,
            deliveries,
            outcome,
            reply,
        };
        self.connection.ask("settling messages", settle).await
    }
}
