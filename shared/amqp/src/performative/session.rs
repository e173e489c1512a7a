//! `begin` and `end`.

use super::AmqpError;
use crate::composite::composite;
use crate::value::{Map, Symbol};

composite! {
    /// Begins a session on a channel (2.7.2).
    struct Begin (0x11, "amqp:begin:list") {
        /// In an answer: the channel of the begin that is answered.
        optional remote_channel: u16,
        /// The number of the first transfer the sender will send.
        required next_outgoing_id: u32,
        /// Transfers the sender takes before it has to be asked again.
        required incoming_window: u32,
        /// Transfers the sender may have under way.
        required outgoing_window: u32,
        /// Highest link handle the sender takes.
        or_default handle_max: u32 = u32::MAX,
        /// Extensions the sender supports.
        optional offered_capabilities: Vec<Symbol>,
        /// Extensions the sender would use.
        optional desired_capabilities: Vec<Symbol>,
        /// Session properties.
        optional properties: Map,
    }

    /// Ends a session (2.7.8).
    struct End (0x17, "amqp:end:list") {
        /// Why, unless the end is regular.
        optional error: AmqpError,
    }
}
