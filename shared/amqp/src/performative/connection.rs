//! `open` and `close`.

use super::AmqpError;
use crate::composite::composite;
use crate::value::{Map, Symbol};

composite! {
    /// Negotiates connection parameters (2.7.1). The first frame of each side.
    struct Open (0x10, "amqp:open:list") {
        /// Identifies the sender of the frame.
        required container_id: String,
        /// The host that the client means to talk to.
        optional hostname: String,
        /// Largest frame the sender takes, in octets.
        or_default max_frame_size: u32 = u32::MAX,
        /// Highest channel number the sender takes.
        or_default channel_max: u16 = u16::MAX,
        /// Milliseconds of silence after which the sender gives the connection up.
        optional idle_time_out: u32,
        /// Locales for texts towards the peer.
        optional outgoing_locales: Vec<Symbol>,
        /// Locales for texts from the peer.
        optional incoming_locales: Vec<Symbol>,
        /// Extensions the sender supports.
        optional offered_capabilities: Vec<Symbol>,
        /// Extensions the sender would use.
        optional desired_capabilities: Vec<Symbol>,
        /// Product, version, platform and the like.
        optional properties: Map,
    }

    /// Closes the connection (2.7.9). The last frame of each side.
    struct Close (0x18, "amqp:close:list") {
        /// Why, unless the close is regular.
        optional error: AmqpError,
    }
}

impl Open {
    /// An open with every optional field absent.
    pub fn new(container_id: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            hostname: None,
            max_frame_size: u32::MAX,
            channel_max: u16::MAX,
            idle_time_out: None,
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        }
    }
}
