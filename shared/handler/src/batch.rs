//! A batch of messages as one transaction, and what to do when it fails.
//!
//! The happy path is four round trips: begin, claim, effect, commit. When anything fails, nothing
//! was committed, and the cause decides:
//!
//! - the database is away: the invocation is held and everything tried again until its time is
//!   over, then answered as failed; an outage must not burn the deliveries of a whole queue;
//! - anything else, with several members: they are run one by one, so that the others commit and
//!   the failing one is isolated;
//! - a single member whose failure is permanent becomes a dead letter; one whose failure may pass
//!   waits in the database, and a copy of it is scheduled for its next try. Both are as good as done
//!   for the broker, whose own redelivery knows no pauses;
//! - a commit of which nobody knows whether it happened is like a database that is away: the next
//!   try finds out;
//! - what somebody else is at work on makes the invocation fail: the broker delivers everything
//!   again, and what is finished is recognised.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use nightshift_bindings::function_json::{Cardinality, ServiceBusTrigger};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::decode::{DecodeError, decode_batch, decode_single};
use nightshift_job::{BatchFunction, Cx, Disposition, Item, JobError, Outcome};
use nightshift_postgres::inbox::{BEGIN, Claim, Partitions};
use nightshift_postgres::{Lease, is_conflict, is_lost, is_not_in_order, is_unreachable};
use nightshift_telemetry::causes;
use nightshift_time::{Ids, SharedClock};
use rand::Rng;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, sleep, timeout_at};

use crate::call::{Call, InvocationFailed};
use crate::member::{Member, read_members};
use crate::outbox::Outbox;
use crate::work::{Failure, Place, Work};

/// The first and the longest wait between two tries while the database is away.
const HOLD_FIRST: Duration = Duration::from_millis(50);
const HOLD_MAX: Duration = Duration::from_secs(1);

/// Runs one [`BatchFunction`].
#[derive(Debug)]
pub(crate) struct BatchRunner<F> {
    function: F,
    trigger: ServiceBusTrigger,
    /// Where its messages come from, and copies of them go.
    queue: String,
    pool: PgPool,
    outbox: Outbox,
    clock: SharedClock,
    ids: Mutex<Ids>,
    partitions: Partitions,
}

/// Why a transaction did not commit, or not all of its members are settled.
#[derive(Debug, thiserror::Error)]
enum AttemptFailed {
    /// The database cannot be used for anything: not reachable, or not as this release expects it.
    /// No message is at fault.
    #[error("{0}")]
    Away(String),
    #[error("{}", causes(.0))]
    Database(sqlx::Error),
    /// Another transaction was in the function's way.
    #[error("{0}")]
    Conflict(JobError),
    /// The function failed.
    #[error("{}", .0.error)]
    Function(Failure),
    #[error("the message is being processed elsewhere")]
    Busy,
}

impl From<sqlx::Error> for AttemptFailed {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) || is_not_in_order(&error) {
            Self::Away(causes(&error))
        } else {
            Self::Database(error)
        }
    }
}

/// What the failure of a statement of the platform's own says: another transaction was in the way,
/// or the database is not in order (gone, not migrated, restored without today's partitions, a
/// password or privilege withdrawn).
fn platform_failed(error: sqlx::Error) -> AttemptFailed {
    if is_conflict(&error) {
        AttemptFailed::Database(error)
    } else {
        AttemptFailed::Away(causes(&error))
    }
}

impl<F: BatchFunction> BatchRunner<F> {
    pub(crate) fn new(
        function: F,
        trigger: ServiceBusTrigger,
        queue: String,
        pool: PgPool,
        outbox: Outbox,
        clock: SharedClock,
    ) -> Self {
        Self {
            function,
            trigger,
            queue,
            pool,
            outbox,
            clock,
            ids: Mutex::new(Ids::random()),
            partitions: Partitions::default(),
        }
    }

    /// Runs one invocation, whose request body is `body`.
    pub(crate) async fn invoke(&self, body: &[u8], call: &Call) -> Result<(), InvocationFailed> {
        let members = read_members::<F>(self.decode(body)?, self.clock.now());
        let members: Vec<&Member<F::Input>> = members.iter().collect();
        let deadline = Instant::now() + call.budget;
        let cx = Cx::new(
            self.clock.clone(),
            self.clock.now() + call.budget,
            call.cancellation.clone(),
        );
        let mut wait = HOLD_FIRST;
        let mut last_error = None;
        loop {
            match timeout_at(deadline, self.pass(&members, &cx)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(PassFailed::Away(error))) => {
                    if last_error.is_none() {
                        tracing::warn!(
                            function.name = F::NAME,
                            invocation.id = call.invocation_id,
                            error,
                            "database cannot be used; holding the invocation"
                        );
                    }
                    last_error = Some(error);
                }
                Ok(Err(PassFailed::Members { failed, first })) => {
                    return Err(InvocationFailed::SomeFailed {
                        failed,
                        all: members.len(),
                        first,
                    });
                }
                Err(_elapsed) => return Err(out_of_time(call, last_error)),
            }
            if timeout_at(deadline, sleep(wait)).await.is_err() {
                return Err(out_of_time(call, last_error));
            }
            wait = (wait * 2).min(HOLD_MAX);
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Vec<TriggerMessage>, DecodeError> {
        match self.trigger.cardinality {
            Cardinality::Many => decode_batch(body, &self.trigger.name),
            Cardinality::One => Ok(vec![decode_single(body, &self.trigger.name)?]),
        }
    }

    /// One try at everything: together, and if that fails, one by one.
    async fn pass(&self, members: &[&Member<F::Input>], cx: &Cx) -> Result<(), PassFailed> {
        if members.len() > 1 {
            match self.attempt(members, None, cx).await {
                Ok(()) => return Ok(()),
                Err(AttemptFailed::Away(error)) => return Err(PassFailed::Away(error)),
                Err(error) => {
                    tracing::info!(function.name = F::NAME, batch.size = members.len(), %error, "batch failed; running its messages one by one");
                }
            }
        }
        let mut failed = 0;
        let mut first = None;
        for member in members {
            match self.attempt_alone(member, cx).await {
                Ok(()) => {}
                Err(AttemptFailed::Away(error)) => return Err(PassFailed::Away(error)),
                Err(error) => {
                    failed += 1;
                    first.get_or_insert(error.to_string());
                }
            }
        }
        first.map_or(Ok(()), |first| Err(PassFailed::Members { failed, first }))
    }

    /// One member. If the function fails on it, that is what is written.
    async fn attempt_alone(&self, member: &Member<F::Input>, cx: &Cx) -> Result<(), AttemptFailed> {
        match self.attempt(&[member], None, cx).await {
            Err(AttemptFailed::Function(failure)) => {
                self.attempt(&[member], Some(&failure), cx).await
            }
            other => other,
        }
    }

    /// One transaction for `members`. `failure` is given for a single member on which the function
    /// has failed; it is not run.
    async fn attempt(
        &self,
        members: &[&Member<F::Input>],
        failure: Option<&Failure>,
        cx: &Cx,
    ) -> Result<(), AttemptFailed> {
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let result = self
            .transact(lease.connection(), members, failure, cx)
            .await;
        if !matches!(result, Err(AttemptFailed::Away(_))) {
            lease.end();
        }
        result
    }

    async fn transact(
        &self,
        connection: &mut PgConnection,
        members: &[&Member<F::Input>],
        failure: Option<&Failure>,
        cx: &Cx,
    ) -> Result<(), AttemptFailed> {
        let known = members.iter().filter(|member| member.forgotten.is_none());
        let claims: Vec<Claim> = known.map(|member| member.claim).collect();
        self.partitions
            .ensure(connection, &claims)
            .await
            .map_err(|error| AttemptFailed::Away(causes(&error)))?;
        let (mut tx, mut work) = self.take(connection, members).await.map_err(|error| {
            self.partitions.forget();
            platform_failed(error)
        })?;
        if let Some(failure) = failure {
            let random = rand::rng().random();
            work.fail(failure, &F::POLICY, self.clock.now(), random);
        } else {
            let outcomes = self.run(&work.items(), &mut tx, cx).await?;
            work.take_outcomes(outcomes, self.clock.now());
        }
        let place = Place {
            function: F::NAME,
            queue: &self.queue,
        };
        let promised = work
            .write(&mut tx, place, &self.ids, self.clock.now())
            .await?;
        tx.commit().await?;
        work.log(F::NAME);
        self.outbox.flush(promised);
        if work.is_busy {
            Err(AttemptFailed::Busy)
        } else {
            Ok(())
        }
    }

    /// Opens the transaction and takes what is to be done in it.
    async fn take<'a, 'm>(
        &self,
        connection: &'a mut PgConnection,
        members: &[&'m Member<F::Input>],
    ) -> Result<(Transaction<'a, Postgres>, Work<'m, F::Input>), sqlx::Error> {
        let mut tx = connection.begin_with(BEGIN).await?;
        let mut work = Work::take(&mut tx, F::NAME, members).await?;
        work.skip_ended_ticks(&mut tx).await?;
        Ok((tx, work))
    }

    async fn run(
        &self,
        items: &[&Item<F::Input>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, AttemptFailed> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error: String| {
            let disposition = Disposition::Retry;
            AttemptFailed::Function(Failure { disposition, error })
        };
        let outcomes = AssertUnwindSafe(self.function.run(items, tx, cx))
            .catch_unwind()
            .await
            .map_err(|panic| {
                failed(format!(
                    "the function panicked: {}",
                    panic_text(panic.as_ref())
                ))
            })?
            .map_err(function_failed)?;
        if outcomes.len() == items.len() {
            return Ok(outcomes);
        }
        let (expected, found) = (items.len(), outcomes.len());
        Err(failed(format!(
            "the function returned {found} outcomes for {expected} messages"
        )))
    }
}

/// What a function's error says. One that goes back to a database that went away, or to another
/// transaction that was in the way, is not the message's fault and costs it no try.
fn function_failed(error: JobError) -> AttemptFailed {
    match error.database_error() {
        Some(cause) if is_lost(cause) => AttemptFailed::Away(error.to_string()),
        Some(cause) if is_conflict(cause) => AttemptFailed::Conflict(error),
        _ => AttemptFailed::Function(Failure {
            disposition: error.disposition().clone(),
            error: error.to_string(),
        }),
    }
}

enum PassFailed {
    Away(String),
    Members { failed: usize, first: String },
}

fn out_of_time(call: &Call, last_error: Option<String>) -> InvocationFailed {
    let seconds = call.budget.as_secs_f64();
    match last_error {
        Some(last_error) => InvocationFailed::Unavailable {
            seconds,
            last_error,
        },
        None => InvocationFailed::Deadline { seconds },
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
