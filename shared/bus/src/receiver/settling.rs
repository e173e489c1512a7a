//! What becomes of received messages, and of their locks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Open, Receiver};
use crate::connection::Command;
use crate::error::BusError;
use crate::outcome::Outcome;
use crate::received_message::{ReceivedMessage, Via};

impl Receiver {
    /// Settles a message as done; the broker removes it.
    pub async fn complete_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Complete).await
    }

    /// Gives a message back as failed: it is delivered again at once, with a higher delivery
    /// count, or dead-lettered when that count reaches the entity's maximum.
    pub async fn abandon_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Abandon).await
    }

    /// Puts a message aside: it is received again only by its sequence number, with
    /// [`receive_deferred_messages`](Self::receive_deferred_messages).
    pub async fn defer_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Defer).await
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

    /// Begins the lock of a message anew and says when it ends now, by the broker's clock.
    pub async fn renew_message_lock(
        &self,
        message: &ReceivedMessage,
    ) -> Result<DateTime<Utc>, BusError> {
        self.check_unsettled(message)?;
        let tokens = [message.lock_token];
        let mut ends = self.management.renew_locks(&tokens).await?;
        ends.pop()
            .ok_or_else(|| BusError::Protocol("a renewed lock has no end".to_owned()))
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
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let open = self.slot.current().ok_or_else(|| self.lost_link())?;
        let ways: Result<Vec<Way>, _> = messages.iter().map(|m| self.way(&open, m)).collect();
        let ways = ways?;
        if let Some(keeper) = &self.keeper {
            for message in messages {
                keeper.let_go(message.lock_token);
            }
        }
        let id = |way: &Way| match way {
            Way::Link(id) => Some(*id),
            Way::Token(_) | Way::Lost => None,
        };
        let ids: Vec<u32> = ways.iter().filter_map(id).collect();
        let mut answers = Vec::new();
        if !ids.is_empty() {
            answers = ask(&open, ids, outcome.clone()).await?;
        }
        if answers.len() == ways.len() {
            return Ok(answers);
        }
        let (mut answers, mut results) = (answers.into_iter(), Vec::with_capacity(ways.len()));
        // Why the requests cannot be made: what keeps one from it would hold up each of the others.
        let mut away = None;
        for way in ways {
            let result = match (way, &away) {
                (Way::Link(_), _) => answers.next().unwrap_or_else(|| Err(self.lost_link())),
                (Way::Lost, _) => Err(self.lost_link()),
                (Way::Token(_), Some(error)) => Err(BusError::clone(error)),
                (Way::Token(token), None) => self.management.settle(token, &outcome).await,
            };
            if let Err(error) = &result
                && error.is_transient()
            {
                away.get_or_insert_with(|| error.clone());
            }
            results.push(result);
        }
        Ok(results)
    }

    /// How a message can be settled now. A lock outlives the link that the message came over, so
    /// its token still settles the message over a new connection, once there is one.
    fn way(&self, open: &Open, message: &ReceivedMessage) -> Result<Way, BusError> {
        self.check_unsettled(message)?;
        Ok(match message.delivery.via {
            Via::Link { link, id } if link == open.link.key() && !open.link.is_lost() => {
                Way::Link(id)
            }
            Via::Link { .. } if !self.supply.is_connected() => Way::Lost,
            _ => Way::Token(message.lock_token),
        })
    }

    /// Refuses what is not this receiver's to settle or to renew.
    fn check_unsettled(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        let number = message.sequence_number;
        let text = match message.delivery.via {
            _ if message.delivery.receiver != self.key => {
                "was received by another receiver and must be settled there"
            }
            Via::Link { .. } | Via::Token => return Ok(()),
            Via::Nothing => "was received in receive-and-delete mode; there is nothing to settle",
            Via::Peeked => "was only peeked at; receive it to settle it",
        };
        Err(BusError::InvalidArgument(format!(
            "message {number} {text}"
        )))
    }

    fn lost_link(&self) -> BusError {
        if self.supply.is_closed() {
            return BusError::Closed { what: "client" };
        }
        BusError::ConnectionLost {
            reason: "there is no connection to settle the message over; it comes again when its \
                     lock ends"
                .to_owned(),
            source: None,
        }
    }
}

/// How a message can be settled.
enum Way {
    /// By its delivery-id on the link.
    Link(u32),
    /// By its lock token.
    Token(Uuid),
    /// Not at all: there is no connection.
    Lost,
}

async fn ask(
    open: &Open,
    deliveries: Vec<u32>,
    outcome: Outcome,
) -> Result<Vec<Result<(), BusError>>, BusError> {
    let link = open.link.key();
    let settle = |reply| Command::Settle {
        link,
        deliveries,
        outcome,
        reply,
    };
    open.connection.ask("settling messages", settle).await
}
