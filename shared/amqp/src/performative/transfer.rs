//! `transfer` and `disposition`.

use super::{DeliveryState, ReceiverSettleMode, Role};
use crate::composite::composite;
use crate::value::DeliveryTag;

composite! {
    /// Transfers a message, or a part of one (2.7.5). The octets follow the performative.
    struct Transfer (0x14, "amqp:transfer:list") {
        /// The link, by the sender's number.
        required handle: u32,
        /// The delivery's number in the session; on the first transfer of a delivery.
        optional delivery_id: u32,
        /// The delivery's tag; on the first transfer of a delivery.
        optional delivery_tag: DeliveryTag,
        /// 0, or another format such as Service Bus's batch; on the first transfer.
        optional message_format: u32,
        /// Whether the sender has settled; a later transfer may still say so.
        optional settled: bool,
        /// Whether more transfers of this delivery follow.
        or_default more: bool = false,
        /// Overrides the link's receiver settle mode for this delivery.
        optional rcv_settle_mode: ReceiverSettleMode,
        /// The sender's view of the delivery.
        optional state: DeliveryState,
        /// Whether this resumes a delivery of a former attachment.
        or_default resume: bool = false,
        /// Whether the delivery is abandoned half way.
        or_default aborted: bool = false,
        /// Whether the peer may put off the answer.
        or_default batchable: bool = false,
    }

    /// Tells the state of deliveries, or settles them (2.7.6).
    struct Disposition (0x15, "amqp:disposition:list") {
        /// The role of the sender of the frame for these deliveries.
        required role: Role,
        /// The first delivery-id.
        required first: u32,
        /// The last delivery-id, inclusive; absent when it is the first.
        optional last: u32,
        /// Whether the sender of the frame has forgotten them.
        or_default settled: bool = false,
        /// Their state.
        optional state: DeliveryState,
        /// Whether the peer may put off the answer.
        or_default batchable: bool = false,
    }
}

impl Disposition {
    /// A disposition of the deliveries `first` to `last`, inclusive.
    pub fn new(
        role: Role,
        first: u32,
        last: u32,
        settled: bool,
        state: Option<DeliveryState>,
    ) -> Self {
        let last = (last != first).then_some(last);
        Self {
            role,
            first,
            last,
            settled,
            state,
            batchable: false,
        }
    }

    /// The last delivery-id, inclusive.
    pub fn last_id(&self) -> u32 {
        self.last.unwrap_or(self.first)
    }
}
