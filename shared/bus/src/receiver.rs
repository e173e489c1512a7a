//! Receiving: wait for messages, decide about each.

mod browsing;
mod settling;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nightshift_amqp::Map;

pub(crate) use browsing::decode_peeked;

use crate::connection::{
    Attached, Command, LinkName, LinkRole, LinkSpec, SessionFilter, instant_after,
};
use crate::decode;
use crate::error::BusError;
use crate::inbox::{Delivery, Inbox};
use crate::lock_keeper::LockKeeper;
use crate::management::Management;
use crate::outcome::Outcome;
use crate::received_message::{DeliveryKey, ReceivedMessage, ReceiverKey, Via};
use crate::slot::Slot;
use crate::supply::{OpenLink, Opening, Supply};

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
    /// How long the lock of each received message is renewed by itself, from the call that returned
    /// the message, while a copy of it lives and it has not been settled. Zero, the default,
    /// renews nothing. Messages that were fetched ahead and that no call has taken yet are not
    /// covered: choose `prefetch` with the lock duration in mind.
    pub max_auto_lock_renewal_duration: Duration,
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
/// A lost link or connection fails the calls that wait on it; the next call to receive opens
/// another link, on a new connection if need be. Messages that came over a lost link are settled by
/// their lock token, which takes a request for each; while there is no connection that fails, and
/// they come again when their lock ends.
///
/// Dropping it gives fetched messages that no call has taken back to the broker and detaches the
/// link; [`close`](Self::close) also waits until that has happened. Messages that a call returned
/// and nobody settled stay locked until their lock ends.
pub struct Receiver {
    supply: Arc<Supply>,
    key: ReceiverKey,
    /// The entity without the sub-queue: what permission is asked for.
    parent: String,
    /// The entity with the sub-queue.
    entity: String,
    prefetch: u32,
    mode: ReceiveMode,
    slot: Slot<Arc<Inbox>>,
    management: Arc<Management>,
    keeper: Option<LockKeeper>,
    /// It holds a session, and ends with it: no other link takes the place of a lost one.
    holds_session: bool,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("entity", &self.entity)
            .finish_non_exhaustive()
    }
}

/// The receiver's link at the moment.
type Open = OpenLink<Arc<Inbox>>;

/// Registers a waiting call with the inbox for as long as it lives.
struct Waiting<'a> {
    open: &'a Open,
    max: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.open.with.unwant(self.max) {
            adjust_credit(self.open);
        }
    }
}

fn adjust_credit(open: &Open) {
    open.connection.post(Command::AdjustCredit {
        link: open.link.key(),
    });
}

fn opening(
    address: &str,
    prefetch: u32,
    mode: ReceiveMode,
    session: Option<&SessionFilter>,
) -> impl Opening<Arc<Inbox>> {
    move || {
        let inbox = Arc::new(Inbox::new(prefetch));
        let spec = LinkSpec {
            entity: address.to_owned(),
            address: address.to_owned(),
            role: LinkRole::Receiver {
                inbox: Arc::clone(&inbox),
                settled: mode == ReceiveMode::ReceiveAndDelete,
                session: session.cloned(),
            },
        };
        (spec, inbox)
    }
}

impl Receiver {
    pub(crate) async fn open(
        supply: Arc<Supply>,
        entity: String,
        options: ReceiverOptions,
    ) -> Result<Self, BusError> {
        let suffix = options.sub_queue.map_or("", SubQueue::suffix);
        let address = format!("{entity}{suffix}");
        let opening = opening(&address, options.prefetch, options.mode, None);
        let open = supply.open(&entity, &opening).await?;
        drop(opening);
        let slot = Slot::holding(open);
        let node = Management::new(
            Arc::clone(&supply),
            entity.clone(),
            address.clone(),
            slot.name(),
        );
        let management = Arc::new(node);
        let longest = options.max_auto_lock_renewal_duration;
        let renews = !longest.is_zero() && options.mode == ReceiveMode::PeekLock;
        let clock = supply.options().clock.clone();
        let keeper = renews.then(|| LockKeeper::new(Arc::clone(&management), clock, longest));
        Ok(Self {
            supply,
            key: ReceiverKey::next(),
            parent: entity,
            entity: address,
            prefetch: options.prefetch,
            mode: options.mode,
            slot,
            management,
            keeper,
            holds_session: false,
        })
    }

    /// Opens a receiver that holds a session. Its locks end with the session's, so it keeps none.
    pub(crate) async fn open_session(
        supply: Arc<Supply>,
        entity: String,
        wanted: &SessionFilter,
        mode: ReceiveMode,
        prefetch: u32,
    ) -> Result<(Self, Attached), BusError> {
        let opening = opening(&entity, prefetch, mode, Some(wanted));
        let open = supply.open(&entity, &opening).await?;
        drop(opening);
        let attached = open.attached.clone();
        let slot = Slot::holding(open);
        let name = slot.name();
        let node = Management::new(Arc::clone(&supply), entity.clone(), entity.clone(), name);
        let session = attached.session_id.as_deref().unwrap_or_default();
        let receiver = Self {
            supply,
            key: ReceiverKey::next(),
            parent: entity.clone(),
            entity,
            prefetch,
            mode,
            slot,
            management: Arc::new(node.of_session(Arc::from(session))),
            keeper: None,
            holds_session: true,
        };
        Ok((receiver, attached))
    }

    /// A link that something may still come from, opened now if need be.
    async fn link(&self) -> Result<Arc<Open>, BusError> {
        if let Some(open) = self.slot.current()
            && (self.holds_session || !open.with.is_spent())
        {
            return Ok(open);
        }
        let opening = opening(&self.entity, self.prefetch, self.mode, None);
        self.slot.get(&self.supply, &self.parent, opening).await
    }

    /// What the loss of a link means to the caller: a session is lost with the link that held it.
    fn told(&self, error: BusError) -> BusError {
        match error {
            BusError::ConnectionLost { .. } | BusError::Detached { .. } if self.holds_session => {
                BusError::SessionLockLost {
                    description: error.to_string(),
                }
            }
            other => other,
        }
    }

    pub(crate) fn management(&self) -> Arc<Management> {
        Arc::clone(&self.management)
    }

    /// The name of the link at the moment.
    pub(crate) fn link_name(&self) -> Option<LinkName> {
        self.slot.current().map(|open| open.link.name().clone())
    }

    /// Refuses requests about a session that this receiver holds no longer.
    pub(crate) fn check_session(&self) -> Result<(), BusError> {
        if !self.holds_session || self.slot.name().get().is_some() {
            return Ok(());
        }
        if self.supply.is_closed() {
            return Err(BusError::Closed { what: "client" });
        }
        Err(BusError::SessionLockLost {
            description: "the link that held it is gone".to_owned(),
        })
    }

    /// The entity's address, sub-queue included.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Waits up to `max_wait` for the first message, then returns at once all that are here, at
    /// most `max`. No message in time is an empty list. Dropping the call loses nothing.
    ///
    /// When the link was lost before the call, another is opened first, which takes up to
    /// [`ClientOptions::try_timeout`](crate::ClientOptions::try_timeout) more. When it is lost
    /// during the call, the call fails.
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
        let deadline = instant_after(max_wait);
        let open = self.link().await?;
        let wanted = u32::try_from(max).unwrap_or(u32::MAX);
        open.with.want(wanted);
        let _waiting = Waiting {
            open: &open,
            max: wanted,
        };
        loop {
            let mut changed = std::pin::pin!(open.with.changed());
            changed.as_mut().enable();
            let (taken, messages) = self.take(&open, max)?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            if taken > 0 {
                // What could not be decoded has used credit that the call still needs.
                continue;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                // What came in the last instant is still worth returning.
                return Ok(self.take(&open, max)?.1);
            }
        }
    }

    /// Takes and decodes what is here, without waiting. Says how many deliveries that were.
    fn take(&self, open: &Open, max: usize) -> Result<(usize, Vec<ReceivedMessage>), BusError> {
        let taken = open.with.take(max).map_err(|error| self.told(error))?;
        if taken.adjust_credit {
            adjust_credit(open);
        }
        let count = taken.deliveries.len();
        let mut messages = Vec::with_capacity(count);
        for delivery in taken.deliveries {
            let link = open.link.key();
            let via = if delivery.settled {
                Via::Nothing
            } else {
                let id = delivery.id;
                Via::Link { link, id }
            };
            let key = DeliveryKey {
                receiver: self.key,
                via,
            };
            match decode::received(key, &delivery) {
                Ok(message) => messages.push(message),
                Err(error) => self.set_aside(open, &delivery, &error),
            }
        }
        if let Some(keeper) = &self.keeper {
            keeper.hold(&mut messages);
        }
        Ok((count, messages))
    }

    /// Puts a delivery that cannot be decoded where people look for such things. In the
    /// dead-letter queue it is there already: settled it would come again at once, so it stays
    /// locked, and those behind it have their turn.
    fn set_aside(&self, open: &Open, delivery: &Delivery, error: &BusError) {
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
        open.connection.post(Command::Settle {
            link: open.link.key(),
            deliveries: vec![delivery.id],
            outcome: Outcome::DeadLetter {
                reason: "MalformedMessage".to_owned(),
                description: error.to_string(),
                properties: Map::new(),
            },
            reply,
        });
    }

    /// Gives fetched messages that no call has taken back to the broker, detaches the link and
    /// waits for the broker to confirm.
    pub async fn close(mut self) {
        self.keeper = None;
        self.slot.close().await;
        self.management.close().await;
    }
}
