//! The client: one AMQP connection and the links on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nightshift_time::{SharedClock, SystemClock};

use crate::authorization::Authorizer;
use crate::connection::{Command, Connection, LinkRole, LinkSpec};
use crate::connection_string::ConnectionString;
use crate::driver;
use crate::error::BusError;
use crate::inbox::Inbox;
use crate::receiver::{ReceiveMode, Receiver, ReceiverOptions};
use crate::sender::Sender;

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
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            try_timeout: Duration::from_mins(1),
            token_lifetime: Duration::from_hours(1),
            idle_timeout: Duration::from_mins(1),
            identifier: None,
        }
    }
}

/// A connection to a Service Bus namespace or a broker that speaks like one.
///
/// Clones share the connection, and so do the senders and receivers made from it; it closes when
/// the last of them is gone. When it is lost, every pending and later call fails with
/// [`BusError::ConnectionLost`], and a new client has to be made.
#[derive(Clone)]
pub struct ServiceBusClient {
    connection: Arc<Connection>,
    authorizer: Arc<Authorizer>,
    entity_path: Option<Arc<str>>,
    host: Arc<str>,
}

impl fmt::Debug for ServiceBusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBusClient")
            .field("host", &self.host)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl ServiceBusClient {
    /// Connects, and returns when the broker has opened its side.
    pub async fn connect(
        connection_string: &ConnectionString,
        options: ClientOptions,
    ) -> Result<Self, BusError> {
        let connection = driver::connect(connection_string, &options).await?;
        Ok(Self::over(connection, connection_string, &options))
    }

    /// A client over a connection that stands.
    pub(crate) fn over(
        connection: Connection,
        connection_string: &ConnectionString,
        options: &ClientOptions,
    ) -> Self {
        let connection = Arc::new(connection);
        let authorizer = Authorizer::new(Arc::clone(&connection), connection_string, options);
        Self {
            connection,
            authorizer: Arc::new(authorizer),
            entity_path: connection_string.entity_path().map(Arc::from),
            host: Arc::from(connection_string.host()),
        }
    }

    /// Opens a sender to a queue or topic.
    pub async fn create_sender(&self, entity: &str) -> Result<Sender, BusError> {
        let entity = self.checked(entity)?;
        let grant = self.authorizer.authorize(entity).await?;
        let spec = LinkSpec {
            entity: entity.to_owned(),
            address: entity.to_owned(),
            role: LinkRole::Sender,
        };
        let (link, attached) = self.connection.attach(spec).await?;
        Ok(Sender::new(
            Arc::clone(&self.connection),
            entity.to_owned(),
            attached,
            link,
            grant,
        ))
    }

    /// Opens a receiver on a queue, a subscription (`topic/Subscriptions/name`) or a sub-queue of
    /// them.
    pub async fn create_receiver(
        &self,
        entity: &str,
        options: ReceiverOptions,
    ) -> Result<Receiver, BusError> {
        let entity = self.checked(entity)?;
        let grant = self.authorizer.authorize(entity).await?;
        let suffix = options.sub_queue.map_or("", |sub_queue| sub_queue.suffix());
        let address = format!("{entity}{suffix}");
        let inbox = Arc::new(Inbox::new(options.prefetch));
        let settled = options.mode == ReceiveMode::ReceiveAndDelete;
        let spec = LinkSpec {
            entity: address.clone(),
            address: address.clone(),
            role: LinkRole::Receiver {
                inbox: Arc::clone(&inbox),
                settled,
            },
        };
        let (link, _) = self.connection.attach(spec).await?;
        Ok(Receiver::new(
            Arc::clone(&self.connection),
            inbox,
            address,
            link,
            grant,
        ))
    }

    /// Closes the connection with everything on it. Messages that were fetched and not taken go
    /// back to the broker first. Pending calls fail with [`BusError::Closed`].
    pub async fn close(&self) {
        // Without an answer the connection is gone already.
        let _ = self
            .connection
            .ask("closing", |reply| Command::Close { reply })
            .await;
    }

    /// Whether the connection is closed or lost, so that every further call will fail.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
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
