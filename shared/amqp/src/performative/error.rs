//! The error that an outcome, a detach, an end or a close carries.

use std::fmt;

use crate::composite::composite;
use crate::value::{Map, Symbol};

composite! {
    /// What went wrong, for the peer (2.8.14).
    struct AmqpError (0x1d, "amqp:error:list") {
        /// What kind of error it is; see [`condition`](crate::condition).
        required condition: Symbol,
        /// What happened, for people.
        optional description: String,
        /// Details, for programs. Written as a null when there are none: the Python SDK reads the
        /// third field of the error of a rejected message without looking whether there is one.
        nullable info: Map,
    }
}

impl AmqpError {
    /// An error with a description.
    pub fn new(condition: impl Into<Symbol>, description: impl Into<String>) -> Self {
        Self {
            condition: condition.into(),
            description: Some(description.into()),
            info: None,
        }
    }
}

impl From<Symbol> for AmqpError {
    fn from(condition: Symbol) -> Self {
        Self {
            condition,
            description: None,
            info: None,
        }
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.description {
            Some(description) => write!(f, "{}: {description}", self.condition),
            None => self.condition.fmt(f),
        }
    }
}
