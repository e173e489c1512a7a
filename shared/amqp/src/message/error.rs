//! Why octets are not a message.

use thiserror::Error;

use super::Section;
use crate::decode_error::DecodeError;

/// A refusal of the message codec.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The octets are not a row of sections.
    #[error("the message is not a sequence of sections")]
    Malformed(#[source] DecodeError),
    /// A section does not decode.
    #[error("malformed {section} section")]
    MalformedSection {
        /// The section.
        section: Section,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// A section after one that it must precede, or a second one of its kind.
    #[error("the {section} section is out of order or repeated")]
    SectionOrder {
        /// The section.
        section: Section,
    },
    /// Not a section of a message.
    #[error("unknown message section 0x{descriptor:016x}")]
    UnknownSection {
        /// Its descriptor.
        descriptor: u64,
    },
    /// Longer than offsets can tell.
    #[error("a message of {size} octets is too long")]
    TooLong {
        /// Its octets.
        size: usize,
    },
    /// A batch whose body is not made of data sections.
    #[error("the body of a batch must be data sections")]
    NotABatch,
}
