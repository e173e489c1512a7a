//! The nine performatives of the transport (part 2, section 2.7) and what they carry.

mod connection;
mod error;
mod link;
mod outcome;
mod session;
mod settle_mode;
mod terminus;
mod transfer;

use bytes::BytesMut;

use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::Encode;
use crate::field::Decode;

pub use connection::{Close, Open};
pub use error::AmqpError;
pub use link::{Attach, Detach, Flow};
pub use outcome::{DeliveryState, Modified, Received, Rejected};
pub use session::{Begin, End};
pub use settle_mode::{ReceiverSettleMode, Role, SenderSettleMode};
pub use terminus::{AttachTarget, Coordinator, Source, Target};
pub use transfer::{Disposition, Transfer};

/// One performative.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Performative {
    /// Negotiates the connection.
    Open(Box<Open>),
    /// Begins a session.
    Begin(Box<Begin>),
    /// Attaches a link.
    Attach(Box<Attach>),
    /// Updates windows and credit.
    Flow(Box<Flow>),
    /// Transfers (a part of) a message.
    Transfer(Transfer),
    /// Settles deliveries or tells their state.
    Disposition(Disposition),
    /// Detaches a link.
    Detach(Box<Detach>),
    /// Ends a session.
    End(Box<End>),
    /// Closes the connection.
    Close(Box<Close>),
}

impl Performative {
    /// The name, as in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Begin(_) => "begin",
            Self::Attach(_) => "attach",
            Self::Flow(_) => "flow",
            Self::Transfer(_) => "transfer",
            Self::Disposition(_) => "disposition",
            Self::Detach(_) => "detach",
            Self::End(_) => "end",
            Self::Close(_) => "close",
        }
    }
}

impl Decode for Performative {
    const EXPECTED: &'static str = "a performative";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match decoder.descriptor(Self::EXPECTED, descriptor_of)? {
            Open::DESCRIPTOR => Self::Open(Box::new(Open::decode_fields(decoder)?)),
            Begin::DESCRIPTOR => Self::Begin(Box::new(Begin::decode_fields(decoder)?)),
            Attach::DESCRIPTOR => Self::Attach(Box::new(Attach::decode_fields(decoder)?)),
            Flow::DESCRIPTOR => Self::Flow(Box::new(Flow::decode_fields(decoder)?)),
            Transfer::DESCRIPTOR => Self::Transfer(Transfer::decode_fields(decoder)?),
            Disposition::DESCRIPTOR => Self::Disposition(Disposition::decode_fields(decoder)?),
            Detach::DESCRIPTOR => Self::Detach(Box::new(Detach::decode_fields(decoder)?)),
            End::DESCRIPTOR => Self::End(Box::new(End::decode_fields(decoder)?)),
            Close::DESCRIPTOR => Self::Close(Box::new(Close::decode_fields(decoder)?)),
            descriptor => {
                return Err(DecodeError::UnexpectedDescriptor {
                    expected: Self::EXPECTED,
                    descriptor,
                });
            }
        })
    }
}

fn descriptor_of(symbol: &str) -> Option<u64> {
    Some(match symbol {
        Open::SYMBOL => Open::DESCRIPTOR,
        Begin::SYMBOL => Begin::DESCRIPTOR,
        Attach::SYMBOL => Attach::DESCRIPTOR,
        Flow::SYMBOL => Flow::DESCRIPTOR,
        Transfer::SYMBOL => Transfer::DESCRIPTOR,
        Disposition::SYMBOL => Disposition::DESCRIPTOR,
        Detach::SYMBOL => Detach::DESCRIPTOR,
        End::SYMBOL => End::DESCRIPTOR,
        Close::SYMBOL => Close::DESCRIPTOR,
        _ => return None,
    })
}

impl Encode for Performative {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open(open) => open.encode(out),
            Self::Begin(begin) => begin.encode(out),
            Self::Attach(attach) => attach.encode(out),
            Self::Flow(flow) => flow.encode(out),
            Self::Transfer(transfer) => transfer.encode(out),
            Self::Disposition(disposition) => disposition.encode(out),
            Self::Detach(detach) => detach.encode(out),
            Self::End(end) => end.encode(out),
            Self::Close(close) => close.encode(out),
        }
    }
}
