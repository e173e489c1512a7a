//! A process's connections to brokers, apart from those on which it receives.
//!
//! There is one connection for each `connection` setting, whoever uses it, and one sender for each
//! queue or topic. Both are made when they are first needed, make themselves anew when they are
//! lost, and live as long as the process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use nightshift_bus::{BusError, ClientOptions, Sender, ServiceBusClient};
use nightshift_identity::EntraCredential;
use tokio::sync::OnceCell;

use crate::{Access, Connection};

/// Values that are made when they are first asked for. A failure makes none.
type Slots<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

/// The connections.
#[derive(Debug, Default)]
pub struct Connections {
    options: ClientOptions,
    /// Shared by all connections of one name, and their tokens with them.
    credentials: Slots<String, Arc<EntraCredential>>,
    clients: Slots<String, ServiceBusClient>,
    senders: Slots<(String, String), Arc<Sender>>,
}

impl Connections {
    /// Connections that behave as `options` say.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// A connection of its own, for whoever receives.
    pub async fn connect(&self, to: &Connection) -> Result<ServiceBusClient, BusError> {
        let options = self.options.clone();
        match &to.access {
            Access::String(string) => ServiceBusClient::connect(string, options).await,
            Access::Identity {
                namespace,
                identity,
            } => {
                let slot = slot(&self.credentials, to.name.clone());
                let new = async || {
                    Arc::new(EntraCredential::new(
                        identity.clone(),
                        options.clock.clone(),
                    ))
                };
                let credential = Arc::clone(slot.get_or_init(new).await);
                ServiceBusClient::connect_with_credential(namespace, credential, options).await
            }
        }
    }

    /// The shared connection.
    pub async fn client(&self, to: &Connection) -> Result<ServiceBusClient, BusError> {
        let slot = slot(&self.clients, to.name.clone());
        slot.get_or_try_init(|| self.connect(to)).await.cloned()
    }

    /// The shared sender to `entity`.
    pub async fn sender(&self, to: &Connection, entity: &str) -> Result<Arc<Sender>, BusError> {
        let slot = slot(&self.senders, (to.name.clone(), entity.to_owned()));
        let open = async || {
            let client = self.client(to).await?;
            client.create_sender(entity).await.map(Arc::new)
        };
        slot.get_or_try_init(open).await.cloned()
    }

    /// Closes every shared connection, for good, all at the same time.
    pub async fn close(&self) {
        let slots: Vec<_> = lock(&self.clients).drain().collect();
        let clients = slots.iter().filter_map(|(_, slot)| slot.get());
        join_all(clients.map(ServiceBusClient::close)).await;
    }
}

fn slot<K: Eq + Hash, V>(slots: &Slots<K, V>, key: K) -> Arc<OnceCell<V>> {
    Arc::clone(lock(slots).entry(key).or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
