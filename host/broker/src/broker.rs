//! The running broker: a listener, a timekeeper, and a task per connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nightshift_time::SharedClock;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{AccessKey, BrokerConfig},
    connection,
    entity::Namespace,
    error::BrokerError,
    journal::{DiskFolder, Folder, Journal},
    queue::QueueCounts,
    store::{self, Restored},
    timekeeper,
};

/// The rule and key in the connection string when none is configured: those of the official
/// emulator, which do not matter there either.
const ANY_RULE: &str = "RootManageSharedAccessKey";
const ANY_KEY: &str = "SAS_KEY_VALUE";

/// How long to wait before accepting again when the machine has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections for which there is no place, looked at in case they are health probes.
const PROBE_PLACES: usize = 64;

/// What every connection needs to see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) clock: SharedClock,
    /// Clients are told to go.
    pub(crate) stop: CancellationToken,
    /// They have gone.
    stopped: CancellationToken,
    pub(crate) journal: Option<Arc<Journal>>,
    next_connection: AtomicU64,
}

impl Shared {
    /// A broker with what is in the journal in `folder`, if there is one.
    pub(crate) fn new(
        config: BrokerConfig,
        clock: SharedClock,
        folder: Option<Arc<dyn Folder>>,
    ) -> Result<Self, BrokerError> {
        let now_ms = clock.now().timestamp_millis();
        let restored = folder.map(|folder| Restored::read(folder, now_ms));
        let restored = restored.transpose()?;
        Ok(Self {
            journal: restored.as_ref().map(Restored::journal).cloned(),
            namespace: Arc::new(Namespace::new(&config, &clock, restored)?),
            config,
            clock,
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
            next_connection: AtomicU64::new(1),
        })
    }
}

/// A running broker. Dropping it stops it at once; [`Broker::stop`] does so politely.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    tasks: TaskTracker,
    accepting: JoinHandle<()>,
}

impl Broker {
    /// Checks `config`, takes the port and starts serving. Must be called within a tokio runtime.
    ///
    /// All time that clients see (enqueue times, ends of locks, expiry) is told by `clock`.
    pub fn start(config: BrokerConfig, clock: SharedClock) -> Result<Self, BrokerError> {
        config.check()?;
        let folder = config.data.as_deref().map(DiskFolder::open).transpose()?;
        let folder = folder.map(|folder| Arc::new(folder) as Arc<dyn Folder>);
        Self::start_in(folder, config, clock)
    }

    /// The same, with the journal in `folder`.
    pub(crate) fn start_in(
        folder: Option<Arc<dyn Folder>>,
        config: BrokerConfig,
        clock: SharedClock,
    ) -> Result<Self, BrokerError> {
        let shared = Arc::new(Shared::new(config, clock, folder)?);
        let listen = shared.config.listen;
        let failed = |source| BrokerError::Listen { listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;

        let tasks = TaskTracker::new();
        tokio::spawn(timekeeper::keep_time(
            Arc::clone(&shared.namespace),
            Arc::clone(&shared.clock),
            shared.journal.clone(),
            shared.stopped.clone(),
        ));
        if let Some(journal) = &shared.journal {
            tokio::spawn(store::keep_small(
                Arc::clone(&shared.namespace),
                Arc::clone(journal),
                shared.stop.clone(),
            ));
        }
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), tasks.clone()));
        let queues = shared.config.queues.len();
        tracing::info!(broker.address = %local_addr, broker.queues = queues, "broker is listening");
        Ok(Self {
            shared,
            local_addr,
            tasks,
            accepting,
        })
    }

    /// The address that clients reach the broker at.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A connection string in the form of the official emulator's, for clients on this machine.
    ///
    /// It contains the access key when there is one; treat it as a secret then.
    pub fn connection_string(&self) -> String {
        let any = AccessKey {
            name: ANY_RULE.to_owned(),
            key: ANY_KEY.to_owned(),
        };
        let AccessKey { name, key } = self.shared.config.access_key.as_ref().unwrap_or(&any);
        let host = match self.local_addr.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = self.local_addr.port();
        format!(
            "Endpoint=sb://{host}:{port};SharedAccessKeyName={name};SharedAccessKey={key};\
             UseDevelopmentEmulator=true;"
        )
    }

    /// The names of the queues, in the order in which they were configured.
    pub fn queue_names(&self) -> impl Iterator<Item = &str> {
        self.shared
            .config
            .queues
            .iter()
            .map(|queue| queue.name.as_str())
    }

    /// What the operator should know about the start: the end of the journal was cut off or begun
    /// anew, or it has messages in a queue that is not served. One sentence each.
    pub fn notices(&self) -> Vec<String> {
        let journal = self.shared.journal.as_ref();
        let notice = journal.and_then(|journal| journal.notice());
        let unserved = self.shared.namespace.unserved().map(|(name, messages)| {
            format!(
                "the journal has {messages} messages of the queue {name:?}, which is not served; \
                 they are kept until it is"
            )
        });
        notice
            .map(str::to_owned)
            .into_iter()
            .chain(unserved)
            .collect()
    }

    /// How many messages a queue holds at this moment, or `None` when there is no such queue.
    pub fn counts(&self, queue: &str) -> Option<QueueCounts> {
        let entity = self.shared.namespace.get(&queue.to_lowercase())?;
        let now = self.shared.clock.now();
        Some(entity.with(|queue| {
            queue.expire(now);
            queue.counts()
        }))
    }

    /// Waits until the journal can be written no more, and says why. Every connection is closed
    /// then, and nothing more is confirmed; there is nothing left to do but to stop. Without a
    /// journal this waits for ever.
    pub async fn failed(&self) -> BrokerError {
        match &self.shared.journal {
            Some(journal) => BrokerError::Journal(journal.failure().await),
            None => std::future::pending().await,
        }
    }

    /// Stops accepting, tells every client that the connection is closed by force, and returns when
    /// all connections are gone, at the latest after the configured grace. Without a journal the
    /// messages are gone with the broker.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        self.tasks.close();
        if timeout(self.shared.config.limits.stop_grace, self.tasks.wait())
            .await
            .is_err()
        {
            let left = self.tasks.len();
            tracing::warn!(
                broker.connections = left,
                "stopped before every client was told"
            );
        }
        self.shared.stopped.cancel();
        // From here on the port is free.
        drop((&mut self.accepting).await);
        if let Some(journal) = &self.shared.journal {
            journal.written().await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.stopped.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.config.limits.connections));
    let probe_places = Arc::new(Semaphore::new(PROBE_PLACES));
    loop {
        let accepted = tokio::select! {
            () = shared.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that vanished in between, or no file descriptor left: neither is fatal.
                tracing::warn!(error = %error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        let is_stopping = shared.stop.is_cancelled();
        let place = Arc::clone(&places).try_acquire_owned();
        let Some(place) = place.ok().filter(|_| !is_stopping) else {
            if !is_stopping {
                let limit = shared.config.limits.connections;
                tracing::warn!(peer.address = %peer, broker.limit = limit, "too many connections");
            }
            if let Ok(place) = Arc::clone(&probe_places).try_acquire_owned() {
                tasks.spawn(async move {
                    connection::serve_probe(stream, &shared).await;
                    drop(place);
                });
            }
            continue;
        };
        let id = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(async move {
            connection::serve(stream, peer, id, shared).await;
            drop(place);
        });
    }
}
