//! Encoding a value of any type.

use bytes::{BufMut, BytesMut};

use super::Encode;
use super::compound::CompoundWriter;
use crate::value::{Described, Map, Value};

impl Encode for Value {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Null => out.put_u8(0x40),
            Self::Boolean(value) => value.encode(out),
            Self::Ubyte(value) => value.encode(out),
            Self::Ushort(value) => value.encode(out),
            Self::Uint(value) => value.encode(out),
            Self::Ulong(value) => value.encode(out),
            Self::Byte(value) => value.encode(out),
            Self::Short(value) => value.encode(out),
            Self::Int(value) => value.encode(out),
            Self::Long(value) => value.encode(out),
            Self::Float(value) => put(out, 0x72, &value.to_be_bytes()),
            Self::Double(value) => put(out, 0x82, &value.to_be_bytes()),
            Self::Decimal32(octets) => put(out, 0x74, octets),
            Self::Decimal64(octets) => put(out, 0x84, octets),
            Self::Decimal128(octets) => put(out, 0x94, octets),
            Self::Char(value) => put(out, 0x73, &u32::from(*value).to_be_bytes()),
            Self::Timestamp(value) => value.encode(out),
            Self::Uuid(value) => value.encode(out),
            Self::Binary(octets) => octets.encode(out),
            Self::String(text) => text.encode(out),
            Self::Symbol(symbol) => symbol.encode(out),
            Self::List(items) => put_list(out, items),
            Self::Map(map) => map.encode(out),
            Self::Array(array) => array.encode(out),
            Self::Described(described) => described.encode(out),
        }
    }
}

impl Encode for Described {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(0x00);
        self.descriptor.encode(out);
        self.value.encode(out);
    }
}

impl Encode for Map {
    fn encode(&self, out: &mut BytesMut) {
        let compound = CompoundWriter::begin(out, 0xc1);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
        compound.finish(out, self.len() * 2);
    }
}

fn put(out: &mut BytesMut, code: u8, octets: &[u8]) {
    out.put_u8(code);
    out.put_slice(octets);
}

/// Appends a list.
pub(crate) fn put_list(out: &mut BytesMut, items: &[Value]) {
    if items.is_empty() {
        out.put_u8(0x45);
        return;
    }
    let compound = CompoundWriter::begin(out, 0xc0);
    for item in items {
        item.encode(out);
    }
    compound.finish(out, items.len());
}
