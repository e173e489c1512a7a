//! A value that is looked at and not built.

use bytes::Bytes;

use super::{Timestamp, Value};
use crate::decode::Decoder;
use crate::field::Decode as _;

/// One value as it was encoded, known to be well formed. For those who want one number out of many
/// values, reading it here costs no memory.
#[derive(Clone, Copy, Debug)]
pub struct EncodedValue<'a>(&'a [u8]);

impl<'a> EncodedValue<'a> {
    /// The octets of one value, constructor included, which a decoder has passed over.
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Any integer type, as long as the value fits.
    #[inline]
    pub fn as_i64(self) -> Option<i64> {
        match *self.0 {
            [0x81, ref octets @ ..] => octets.try_into().ok().map(i64::from_be_bytes),
            [0x54 | 0x55, octet] => Some(i8::from_be_bytes([octet]).into()),
            _ => self.to_value()?.as_i64(),
        }
    }

    /// A timestamp.
    #[inline]
    pub fn as_timestamp(self) -> Option<Timestamp> {
        let [0x83, octets @ ..] = self.0 else {
            return None;
        };
        let millis = i64::from_be_bytes(octets.try_into().ok()?);
        Some(Timestamp::from_millis(millis))
    }

    /// The value itself.
    #[cold]
    pub fn to_value(self) -> Option<Value> {
        Value::decode(&mut Decoder::new(&Bytes::copy_from_slice(self.0))).ok()
    }
}
