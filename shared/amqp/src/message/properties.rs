//! The properties section.

use std::fmt;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::composite::composite;
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::Encode;
use crate::field::Decode;
use crate::value::{Symbol, Timestamp};

composite! {
    /// Standard properties, which nobody on the way changes (3.2.4).
    #[derive(Default)]
    struct Properties (0x73, "amqp:properties:list") {
        /// Names the message.
        optional message_id: MessageId,
        /// Who made it.
        optional user_id: Bytes,
        /// The node it is for.
        optional to: String,
        /// What it is about; Service Bus's label.
        optional subject: String,
        /// The node for answers.
        optional reply_to: String,
        /// The message it answers, or whatever the application relates it to.
        optional correlation_id: MessageId,
        /// The media type of the body.
        optional content_type: Symbol,
        /// The encoding of the body.
        optional content_encoding: Symbol,
        /// When it ends its life.
        optional absolute_expiry_time: Timestamp,
        /// When it was made.
        optional creation_time: Timestamp,
        /// The group it belongs to; Service Bus's session.
        optional group_id: String,
        /// Its place in the group.
        optional group_sequence: u32,
        /// The group for answers.
        optional reply_to_group_id: String,
    }
}

/// A message's name in one of four types (3.2.11–3.2.14). An answer's correlation-id has to have
/// the type that the request's message-id had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// A number.
    Ulong(u64),
    /// A UUID.
    Uuid(Uuid),
    /// Octets.
    Binary(Bytes),
    /// Text.
    String(String),
}

impl From<String> for MessageId {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for MessageId {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl fmt::Display for MessageId {
    /// As text: octets as lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ulong(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Binary(octets) => octets.iter().try_for_each(|octet| write!(f, "{octet:02x}")),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl Encode for MessageId {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Ulong(number) => number.encode(out),
            Self::Uuid(uuid) => uuid.encode(out),
            Self::Binary(octets) => octets.encode(out),
            Self::String(text) => text.encode(out),
        }
    }
}

impl Decode for MessageId {
    const EXPECTED: &'static str = "a message-id (ulong, uuid, binary or string)";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.peek()? {
            0x44 | 0x53 | 0x80 => u64::decode(decoder).map(Self::Ulong),
            0x98 => Uuid::decode(decoder).map(Self::Uuid),
            0xa0 | 0xb0 => Bytes::decode(decoder).map(Self::Binary),
            0xa1 | 0xa3 | 0xb1 | 0xb3 => String::decode(decoder).map(Self::String),
            code => {
                decoder.octet()?;
                Err(decoder.unexpected(Self::EXPECTED, code))
            }
        }
    }
}
