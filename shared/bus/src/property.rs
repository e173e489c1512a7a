//! Values of application properties: the simple types of AMQP 1.0 (part 1, section 1.6), which is
//! all that the application-properties section may hold.

use bytes::Bytes;
use chrono::{DateTime, Utc};
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
