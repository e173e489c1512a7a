//! Reading values from a buffer.
//!
//! A [`Decoder`] walks over borrowed [`Bytes`], so that binary values become slices of the buffer
//! instead of copies. What a stranger can claim is checked before it is believed: a size against
//! the octets that are left, a count against the octets of its compound and against a budget of
//! [`MAX_VALUES`] for the whole buffer (elements of no width cost nothing on the wire), nesting
//! against [`MAX_DEPTH`].

mod array;
mod value;

use bytes::Bytes;

use crate::decode_error::DecodeError;

/// How deep values may be nested. Service Bus messages need four levels.
pub const MAX_DEPTH: u32 = 32;

/// How many values one decoder builds. A value takes about 50 bytes of memory and may take a
/// single one on the wire, so this bounds what a small frame can cost.
pub const MAX_VALUES: u32 = 65_536;

/// A position in a buffer that is being decoded.
#[derive(Debug)]
pub struct Decoder<'a> {
    /// The buffer, for slices that share it.
    source: &'a Bytes,
    /// The same buffer, for looking at it.
    octets: &'a [u8],
    position: usize,
    end: usize,
    depth: u32,
    values: u32,
}

/// The extent of a list, map or array whose header has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compound {
    /// Items that follow.
    pub(crate) count: u32,
    /// Where they end.
    pub(crate) end: usize,
    /// The limit of the enclosing value, to be restored.
    outer_end: usize,
}

impl Compound {
    /// Counts one item off, if one is left.
    #[inline]
    pub(crate) fn has_another(&mut self) -> bool {
        let another = self.count > 0;
        self.count = self.count.saturating_sub(1);
        another
    }
}

impl<'a> Decoder<'a> {
    /// Starts at the first octet.
    #[inline]
    pub fn new(source: &'a Bytes) -> Self {
        Self {
            source,
            octets: source,
            position: 0,
            end: source.len(),
            depth: 0,
            values: 0,
        }
    }

    /// Starts at the first octet of a part of the buffer, and ends with the part.
    #[inline]
    pub(crate) fn within(source: &'a Bytes, part: std::ops::Range<usize>) -> Self {
        let end = part.end.min(source.len());
        Self {
            source,
            octets: source,
            position: part.start.min(end),
            end,
            depth: 0,
            values: 0,
        }
    }

    /// Octets read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Octets left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Succeeds when nothing is left over.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes {
                count,
                offset: self.position,
            }),
        }
    }

    /// The next constructor, left unread.
    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, DecodeError> {
        let left = self.octets.get(self.position..self.end);
        match left.and_then(|left| left.first()) {
            Some(octet) => Ok(*octet),
            None => Err(DecodeError::UnexpectedEnd {
                offset: self.position,
            }),
        }
    }

    /// Reads one octet.
    #[inline]
    pub(crate) fn octet(&mut self) -> Result<u8, DecodeError> {
        let octet = self.peek()?;
        self.position += 1;
        Ok(octet)
    }

    /// Reads `length` octets.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if length > self.remaining() {
            return Err(DecodeError::UnexpectedEnd { offset: self.end });
        }
        let start = self.position;
        self.position += length;
        Ok(&self.octets[start..self.position])
    }

    /// Reads `length` octets as a slice that shares the buffer.
    #[inline]
    pub(crate) fn share(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(length)?;
        Ok(self.source.slice(start..self.position))
    }

    /// Reads a fixed number of octets.
    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut octets = [0; N];
        octets.copy_from_slice(self.take(N)?);
        Ok(octets)
    }

    /// Reads a length or count of four octets.
    #[inline]
    pub(crate) fn wide(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    /// Consumes a null if it is the next value.
    #[inline]
    pub fn null(&mut self) -> Result<bool, DecodeError> {
        let null = self.peek()? == 0x40;
        self.position += usize::from(null);
        Ok(null)
    }

    /// An error about the constructor just before the current position.
    pub(crate) fn unexpected(&self, expected: &'static str, code: u8) -> DecodeError {
        DecodeError::UnexpectedType {
            expected,
            code,
            offset: self.position.saturating_sub(1),
        }
    }

    /// An error about octets just before the current position.
    pub(crate) fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed {
            what,
            offset: self.position,
        }
    }

    /// Takes `count` values from the budget.
    #[inline]
    pub(crate) fn charge(&mut self, count: u32) -> Result<(), DecodeError> {
        self.values = self.values.saturating_add(count);
        if self.values > MAX_VALUES {
            return Err(DecodeError::TooManyValues {
                limit: MAX_VALUES,
                offset: self.position,
            });
        }
        Ok(())
    }

    /// Goes one level down.
    #[inline]
    pub(crate) fn descend(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep {
                limit: MAX_DEPTH,
                offset: self.position,
            });
        }
        Ok(())
    }

    /// Comes back up.
    #[inline]
    pub(crate) fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Reads size and count of a compound whose width (1 or 4 octets) the constructor told, and
    /// narrows the decoder to it until [`leave`](Self::leave).
    #[inline]
    pub(crate) fn enter(&mut self, wide: bool) -> Result<Compound, DecodeError> {
        let width = if wide { 4 } else { 1 };
        let size = if wide {
            self.wide()? as usize
        } else {
            usize::from(self.octet()?)
        };
        if size < width {
            return Err(self.malformed("compound size"));
        }
        if size > self.remaining() {
            return Err(DecodeError::UnexpectedEnd { offset: self.end });
        }
        let end = self.position + size;
        let count = if wide {
            self.wide()?
        } else {
            u32::from(self.octet()?)
        };
        let compound = Compound {
            count,
            end,
            outer_end: self.end,
        };
        self.end = end;
        Ok(compound)
    }

    /// Ends a compound; octets that were not read in it are passed over.
    #[inline]
    pub(crate) fn leave(&mut self, compound: Compound) {
        self.position = compound.end;
        self.end = compound.outer_end;
    }

    /// Ends a compound that has to be read to its last octet.
    #[inline]
    pub(crate) fn leave_exactly(&mut self, compound: Compound) -> Result<(), DecodeError> {
        self.finish()?;
        self.leave(compound);
        Ok(())
    }

    /// Reads the constructor of a list and enters it.
    #[inline]
    pub(crate) fn enter_list(&mut self, expected: &'static str) -> Result<Compound, DecodeError> {
        match self.octet()? {
            0x45 => {
                let end = self.position;
                let compound = Compound {
                    count: 0,
                    end,
                    outer_end: self.end,
                };
                self.end = end;
                Ok(compound)
            }
            0xc0 => self.enter(false),
            0xd0 => self.enter(true),
            code => Err(self.unexpected(expected, code)),
        }
    }

    /// Reads a descriptor as a number. `symbols` maps the symbolic form of the types possible here.
    #[inline]
    pub(crate) fn descriptor(
        &mut self,
        expected: &'static str,
        symbols: fn(&str) -> Option<u64>,
    ) -> Result<u64, DecodeError> {
        match self.octet()? {
            0x00 => {}
            code => return Err(self.unexpected(expected, code)),
        }
        match self.octet()? {
            0x53 => Ok(u64::from(self.octet()?)),
            0x80 => Ok(u64::from_be_bytes(self.fixed()?)),
            0x44 => Ok(0),
            code @ (0xa3 | 0xb3) => {
                let wide = code == 0xb3;
                let length = if wide {
                    self.wide()? as usize
                } else {
                    usize::from(self.octet()?)
                };
                let text = std::str::from_utf8(self.take(length)?)
                    .ok()
                    .and_then(symbols);
                Ok(text.unwrap_or(u64::MAX))
            }
            code => Err(self.unexpected("a numeric or symbolic descriptor", code)),
        }
    }

    /// Passes over one value without looking into it.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let code = self.octet()?;
        let length = match code >> 4 {
            0x0 if code == 0 => {
                self.descend()?;
                self.skip()?;
                self.skip()?;
                self.ascend();
                return Ok(());
            }
            0x4 => 0,
            0x5 => 1,
            0x6 => 2,
            0x7 => 4,
            0x8 => 8,
            0x9 => 16,
            0xa | 0xc | 0xe => usize::from(self.octet()?),
            0xb | 0xd | 0xf => self.wide()? as usize,
            _ => return Err(self.unknown(code)),
        };
        self.take(length).map(drop)
    }

    /// An error about a constructor just read that does not exist.
    pub(crate) fn unknown(&self, code: u8) -> DecodeError {
        DecodeError::UnknownConstructor {
            code,
            offset: self.position.saturating_sub(1),
        }
    }
}
