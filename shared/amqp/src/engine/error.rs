//! What an engine refuses: a peer's bytes, or our own commands.

use thiserror::Error;

use crate::condition;
use crate::decode_error::DecodeError;
use crate::frame::FrameError;
use crate::performative::AmqpError;
use crate::sasl::SaslCode;
use crate::value::Symbol;

/// Why a connection ended by the peer's fault. The engine has queued what the peer is to be told
/// (a close with [`condition`](Self::condition) once AMQP is spoken) and reads nothing more.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The connection does not begin with a header that is possible here.
    #[error("unsupported protocol header {octets:02x?}: expected {expected} 1.0.0")]
    UnsupportedHeader {
        /// What came.
        octets: [u8; 8],
        /// What was possible.
        expected: &'static str,
    },
    /// SASL ended without success.
    #[error("authentication by SASL failed: {code:?}")]
    Sasl {
        /// The outcome.
        code: SaslCode,
    },
    /// No SASL mechanism in common.
    #[error("no usable SASL mechanism among {offered}")]
    SaslMechanism {
        /// What was offered or asked for.
        offered: String,
    },
    /// Octets that are not a frame.
    #[error("malformed frame")]
    Frame(#[source] FrameError),
    /// A frame's body does not decode.
    #[error("malformed frame body on channel {channel}")]
    Decode {
        /// The channel.
        channel: u16,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// A frame that is not allowed in this state.
    #[error("unexpected {frame} on channel {channel}: {why}")]
    UnexpectedFrame {
        /// What came.
        frame: &'static str,
        /// The channel.
        channel: u16,
        /// Why it is not allowed.
        why: &'static str,
    },
    /// A field with a value that is not allowed.
    #[error("invalid field {field}: {why}")]
    InvalidField {
        /// The field.
        field: &'static str,
        /// Why its value is not allowed.
        why: &'static str,
    },
    /// A channel or handle above what we announced.
    #[error("{what} {number} is above the announced limit of {limit}")]
    OutOfRange {
        /// Channel or handle.
        what: &'static str,
        /// Its number.
        number: u32,
        /// The highest one allowed.
        limit: u32,
    },
    /// The peer makes us hold more than we agreed to.
    #[error("the peer exceeds the limit of {limit} {what}")]
    LimitExceeded {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Nothing came for too long.
    #[error("nothing came from the peer for {millis} ms")]
    IdleTimeout {
        /// The time-out in milliseconds.
        millis: u128,
    },
    /// The handshake took too long.
    #[error("the handshake did not end within {millis} ms")]
    HandshakeTimeout {
        /// The time-out in milliseconds.
        millis: u128,
    },
}

impl ProtocolError {
    /// The error condition that the peer is told.
    pub fn condition(&self) -> Symbol {
        match self {
            Self::UnsupportedHeader { .. } | Self::Frame(_) | Self::OutOfRange { .. } => {
                condition::FRAMING_ERROR
            }
            Self::Sasl { .. } | Self::SaslMechanism { .. } => condition::UNAUTHORIZED_ACCESS,
            Self::Decode { .. } => condition::DECODE_ERROR,
            Self::UnexpectedFrame { .. } => condition::NOT_ALLOWED,
            Self::InvalidField { .. } => condition::INVALID_FIELD,
            Self::LimitExceeded { .. } => condition::RESOURCE_LIMIT_EXCEEDED,
            Self::IdleTimeout { .. } | Self::HandshakeTimeout { .. } => {
                condition::CONNECTION_FORCED
            }
        }
    }

    /// The error as the peer is told it.
    pub(super) fn to_amqp(&self) -> AmqpError {
        use std::error::Error as _;

        let mut description = self.to_string();
        if let Some(source) = self.source() {
            description = format!("{description}: {source}");
        }
        AmqpError::new(self.condition(), description)
    }
}

/// Why a command was not carried out. The connection is unharmed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// The session is gone.
    #[error("the session has ended")]
    NoSession,
    /// The link is gone.
    #[error("the link is detached")]
    NoLink,
    /// The link is not in a state for this, such as a second answer to one attach.
    #[error("the link is {state}")]
    LinkState {
        /// The state it is in.
        state: &'static str,
    },
    /// A sender's command for a receiver, or the other way round.
    #[error("the link is no {expected}")]
    WrongRole {
        /// The role that the command needs.
        expected: &'static str,
    },
    /// The receiver has given no (more) credit, or too much waits for the session's window.
    #[error("the link has no credit")]
    NoCredit,
    /// The message is larger than the receiver takes.
    #[error("a message of {size} octets exceeds the link's limit of {limit}")]
    MessageTooLarge {
        /// Its size in octets.
        size: u64,
        /// The limit in octets.
        limit: u64,
    },
    /// Every channel or handle is in use.
    #[error("all {limit} {what} are in use")]
    Exhausted {
        /// What is in use.
        what: &'static str,
        /// How many there are.
        limit: u64,
    },
}
