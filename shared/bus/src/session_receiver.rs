//! Receiving one session: its messages in their order, to one receiver at a time.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::connection::{Attached, SessionFilter};
use crate::error::BusError;
use crate::receiver::{ReceiveMode, Receiver};
use crate::session_keeper::{Kept, SessionKeeper, SessionLock};
use crate::supply::Supply;

/// The longest id of a session that the service takes, in characters.
const LONGEST_ID: usize = 128;

/// How a session is accepted and its messages are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReceiverOptions {
    /// Whether messages are locked until settled, or gone when delivered.
    pub mode: ReceiveMode,
    /// How many messages are fetched ahead of the calls that want them: as in
    /// [`ReceiverOptions::prefetch`](crate::ReceiverOptions::prefetch).
    pub prefetch: u32,
    /// How long the broker looks for a session that has messages and that nobody holds, before
    /// [`accept_next_session`](crate::ServiceBusClient::accept_next_session) ends with
    /// [`BusError::NoSessionAvailable`]. A broker that does not keep to it is given up after
    /// [`ClientOptions::try_timeout`](crate::ClientOptions::try_timeout) more. A session that is
    /// asked for by its id does not wait.
    pub max_wait: Duration,
    /// How long the lock of the session is renewed by itself, from the moment that it was
    /// accepted, while the receiver lives. Zero, the default, renews nothing.
    pub max_auto_lock_renewal_duration: Duration,
}

impl Default for SessionReceiverOptions {
    fn default() -> Self {
        Self {
            mode: ReceiveMode::default(),
            prefetch: 0,
            max_wait: Duration::from_mins(1),
            max_auto_lock_renewal_duration: Duration::ZERO,
        }
    }
}

/// Holds a session, and receives and settles its messages as a [`Receiver`] does, to which it
/// dereferences: nobody else gets messages of the session meanwhile.
///
/// The session's lock covers its messages. It ends when it is not renewed in time, and with the
/// link: nothing is opened again in the background, since messages that were taken before could
/// then come after later ones. Every call fails with [`BusError::SessionLockLost`] from there on;
/// accept the session again to go on where the broker stands.
///
/// Dropping it frees the session; [`close`](Self::close) also waits until that has happened.
pub struct SessionReceiver {
    receiver: Receiver,
    id: Arc<str>,
    lock: SessionLock,
    keeper: Option<SessionKeeper>,
}

impl fmt::Debug for SessionReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionReceiver")
            .field("entity", &self.receiver.entity())
            .field("session_id", &self.id)
            .field("locked_until", &self.lock.end())
            .finish_non_exhaustive()
    }
}

/// As in the other SDKs, a session receiver is a receiver: code that takes and settles messages
/// need not know which of the two it has.
impl Deref for SessionReceiver {
    type Target = Receiver;

    fn deref(&self) -> &Receiver {
        &self.receiver
    }
}

impl SessionReceiver {
    /// Accepts the session `id`, or the next free one.
    pub(crate) async fn accept(
        supply: Arc<Supply>,
        entity: String,
        id: Option<&str>,
        options: SessionReceiverOptions,
    ) -> Result<Self, BusError> {
        let wanted = match id {
            Some(id) if id.chars().count() > LONGEST_ID => {
                let text = format!("the id of a session has at most {LONGEST_ID} characters");
                return Err(BusError::InvalidArgument(text));
            }
            Some(id) => SessionFilter::Named(id.to_owned()),
            None => SessionFilter::Next(options.max_wait),
        };
        let clock = supply.options().clock.clone();
        let (mode, prefetch) = (options.mode, options.prefetch);
        let opened = Receiver::open_session(supply, entity.clone(), &wanted, mode, prefetch);
        let (receiver, attached) = opened
            .await
            .map_err(|error| refusal(&wanted, entity, error))?;
        let id = granted(&wanted, &attached)?;
        let lock = SessionLock::default();
        lock.ends_at(attached.session_locked_until);
        let longest = options.max_auto_lock_renewal_duration;
        let link = receiver.link_name().filter(|_| !longest.is_zero());
        let keeper = link.map(|link| {
            let kept = Kept {
                management: receiver.management(),
                clock,
                link,
                lock: lock.clone(),
            };
            SessionKeeper::new(kept, longest)
        });
        Ok(Self {
            receiver,
            id,
            lock,
            keeper,
        })
    }

    /// The id of the session.
    pub fn session_id(&self) -> &str {
        &self.id
    }

    /// When the lock of the session ends, by the broker's clock, as the broker last said. `None`
    /// when it has not said.
    pub fn session_locked_until(&self) -> Option<DateTime<Utc>> {
        self.lock.end()
    }

    /// Begins the lock of the session, and with it those of its messages, anew and says when it
    /// ends now, by the broker's clock.
    pub async fn renew_session_lock(&self) -> Result<DateTime<Utc>, BusError> {
        self.receiver.check_session()?;
        let end = self.receiver.management().renew_session_lock().await?;
        self.lock.ends_at(Some(end));
        Ok(end)
    }

    /// What was last kept with the session by [`set_session_state`](Self::set_session_state),
    /// whoever held it then; `None` when nothing is.
    pub async fn get_session_state(&self) -> Result<Option<Bytes>, BusError> {
        self.receiver.check_session()?;
        self.receiver.management().session_state().await
    }

    /// Keeps something with the session, as large as a message may be; `None` removes it. It
    /// outlives the receiver and the session's messages.
    pub async fn set_session_state(&self, state: Option<Bytes>) -> Result<(), BusError> {
        self.receiver.check_session()?;
        self.receiver.management().set_session_state(state).await
    }

    /// Gives fetched messages that no call has taken back to the broker, frees the session and
    /// waits for the broker to confirm. Messages that a call returned and nobody settled are
    /// available to the next receiver of the session.
    pub async fn close(self) {
        drop(self.keeper);
        self.receiver.close().await;
    }
}

/// What a refused session means to the caller.
fn refusal(wanted: &SessionFilter, entity: String, error: BusError) -> BusError {
    match (wanted, &error) {
        (SessionFilter::Next(_), BusError::Detached { condition, .. })
            if condition == "com.microsoft:timeout" =>
        {
            BusError::NoSessionAvailable { entity }
        }
        _ => error,
    }
}

/// The session that the broker gave, which is the one that was asked for.
fn granted(wanted: &SessionFilter, attached: &Attached) -> Result<Arc<str>, BusError> {
    let Some(id) = attached.session_id.as_deref() else {
        let text = "the broker opened a link without the session that was asked for; the entity \
                    may have none";
        return Err(BusError::Protocol(text.to_owned()));
    };
    match wanted {
        SessionFilter::Named(wanted) if wanted != id => Err(BusError::Protocol(format!(
            "the broker gave the session `{id}` where `{wanted}` was asked for"
        ))),
        _ => Ok(Arc::from(id)),
    }
}

#[cfg(test)]
mod tests;
