//! What can go wrong between a caller and the broker.
//!
//! The broker names its refusals by AMQP error conditions (`amqp:not-found`,
//! `com.microsoft:message-lock-lost`, …). Each condition that a caller can act on has a variant of
//! its own; the others keep condition and description in [`BusError::Refused`]. All variants are
//! cheap to clone, because one lost connection fails every call that waits on it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nightshift_amqp::performative::AmqpError;

use crate::connection_string::ConnectionStringError;

/// A failed operation on the broker.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The connection string cannot be used.
    #[error(transparent)]
    ConnectionString(#[from] ConnectionStringError),
    /// The broker could not prove that it is the host of the connection string, or speaks no TLS.
    /// Plain TCP is for connection strings with `UseDevelopmentEmulator=true`.
    #[error("no secure connection to `{host}`: {reason}")]
    Tls {
        /// Host of the connection string.
        host: String,
        /// What is wrong, such as the certificate.
        reason: String,
    },
    /// No connection could be made.
    #[error("cannot connect to the broker at {address}")]
    Connect {
        /// Host and port that were dialled.
        address: String,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no such queue, topic or subscription.
    #[error("the broker has no entity `{entity}`: {description}")]
    NotFound {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// The credential is wrong, has ended, or does not cover the entity.
    #[error("the broker refused access to `{entity}`: {description}")]
    Unauthorized {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// The credential that makes access tokens failed to make one.
    #[error("no access token could be had")]
    Credential {
        /// What the credential said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The entity exists and is switched off.
    #[error("the entity `{entity}` is disabled: {description}")]
    EntityDisabled {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// The message is no longer locked for this receiver: its lock ended, or it was settled
    /// before. The broker delivers it again or has already done so.
    #[error("the lock of the message is lost: {description}")]
    MessageLockLost {
        /// What is known about it.
        description: String,
    },
    /// The session is no longer this receiver's: its lock ended, or the link that held it is gone.
    /// Its unsettled messages are delivered again, to whoever accepts the session next; accept it
    /// again to go on.
    #[error("the lock of the session is lost: {description}")]
    SessionLockLost {
        /// What is known about it.
        description: String,
    },
    /// Another receiver holds the session.
    #[error("the session of `{entity}` cannot be locked: {description}")]
    SessionCannotBeLocked {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// No session had messages and was free within the time that the call was given.
    #[error("no session of `{entity}` became available in time")]
    NoSessionAvailable {
        /// The entity as it was asked for.
        entity: String,
    },
    /// The entity has no message with the sequence number that was asked for, or it is in another
    /// state.
    #[error("`{entity}` has no such message: {description}")]
    MessageNotFound {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// An encoded message is larger than the entity takes.
    #[error("the message is too large: {size} bytes encoded, and the limit is {limit}")]
    MessageTooLarge {
        /// Encoded size in bytes, properties included.
        size: u64,
        /// What the entity takes, in bytes.
        limit: u64,
    },
    /// The broker asks to be left alone for a while (official clients wait 4 to 10 s).
    #[error("the broker is busy: {description}")]
    ServerBusy {
        /// What the broker said.
        description: String,
    },
    /// The entity is full, or a count of connections or links is used up.
    #[error("a quota of `{entity}` is exceeded: {description}")]
    QuotaExceeded {
        /// The entity as it was asked for.
        entity: String,
        /// What the broker said.
        description: String,
    },
    /// No answer came in time. Whether a settlement took effect is unknown.
    #[error("{operation} got no answer within {}", seconds(.after))]
    Timeout {
        /// What was waited for.
        operation: &'static str,
        /// How long.
        after: Duration,
    },
    /// A message left for the broker, and no word about it came back: the broker may have accepted
    /// it or not. Every other error of a send means that the broker has not taken the message.
    #[error("it is unknown whether the broker has accepted the message")]
    SendOutcomeUnknown {
        /// What kept the answer from coming.
        #[source]
        source: Arc<BusError>,
    },
    /// The connection ended while the call waited, or had ended before. Locked messages stay
    /// locked until their time is over; whether a settlement took effect is unknown.
    #[error("the connection to the broker is lost: {reason}")]
    ConnectionLost {
        /// What ended it.
        reason: String,
        /// The failure of the socket, if it was one.
        #[source]
        source: Option<Arc<io::Error>>,
    },
    /// The broker ended the link of this sender or receiver; the connection lives on.
    #[error("the broker detached the link of `{entity}` with {condition}: {description}")]
    Detached {
        /// The entity as it was asked for.
        entity: String,
        /// The AMQP error condition, or `no error`.
        condition: String,
        /// What the broker said.
        description: String,
    },
    /// The broker refused the operation by a condition without a variant of its own.
    #[error("the broker refused with {condition}: {description}")]
    Refused {
        /// The AMQP error condition.
        condition: String,
        /// What the broker said.
        description: String,
    },
    /// The client, sender or receiver was closed by this process.
    #[error("the {what} is closed")]
    Closed {
        /// `client`, `sender` or `receiver`.
        what: &'static str,
    },
    /// The call cannot be done as asked, whatever the broker says.
    #[error("{0}")]
    InvalidArgument(String),
    /// The broker broke the protocol, or sent what cannot be understood.
    #[error("protocol error: {0}")]
    Protocol(String),
}

impl BusError {
    /// Whether the same call may succeed later without anybody changing anything, on a new
    /// connection where this one is gone.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Credential { .. }
            | Self::ServerBusy { .. }
            | Self::NoSessionAvailable { .. }
            | Self::Timeout { .. }
            | Self::ConnectionLost { .. } => true,
            Self::SendOutcomeUnknown { source } => source.is_transient(),
            Self::Detached { condition, .. } | Self::Refused { condition, .. } => matches!(
                condition.as_str(),
                "no error"
                    | "amqp:released"
                    | "amqp:modified"
                    | "amqp:link:detach-forced"
                    | "amqp:connection:forced"
                    | "amqp:internal-error"
                    | "com.microsoft:timeout"
                    | "com.microsoft:container-close"
                    | "com.microsoft:operation-cancelled"
            ),
            _ => false,
        }
    }

    /// Says of a failed send that its message may have been accepted all the same.
    pub(crate) fn outcome_unknown(self) -> Self {
        match self {
            unknown @ Self::SendOutcomeUnknown { .. } => unknown,
            source => Self::SendOutcomeUnknown {
                source: Arc::new(source),
            },
        }
    }

    /// Translates an error of the broker about `entity`.
    pub(crate) fn from_amqp(entity: &str, error: &AmqpError) -> Self {
        let description = error.description.as_deref().unwrap_or_default();
        Self::from_condition(entity, error.condition.as_str(), description)
    }

    /// Translates the error with which the broker ended a link of `entity`.
    pub(crate) fn from_detach(entity: &str, error: Option<&AmqpError>) -> Self {
        let refusal = error.map(|error| Self::from_amqp(entity, error));
        let (condition, description) = match refusal {
            Some(Self::Refused {
                condition,
                description,
            }) => (condition, description),
            Some(specific) => return specific,
            None => ("no error".to_owned(), "no description was given".to_owned()),
        };
        Self::Detached {
            entity: entity.to_owned(),
            condition,
            description,
        }
    }

    /// Translates an error condition of the broker about `entity`.
    pub(crate) fn from_condition(entity: &str, condition: &str, description: &str) -> Self {
        let entity = entity.to_owned();
        let description = match description {
            "" => "no description was given".to_owned(),
            text => text.to_owned(),
        };
        match condition {
            "amqp:not-found" => Self::NotFound {
                entity,
                description,
            },
            "amqp:unauthorized-access" | "com.microsoft:auth-failed" => Self::Unauthorized {
                entity,
                description,
            },
            "com.microsoft:entity-disabled" => Self::EntityDisabled {
                entity,
                description,
            },
            "com.microsoft:message-lock-lost" => Self::MessageLockLost { description },
            "com.microsoft:session-lock-lost" => Self::SessionLockLost { description },
            "com.microsoft:session-cannot-be-locked" => Self::SessionCannotBeLocked {
                entity,
                description,
            },
            "com.microsoft:message-not-found" => Self::MessageNotFound {
                entity,
                description,
            },
            "com.microsoft:server-busy" => Self::ServerBusy { description },
            "amqp:resource-limit-exceeded" => Self::QuotaExceeded {
                entity,
                description,
            },
            other => Self::Refused {
                condition: other.to_owned(),
                description,
            },
        }
    }
}

fn seconds(span: &Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_become_variants() {
        let of = |condition| BusError::from_condition("q", condition, "why");
        assert!(matches!(of("amqp:not-found"), BusError::NotFound { entity, .. } if entity == "q"));
        assert!(matches!(
            of("com.microsoft:auth-failed"),
            BusError::Unauthorized { .. }
        ));
        assert!(matches!(
            of("com.microsoft:message-lock-lost"),
            BusError::MessageLockLost { .. }
        ));
        let other = of("com.microsoft:argument-error");
        assert_eq!(
            other.to_string(),
            "the broker refused with com.microsoft:argument-error: why"
        );
    }

    #[test]
    fn only_what_may_pass_by_itself_is_transient() {
        assert!(BusError::from_condition("q", "com.microsoft:server-busy", "").is_transient());
        assert!(BusError::from_condition("q", "amqp:internal-error", "").is_transient());
        assert!(!BusError::from_condition("q", "amqp:not-found", "").is_transient());
        let timeout = BusError::Timeout {
            operation: "a send",
            after: Duration::from_millis(1500),
        };
        assert_eq!(timeout.to_string(), "a send got no answer within 1.5 s");
        assert!(timeout.is_transient());
    }
}
