//! Values of application properties: the simple types of AMQP 1.0 (part 1, section 1.6), which is
//! all that the application-properties section may hold.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_amqp::{Symbol, Timestamp, Value};
use uuid::Uuid;

/// The value of one application property.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PropertyValue {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// Unsigned, 8 bits.
    U8(u8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 8 bits.
    I8(i8),
    /// Signed, 16 bits.
    I16(i16),
    /// Signed, 32 bits.
    I32(i32),
    /// Signed, 64 bits.
    I64(i64),
    /// Floating point, 32 bits.
    F32(f32),
    /// Floating point, 64 bits.
    F64(f64),
    /// One Unicode character.
    Char(char),
    /// An instant with the precision of a millisecond.
    Timestamp(DateTime<Utc>),
    /// A UUID.
    Uuid(Uuid),
    /// Bytes.
    Binary(Bytes),
    /// Text.
    String(String),
    /// A symbolic (ASCII) name.
    Symbol(String),
    /// A value of another AMQP type (a decimal, a list …) that another client put there, written
    /// out for people. It cannot be sent.
    Other(String),
}

macro_rules! from {
    ($($source:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$source> for PropertyValue {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

from! {
    bool => Bool, u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32,
    i64 => I64, f32 => F32, f64 => F64, char => Char, DateTime<Utc> => Timestamp, Uuid => Uuid,
    Bytes => Binary, String => String, &str => String,
}

impl PropertyValue {
    /// About how many octets it takes on the wire.
    pub(crate) fn size_hint(&self) -> usize {
        match self {
            Self::Binary(octets) => octets.len() + 5,
            Self::String(text) | Self::Symbol(text) | Self::Other(text) => text.len() + 5,
            _ => 17,
        }
    }

    /// As the wire has it; `None` for what cannot be sent.
    pub(crate) fn to_wire(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Boolean(*value),
            Self::U8(value) => Value::Ubyte(*value),
            Self::U16(value) => Value::Ushort(*value),
            Self::U32(value) => Value::Uint(*value),
            Self::U64(value) => Value::Ulong(*value),
            Self::I8(value) => Value::Byte(*value),
            Self::I16(value) => Value::Short(*value),
            Self::I32(value) => Value::Int(*value),
            Self::I64(value) => Value::Long(*value),
            Self::F32(value) => Value::Float(*value),
            Self::F64(value) => Value::Double(*value),
            Self::Char(value) => Value::Char(*value),
            Self::Timestamp(instant) => {
                Value::Timestamp(Timestamp::from_millis(instant.timestamp_millis()))
            }
            Self::Uuid(uuid) => Value::Uuid(*uuid),
            Self::Binary(octets) => Value::Binary(octets.clone()),
            Self::String(text) => Value::String(text.clone()),
            Self::Symbol(text) => Value::Symbol(Symbol::from(text.clone())),
            Self::Other(_) => return None,
        })
    }

    /// From the wire. A timestamp outside chrono's calendar and the types that application
    /// properties should not have are kept as text.
    pub(crate) fn from_wire(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Bool(value),
            Value::Ubyte(value) => Self::U8(value),
            Value::Ushort(value) => Self::U16(value),
            Value::Uint(value) => Self::U32(value),
            Value::Ulong(value) => Self::U64(value),
            Value::Byte(value) => Self::I8(value),
            Value::Short(value) => Self::I16(value),
            Value::Int(value) => Self::I32(value),
            Value::Long(value) => Self::I64(value),
            Value::Float(value) => Self::F32(value),
            Value::Double(value) => Self::F64(value),
            Value::Char(value) => Self::Char(value),
            Value::Timestamp(instant) => match DateTime::from_timestamp_millis(instant.as_millis())
            {
                Some(instant) => Self::Timestamp(instant),
                None => Self::Other(format!("timestamp {}", instant.as_millis())),
            },
            Value::Uuid(uuid) => Self::Uuid(uuid),
            Value::Binary(octets) => Self::Binary(octets),
            Value::String(text) => Self::String(text),
            Value::Symbol(symbol) => Self::Symbol(symbol.as_str().to_owned()),
            other => Self::Other(format!("{other:?}")),
        }
    }
}
