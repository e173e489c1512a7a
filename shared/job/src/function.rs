//! The shapes of a function.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_contract::Payload;
use sqlx::PgConnection;

use crate::{Backoff, Cx, JobError, JobKey, Outcome, RateLimit};

/// The concurrency key of a message by its body; `None` if it has none.
pub type KeyOf<I> = fn(&I) -> Option<String>;

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

    /// Of messages with one key only one at a time is run, on all machines. It is called before a message
    /// is run.
    const CONCURRENCY_KEY: Option<KeyOf<Self::Input>> = None;

    /// Processes `items`, which are distinct messages in the order of their arrival, and says how
    /// each ended, in the same order.
    fn run(
        &self,
        items: &[&Item<Self::Input>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Vec<Outcome>, JobError>> + Send;
}

/// A function whose every message is a commit of its own: for work that does not gain from company.
///
/// The transaction that is handed to [`TransactionalFunction::run`] already holds the claim of the
/// message and will hold its outcome and what it enqueues: an effect written to it happens exactly
/// once.
pub trait TransactionalFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// How it is run.
    const POLICY: Policy;

    /// The body of its messages.
    type Input: Payload;

    /// Of messages with one key only one at a time is run, on all machines. It is called before a message
    /// is run.
    const CONCURRENCY_KEY: Option<KeyOf<Self::Input>> = None;

    /// Processes `item` and says how it ended.
    fn run(
        &self,
        item: &Item<Self::Input>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

/// A function whose effect is outside the database: a mail, a call of an API, a restore.
///
/// What it is about to do is committed before it is done, and how it ended in a second transaction.
/// Nothing can make such an effect happen exactly once. What can be done is to know when nobody
/// knows: a call that was begun and whose end was not written (the process died, the time was over)
/// is *unknown*, and [`ExternalFunction::unknown`] says what that means. [`Item::key`] is the same
/// in every try and the idempotency key to hand to the other side.
pub trait ExternalFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// How it is run. [`Policy::timeout`] is how long [`ExternalFunction::call`] may take.
    const POLICY: Policy;

    /// The body of its messages.
    type Input: Payload;

    /// Of messages with one key only [`Policy::concurrency`] at a time are called for, on all machines;
    /// the others wait, in the order of their arrival. It is called before a message is prepared.
    const CONCURRENCY_KEY: Option<KeyOf<Self::Input>> = None;

    /// What is to be done outside, as [`ExternalFunction::prepare`] has put it together.
    type Call: Send;

    /// What the other side has answered.
    type Answer: Send + Sync;

    /// Reads what the call needs. What is written to `tx` commits before the call.
    fn prepare(
        &self,
        item: &Item<Self::Input>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Prepared<Self::Call>, JobError>> + Send;

    /// Calls the other side, without a transaction. An error of which it is not known whether the
    /// other side acted is to be [`JobError::outcome_unknown`].
    fn call(
        &self,
        item: &Item<Self::Input>,
        call: Self::Call,
        cx: &Cx,
    ) -> impl Future<Output = Result<Self::Answer, JobError>> + Send;

    /// Writes what the other side has answered. While the database is away it is called again.
    fn record(
        &self,
        item: &Item<Self::Input>,
        answer: &Self::Answer,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;

    /// Says what happens to a message of which nobody knows how its last call ended: the other side
    /// may be asked, the call be made again where the idempotency key makes that harmless, or the
    /// message be refused.
    fn unknown(
        &self,
        item: &Item<Self::Input>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Prepared<Self::Call>, JobError>> + Send;
}

/// What [`ExternalFunction::prepare`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared<C> {
    /// This call is to be made.
    Call(C),
    /// No call is needed; the message ends like this.
    End(Outcome),
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
    /// Of a finish message: how many of the children are dead.
    pub failed_children: u32,
    /// The W3C trace context of its producer, which what it enqueues carries on.
    pub traceparent: Option<String>,
}

/// What becomes of a session when one of its messages is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRule {
    /// Its later messages run.
    Continue,
    /// Its later messages wait until the dead one is redriven and done, or discarded.
    Hold,
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
    /// How long one try may take before it counts as failed. A batch that runs together gets no
    /// more than half of what its invocation may take, so that there is time to find the member
    /// that hangs.
    pub timeout: Duration,
    /// What a dead message means for its session; of functions whose queue has sessions.
    pub session: SessionRule,
    /// How often it may be tried, together with all functions that name the same limit, unless an operator
    /// says otherwise.
    pub rate: Option<RateLimit>,
    /// How many messages with one concurrency key may be at work at a time, unless an operator says
    /// otherwise; at least 1, and no more for a function that does all it does in the transaction of the
    /// claim.
    pub concurrency: u32,
}

impl Policy {
    /// The policy of a function that has no wishes of its own: bodies of up to 256 KiB, the limit
    /// of a Service Bus message in the Standard tier, and twelve tries of ten
    /// seconds, whose pauses take 1.2 hours on average and 2.4 at most.
    pub const DEFAULT: Self = Self {
        max_body_bytes: 256 * 1024,
        max_attempts: 12,
        backoff: Backoff::DEFAULT,
        timeout: Duration::from_secs(10),
        session: SessionRule::Continue,
        rate: None,
        concurrency: 1,
    };
}
