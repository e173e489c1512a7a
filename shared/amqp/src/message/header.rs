//! The header section.

use crate::composite::composite;

composite! {
    /// Delivery details that intermediaries may change (3.2.1). What a sender left out stays
    /// absent, so that it can be passed on as it came.
    #[derive(Default)]
    struct Header (0x70, "amqp:header:list") {
        /// Whether the message must survive the loss of an intermediary; absent means no.
        optional durable: bool,
        /// Relative priority; absent means 4.
        optional priority: u8,
        /// Milliseconds that the message lives.
        optional ttl: u32,
        /// Whether nobody has acquired the message before; absent means no.
        optional first_acquirer: bool,
        /// Failed deliveries so far; absent means 0.
        optional delivery_count: u32,
    }
}
