//! `attach`, `flow` and `detach`.

use super::{AmqpError, AttachTarget, ReceiverSettleMode, Role, SenderSettleMode, Source};
use crate::composite::composite;
use crate::value::{Map, Symbol};

composite! {
    /// Attaches a link to a session (2.7.3).
    struct Attach (0x12, "amqp:attach:list") {
        /// The link's name, unique between the two containers per direction.
        required name: String,
        /// The number by which the sender of the frame calls the link.
        required handle: u32,
        /// The role of the sender of the frame.
        required role: Role,
        /// How the sending end settles.
        or_default snd_settle_mode: SenderSettleMode = SenderSettleMode::Mixed,
        /// How the receiving end settles.
        or_default rcv_settle_mode: ReceiverSettleMode = ReceiverSettleMode::First,
        /// Where messages come from; null in the answer that refuses a receiver.
        optional source: Source,
        /// Where messages go to; null in the answer that refuses a sender.
        optional target: AttachTarget,
        /// Unsettled deliveries of a link that is resumed, by tag.
        optional unsettled: Map,
        /// Whether `unsettled` does not hold all of them.
        or_default incomplete_unsettled: bool = false,
        /// The sender's delivery-count at the start; mandatory when the role is sender.
        optional initial_delivery_count: u32,
        /// Largest message the sender of the frame takes, in octets; absent or 0 means any.
        optional max_message_size: u64,
        /// Extensions the sender supports.
        optional offered_capabilities: Vec<Symbol>,
        /// Extensions the sender would use.
        optional desired_capabilities: Vec<Symbol>,
        /// Link properties.
        optional properties: Map,
    }

    /// Updates session windows and, with a handle, a link's credit (2.7.4).
    struct Flow (0x13, "amqp:flow:list") {
        /// The number of the next transfer expected; absent before the peer's begin came.
        optional next_incoming_id: u32,
        /// Transfers the sender of the frame takes from now on.
        required incoming_window: u32,
        /// The number of the next transfer it will send.
        required next_outgoing_id: u32,
        /// Transfers it may have under way.
        required outgoing_window: u32,
        /// The link this is about; absent when it is about the session alone.
        optional handle: u32,
        /// The link's delivery-count.
        optional delivery_count: u32,
        /// Deliveries the receiver takes from that count on.
        optional link_credit: u32,
        /// Deliveries waiting at the sender.
        optional available: u32,
        /// Use up the credit at once, or report that it was.
        or_default drain: bool = false,
        /// Asks for the peer's state in return.
        or_default echo: bool = false,
        /// Link state properties.
        optional properties: Map,
    }

    /// Detaches a link (2.7.7).
    struct Detach (0x16, "amqp:detach:list") {
        /// The number by which the sender of the frame calls the link.
        required handle: u32,
        /// Whether the link ends for good.
        or_default closed: bool = false,
        /// Why, unless the detach is regular.
        optional error: AmqpError,
    }
}

impl Attach {
    /// An attach with every optional field absent, but for the initial delivery-count of a
    /// sender, which is 0.
    pub fn new(name: impl Into<String>, handle: u32, role: Role) -> Self {
        Self {
            name: name.into(),
            handle,
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        }
    }

    /// The address that the link sends from, if there is a source with one.
    pub fn source_address(&self) -> Option<&str> {
        self.source.as_ref()?.address.as_deref()
    }

    /// The address that the link sends to, if there is a target with one.
    pub fn target_address(&self) -> Option<&str> {
        match self.target.as_ref()? {
            AttachTarget::Target(target) => target.address.as_deref(),
            AttachTarget::Coordinator(_) => None,
        }
    }
}
