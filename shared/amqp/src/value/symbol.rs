//! Symbols: the constants of the protocol.

use std::borrow::Cow;
use std::fmt;

/// A symbolic constant such as `amqp:not-found`. Ours are static and cost no allocation.
///
/// The specification asks for ASCII; text of other alphabets from a peer is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Cow<'static, str>);

impl Symbol {
    /// A symbol known at compile time.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A symbol that was read. The names that every message of Service Bus carries cost no
    /// allocation.
    pub(crate) fn read(text: &str) -> Self {
        match COMMON.iter().find(|common| **common == text) {
            Some(common) => Self::from_static(common),
            None => Self::from(text.to_owned()),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names of the annotations that the service puts on messages.
const COMMON: [&str; 10] = [
    "x-opt-sequence-number",
    "x-opt-enqueued-time",
    "x-opt-locked-until",
    "x-opt-lock-token",
    "x-opt-message-state",
    "x-opt-enqueue-sequence-number",
    "x-opt-partition-key",
    "x-opt-partition-id",
    "x-opt-scheduled-enqueue-time",
    "x-opt-deadletter-source",
];

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.0.into_owned()
    }
}

impl From<String> for Symbol {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl From<&'static str> for Symbol {
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
