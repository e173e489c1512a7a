//! What a receiver decides about a message, and what each decision is on the wire.
//!
//! | decision | delivery state sent |
//! | --- | --- |
//! | complete | accepted |
//! | abandon | modified(delivery-failed, properties to change as annotations) |
//! | release | released |
//! | defer | modified(undeliverable-here, properties to change as annotations) |
//! | dead-letter | rejected(`com.microsoft:dead-letter`, reason, description and properties to change in its info map) |
//!
//! The broker answers with a state of the same kind. An answer `rejected` *with* an error means
//! that the decision came too late or was refused; `rejected` without one is how dead-lettering is
//! confirmed.

use nightshift_amqp::performative::{AmqpError, DeliveryState, Modified, Rejected};
use nightshift_amqp::{Map, condition};

use crate::error::BusError;

/// A decision about deliveries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Done: the broker removes the message.
    Complete,
    /// Failed: the broker unlocks it and counts the delivery.
    Abandon {
        /// Application properties to change, by symbols.
        properties: Map,
    },
    /// Not looked at: the broker unlocks it.
    Release,
    /// Not now: the broker keeps it aside until it is asked for by its sequence number.
    Defer {
        /// Application properties to change, by symbols.
        properties: Map,
    },
    /// Hopeless: the broker moves it to the dead-letter queue.
    DeadLetter {
        /// `DeadLetterReason`.
        reason: String,
        /// `DeadLetterErrorDescription`.
        description: String,
        /// Further application properties to change, by symbols.
        properties: Map,
    },
}

impl Outcome {
    /// Failed, and nothing else changes.
    pub(crate) fn abandon() -> Self {
        Self::Abandon {
            properties: Map::new(),
        }
    }

    /// The delivery state that tells the broker.
    pub(crate) fn into_state(self) -> DeliveryState {
        match self {
            Self::Complete => DeliveryState::Accepted,
            Self::Abandon { properties } => modified(false, properties),
            Self::Release => DeliveryState::Released,
            Self::Defer { properties } => modified(true, properties),
            Self::DeadLetter {
                reason,
                description,
                properties: mut info,
            } => {
                info.insert_symbol("DeadLetterReason", reason);
                info.insert_symbol("DeadLetterErrorDescription", description);
                DeliveryState::rejected(AmqpError {
                    condition: condition::DEAD_LETTER,
                    description: None,
                    info: Some(info),
                })
            }
        }
    }
}

fn modified(undeliverable_here: bool, properties: Map) -> DeliveryState {
    DeliveryState::Modified(Modified {
        delivery_failed: true,
        undeliverable_here,
        message_annotations: (!properties.is_empty()).then_some(properties),
    })
}

/// The broker's answer to a decision about a message of `entity`.
pub(crate) fn settlement_result(
    entity: &str,
    state: Option<&DeliveryState>,
) -> Result<(), BusError> {
    match state {
        Some(DeliveryState::Rejected(Rejected { error: Some(error) })) => {
            Err(BusError::from_amqp(entity, error))
        }
        _ => Ok(()),
    }
}

/// The broker's answer to a message of `size` bytes that was sent to `entity`; `None` when it has
/// not decided yet.
pub(crate) fn send_result(
    entity: &str,
    size: u64,
    limit: u64,
    state: Option<&DeliveryState>,
) -> Option<Result<(), BusError>> {
    let refused = |condition: &str, description: &str| {
        Err(BusError::Refused {
            condition: condition.to_owned(),
            description: description.to_owned(),
        })
    };
    Some(match state {
        Some(DeliveryState::Accepted) => Ok(()),
        Some(DeliveryState::Rejected(Rejected { error: Some(error) })) => {
            if error.condition == condition::MESSAGE_SIZE_EXCEEDED {
                Err(BusError::MessageTooLarge { size, limit })
            } else {
                Err(BusError::from_amqp(entity, error))
            }
        }
        Some(DeliveryState::Rejected(Rejected { error: None })) => {
            refused("amqp:rejected", "no error was given")
        }
        Some(DeliveryState::Released) => {
            refused("amqp:released", "the broker did not take the message")
        }
        Some(DeliveryState::Modified(_)) => {
            refused("amqp:modified", "the broker did not take the message")
        }
        Some(DeliveryState::Received(_)) | None => return None,
        Some(_) => refused(
            "amqp:not-implemented",
            "the broker answered with an unknown outcome",
        ),
    })
}
