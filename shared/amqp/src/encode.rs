//! Writing values, each in its shortest form.

mod array;
mod compound;
mod value;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

pub(crate) use compound::ListWriter;
pub(crate) use value::put_list;

use crate::value::{DeliveryTag, Symbol, Timestamp};

/// Something with an AMQP encoding.
pub trait Encode {
    /// Appends the encoding, constructor included.
    fn encode(&self, out: &mut BytesMut);
}

/// Appends a descriptor in its numeric form.
pub(crate) fn put_descriptor(out: &mut BytesMut, code: u64) {
    out.put_u8(0x00);
    code.encode(out);
}

/// Appends octets of variable width: one octet of length where that is enough.
pub(crate) fn put_variable(out: &mut BytesMut, short: u8, octets: &[u8]) {
    out.reserve(octets.len() + 5);
    if let Ok(length) = u8::try_from(octets.len()) {
        out.put_slice(&[short, length]);
    } else {
        out.put_u8(short + 0x10);
        put_length(out, octets.len());
    }
    out.put_slice(octets);
}

/// Appends a length of four octets. Lengths above 4 GiB cannot be sent in any frame, so they
/// saturate here and are refused by size before.
pub(crate) fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(if *self { 0x41 } else { 0x42 });
    }
}

impl Encode for u8 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[0x50, *self]);
    }
}

impl Encode for u16 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x60);
        out.put_u16(*self);
    }
}

impl Encode for u32 {
    fn encode(&self, out: &mut BytesMut) {
        match u8::try_from(*self) {
            Ok(0) => out.put_u8(0x43),
            Ok(small) => out.put_slice(&[0x52, small]),
            Err(_) => {
                out.put_u8(0x70);
                out.put_u32(*self);
            }
        }
    }
}

impl Encode for u64 {
    fn encode(&self, out: &mut BytesMut) {
        match u8::try_from(*self) {
            Ok(0) => out.put_u8(0x44),
            Ok(small) => out.put_slice(&[0x53, small]),
            Err(_) => {
                out.put_u8(0x80);
                out.put_u64(*self);
            }
        }
    }
}

impl Encode for i8 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x51);
        out.put_i8(*self);
    }
}

impl Encode for i16 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x61);
        out.put_i16(*self);
    }
}

impl Encode for i32 {
    fn encode(&self, out: &mut BytesMut) {
        if let Ok(small) = i8::try_from(*self) {
            out.put_u8(0x54);
            out.put_i8(small);
        } else {
            out.put_u8(0x71);
            out.put_i32(*self);
        }
    }
}

impl Encode for i64 {
    fn encode(&self, out: &mut BytesMut) {
        if let Ok(small) = i8::try_from(*self) {
            out.put_u8(0x55);
            out.put_i8(small);
        } else {
            out.put_u8(0x81);
            out.put_i64(*self);
        }
    }
}

impl Encode for Timestamp {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x83);
        out.put_i64(self.as_millis());
    }
}

impl Encode for Uuid {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x98);
        out.put_slice(self.as_bytes());
    }
}

impl Encode for [u8] {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, 0xa0, self);
    }
}

impl Encode for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        self[..].encode(out);
    }
}

impl Encode for DeliveryTag {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, 0xa0, self);
    }
}

impl Encode for str {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, 0xa1, self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut BytesMut) {
        self.as_str().encode(out);
    }
}

impl Encode for Symbol {
    fn encode(&self, out: &mut BytesMut) {
        put_variable(out, 0xa3, self.as_str().as_bytes());
    }
}
