//! Roles and settle modes: numbers on the wire, names here.

use bytes::BytesMut;

use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::Encode;
use crate::field::Decode;

/// An end of a link (2.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that sends messages.
    Sender,
    /// The end that receives messages.
    Receiver,
}

/// How the sending end settles (2.8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SenderSettleMode {
    /// Everything is sent unsettled.
    Unsettled,
    /// Everything is sent settled.
    Settled,
    /// Each transfer says what it is.
    #[default]
    Mixed,
}

/// How the receiving end settles (2.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReceiverSettleMode {
    /// The receiver settles by itself.
    #[default]
    First,
    /// The receiver tells its outcome and settles after the sender has.
    Second,
}

impl Role {
    /// The other end.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

impl Encode for Role {
    fn encode(&self, out: &mut BytesMut) {
        (*self == Self::Receiver).encode(out);
    }
}

impl Decode for Role {
    const EXPECTED: &'static str = "role";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(if bool::decode(decoder)? {
            Self::Receiver
        } else {
            Self::Sender
        })
    }
}

impl Encode for SenderSettleMode {
    fn encode(&self, out: &mut BytesMut) {
        let code: u8 = match self {
            Self::Unsettled => 0,
            Self::Settled => 1,
            Self::Mixed => 2,
        };
        code.encode(out);
    }
}

impl Decode for SenderSettleMode {
    const EXPECTED: &'static str = "snd-settle-mode";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::Unsettled),
            1 => Ok(Self::Settled),
            2 => Ok(Self::Mixed),
            _ => Err(decoder.malformed(Self::EXPECTED)),
        }
    }
}

impl Encode for ReceiverSettleMode {
    fn encode(&self, out: &mut BytesMut) {
        u8::from(*self == Self::Second).encode(out);
    }
}

impl Decode for ReceiverSettleMode {
    const EXPECTED: &'static str = "rcv-settle-mode";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::First),
            1 => Ok(Self::Second),
            _ => Err(decoder.malformed(Self::EXPECTED)),
        }
    }
}
