//! SASL frames (part 5, section 5.3) and the PLAIN credentials in them.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::composite::composite;
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::Encode;
use crate::field::Decode;
use crate::value::Symbol;

/// The mechanism that needs no credentials; authorisation comes later, over `$cbs`.
pub const ANONYMOUS: &str = "ANONYMOUS";
/// A name and a password in clear text.
pub const PLAIN: &str = "PLAIN";
/// Service Bus's name for "claims come over `$cbs`".
pub const MSSBCBS: &str = "MSSBCBS";
/// The transport (a client certificate) has authenticated already.
pub const EXTERNAL: &str = "EXTERNAL";

composite! {
    /// The server offers mechanisms.
    struct SaslMechanisms (0x40, "amqp:sasl-mechanisms:list") {
        /// The offered mechanisms.
        required sasl_server_mechanisms: Vec<Symbol>,
    }

    /// The client chooses one.
    struct SaslInit (0x41, "amqp:sasl-init:list") {
        /// The chosen mechanism.
        required mechanism: Symbol,
        /// What the mechanism says first.
        optional initial_response: Bytes,
        /// The host that the client means to talk to.
        optional hostname: String,
    }

    /// The server says how it went.
    struct SaslOutcome (0x44, "amqp:sasl-outcome:list") {
        /// 0 is success; see [`SaslCode`].
        required code: SaslCode,
        /// What the mechanism says last.
        optional additional_data: Bytes,
    }
}

/// How authentication went (5.3.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslCode {
    /// It succeeded.
    Ok,
    /// The credentials are wrong.
    Auth,
    /// The server failed.
    System,
    /// The server failed and will again.
    SystemPermanent,
    /// The server failed and may not again.
    SystemTemporary,
}

impl Encode for SaslCode {
    fn encode(&self, out: &mut BytesMut) {
        let code: u8 = match self {
            Self::Ok => 0,
            Self::Auth => 1,
            Self::System => 2,
            Self::SystemPermanent => 3,
            Self::SystemTemporary => 4,
        };
        code.encode(out);
    }
}

impl Decode for SaslCode {
    const EXPECTED: &'static str = "sasl-code";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Self::Ok),
            1 => Ok(Self::Auth),
            2 => Ok(Self::System),
            3 => Ok(Self::SystemPermanent),
            4 => Ok(Self::SystemTemporary),
            _ => Err(decoder.malformed(Self::EXPECTED)),
        }
    }
}

/// A SASL frame's body. Challenges do not occur: every mechanism here takes one step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SaslFrame {
    /// The server offers mechanisms.
    Mechanisms(SaslMechanisms),
    /// The client chooses one.
    Init(SaslInit),
    /// The server says how it went.
    Outcome(SaslOutcome),
}

impl Encode for SaslFrame {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Mechanisms(mechanisms) => mechanisms.encode(out),
            Self::Init(init) => init.encode(out),
            Self::Outcome(outcome) => outcome.encode(out),
        }
    }
}

impl Decode for SaslFrame {
    const EXPECTED: &'static str = "a SASL frame";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let descriptor = decoder.descriptor(Self::EXPECTED, |symbol| match symbol {
            SaslMechanisms::SYMBOL => Some(SaslMechanisms::DESCRIPTOR),
            SaslInit::SYMBOL => Some(SaslInit::DESCRIPTOR),
            SaslOutcome::SYMBOL => Some(SaslOutcome::DESCRIPTOR),
            _ => None,
        })?;
        match descriptor {
            SaslMechanisms::DESCRIPTOR => {
                SaslMechanisms::decode_fields(decoder).map(Self::Mechanisms)
            }
            SaslInit::DESCRIPTOR => SaslInit::decode_fields(decoder).map(Self::Init),
            SaslOutcome::DESCRIPTOR => SaslOutcome::decode_fields(decoder).map(Self::Outcome),
            descriptor => Err(DecodeError::UnexpectedDescriptor {
                expected: Self::EXPECTED,
                descriptor,
            }),
        }
    }
}

/// What a PLAIN client says about itself (RFC 4616).
#[derive(Clone, PartialEq, Eq)]
pub struct PlainCredentials {
    /// On whose behalf it acts; empty for its own.
    pub authorization_id: String,
    /// Its name; for Service Bus the name of a shared access rule.
    pub user: String,
    /// Its password; for Service Bus the rule's key. Never printed.
    pub password: String,
}

impl PlainCredentials {
    /// Parses `authorization NUL user NUL password`; `None` when it is not that.
    pub fn parse(response: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(response).ok()?;
        let mut parts = text.split('\0');
        let credentials = Self {
            authorization_id: parts.next()?.to_owned(),
            user: parts.next()?.to_owned(),
            password: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(credentials)
    }

    /// The initial response that carries these credentials.
    pub fn to_response(&self) -> Bytes {
        let Self {
            authorization_id,
            user,
            password,
        } = self;
        Bytes::from(format!("{authorization_id}\0{user}\0{password}"))
    }
}

impl fmt::Debug for PlainCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainCredentials")
            .field("authorization_id", &self.authorization_id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
