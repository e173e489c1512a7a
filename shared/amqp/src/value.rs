//! A value of the AMQP type system (part 1 of the specification), whatever its type.
//!
//! Typed structs are used wherever the specification fixes the type; a [`Value`] stands where it
//! says "any": message annotations, application properties, bodies, error infos.

mod array;
mod encoded;
mod map;
mod symbol;
mod tag;
mod timestamp;

use bytes::Bytes;
use uuid::Uuid;

pub use array::{Array, ElementType};
pub use encoded::EncodedValue;
pub use map::Map;
pub use symbol::Symbol;
pub use tag::DeliveryTag;
pub use timestamp::Timestamp;

/// One AMQP value.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// The absence of a value.
    #[default]
    Null,
    /// True or false.
    Boolean(bool),
    /// 8 bits, unsigned.
    Ubyte(u8),
    /// 16 bits, unsigned.
    Ushort(u16),
    /// 32 bits, unsigned.
    Uint(u32),
    /// 64 bits, unsigned.
    Ulong(u64),
    /// 8 bits, signed.
    Byte(i8),
    /// 16 bits, signed.
    Short(i16),
    /// 32 bits, signed.
    Int(i32),
    /// 64 bits, signed.
    Long(i64),
    /// IEEE 754 binary32.
    Float(f32),
    /// IEEE 754 binary64.
    Double(f64),
    /// IEEE 754 decimal32, in its encoded form.
    Decimal32([u8; 4]),
    /// IEEE 754 decimal64, in its encoded form.
    Decimal64([u8; 8]),
    /// IEEE 754 decimal128, in its encoded form.
    Decimal128([u8; 16]),
    /// One Unicode scalar value.
    Char(char),
    /// An instant in milliseconds.
    Timestamp(Timestamp),
    /// A UUID in RFC 4122 byte order.
    Uuid(Uuid),
    /// Octets; shares the buffer it was decoded from.
    Binary(Bytes),
    /// UTF-8 text.
    String(String),
    /// A symbolic constant.
    Symbol(Symbol),
    /// Values of any types in order.
    List(Vec<Value>),
    /// Keys with their values, in the order of the wire.
    Map(Map),
    /// Values of one type.
    Array(Array),
    /// A value with a descriptor.
    Described(Box<Described>),
}

/// A value with the descriptor that says what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The descriptor: by convention a ulong or a symbol.
    pub descriptor: Value,
    /// The value described.
    pub value: Value,
}

impl Value {
    /// The text of a string or a symbol: peers use one for the other.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        }
    }

    /// Any integer type, as long as the value fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(n) => Some(n.into()),
            Self::Ushort(n) => Some(n.into()),
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => n.try_into().ok(),
            Self::Byte(n) => Some(n.into()),
            Self::Short(n) => Some(n.into()),
            Self::Int(n) => Some(n.into()),
            Self::Long(n) => Some(n),
            _ => None,
        }
    }

    /// Any integer type, as long as the value is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Ulong(n) => Some(n),
            _ => self.as_i64().and_then(|n| n.try_into().ok()),
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// A timestamp.
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        match *self {
            Self::Timestamp(instant) => Some(instant),
            _ => None,
        }
    }

    /// A UUID.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match *self {
            Self::Uuid(uuid) => Some(uuid),
            _ => None,
        }
    }

    /// Octets.
    pub fn as_binary(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(octets) => Some(octets),
            _ => None,
        }
    }

    /// A map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items of a list, or of an array.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            Self::Array(array) => Some(array.items()),
            _ => None,
        }
    }

    /// The name of the type, as the specification spells it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Ubyte(_) => "ubyte",
            Self::Ushort(_) => "ushort",
            Self::Uint(_) => "uint",
            Self::Ulong(_) => "ulong",
            Self::Byte(_) => "byte",
            Self::Short(_) => "short",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Decimal32(_) => "decimal32",
            Self::Decimal64(_) => "decimal64",
            Self::Decimal128(_) => "decimal128",
            Self::Char(_) => "char",
            Self::Timestamp(_) => "timestamp",
            Self::Uuid(_) => "uuid",
            Self::Binary(_) => "binary",
            Self::String(_) => "string",
            Self::Symbol(_) => "symbol",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Array(_) => "array",
            Self::Described(_) => "described",
        }
    }
}

macro_rules! value_from {
    ($($source:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$variant(value)
            }
        })+
    };
}

value_from! {
    bool => Boolean, u8 => Ubyte, u16 => Ushort, u32 => Uint, u64 => Ulong,
    i8 => Byte, i16 => Short, i32 => Int, i64 => Long, f32 => Float, f64 => Double, char => Char,
    Timestamp => Timestamp, Uuid => Uuid, Bytes => Binary, String => String, Symbol => Symbol,
    Vec<Value> => List, Map => Map, Array => Array,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
