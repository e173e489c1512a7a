//! Delivery states and outcomes (part 3, section 3.4).

use bytes::{BufMut, BytesMut};

use super::AmqpError;
use crate::composite::composite;
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::{Encode, put_descriptor};
use crate::field::Decode;
use crate::value::{Described, Map, Value};

composite! {
    /// How much of a delivery the receiver has; not an outcome.
    struct Received (0x23, "amqp:received:list") {
        /// The section the receiver has reached.
        required section_number: u32,
        /// The octet of that section.
        required section_offset: u64,
    }

    /// The message is invalid or unprocessable. Service Bus: dead-letter it.
    struct Rejected (0x25, "amqp:rejected:list") {
        /// Why.
        optional error: AmqpError,
    }

    /// The message was not processed and comes back changed.
    struct Modified (0x27, "amqp:modified:list") {
        /// Whether the attempt counts as failed.
        or_default delivery_failed: bool = false,
        /// Whether it must not come back on this link. Service Bus: defer it.
        or_default undeliverable_here: bool = false,
        /// Annotations to merge. Service Bus: application properties to change.
        optional message_annotations: Map,
    }
}

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// Partly received.
    Received(Received),
    /// Processed. Service Bus: complete it.
    Accepted,
    /// Refused.
    Rejected(Rejected),
    /// Not processed, as if it had never been delivered.
    Released,
    /// Not processed, and changed.
    Modified(Modified),
    /// A state that is none of these, such as those of transactions.
    Other(Box<Described>),
}

const ACCEPTED: u64 = 0x24;
const RELEASED: u64 = 0x26;

impl DeliveryState {
    /// Rejected for a reason.
    pub fn rejected(error: AmqpError) -> Self {
        Self::Rejected(Rejected { error: Some(error) })
    }
}

impl Encode for DeliveryState {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Received(received) => received.encode(out),
            Self::Accepted => out.put_slice(&[0x00, 0x53, 0x24, 0x45]),
            Self::Rejected(rejected) => rejected.encode(out),
            Self::Released => {
                put_descriptor(out, RELEASED);
                out.put_u8(0x45);
            }
            Self::Modified(modified) => modified.encode(out),
            Self::Other(described) => described.encode(out),
        }
    }
}

impl Decode for DeliveryState {
    const EXPECTED: &'static str = "a delivery-state";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let descriptor = decoder.descriptor(Self::EXPECTED, descriptor_of)?;
        Ok(match descriptor {
            ACCEPTED => {
                empty_list(decoder)?;
                Self::Accepted
            }
            RELEASED => {
                empty_list(decoder)?;
                Self::Released
            }
            Received::DESCRIPTOR => Self::Received(Received::decode_fields(decoder)?),
            Rejected::DESCRIPTOR => Self::Rejected(Rejected::decode_fields(decoder)?),
            Modified::DESCRIPTOR => Self::Modified(Modified::decode_fields(decoder)?),
            _ => Self::Other(Box::new(Described {
                descriptor: Value::Ulong(descriptor),
                value: Value::decode(decoder)?,
            })),
        })
    }
}

fn empty_list(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    let list = decoder.enter_list("an outcome")?;
    decoder.leave(list);
    Ok(())
}

fn descriptor_of(symbol: &str) -> Option<u64> {
    Some(match symbol {
        Received::SYMBOL => Received::DESCRIPTOR,
        "amqp:accepted:list" => ACCEPTED,
        Rejected::SYMBOL => Rejected::DESCRIPTOR,
        "amqp:released:list" => RELEASED,
        Modified::SYMBOL => Modified::DESCRIPTOR,
        _ => return None,
    })
}
