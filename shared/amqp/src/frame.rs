//! Frames (part 2, section 2.3) and the headers that precede them (2.2).

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The largest frame that every peer has to take, in octets.
pub const MIN_MAX_FRAME_SIZE: u32 = 512;

/// What a connection begins with: which layer, and version 1.0.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// AMQP itself.
    Amqp,
    /// TLS inside the connection; never offered, since TLS comes before the first octet here.
    Tls,
    /// SASL.
    Sasl,
}

impl ProtocolHeader {
    /// Octets of a header.
    pub const LENGTH: usize = 8;

    /// The octets.
    pub const fn octets(self) -> [u8; Self::LENGTH] {
        let layer = match self {
            Self::Amqp => 0,
            Self::Tls => 2,
            Self::Sasl => 3,
        };
        [b'A', b'M', b'Q', b'P', layer, 1, 0, 0]
    }

    /// The header that these octets are, if they are one of version 1.0.0.
    pub fn parse(octets: [u8; Self::LENGTH]) -> Option<Self> {
        [Self::Amqp, Self::Tls, Self::Sasl]
            .into_iter()
            .find(|header| header.octets() == octets)
    }
}

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A performative, or nothing: a sign of life.
    Amqp,
    /// A SASL step.
    Sasl,
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Octets of the whole frame.
    pub size: usize,
    /// Octets before the body.
    pub body_offset: usize,
    /// What it is about.
    pub kind: FrameKind,
    /// The channel; meaningless in a SASL frame.
    pub channel: u16,
}

/// Why octets are not a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than its own header.
    #[error("a frame of {size} octets is shorter than its header")]
    TooShort {
        /// The size it claims.
        size: u32,
    },
    /// Longer than what was negotiated.
    #[error("a frame of {size} octets exceeds the limit of {limit}")]
    TooLong {
        /// The size it claims.
        size: u32,
        /// The limit.
        limit: u32,
    },
    /// Its body would begin inside the header or behind the end.
    #[error("a frame of {size} octets cannot have its body at offset {body_offset}")]
    BodyOffset {
        /// The size it claims.
        size: u32,
        /// The offset it claims.
        body_offset: usize,
    },
    /// Neither AMQP nor SASL.
    #[error("unknown frame type {kind}")]
    UnknownKind {
        /// The type it claims.
        kind: u8,
    },
}

impl FrameHeader {
    /// Octets of the header of a frame without extensions.
    pub const LENGTH: usize = 8;

    /// Reads the header of the frame at the start of `octets`; `None` while it is incomplete.
    /// Refuses a frame above `limit` octets before anything is waited for.
    pub fn parse(octets: &[u8], limit: u32) -> Result<Option<Self>, FrameError> {
        let Some(header) = octets.first_chunk::<{ Self::LENGTH }>() else {
            return Ok(None);
        };
        let [s0, s1, s2, s3, data_offset, kind, c0, c1] = *header;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if size < 8 {
            return Err(FrameError::TooShort { size });
        }
        if size > limit {
            return Err(FrameError::TooLong { size, limit });
        }
        let body_offset = usize::from(data_offset) * 4;
        if body_offset < Self::LENGTH || body_offset > size as usize {
            return Err(FrameError::BodyOffset { size, body_offset });
        }
        let kind = match kind {
            0 => FrameKind::Amqp,
            1 => FrameKind::Sasl,
            kind => return Err(FrameError::UnknownKind { kind }),
        };
        let channel = u16::from_be_bytes([c0, c1]);
        Ok(Some(Self {
            size: size as usize,
            body_offset,
            kind,
            channel,
        }))
    }
}

/// Opens a frame; returns where it starts, for [`finish`].
pub(crate) fn begin(out: &mut BytesMut, kind: FrameKind, channel: u16) -> usize {
    let start = out.len();
    let [c0, c1] = channel.to_be_bytes();
    out.put_slice(&[0, 0, 0, 0, 2, u8::from(kind == FrameKind::Sasl), c0, c1]);
    start
}

/// Fills in the size of the frame that starts at `start`.
pub(crate) fn finish(out: &mut BytesMut, start: usize) {
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}
