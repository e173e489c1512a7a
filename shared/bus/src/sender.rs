//! Sending: hand a message over, know that the broker has it.

use std::fmt;
use std::sync::Arc;

use nightshift_amqp::message::MESSAGE_FORMAT;

use crate::authorization::Grant;
use crate::batch;
use crate::connection::{Attached, Command, Connection, LinkHandle, Transfer};
use crate::encode;
use crate::error::BusError;
use crate::message::Message;

/// Sends messages to one entity. Calls may overlap; the broker numbers their messages in the
/// order in which the calls were first polled.
///
/// A call returns when the broker has accepted. Dropping a call leaves open whether its message
/// is sent. Dropping the sender detaches its link.
pub struct Sender {
    connection: Arc<Connection>,
    entity: String,
    attached: Attached,
    link: LinkHandle,
    _grant: Grant,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("entity", &self.entity)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(
        connection: Arc<Connection>,
        entity: String,
        attached: Attached,
        link: LinkHandle,
        grant: Grant,
    ) -> Self {
        Self {
            connection,
            entity,
            attached,
            link,
            _grant: grant,
        }
    }

    /// The entity's address.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Largest encoded message that the entity takes, in bytes, as the broker said on attaching.
    pub fn max_message_size(&self) -> u64 {
        self.attached.max_message_size
    }

    /// Sends one message and waits until the broker has accepted it.
    pub async fn send_message(&self, message: Message) -> Result<(), BusError> {
        let payload = encode::message(&message)?;
        self.check_size(payload.len() as u64)?;
        let transfer = Transfer {
            format: MESSAGE_FORMAT,
            payload,
        };
        let link = self.link.key();
        self.connection
            .ask("sending a message", |reply| Command::Send {
                link,
                transfer,
                reply,
            })
            .await?
    }

    /// Sends many messages in as few transfers as the entity's limits allow, without waiting
    /// between them, and waits until the broker has accepted all.
    ///
    /// Nothing is sent when one message alone is too large. Each transfer is accepted or refused
    /// as a whole; after an error some may have been accepted, so send with message ids that let
    /// a repetition be recognised.
    pub async fn send_messages(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let mut encoded = Vec::with_capacity(messages.len());
        for message in &messages {
            let payload = encode::message(message)?;
            self.check_size(payload.len() as u64)?;
            encoded.push(payload);
        }
        let link = self.link.key();
        let mut answers = Vec::new();
        for transfer in batch::pack(&messages, encoded, self.attached.max_batch_size) {
            answers.push(self.connection.start(|reply| Command::Send {
                link,
                transfer,
                reply,
            })?);
        }
        drop(messages);
        let deadline = self.connection.deadline();
        let mut result = Ok(());
        for answer in answers {
            // Every answer is awaited, so that the sender is quiet when the call returns.
            let outcome = self
                .connection
                .answered("sending a batch", deadline, answer)
                .await;
            result = result.and(outcome.and_then(|inner| inner));
        }
        result
    }

    /// Detaches the link and waits for the broker to confirm.
    pub async fn close(self) {
        self.link.detach().await;
    }

    fn check_size(&self, size: u64) -> Result<(), BusError> {
        let limit = self.attached.max_message_size;
        if size > limit {
            Err(BusError::MessageTooLarge { size, limit })
        } else {
            Ok(())
        }
    }
}
