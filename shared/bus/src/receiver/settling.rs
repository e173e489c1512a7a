//! What becomes of received messages, and of their locks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Open, Receiver};
use crate::connection::Command;
use crate::error::BusError;
use crate::lock_keeper::TOKENS_PER_REQUEST;
use crate::outcome::Outcome;
use crate::received_message::{ReceivedMessage, Via};
use crate::settlement::Settlement;

impl Receiver {
    /// Settles a message as done; the broker removes it.
    pub async fn complete_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::Complete).await
    }

    /// Gives a message back as failed: see [`Settlement::abandon`].
    pub async fn abandon_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_one(message, Outcome::abandon()).await
    }

    /// Puts a message aside: it is received again only by its sequence number, with
    /// [`receive_deferred_messages`](Self::receive_deferred_messages).
    pub async fn defer_message(&self, message: &ReceivedMessage) -> Result<(), BusError> {
        self.settle_message(message, Settlement::defer()).await
    }

    /// Moves a message to the dead-letter queue: see [`Settlement::dead_letter`].
    pub async fn dead_letter_message(
        &self,
        message: &ReceivedMessage,
        reason: &str,
        description: &str,
    ) -> Result<(), BusError> {
        let settlement = Settlement::dead_letter(reason, description);
        self.settle_message(message, settlement).await
    }

    /// Settles a message in any way, with changes to its properties if wanted.
    pub async fn settle_message(
        &self,
        message: &ReceivedMessage,
        settlement: Settlement,
    ) -> Result<(), BusError> {
        self.settle_one(message, settlement.into_outcome()?).await
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
        self.settle(messages, Outcome::abandon()).await
    }

    /// Gives messages back that were not worked on, in few frames: see [`Settlement::release`].
    /// The inner results are in the order of `messages`.
    pub async fn release_messages(
        &self,
        messages: &[ReceivedMessage],
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        self.settle(messages, Outcome::Release).await
    }

    /// Settles many messages in the same way, in few frames. The inner results are in the order
    /// of `messages`.
    pub async fn settle_messages(
        &self,
        messages: &[ReceivedMessage],
        settlement: Settlement,
    ) -> Result<Vec<Result<(), BusError>>, BusError> {
        self.settle(messages, settlement.into_outcome()?).await
    }

    /// Begins the lock of a message anew and says when it ends now, by the broker's clock. The
    /// messages of a session have no locks of their own to renew: renew the session's.
    pub async fn renew_message_lock(
        &self,
        message: &ReceivedMessage,
    ) -> Result<DateTime<Utc>, BusError> {
        self.check_unsettled(message)?;
        if self.holds_session {
            let text = "a message of a session is locked as long as its session; renew that";
            return Err(BusError::InvalidArgument(text.to_owned()));
        }
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
        let stands = !open.link.is_lost();
        let (mut ways, mut ids) = (
            Vec::with_capacity(messages.len()),
            Vec::with_capacity(messages.len()),
        );
        for message in messages {
            let way = self.way(&open, stands, message)?;
            if let Way::Link(id) = way {
                ids.push(id);
            }
            ways.push(way);
        }
        if let Some(keeper) = &self.keeper {
            for message in messages {
                keeper.let_go(message.lock_token);
            }
        }
        let mut answers = Vec::new();
        if !ids.is_empty() {
            answers = ask(&open, ids, outcome.clone()).await?;
        }
        if answers.len() == ways.len() {
            return Ok(answers);
        }
        let mut by_token = self.settle_by_token(&ways, &outcome).await.into_iter();
        let mut answers = answers.into_iter();
        let result = |way: &Way| match way {
            Way::Link(_) => answers.next(),
            Way::Token(_) => by_token.next(),
            Way::Lost => None,
        };
        let results = ways.iter().map(result);
        Ok(results
            .map(|result| result.unwrap_or_else(|| Err(self.lost_link())))
            .collect())
    }

    /// Settles what needs its lock token, with as few requests as the broker allows. One lock that
    /// is lost fails all that were asked for with it, so those are asked for again, each alone.
    async fn settle_by_token(&self, ways: &[Way], outcome: &Outcome) -> Vec<Result<(), BusError>> {
        let token = |way: &Way| match way {
            Way::Token(token) => Some(*token),
            Way::Link(_) | Way::Lost => None,
        };
        let tokens: Vec<Uuid> = ways.iter().filter_map(token).collect();
        let mut results = Vec::with_capacity(tokens.len());
        // Why requests cannot be made: what keeps one from it would hold up each of the others.
        let mut away = None;
        for chunk in tokens.chunks(TOKENS_PER_REQUEST) {
            let result = self.settle_tokens(chunk, outcome, &mut away).await;
            if chunk.len() > 1 && matches!(result, Err(BusError::MessageLockLost { .. })) {
                for token in chunk {
                    let alone = std::slice::from_ref(token);
                    results.push(self.settle_tokens(alone, outcome, &mut away).await);
                }
            } else {
                results.extend(std::iter::repeat_n(result, chunk.len()));
            }
        }
        results
    }

    async fn settle_tokens(
        &self,
        tokens: &[Uuid],
        outcome: &Outcome,
        away: &mut Option<BusError>,
    ) -> Result<(), BusError> {
        if let Some(error) = away {
            return Err(error.clone());
        }
        let result = self.management.settle(tokens, outcome).await;
        if let Err(error) = &result
            && error.is_transient()
        {
            *away = Some(error.clone());
        }
        result
    }

    /// How a message can be settled now. A lock outlives the link that the message came over, so
    /// its token still settles the message over a new connection, once there is one.
    fn way(&self, open: &Open, stands: bool, message: &ReceivedMessage) -> Result<Way, BusError> {
        self.check_unsettled(message)?;
        Ok(match message.delivery.via {
            Via::Link { link, id } if stands && link == open.link.key() => Way::Link(id),
            // A session's locks do not outlive its link.
            _ if self.holds_session && !stands => Way::Lost,
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
        if self.holds_session {
            return BusError::SessionLockLost {
                description: "the link that held it is gone".to_owned(),
            };
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
