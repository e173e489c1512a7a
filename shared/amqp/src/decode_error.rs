//! Why bytes were not the value that was expected.

use thiserror::Error;

/// A refusal of the codec. Offsets count octets from the start of the decoded buffer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end inside a value at offset {offset}")]
    UnexpectedEnd {
        /// Where the missing octets should be.
        offset: usize,
    },
    /// A constructor that the specification does not define.
    #[error("unknown type constructor 0x{code:02x} at offset {offset}")]
    UnknownConstructor {
        /// The constructor.
        code: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A value of another type than the one expected.
    #[error("expected {expected}, found type constructor 0x{code:02x} at offset {offset}")]
    UnexpectedType {
        /// The type or field expected.
        expected: &'static str,
        /// The constructor found.
        code: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A described type that is not one of those possible here.
    #[error("expected {expected}, found descriptor 0x{descriptor:016x}")]
    UnexpectedDescriptor {
        /// What was possible.
        expected: &'static str,
        /// The numeric descriptor found; all ones for an unknown symbolic one.
        descriptor: u64,
    },
    /// A value that its type does not allow (text that is not UTF-8, a surrogate, …).
    #[error("malformed {what} at offset {offset}")]
    Malformed {
        /// What is malformed.
        what: &'static str,
        /// Where it stands.
        offset: usize,
    },
    /// A mandatory field that is absent or null.
    #[error("{composite} lacks its mandatory field {field}")]
    MissingField {
        /// The composite type.
        composite: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Values nested deeper than this codec follows.
    #[error("values are nested deeper than {limit} levels at offset {offset}")]
    TooDeep {
        /// The limit.
        limit: u32,
        /// Where it was passed.
        offset: usize,
    },
    /// More values in one buffer than this codec builds.
    #[error("more than {limit} values, at offset {offset}")]
    TooManyValues {
        /// The limit.
        limit: u32,
        /// Where it was passed.
        offset: usize,
    },
    /// Octets left over after the value.
    #[error("{count} octets are left over after the value, at offset {offset}")]
    TrailingBytes {
        /// How many.
        count: usize,
        /// Where they begin.
        offset: usize,
    },
}
