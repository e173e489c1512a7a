//! How an engine introduces itself and what it puts up with.

use std::time::Duration;

use crate::performative::Open;
use crate::sasl::{self, PlainCredentials};
use crate::value::{Map, Symbol};

/// What one peer may make an engine hold. Reaching a limit ends the connection (or, for a
/// message's size, the link) with the fitting error condition.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest frame taken, in octets; announced to the peer. At least 512.
    pub max_frame_size: u32,
    /// Highest channel number taken; announced. One session per channel.
    pub channel_max: u16,
    /// Highest link handle taken; announced. One link per handle and session.
    pub handle_max: u32,
    /// Links in all sessions together.
    pub max_links: usize,
    /// Largest message in octets on links that do not set their own limit.
    pub max_message_size: u64,
    /// Octets of half-received messages on all links together.
    pub max_partial_bytes: usize,
    /// Octets of messages that wait inside the engine for the peer's session windows. Above it
    /// credit counts as none until the peer has read on.
    pub max_queued_bytes: usize,
    /// Transfers taken per session before the peer must wait for a flow; announced, and renewed
    /// when half of it is used.
    pub incoming_window: u32,
    /// Time for the handshake up to the peer's open, and for its answer to our close.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_size: 256 * 1024,
            channel_max: 4_999,
            handle_max: 255,
            max_links: 10_000,
            max_message_size: 1024 * 1024,
            max_partial_bytes: 64 * 1024 * 1024,
            max_queued_bytes: 1024 * 1024,
            // The largest that all client libraries handle as a signed number.
            incoming_window: 0x7fff_ffff,
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

/// How a client authenticates.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SaslClient {
    /// No SASL layer at all: straight to AMQP.
    None,
    /// ANONYMOUS; what Service Bus clients use before `$cbs`.
    #[default]
    Anonymous,
    /// MSSBCBS, which means the same by another name.
    MssbCbs,
    /// PLAIN with a rule's name and key.
    Plain(PlainCredentials),
    /// EXTERNAL: the transport has authenticated already.
    External,
}

/// How a client engine behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Names this container to the peer.
    pub container_id: String,
    /// The host meant, as in the connection string.
    pub hostname: Option<String>,
    /// Announced: we give the connection up after this much silence. `None` never.
    pub idle_timeout: Option<Duration>,
    /// How to authenticate.
    pub sasl: SaslClient,
    /// Product, version and the like for the peer's open.
    pub properties: Option<Map>,
    /// What the peer may make us hold.
    pub limits: Limits,
}

impl ClientOptions {
    /// Anonymous, with a minute's idle time-out and the default limits, but messages up to the
    /// 100 MiB that the service can be configured for.
    pub fn new(container_id: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            hostname: None,
            idle_timeout: Some(Duration::from_mins(1)),
            sasl: SaslClient::default(),
            properties: None,
            limits: Limits {
                max_message_size: 100 * 1024 * 1024,
                max_partial_bytes: 256 * 1024 * 1024,
                ..Limits::default()
            },
        }
    }
}

/// How a server engine behaves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Names this container to the peer.
    pub container_id: String,
    /// Announced: we give the connection up after this much silence. `None` never.
    pub idle_timeout: Option<Duration>,
    /// The SASL mechanisms offered, of those in [`sasl`].
    pub mechanisms: Vec<Symbol>,
    /// Whether a client may leave out the SASL layer.
    pub allow_without_sasl: bool,
    /// Product, version and the like for the peer's open.
    pub properties: Option<Map>,
    /// What the peer may make us hold.
    pub limits: Limits,
}

impl ServerOptions {
    /// The four mechanisms of Service Bus, four minutes' idle time-out, the default limits.
    pub fn new(container_id: impl Into<String>) -> Self {
        let mechanisms = [sasl::MSSBCBS, sasl::PLAIN, sasl::ANONYMOUS, sasl::EXTERNAL];
        Self {
            container_id: container_id.into(),
            idle_timeout: Some(Duration::from_mins(4)),
            mechanisms: mechanisms.map(Symbol::from_static).to_vec(),
            allow_without_sasl: true,
            properties: None,
            limits: Limits::default(),
        }
    }
}

/// The open that announces these settings.
pub(super) fn open_frame(
    container_id: &str,
    hostname: Option<&str>,
    idle_timeout: Option<Duration>,
    properties: Option<&Map>,
    limits: &Limits,
) -> Open {
    Open {
        hostname: hostname.map(str::to_owned),
        max_frame_size: limits.max_frame_size,
        channel_max: limits.channel_max,
        idle_time_out: idle_timeout.map(|span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX)),
        properties: properties.cloned(),
        ..Open::new(container_id)
    }
}
