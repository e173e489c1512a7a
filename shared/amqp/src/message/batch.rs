//! Service Bus's batches: one delivery that carries many messages.
//!
//! The outer message has the format 0x80013700 and a body of data sections, each of which holds
//! one encoded message. Its other sections describe only the first and are not looked at.

use bytes::{Bytes, BytesMut};

use super::{MessageError, RawMessage, Section};
use crate::decode::Decoder;
use crate::encode::Encode;
use crate::field::Decode;

/// The message format of a batch.
pub const BATCH_FORMAT: u32 = 0x8001_3700;

/// Takes the encoded messages out of an encoded batch. They share its octets.
pub fn unpack_batch(octets: Bytes) -> Result<Vec<Bytes>, MessageError> {
    let body = RawMessage::split(octets)?.encoded_body();
    let mut decoder = Decoder::new(&body);
    let mut messages = Vec::new();
    let failed = |source| MessageError::MalformedSection {
        section: Section::Data,
        source,
    };
    while decoder.remaining() > 0 {
        let descriptor = decoder
            .descriptor("a data section", Section::descriptor_of)
            .map_err(MessageError::Malformed)?;
        if descriptor != Section::Data.descriptor() {
            return Err(MessageError::NotABatch);
        }
        decoder.charge(1).map_err(failed)?;
        messages.push(Bytes::decode(&mut decoder).map_err(failed)?);
    }
    if messages.is_empty() {
        Err(MessageError::NotABatch)
    } else {
        Ok(messages)
    }
}

/// Packs encoded messages into a batch.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    out: BytesMut,
    count: usize,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets of the batch with a message of `length` octets added to it.
    pub fn size_with(&self, length: usize) -> usize {
        // Descriptor (3), constructor (1), and a length of one octet or four.
        self.out.len() + length + if length <= 255 { 5 } else { 8 }
    }

    /// Octets so far.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// Messages so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an encoded message.
    pub fn push(&mut self, message: &[u8]) {
        Section::Data.put(&mut self.out, &Octets(message));
        self.count += 1;
    }

    /// The encoded batch.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

/// Borrowed octets as a binary value.
struct Octets<'a>(&'a [u8]);

impl Encode for Octets<'_> {
    fn encode(&self, out: &mut BytesMut) {
        crate::encode::put_variable(out, 0xa0, self.0);
    }
}
