//! The shapes of a function.

use std::future::Future;

use chrono::{DateTime, Utc};
use nightshift_contract::Payload;
use sqlx::PgConnection;

use crate::{Backoff, Cx, JobError, JobKey, Outcome};

/// A function for a high-rate queue: what is waiting comes as one call and one commit.
///
/// The transaction that is handed to [`BatchFunction::run`] already holds the claim of every item
/// and, if `run` succeeds, will hold their outcomes: an effect written to it happens exactly once.
/// When `run` fails for several items the transaction is rolled back and the items are run one by
/// one, so that the others commit and the failing one is isolated.
pub trait BatchFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// How it is run.
    const POLICY: Policy;

    /// The body of its messages.
    type Input: Payload;

    /// Processes `items`, which are distinct messages in the order of their arrival, and says how
    /// each ended, in the same order.
    fn run(
        &self,
        items: &[&Item<Self::Input>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Vec<Outcome>, JobError>> + Send;
}

/// One message of a batch.
#[derive(Debug)]
pub struct Item<I> {
    /// The decoded body.
    pub input: I,
    /// The identity of the work, stable over redeliveries; the natural idempotency key of an
    /// effect.
    pub key: JobKey,
    /// When the broker accepted the message.
    pub enqueued: DateTime<Utc>,
    /// Which try this is, from 1.
    pub attempt: u32,
}

/// How a function is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The longest body that is accepted, in bytes.
    pub max_body_bytes: usize,
    /// How often a message is tried before it is dead; at least 1. A try that nothing was wrong with
    /// but its time, such as one that meets a database that is away, does not count.
    pub max_attempts: u32,
    /// The pauses between the tries.
    pub backoff: Backoff,
}

impl Policy {
    /// The policy of a function that has no wishes of its own: bodies of up to 256 KiB, the limit
    /// of a Service Bus message in the Standard tier, and twelve tries, whose pauses take 1.2
    /// hours on average and 2.4 at most.
    pub const DEFAULT: Self = Self {
        max_body_bytes: 256 * 1024,
        max_attempts: 12,
        backoff: Backoff::DEFAULT,
    };
}
