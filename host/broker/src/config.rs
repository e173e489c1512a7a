//! What a broker serves and within which bounds: plain values, checked once at start.
//!
//! The defaults are those of the service this broker stands in for (lock of one minute, ten
//! deliveries), so that a job tuned here behaves the same there. Every bound exists because a
//! client chooses the number on the other side of it: a queue's size, a connection's unsettled
//! deliveries, the number of connections.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use crate::error::BrokerError;

/// The longest entity path the service accepts, in characters.
const MAX_ENTITY_PATH: usize = 260;
/// The longest peek-lock the service accepts.
const MAX_LOCK_DURATION: Duration = Duration::from_mins(5);
/// The windows of duplicate detection that make sense; the service has 20 s to 7 days.
const DUPLICATE_WINDOWS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=LONGEST_DUPLICATE_WINDOW;
pub(crate) const LONGEST_DUPLICATE_WINDOW: Duration = Duration::from_hours(7 * 24);

/// Everything [`Broker::start`](crate::Broker::start) needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// The queues to serve. At least one; names are compared without regard to case.
    pub queues: Vec<QueueConfig>,
    /// Where to listen. Port 0 takes a free port, to be read from
    /// [`Broker::local_addr`](crate::Broker::local_addr).
    pub listen: SocketAddr,
    /// The key that clients must prove to hold. Without one, any key is accepted, which is allowed
    /// on a loopback address only.
    pub access_key: Option<AccessKey>,
    /// The largest accepted message (or batch of messages) in bytes, as it is encoded on the wire.
    pub max_message_size: u64,
    /// The folder of the journal, which makes messages outlive the broker. It is made when it is
    /// not there. Without it everything is kept in memory only.
    pub data: Option<PathBuf>,
    /// Bounds on what clients may make the broker hold.
    pub limits: Limits,
}

impl BrokerConfig {
    /// A broker on a free loopback port with the given queues and defaults for the rest.
    pub fn new(queues: impl IntoIterator<Item = QueueConfig>) -> Self {
        Self {
            queues: queues.into_iter().collect(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            access_key: None,
            max_message_size: 1024 * 1024,
            data: None,
            limits: Limits::default(),
        }
    }

    /// The same broker, with a journal in this folder.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// The same broker, listening on `listen`.
    #[must_use]
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// The same broker, accepting only clients that hold `key`.
    #[must_use]
    pub fn access_key(mut self, key: AccessKey) -> Self {
        self.access_key = Some(key);
        self
    }

    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        if self.access_key.is_none() && !self.listen.ip().is_loopback() {
            return Err(BrokerError::KeyRequired {
                listen: self.listen,
            });
        }
        if self.queues.is_empty() {
            return Err(BrokerError::NoQueues);
        }
        for (index, queue) in self.queues.iter().enumerate() {
            queue.check()?;
            let same = |other: &QueueConfig| other.name.eq_ignore_ascii_case(&queue.name);
            if self.queues.iter().take(index).any(same) {
                return Err(queue.invalid("is named twice (names are compared without case)"));
            }
        }
        Ok(())
    }
}

/// A shared access rule: what the connection string calls `SharedAccessKeyName` and
/// `SharedAccessKey`.
#[derive(Clone)]
pub struct AccessKey {
    /// The name of the rule.
    pub name: String,
    /// The secret. It is never logged.
    pub key: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The name, possibly with slashes (`orders/europe`).
    pub name: String,
    /// How long a received message stays locked to its receiver. Default 60 s, at most 5 minutes.
    pub lock_duration: Duration,
    /// How many failed deliveries make a message a dead letter. Default 10.
    pub max_delivery_count: u32,
    /// How long a message lives when it does not say so itself, and at most. Default: for ever.
    pub default_ttl: Option<Duration>,
    /// Whether an expired message becomes a dead letter instead of vanishing. Default: no.
    pub dead_letter_on_expiration: bool,
    /// How long a message id is remembered, so that another message with it is accepted and
    /// dropped; 1 s to 7 days. Default: no duplicate detection.
    pub duplicate_detection: Option<Duration>,
    /// Whether every message belongs to a session, which one receiver at a time has to itself.
    /// Default: no.
    pub requires_session: bool,
    /// The queue to which messages are passed on as they become available; nobody can receive from
    /// this one then. Default: none.
    pub forward_to: Option<String>,
    /// The queue to which dead letters are passed on. Default: none, they stay.
    pub forward_dead_letters_to: Option<String>,
    /// What clients may do with it. Default: everything.
    pub status: QueueStatus,
}

/// What clients may do with a queue. What they may not is refused with
/// `com.microsoft:entity-disabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QueueStatus {
    /// Everything.
    #[default]
    Active,
    /// Nothing.
    Disabled,
    /// Receive, but not send.
    SendDisabled,
    /// Send, but not receive.
    ReceiveDisabled,
}

impl QueueStatus {
    pub(crate) fn takes_messages(self) -> bool {
        matches!(self, Self::Active | Self::ReceiveDisabled)
    }

    pub(crate) fn gives_messages(self) -> bool {
        matches!(self, Self::Active | Self::SendDisabled)
    }
}

impl QueueConfig {
    /// A queue with the service's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            lock_duration: Duration::from_mins(1),
            max_delivery_count: 10,
            default_ttl: None,
            dead_letter_on_expiration: false,
            duplicate_detection: None,
            requires_session: false,
            forward_to: None,
            forward_dead_letters_to: None,
            status: QueueStatus::default(),
        }
    }

    /// The same queue with another lock duration.
    #[must_use]
    pub fn lock_duration(mut self, lock_duration: Duration) -> Self {
        self.lock_duration = lock_duration;
        self
    }

    /// The same queue with another number of failed deliveries before the dead-letter queue.
    #[must_use]
    pub fn max_delivery_count(mut self, max_delivery_count: u32) -> Self {
        self.max_delivery_count = max_delivery_count;
        self
    }

    /// The same queue with a time to live.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// The same queue, keeping expired messages as dead letters.
    #[must_use]
    pub fn dead_letter_on_expiration(mut self, yes: bool) -> Self {
        self.dead_letter_on_expiration = yes;
        self
    }

    /// The same queue, dropping messages whose id was seen within `window`.
    #[must_use]
    pub fn duplicate_detection(mut self, window: Duration) -> Self {
        self.duplicate_detection = Some(window);
        self
    }

    /// The same queue, with sessions or without.
    #[must_use]
    pub fn requires_session(mut self, yes: bool) -> Self {
        self.requires_session = yes;
        self
    }

    /// The same queue, passing its messages on to another.
    #[must_use]
    pub fn forward_to(mut self, queue: impl Into<String>) -> Self {
        self.forward_to = Some(queue.into());
        self
    }

    /// The same queue, passing its dead letters on to another.
    #[must_use]
    pub fn forward_dead_letters_to(mut self, queue: impl Into<String>) -> Self {
        self.forward_dead_letters_to = Some(queue.into());
        self
    }

    /// The same queue in another status.
    #[must_use]
    pub fn status(mut self, status: QueueStatus) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let name = &self.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '~');
        if name.is_empty() || name.len() > MAX_ENTITY_PATH {
            return Err(self.invalid("must have a name of 1 to 260 characters"));
        }
        if !name.chars().all(plain) || name.split('/').any(str::is_empty) {
            return Err(self.invalid(
                "may contain letters, digits, '.', '-', '_', '~' and single slashes between them",
            ));
        }
        if self.lock_duration.is_zero() || self.lock_duration > MAX_LOCK_DURATION {
            return Err(self.invalid("needs a lock duration above zero and up to 5 minutes"));
        }
        if self.max_delivery_count == 0 {
            return Err(self.invalid("needs a max delivery count of at least 1"));
        }
        if self.default_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(self.invalid("needs a time to live above zero"));
        }
        let window = self.duplicate_detection;
        if window.is_some_and(|window| !DUPLICATE_WINDOWS.contains(&window)) {
            return Err(self.invalid("needs a duplicate detection window of 1 second to 7 days"));
        }
        if self.requires_session && self.forward_to.is_some() {
            return Err(self.invalid("requires sessions, and so cannot forward its messages"));
        }
        Ok(())
    }

    fn invalid(&self, problem: &'static str) -> BrokerError {
        BrokerError::InvalidQueue {
            name: self.name.clone(),
            problem,
        }
    }
}

/// Bounds on what clients may make the broker hold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time. The service's own quota is 5,000.
    pub connections: usize,
    /// Bytes held by all queues together. When they are reached, senders are told that the broker
    /// is busy until an eighth of them is free again.
    pub total_bytes: usize,
    /// Messages held by one queue, its dead letters included.
    pub queue_messages: usize,
    /// Bytes held by one queue, its dead letters included.
    pub queue_bytes: usize,
    /// Message ids that one queue remembers for duplicate detection, at about 80 bytes each. Beyond
    /// it senders are told that the broker is busy until old ids are forgotten.
    pub duplicate_history: usize,
    /// Deliveries a connection may leave unsettled before it is sent no more.
    pub unsettled_per_connection: usize,
    /// How long a connection may live without having set a token. The service allows 20 s.
    pub authentication: Duration,
    /// How long a connection may live without a link.
    pub idle_connection: Duration,
    /// How long a stopping broker waits for its connections to take their last bytes.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            total_bytes: 2 * 1024 * 1024 * 1024,
            queue_messages: 10_000_000,
            queue_bytes: 1024 * 1024 * 1024,
            duplicate_history: 5_000_000,
            unsettled_per_connection: 65_536,
            authentication: Duration::from_secs(20),
            idle_connection: Duration::from_mins(1),
            stop_grace: Duration::from_secs(5),
        }
    }
}
