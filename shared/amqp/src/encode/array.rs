//! Encoding arrays. All items share one constructor, so a type's widest form is used, except
//! that short symbols and texts (capabilities, mechanisms) keep their one octet of length.

use bytes::{BufMut, BytesMut};

use super::compound::{CompoundWriter, fill_wide};
use super::{Encode, put_length};
use crate::value::{Array, ElementType, Symbol, Value};

impl Encode for Array {
    fn encode(&self, out: &mut BytesMut) {
        let compound = CompoundWriter::begin(out, 0xe0);
        put_items(out, self);
        compound.finish(out, self.items().len());
    }
}

/// Symbols where "multiple" is allowed: always an array, which every peer accepts.
impl Encode for Vec<Symbol> {
    fn encode(&self, out: &mut BytesMut) {
        let items = self.iter().cloned().map(Value::Symbol).collect();
        Array::from_decoded(ElementType::Symbol, items).encode(out);
    }
}

/// Appends the shared constructor and the items.
fn put_items(out: &mut BytesMut, array: &Array) {
    let mut plain = array.element_type();
    while let ElementType::Described {
        descriptor,
        element_type,
    } = plain
    {
        out.put_u8(0x00);
        descriptor.encode(out);
        plain = element_type;
    }
    let code = constructor(plain, array.items());
    out.put_u8(code);
    for item in array.items() {
        put_item(out, code, item);
    }
}

fn constructor(element_type: &ElementType, items: &[Value]) -> u8 {
    let short = items
        .iter()
        .all(|item| undescribed(item).as_str().is_some_and(is_short));
    match element_type {
        ElementType::Null | ElementType::Described { .. } => 0x40,
        ElementType::Boolean => 0x56,
        ElementType::Ubyte => 0x50,
        ElementType::Ushort => 0x60,
        ElementType::Uint => 0x70,
        ElementType::Ulong => 0x80,
        ElementType::Byte => 0x51,
        ElementType::Short => 0x61,
        ElementType::Int => 0x71,
        ElementType::Long => 0x81,
        ElementType::Float => 0x72,
        ElementType::Double => 0x82,
        ElementType::Decimal32 => 0x74,
        ElementType::Decimal64 => 0x84,
        ElementType::Decimal128 => 0x94,
        ElementType::Char => 0x73,
        ElementType::Timestamp => 0x83,
        ElementType::Uuid => 0x98,
        ElementType::Binary => 0xb0,
        ElementType::String => {
            if short {
                0xa1
            } else {
                0xb1
            }
        }
        ElementType::Symbol => {
            if short {
                0xa3
            } else {
                0xb3
            }
        }
        ElementType::List => 0xd0,
        ElementType::Map => 0xd1,
        ElementType::Array => 0xf0,
    }
}

fn is_short(text: &str) -> bool {
    u8::try_from(text.len()).is_ok()
}

fn undescribed(mut item: &Value) -> &Value {
    while let Value::Described(described) = item {
        item = &described.value;
    }
    item
}

/// Appends an item without its constructor.
fn put_item(out: &mut BytesMut, code: u8, item: &Value) {
    match undescribed(item) {
        Value::Null | Value::Described(_) => {}
        Value::Boolean(value) => out.put_u8(u8::from(*value)),
        Value::Ubyte(value) => out.put_u8(*value),
        Value::Ushort(value) => out.put_u16(*value),
        Value::Uint(value) => out.put_u32(*value),
        Value::Ulong(value) => out.put_u64(*value),
        Value::Byte(value) => out.put_i8(*value),
        Value::Short(value) => out.put_i16(*value),
        Value::Int(value) => out.put_i32(*value),
        Value::Long(value) => out.put_i64(*value),
        Value::Float(value) => out.put_f32(*value),
        Value::Double(value) => out.put_f64(*value),
        Value::Decimal32(octets) => out.put_slice(octets),
        Value::Decimal64(octets) => out.put_slice(octets),
        Value::Decimal128(octets) => out.put_slice(octets),
        Value::Char(value) => out.put_u32(u32::from(*value)),
        Value::Timestamp(value) => out.put_i64(value.as_millis()),
        Value::Uuid(value) => out.put_slice(value.as_bytes()),
        Value::Binary(octets) => put_text(out, code, octets),
        Value::String(text) => put_text(out, code, text.as_bytes()),
        Value::Symbol(symbol) => put_text(out, code, symbol.as_str().as_bytes()),
        Value::List(items) => put_wide(out, items.len(), |out| {
            for item in items {
                item.encode(out);
            }
        }),
        Value::Map(map) => put_wide(out, map.len() * 2, |out| {
            for (key, value) in map {
                key.encode(out);
                value.encode(out);
            }
        }),
        Value::Array(array) => {
            put_wide(out, array.items().len(), |out| put_items(out, array));
        }
    }
}

fn put_text(out: &mut BytesMut, code: u8, octets: &[u8]) {
    match u8::try_from(octets.len()) {
        Ok(length) if code < 0xb0 => out.put_u8(length),
        _ => put_length(out, octets.len()),
    }
    out.put_slice(octets);
}

/// Appends a compound in its wide form, without a constructor.
fn put_wide(out: &mut BytesMut, count: usize, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, 8);
    body(out);
    let length = out.len() - start - 8;
    fill_wide(out, start, length, count);
}
