//! Decoding into types that a specification fixes.

use bytes::Bytes;
use uuid::Uuid;

use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::value::{DeliveryTag, Map, Symbol, Timestamp, Value};

/// Something that can be read from its AMQP encoding.
pub trait Decode: Sized {
    /// What to call the type in errors.
    const EXPECTED: &'static str;

    /// Reads one value, which must not be null unless the type says so.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Reads one value from bytes that hold nothing else.
    fn decode_all(source: &Bytes) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(source);
        let value = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(value)
    }
}

/// Reads a value that may be null.
pub(crate) fn optional<T: Decode>(decoder: &mut Decoder<'_>) -> Result<Option<T>, DecodeError> {
    if decoder.null()? {
        Ok(None)
    } else {
        T::decode(decoder).map(Some)
    }
}

impl Decode for bool {
    const EXPECTED: &'static str = "boolean";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x41 => Ok(true),
            0x42 => Ok(false),
            0x56 => match decoder.octet()? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(decoder.malformed(Self::EXPECTED)),
            },
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for u8 {
    const EXPECTED: &'static str = "ubyte";

    /// Some peers send a uint where the specification says ubyte; it is taken if it fits.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x50 | 0x52 => decoder.octet(),
            0x43 => Ok(0),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for u16 {
    const EXPECTED: &'static str = "ushort";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x60 => Ok(u16::from_be_bytes(decoder.fixed()?)),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for u32 {
    const EXPECTED: &'static str = "uint";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x43 => Ok(0),
            0x52 => Ok(decoder.octet()?.into()),
            0x70 => decoder.wide(),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for u64 {
    const EXPECTED: &'static str = "ulong";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x44 => Ok(0),
            0x53 => Ok(decoder.octet()?.into()),
            0x80 => Ok(u64::from_be_bytes(decoder.fixed()?)),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for Timestamp {
    const EXPECTED: &'static str = "timestamp";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x83 => Ok(Self::from_millis(i64::from_be_bytes(decoder.fixed()?))),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for Uuid {
    const EXPECTED: &'static str = "uuid";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            0x98 => Ok(Self::from_bytes(decoder.fixed()?)),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for Bytes {
    const EXPECTED: &'static str = "binary";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            code @ (0xa0 | 0xb0) => {
                let length = decoder.length(code == 0xb0)?;
                decoder.share(length)
            }
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for DeliveryTag {
    const EXPECTED: &'static str = "delivery-tag of at most 32 octets";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            code @ (0xa0 | 0xb0) => {
                let length = decoder.length(code == 0xb0)?;
                let octets = decoder.take(length)?;
                Self::new(octets).ok_or_else(|| decoder.malformed(Self::EXPECTED))
            }
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

/// Strings and symbols are taken for one another: peers mix them up.
impl Decode for String {
    const EXPECTED: &'static str = "string";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            code @ (0xa1 | 0xa3 | 0xb1 | 0xb3) => decoder.text(code >= 0xb0).map(str::to_owned),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for Symbol {
    const EXPECTED: &'static str = "symbol";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            code @ (0xa1 | 0xa3 | 0xb1 | 0xb3) => decoder.text(code >= 0xb0).map(Self::read),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

impl Decode for Map {
    const EXPECTED: &'static str = "map";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.octet()? {
            code @ (0xc1 | 0xd1) => decoder.map(code == 0xd1),
            code => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}

/// Symbols where the specification says "multiple": an array, or one symbol alone.
impl Decode for Vec<Symbol> {
    const EXPECTED: &'static str = "symbol or array of symbols";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let code = decoder.peek()?;
        match Value::decode(decoder)? {
            Value::Symbol(symbol) => Ok(vec![symbol]),
            Value::Array(array) => array
                .items()
                .iter()
                .map(|item| match item {
                    Value::Symbol(symbol) => Ok(symbol.clone()),
                    _ => Err(decoder.unexpected(Self::EXPECTED, code)),
                })
                .collect(),
            _ => Err(decoder.unexpected(Self::EXPECTED, code)),
        }
    }
}
