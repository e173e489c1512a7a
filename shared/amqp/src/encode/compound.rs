//! Compounds: size and count stand before the items, so they are filled in afterwards.

use bytes::{BufMut, BytesMut};

use super::Encode;

/// An open list, map or array. Begins in the short form and widens if it has to.
pub(super) struct CompoundWriter {
    /// Where its constructor stands.
    start: usize,
}

impl CompoundWriter {
    /// Opens a compound by the constructor of its short form.
    pub(super) fn begin(out: &mut BytesMut, short: u8) -> Self {
        let start = out.len();
        out.put_slice(&[short, 0, 0]);
        Self { start }
    }

    /// Fills in size and count.
    pub(super) fn finish(self, out: &mut BytesMut, count: usize) {
        let body = self.start + 3;
        let length = out.len() - body;
        if let (Ok(size), Ok(count)) = (u8::try_from(length + 1), u8::try_from(count)) {
            out[self.start + 1] = size;
            out[self.start + 2] = count;
            return;
        }
        // Six octets more of header: four of size and four of count instead of one each.
        out.put_bytes(0, 6);
        out.copy_within(body..body + length, body + 6);
        out[self.start] += 0x10;
        fill_wide(out, self.start + 1, length, count);
    }
}

/// Writes size and count of the wide form at `at`.
pub(super) fn fill_wide(out: &mut BytesMut, at: usize, length: usize, count: usize) {
    let size = u32::try_from(length + 4).unwrap_or(u32::MAX);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    out[at + 4..at + 8].copy_from_slice(&count.to_be_bytes());
}

/// The list of a composite type: absent fields at its end are left out.
pub(crate) struct ListWriter {
    compound: CompoundWriter,
    count: usize,
    present: usize,
    present_end: usize,
}

impl ListWriter {
    /// Opens the list.
    pub(crate) fn begin(out: &mut BytesMut) -> Self {
        let compound = CompoundWriter::begin(out, 0xc0);
        Self {
            compound,
            count: 0,
            present: 0,
            present_end: out.len(),
        }
    }

    /// Appends a field that is present.
    pub(crate) fn field<T: Encode + ?Sized>(&mut self, out: &mut BytesMut, value: &T) {
        value.encode(out);
        self.count += 1;
        self.present = self.count;
        self.present_end = out.len();
    }

    /// Appends a field that may be absent.
    pub(crate) fn optional<T: Encode>(&mut self, out: &mut BytesMut, value: Option<&T>) {
        if let Some(value) = value {
            self.field(out, value);
        } else {
            out.put_u8(0x40);
            self.count += 1;
        }
    }

    /// Appends a field that is written even when it is absent and nothing follows it.
    pub(crate) fn nullable<T: Encode>(&mut self, out: &mut BytesMut, value: Option<&T>) {
        self.optional(out, value);
        self.present = self.count;
        self.present_end = out.len();
    }

    /// Closes the list.
    pub(crate) fn finish(self, out: &mut BytesMut) {
        out.truncate(self.present_end);
        if self.present == 0 {
            out.truncate(self.compound.start);
            out.put_u8(0x45);
        } else {
            self.compound.finish(out, self.present);
        }
    }
}
