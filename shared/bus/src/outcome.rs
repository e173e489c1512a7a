//! What a receiver decides about a message, and what each decision is on the wire.
//!
//! | decision | delivery state |
//! | --- | --- |
//! | complete | accepted |
//! | abandon | modified(delivery-failed) |
//! | dead-letter | rejected(`com.microsoft:dead-letter`, reason and description in its info map) |
//! | give back unseen | released |

/// A decision about deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done: the broker removes the message.
    Complete,
    /// Failed: the broker unlocks it and counts the delivery.
    Abandon,
    /// Hopeless: the broker moves it to the dead-letter queue.
    DeadLetter {
        /// `DeadLetterReason`.
        reason: String,
        /// `DeadLetterErrorDescription`.
        description: String,
    },
    /// Never looked at: the broker unlocks it and counts nothing.
    Release,
}
