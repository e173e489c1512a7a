//! Decoding arrays: one constructor, many values.

use super::Decoder;
use crate::decode_error::DecodeError;
use crate::field::Decode;
use crate::value::{Array, Described, ElementType, Value};

/// Longest symbolic descriptor of array items, in octets: every item gets a copy of it.
const MAX_ITEM_DESCRIPTOR: usize = 128;

impl Decoder<'_> {
    /// Reads what follows the constructor of an array.
    pub(super) fn array(&mut self, wide: bool) -> Result<Array, DecodeError> {
        self.descend()?;
        let compound = self.enter(wide)?;
        let (descriptor, code) = self.element_constructor()?;
        let plain = element_type(code).ok_or_else(|| self.unknown(code))?;
        // Elements of no width take no octets, so only the budget bounds those.
        let width = minimum_width(code);
        if (compound.count as usize).saturating_mul(width) > self.remaining() {
            return Err(DecodeError::UnexpectedEnd {
                offset: compound.end,
            });
        }
        self.charge(
            compound
                .count
                .saturating_mul(if descriptor.is_some() { 4 } else { 1 }),
        )?;
        let mut items = Vec::with_capacity(compound.count as usize);
        for _ in 0..compound.count {
            let value = self.any_of(code)?;
            items.push(match &descriptor {
                None => value,
                Some(descriptor) => Value::Described(Box::new(Described {
                    descriptor: descriptor.clone(),
                    value,
                })),
            });
        }
        self.ascend();
        self.leave_exactly(compound)?;
        let element_type = match descriptor {
            None => plain,
            Some(descriptor) => ElementType::Described {
                descriptor: Box::new(descriptor),
                element_type: Box::new(plain),
            },
        };
        Ok(Array::from_decoded(element_type, items))
    }

    /// Reads the constructor of the items: a code, perhaps with one descriptor before it.
    fn element_constructor(&mut self) -> Result<(Option<Value>, u8), DecodeError> {
        match self.octet()? {
            0x00 => {
                let descriptor = Value::decode(self)?;
                match &descriptor {
                    Value::Ulong(_) => {}
                    Value::Symbol(symbol) if symbol.as_str().len() <= MAX_ITEM_DESCRIPTOR => {}
                    _ => return Err(self.malformed("descriptor of array items")),
                }
                Ok((Some(descriptor), self.octet()?))
            }
            code => Ok((None, code)),
        }
    }
}

/// Octets that an item takes at least.
fn minimum_width(code: u8) -> usize {
    match code >> 4 {
        0x4 => 0,
        0x6 | 0xc | 0xe => 2,
        0x7 | 0xb => 4,
        0x8 | 0xd | 0xf => 8,
        0x9 => 16,
        _ => 1,
    }
}

fn element_type(code: u8) -> Option<ElementType> {
    Some(match code {
        0x40 => ElementType::Null,
        0x41 | 0x42 | 0x56 => ElementType::Boolean,
        0x50 => ElementType::Ubyte,
        0x60 => ElementType::Ushort,
        0x43 | 0x52 | 0x70 => ElementType::Uint,
        0x44 | 0x53 | 0x80 => ElementType::Ulong,
        0x51 => ElementType::Byte,
        0x61 => ElementType::Short,
        0x54 | 0x71 => ElementType::Int,
        0x55 | 0x81 => ElementType::Long,
        0x72 => ElementType::Float,
        0x82 => ElementType::Double,
        0x74 => ElementType::Decimal32,
        0x84 => ElementType::Decimal64,
        0x94 => ElementType::Decimal128,
        0x73 => ElementType::Char,
        0x83 => ElementType::Timestamp,
        0x98 => ElementType::Uuid,
        0xa0 | 0xb0 => ElementType::Binary,
        0xa1 | 0xb1 => ElementType::String,
        0xa3 | 0xb3 => ElementType::Symbol,
        0x45 | 0xc0 | 0xd0 => ElementType::List,
        0xc1 | 0xd1 => ElementType::Map,
        0xe0 | 0xf0 => ElementType::Array,
        _ => return None,
    })
}
