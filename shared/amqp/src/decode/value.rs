//! Decoding a value of any type.

use uuid::Uuid;

use super::{Compound, Decoder};
use crate::decode_error::DecodeError;
use crate::field::Decode;
use crate::value::{Described, EncodedValue, Map, Symbol, Timestamp, Value};

impl Decode for Value {
    const EXPECTED: &'static str = "a value";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.charge(1)?;
        decoder.any()
    }
}

impl<'a> Decoder<'a> {
    /// Reads a value of any type; the caller has charged for it.
    fn any(&mut self) -> Result<Value, DecodeError> {
        match self.octet()? {
            0x00 => self
                .described()
                .map(|described| Value::Described(Box::new(described))),
            code => self.any_of(code),
        }
    }

    fn described(&mut self) -> Result<Described, DecodeError> {
        self.descend()?;
        self.charge(2)?;
        let descriptor = self.any()?;
        let value = self.any()?;
        self.ascend();
        Ok(Described { descriptor, value })
    }

    /// Reads what follows a constructor.
    pub(super) fn any_of(&mut self, code: u8) -> Result<Value, DecodeError> {
        match code {
            0x40..=0x9f => self.any_fixed(code),
            0xa0 | 0xb0 => {
                let length = self.length(code == 0xb0)?;
                self.share(length).map(Value::Binary)
            }
            0xa1 | 0xb1 => self
                .text(code == 0xb1)
                .map(|text| Value::String(text.to_owned())),
            0xa3 | 0xb3 => self.text(code == 0xb3).map(Symbol::read).map(Value::Symbol),
            0xc0 | 0xd0 => self.list(code == 0xd0).map(Value::List),
            0xc1 | 0xd1 => self.map(code == 0xd1).map(Value::Map),
            0xe0 | 0xf0 => self.array(code == 0xf0).map(Value::Array),
            _ => Err(self.unknown(code)),
        }
    }

    /// Reads what follows the constructor of a type of fixed width.
    fn any_fixed(&mut self, code: u8) -> Result<Value, DecodeError> {
        Ok(match code {
            0x40 => Value::Null,
            0x41 => Value::Boolean(true),
            0x42 => Value::Boolean(false),
            0x43 => Value::Uint(0),
            0x44 => Value::Ulong(0),
            0x45 => Value::List(Vec::new()),
            0x50 => Value::Ubyte(self.octet()?),
            0x51 => Value::Byte(i8::from_be_bytes(self.fixed()?)),
            0x52 => Value::Uint(self.octet()?.into()),
            0x53 => Value::Ulong(self.octet()?.into()),
            0x54 => Value::Int(i8::from_be_bytes(self.fixed()?).into()),
            0x55 => Value::Long(i8::from_be_bytes(self.fixed()?).into()),
            0x56 => match self.octet()? {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                _ => return Err(self.malformed("boolean")),
            },
            0x60 => Value::Ushort(u16::from_be_bytes(self.fixed()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.fixed()?)),
            0x70 => Value::Uint(self.wide()?),
            0x71 => Value::Int(i32::from_be_bytes(self.fixed()?)),
            0x72 => Value::Float(f32::from_be_bytes(self.fixed()?)),
            0x73 => Value::Char(
                char::from_u32(self.wide()?).ok_or_else(|| self.malformed("Unicode character"))?,
            ),
            0x74 => Value::Decimal32(self.fixed()?),
            0x80 => Value::Ulong(u64::from_be_bytes(self.fixed()?)),
            0x81 => Value::Long(i64::from_be_bytes(self.fixed()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.fixed()?)),
            0x83 => Value::Timestamp(Timestamp::from_millis(i64::from_be_bytes(self.fixed()?))),
            0x84 => Value::Decimal64(self.fixed()?),
            0x94 => Value::Decimal128(self.fixed()?),
            0x98 => Value::Uuid(Uuid::from_bytes(self.fixed()?)),
            _ => return Err(self.unknown(code)),
        })
    }

    /// Reads the length of a value of variable width.
    pub(crate) fn length(&mut self, wide: bool) -> Result<usize, DecodeError> {
        if wide {
            Ok(self.wide()? as usize)
        } else {
            Ok(usize::from(self.octet()?))
        }
    }

    /// Reads length and text.
    pub(crate) fn text(&mut self, wide: bool) -> Result<&'a str, DecodeError> {
        let length = self.length(wide)?;
        let octets = self.take(length)?;
        std::str::from_utf8(octets).map_err(|_| self.malformed("UTF-8 text"))
    }

    fn list(&mut self, wide: bool) -> Result<Vec<Value>, DecodeError> {
        let compound = self.enter_counted(wide)?;
        let mut items = Vec::with_capacity(compound.count as usize);
        for _ in 0..compound.count {
            items.push(self.any()?);
        }
        self.leave_counted(compound)?;
        Ok(items)
    }

    /// Reads what follows the constructor of a map.
    pub(crate) fn map(&mut self, wide: bool) -> Result<Map, DecodeError> {
        let compound = self.enter_counted(wide)?;
        if compound.count % 2 != 0 {
            return Err(self.malformed("map: a key without a value"));
        }
        let mut map = Map::with_capacity(compound.count as usize / 2);
        for _ in 0..compound.count / 2 {
            let key = self.any()?;
            map.push(key, self.any()?);
        }
        self.leave_counted(compound)?;
        Ok(map)
    }

    /// Reads a map, or null in its place, and hands its entries to `visit`: those whose keys are
    /// texts.
    pub(crate) fn visit_map(
        &mut self,
        mut visit: impl FnMut(&str, EncodedValue<'_>),
    ) -> Result<(), DecodeError> {
        let wide = match self.octet()? {
            0x40 => return Ok(()),
            code @ (0xc1 | 0xd1) => code == 0xd1,
            code => return Err(self.unexpected(Map::EXPECTED, code)),
        };
        let compound = self.enter_counted(wide)?;
        if compound.count % 2 != 0 {
            return Err(self.malformed("map: a key without a value"));
        }
        for _ in 0..compound.count / 2 {
            match self.octet()? {
                code @ (0xa1 | 0xa3 | 0xb1 | 0xb3) => {
                    let key = self.text(code >= 0xb0)?;
                    visit(key, self.encoded()?);
                }
                0x00 => {
                    self.described()?;
                    self.any()?;
                }
                code => {
                    self.any_of(code)?;
                    self.any()?;
                }
            }
        }
        self.leave_counted(compound)
    }

    /// Passes over a value that is well formed. The usual ones are not built for that.
    #[inline]
    fn encoded(&mut self) -> Result<EncodedValue<'a>, DecodeError> {
        let start = self.position;
        match self.octet()? {
            0x40..=0x45 => {}
            0x50..=0x55 => drop(self.octet()?),
            0x70 | 0x71 => drop(self.wide()?),
            0x80..=0x83 => drop(self.take(8)?),
            0x00 => drop(self.described()?),
            code => drop(self.any_of(code)?),
        }
        Ok(EncodedValue::new(&self.octets[start..self.position]))
    }

    /// Enters a compound whose items become values: its count is at most its octets (each item
    /// has a constructor), and charged before memory is taken for it.
    fn enter_counted(&mut self, wide: bool) -> Result<Compound, DecodeError> {
        self.descend()?;
        let compound = self.enter(wide)?;
        if compound.count as usize > self.remaining() {
            return Err(DecodeError::UnexpectedEnd {
                offset: compound.end,
            });
        }
        self.charge(compound.count)?;
        Ok(compound)
    }

    fn leave_counted(&mut self, compound: Compound) -> Result<(), DecodeError> {
        self.ascend();
        self.leave_exactly(compound)
    }
}
