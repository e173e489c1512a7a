//! The client: one AMQP connection and the links on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_time::{SharedClock, SystemClock};

use crate::connection_string::ConnectionString;
use crate::error::BusError;
use crate::management::Management;
use crate::received_message::ReceivedMessage;
use crate::receiver::{Receiver, ReceiverOptions, decode_peeked};
use crate::retry::RetryOptions;
use crate::sender::Sender;
use crate::session_receiver::{SessionReceiver, SessionReceiverOptions};
use crate::slot::CurrentName;
use crate::supply::Supply;
use crate::token::TokenCredential;

/// How a client behaves. [`ClientOptions::default`] is right for production.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the expiry of tokens is counted from.
    pub clock: SharedClock,
    /// The longest that any single operation waits for the broker, connecting included.
    pub try_timeout: Duration,
    /// How long an access token is good for. It is renewed when three quarters of it are over.
    pub token_lifetime: Duration,
    /// The longest silence of the broker before the connection counts as lost. The broker is
    /// asked to send something (an empty frame will do) more often than this.
    pub idle_timeout: Duration,
    /// How this client calls itself (the AMQP container-id); a random one when `None`.
    pub identifier: Option<String>,
    /// Root certificates (DER) that are trusted beside those of the machine: for a broker whose
    /// certificate is nobody else's. Without TLS they do not matter.
    pub extra_root_certificates: Vec<Bytes>,
    /// How calls of senders and receivers try again, and how fast a lost connection is made anew.
    pub retry: RetryOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            try_timeout: Duration::from_mins(1),
            token_lifetime: Duration::from_hours(1),
            idle_timeout: Duration::from_mins(1),
            identifier: None,
            extra_root_certificates: Vec::new(),
            retry: RetryOptions::default(),
        }
    }
}

/// A connection to a Service Bus namespace or a broker that speaks like one.
///
/// Clones share the connection, and so do the senders and receivers made from it; it closes when
/// the last of them is gone. When it is lost, the calls that wait on it fail, and the next call
/// makes a new one: the senders and receivers there are open their links again by themselves.
#[derive(Clone)]
pub struct ServiceBusClient {
    supply: Arc<Supply>,
    entity_path: Option<Arc<str>>,
    host: Arc<str>,
}

impl fmt::Debug for ServiceBusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBusClient")
            .field("host", &self.host)
            .field("closed", &self.is_closed())
            .field("connected", &self.supply.is_connected())
            .finish_non_exhaustive()
    }
}

impl ServiceBusClient {
    /// Connects, and returns when the broker has opened its side. One try: whether a broker that
    /// is not there is waited for is for the caller to decide.
    pub async fn connect(
        connection_string: &ConnectionString,
        options: ClientOptions,
    ) -> Result<Self, BusError> {
        let supply = Supply::connect(connection_string, options).await?;
        Ok(Self {
            supply: Arc::new(supply),
            entity_path: connection_string.entity_path().map(Arc::from),
            host: Arc::from(connection_string.host()),
        })
    }

    /// Connects to a namespace (`HOST[:PORT]`) over TLS, with tokens that `credential` makes, and
    /// returns when the broker has opened its side. One try.
    pub async fn connect_with_credential(
        namespace: &str,
        credential: Arc<dyn TokenCredential>,
        options: ClientOptions,
    ) -> Result<Self, BusError> {
        let endpoint = ConnectionString::of_namespace(namespace, credential)?;
        Self::connect(&endpoint, options).await
    }

    /// Opens a sender to a queue or topic. One try, on a new connection if the last is lost.
    pub async fn create_sender(&self, entity: &str) -> Result<Sender, BusError> {
        let entity = self.checked(entity)?;
        Sender::open(Arc::clone(&self.supply), entity.to_owned()).await
    }

    /// Opens a receiver on a queue, a subscription (`topic/Subscriptions/name`) or a sub-queue of
    /// them. One try, on a new connection if the last is lost.
    pub async fn create_receiver(
        &self,
        entity: &str,
        options: ReceiverOptions,
    ) -> Result<Receiver, BusError> {
        let entity = self.checked(entity)?;
        Receiver::open(Arc::clone(&self.supply), entity.to_owned(), options).await
    }

    /// Accepts the session `session_id` of an entity that has sessions: from here on, its messages
    /// come to this receiver alone. The session need not have any yet. Fails with
    /// [`BusError::SessionCannotBeLocked`] while another receiver holds it. One try, on a new
    /// connection if the last is lost.
    pub async fn accept_session(
        &self,
        entity: &str,
        session_id: &str,
        options: SessionReceiverOptions,
    ) -> Result<SessionReceiver, BusError> {
        let entity = self.checked(entity)?.to_owned();
        SessionReceiver::accept(Arc::clone(&self.supply), entity, Some(session_id), options).await
    }

    /// Accepts the next session that has messages and that nobody holds, waiting for one for
    /// [`SessionReceiverOptions::max_wait`]; then it fails with [`BusError::NoSessionAvailable`].
    /// One try, on a new connection if the last is lost.
    pub async fn accept_next_session(
        &self,
        entity: &str,
        options: SessionReceiverOptions,
    ) -> Result<SessionReceiver, BusError> {
        let entity = self.checked(entity)?.to_owned();
        SessionReceiver::accept(Arc::clone(&self.supply), entity, None, options).await
    }

    /// Up to `max` ids of an entity's sessions, after the first `skip` ones: those that have
    /// messages, or, with `updated_after`, those whose state was set after that instant. Fewer
    /// than `max` does not mean that these were the last; none does.
    pub async fn get_message_sessions(
        &self,
        entity: &str,
        updated_after: Option<DateTime<Utc>>,
        skip: u32,
        max: u32,
    ) -> Result<Vec<String>, BusError> {
        let entity = self.checked(entity)?.to_owned();
        let number = |count| i32::try_from(count).unwrap_or(i32::MAX);
        let supply = Arc::clone(&self.supply);
        let node = Management::new(supply, entity.clone(), entity, CurrentName::default());
        let ids = node
            .sessions(updated_after, number(skip), number(max))
            .await;
        node.close().await;
        ids
    }

    /// Looks at messages as [`Receiver::peek_messages`] does, without a receiver: on an entity that
    /// has sessions, at those of all sessions, whoever holds them.
    pub async fn peek_messages(
        &self,
        entity: &str,
        from_sequence_number: i64,
        max: usize,
    ) -> Result<Vec<ReceivedMessage>, BusError> {
        let entity = self.checked(entity)?.to_owned();
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        if max == 0 {
            return Ok(Vec::new());
        }
        let supply = Arc::clone(&self.supply);
        let (node, name) = (entity.clone(), CurrentName::default());
        let node = Management::new(supply, node, entity.clone(), name);
        let encoded = node.peek(from_sequence_number, max).await;
        node.close().await;
        Ok(decode_peeked(&entity, encoded?))
    }

    /// Closes the connection with everything on it, for good. Messages that were fetched and not
    /// taken go back to the broker first. Pending and later calls fail with [`BusError::Closed`].
    pub async fn close(&self) {
        self.supply.close().await;
    }

    /// Whether [`close`](Self::close) was called, so that every further call will fail.
    pub fn is_closed(&self) -> bool {
        self.supply.is_closed()
    }

    /// An entity's address without the slashes around it, checked against the `EntityPath` that
    /// the connection string is limited to.
    fn checked<'a>(&self, entity: &'a str) -> Result<&'a str, BusError> {
        let entity = entity.trim_matches('/');
        if entity.is_empty() {
            return Err(BusError::InvalidArgument(
                "the name of the entity is empty".to_owned(),
            ));
        }
        match self.entity_path.as_deref() {
            Some(path) if !is_within(entity, path) => Err(BusError::InvalidArgument(format!(
                "the connection string is limited to `{path}` (EntityPath), not `{entity}`"
            ))),
            _ => Ok(entity),
        }
    }
}

/// Whether `entity` is `path` or lies below it (a subscription of a topic). Names of entities are
/// compared without regard to case.
fn is_within(entity: &str, path: &str) -> bool {
    let Some(head) = entity.get(..path.len()) else {
        return false;
    };
    let tail = &entity[path.len()..];
    head.eq_ignore_ascii_case(path) && (tail.is_empty() || tail.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn an_entity_path_covers_itself_and_what_is_below() {
        assert!(is_within("Orders", "orders"));
        assert!(is_within("orders/Subscriptions/all", "orders"));
        assert!(!is_within("orders2", "orders"));
        assert!(!is_within("ord", "orders"));
        assert!(!is_within("ördersx", "orders"));
    }
}
