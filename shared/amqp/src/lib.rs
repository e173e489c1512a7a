//! AMQP 1.0 (OASIS, 2012) as bytes and state: no sockets, no tasks, no clock of its own.
//!
//! Three layers, each usable alone:
//! - the type system and its codec ([`Value`], [`Decoder`], [`Encode`], [`Decode`]);
//! - frames, [performatives](performative), [SASL](sasl) and [messages](message);
//! - the [`engine`], the state machine of one connection in either role: bytes in, events out;
//!   commands in, bytes out. A driver owns the socket and moves the bytes.
//!
//! Everything here reads bytes that a stranger chose. So lengths and counts are checked against
//! the bytes that are really there before anything is allocated, nesting and the number of values
//! are bounded, and every refusal is an error value; nothing panics.

mod composite;
pub mod condition;
mod decode;
mod decode_error;
mod encode;
pub mod engine;
mod field;
mod frame;
pub mod message;
pub mod performative;
pub mod sasl;
mod value;

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod fuzz;

pub use decode::{Decoder, MAX_DEPTH, MAX_VALUES};
pub use decode_error::DecodeError;
pub use encode::Encode;
pub use field::Decode;
pub use frame::{FrameError, FrameHeader, FrameKind, MIN_MAX_FRAME_SIZE, ProtocolHeader};
pub use value::{
    Array, DeliveryTag, Described, ElementType, EncodedValue, Map, Symbol, Timestamp, Value,
};
