//! Sending: hand a message over, know that the broker has it.
//!
//! A send that failed is tried again where that is known to be harmless: the broker was busy, or
//! the message never left. When the message left and no answer came, the caller is told so, unless
//! it has asked for repetitions and the message has an id.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nightshift_amqp::message::MESSAGE_FORMAT;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::batch;
use crate::connection::{Command, LinkRole, LinkSpec, SENDING, Transfer};
use crate::encode;
use crate::error::BusError;
use crate::management::Management;
use crate::message::Message;
use crate::slot::Slot;
use crate::supply::{OpenLink, Opening, Supply};

/// Sends messages to one entity. Calls may overlap; the broker numbers their messages in the
/// order in which the calls were first polled.
///
/// A call returns when the broker has accepted. Dropping a call leaves open whether its message
/// is sent. A lost link or connection is replaced by the next call. Dropping the sender detaches
/// its link.
pub struct Sender {
    supply: Arc<Supply>,
    entity: String,
    slot: Slot<()>,
    management: Management,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("entity", &self.entity)
            .field("max_message_size", &self.max_message_size())
            .finish_non_exhaustive()
    }
}

/// A transfer that waits for its outcome.
struct Pending {
    transfer: Transfer,
    /// Whether it may be sent again when it is unknown whether the broker has accepted it.
    resend: bool,
    /// An earlier try may have been accepted.
    unknown: bool,
}

/// How one try of a transfer ended.
type Answer = oneshot::Receiver<Result<(), BusError>>;

impl Sender {
    pub(crate) async fn open(supply: Arc<Supply>, entity: String) -> Result<Self, BusError> {
        let open = supply.open(&entity, &opening(&entity)).await?;
        let slot = Slot::holding(open);
        let name = slot.name();
        let node = Management::new(Arc::clone(&supply), entity.clone(), entity.clone(), name);
        Ok(Self {
            supply,
            entity,
            management: node,
            slot,
        })
    }

    /// The entity's address.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Largest encoded message that the entity takes, in bytes, as the broker last said on
    /// attaching.
    pub fn max_message_size(&self) -> u64 {
        let open = self.slot.current();
        open.map_or(u64::MAX, |open| open.attached.max_message_size)
    }

    /// Sends one message and waits until the broker has accepted it. [`BusError::Timeout`] says that
    /// the broker would not take it in time and that it was not sent;
    /// [`BusError::SendOutcomeUnknown`], that it was sent and nobody knows what became of it.
    ///
    /// The message is encoded by the call, and sent when the future is first polled.
    pub fn send_message(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), BusError>> + Send + '_ {
        // Many of these are under way at a time. So the message is encoded and let go before there
        // is a future, and what seldom happens is kept out of it.
        let resend = self.may_resend(std::slice::from_ref(&message));
        let encoded = encode::message(&message);
        drop(message);
        async move {
            let transfer = Transfer {
                format: MESSAGE_FORMAT,
                payload: encoded?,
            };
            let open = self.slot.standing();
            let limit = open.as_ref().map(|open| open.attached.max_message_size);
            let limit = limit.unwrap_or_else(|| self.max_message_size());
            check_size(transfer.payload.len() as u64, limit)?;
            let pending = Pending::new(transfer, resend);
            let Some(open) = open else {
                return Box::pin(self.send(vec![pending])).await;
            };
            let tried = match start(&open, &pending) {
                Ok(answer) => answer
                    .await
                    .unwrap_or_else(|_| Err(open.connection.failure())),
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => Ok(()),
                Err(error) => Box::pin(self.send_again(vec![(pending, error)])).await,
            }
        }
    }

    /// Sends many messages in as few transfers as the entity's limits allow, without waiting
    /// between them, and waits until the broker has accepted all.
    ///
    /// Nothing is sent when one message alone is too large. Each transfer is accepted or refused
    /// as a whole; after an error some may have been accepted, so send with message ids that let
    /// a repetition be recognised. A transfer that is tried again may come after its successors.
    pub async fn send_messages(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let encoded = encode::messages(&messages)?;
        check_size(encoded.largest() as u64, self.max_message_size())?;
        let limit = self.slot.current();
        let limit = limit.map_or(u64::MAX, |open| open.attached.max_batch_size);
        let resend = self.may_resend(&messages);
        let transfers = batch::pack(&messages, &encoded, limit);
        drop(messages);
        let pending = transfers.into_iter();
        let pending = pending.map(|transfer| Pending::new(transfer, resend));
        self.send(pending.collect()).await
    }

    /// Has the broker put messages into the queue at `instant`, all or none. Returns their sequence
    /// numbers, which [`cancel_scheduled_messages`](Self::cancel_scheduled_messages) takes. A
    /// message without an id is given one. Nothing is tried again once it has left.
    pub async fn schedule_messages(
        &self,
        messages: Vec<Message>,
        instant: DateTime<Utc>,
    ) -> Result<Vec<i64>, BusError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut encoded = Vec::with_capacity(messages.len());
        let mut size = 0;
        for message in messages {
            let mut message = message.with_scheduled_enqueue_time(instant);
            let new_id = || Uuid::new_v4().simple().to_string();
            message.message_id.get_or_insert_with(new_id);
            let payload = encode::message(&message)?;
            size += payload.len() as u64;
            encoded.push((message, payload));
        }
        check_size(size, self.max_message_size())?;
        self.management.schedule(&encoded).await
    }

    /// Takes back messages that were scheduled and are not in the queue yet. One that is not
    /// scheduled any more fails all, with [`BusError::MessageNotFound`].
    pub async fn cancel_scheduled_messages(
        &self,
        sequence_numbers: &[i64],
    ) -> Result<(), BusError> {
        if sequence_numbers.is_empty() {
            return Ok(());
        }
        self.management.cancel_scheduled(sequence_numbers).await
    }

    /// Detaches the link and waits for the broker to confirm.
    pub async fn close(self) {
        self.slot.close().await;
        self.management.close().await;
    }

    /// A repetition is harmless only where it can be recognised.
    fn may_resend(&self, messages: &[Message]) -> bool {
        let has_id = |message: &Message| message.message_id.is_some();
        self.supply.retry().resend_unknown && messages.iter().all(has_id)
    }

    /// Sends until everything is accepted, or one transfer has failed for good and no other waits
    /// for its outcome. The first such failure is the result.
    async fn send(&self, pending: Vec<Pending>) -> Result<(), BusError> {
        let failed = self.try_once(pending).await;
        self.send_again(failed).await
    }

    /// The same after a first try, in which `failed` failed.
    async fn send_again(&self, mut failed: Vec<(Pending, BusError)>) -> Result<(), BusError> {
        let mut pauses = self.supply.retry().pauses();
        let mut result = Ok(());
        loop {
            let (mut again, mut last) = (Vec::new(), None);
            for (mut transfer, error) in failed {
                if transfer.may_follow(&error) {
                    again.push(transfer);
                    last.get_or_insert(error);
                } else {
                    result = result.and(Err(transfer.verdict(error)));
                }
            }
            let Some(error) = last else { return result };
            let Some(pause) = pauses.next().filter(|_| result.is_ok()) else {
                let verdict = again.first().map(|transfer| transfer.verdict(error));
                return result.and(verdict.map_or(Ok(()), Err));
            };
            tokio::time::sleep(pause).await;
            failed = self.try_once(again).await;
        }
    }

    /// Sends everything once. Returns what was not accepted, with the reason.
    async fn try_once(&self, pending: Vec<Pending>) -> Vec<(Pending, BusError)> {
        let opening = opening(&self.entity);
        let open = match self.slot.get(&self.supply, &self.entity, opening).await {
            Ok(open) => open,
            Err(error) => {
                let failed = pending.into_iter();
                return failed.map(|transfer| (transfer, error.clone())).collect();
            }
        };
        let started = pending.into_iter();
        let started = started.map(|transfer| (start(&open, &transfer), transfer));
        let started: Vec<(Result<Answer, BusError>, Pending)> = started.collect();
        let mut failed = Vec::new();
        for (answer, transfer) in started {
            // Every answer is awaited, so that the sender is quiet when the call returns.
            let outcome = match answer {
                Ok(answer) => open.connection.promised(answer).await.flatten(),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                failed.push((transfer, error));
            }
        }
        failed
    }
}

fn check_size(size: u64, limit: u64) -> Result<(), BusError> {
    if size > limit {
        Err(BusError::MessageTooLarge { size, limit })
    } else {
        Ok(())
    }
}

/// Hands a transfer to the driver.
fn start(open: &OpenLink<()>, pending: &Pending) -> Result<Answer, BusError> {
    let (link, transfer) = (open.link.key(), pending.transfer.clone());
    open.connection.start(|reply| Command::Send {
        link,
        transfer,
        reply,
    })
}

fn opening(entity: &str) -> impl Opening<()> {
    || {
        let spec = LinkSpec {
            entity: entity.to_owned(),
            address: entity.to_owned(),
            role: LinkRole::Sender,
        };
        (spec, ())
    }
}

impl Pending {
    fn new(transfer: Transfer, resend: bool) -> Self {
        Self {
            transfer,
            resend,
            unknown: false,
        }
    }

    /// Notes a failed try. Says whether another may follow.
    fn may_follow(&mut self, error: &BusError) -> bool {
        let unknown = matches!(error, BusError::SendOutcomeUnknown { .. });
        self.unknown |= unknown;
        // The whole time of the call is over for one that never had its turn.
        let late = matches!(error, BusError::Timeout { operation, .. } if *operation == SENDING);
        error.is_transient() && !late && (self.resend || !unknown)
    }

    /// What the caller is told after the last try failed with `error`.
    fn verdict(&self, error: BusError) -> BusError {
        if self.unknown {
            error.outcome_unknown()
        } else {
            error
        }
    }
}
