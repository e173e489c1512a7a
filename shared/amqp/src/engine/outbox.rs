//! Frames on their way out, in one buffer.

use bytes::{BufMut, BytesMut};

use crate::encode::Encode;
use crate::frame::{self, FrameHeader, FrameKind, MIN_MAX_FRAME_SIZE, ProtocolHeader};
use crate::performative::{AmqpError, Close};

/// The write buffer and what the peer takes.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) octets: BytesMut,
    /// Largest frame that the peer takes.
    pub(super) max_frame_size: u32,
    /// Whether anything was written since this was last reset, for the signs of life.
    pub(super) wrote: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        // Before its open the peer has to take this much and no more.
        Self {
            octets: BytesMut::new(),
            max_frame_size: MIN_MAX_FRAME_SIZE,
            wrote: false,
        }
    }

    pub(super) fn header(&mut self, header: ProtocolHeader) {
        self.octets.put_slice(&header.octets());
        self.wrote = true;
    }

    /// Writes a performative without a payload.
    pub(super) fn frame(&mut self, channel: u16, body: &impl Encode) {
        self.write(FrameKind::Amqp, channel, body);
    }

    pub(super) fn sasl_frame(&mut self, body: &impl Encode) {
        self.write(FrameKind::Sasl, 0, body);
    }

    fn write(&mut self, kind: FrameKind, channel: u16, body: &impl Encode) {
        let start = frame::begin(&mut self.octets, kind, channel);
        body.encode(&mut self.octets);
        frame::finish(&mut self.octets, start);
        self.wrote = true;
    }

    /// Writes a frame without a body: a sign of life.
    pub(super) fn empty_frame(&mut self) {
        let start = frame::begin(&mut self.octets, FrameKind::Amqp, 0);
        frame::finish(&mut self.octets, start);
        self.wrote = true;
    }

    pub(super) fn close(&mut self, error: Option<AmqpError>) {
        self.frame(0, &Close { error });
    }

    /// Octets that a frame's body may have.
    pub(super) fn body_limit(&self) -> usize {
        (self.max_frame_size as usize).saturating_sub(FrameHeader::LENGTH)
    }
}
