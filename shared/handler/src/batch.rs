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
//!   makes the invocation fail, and the broker delivers it again. Its neighbours are redelivered
//!   with it and recognised as finished.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use nightshift_bindings::function_json::{Cardinality, ServiceBusTrigger};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::decode::{DecodeError, decode_batch, decode_single};
use nightshift_job::{BatchFunction, Cx, Disposition, Item, JobError, JobKey, Outcome, Refusal};
use nightshift_postgres::inbox::{self, BEGIN, Claim, Claimed, Partitions};
use nightshift_postgres::{Lease, dead_letter, is_conflict, is_unreachable};
use nightshift_telemetry::causes;
use nightshift_time::SharedClock;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, sleep, timeout_at};

use crate::call::{Call, InvocationFailed};
use crate::member::{Content, Member, id_reused, read_members};

/// The first and the longest wait between two tries while the database is away.
const HOLD_FIRST: Duration = Duration::from_millis(50);
const HOLD_MAX: Duration = Duration::from_secs(1);

/// Runs one [`BatchFunction`].
#[derive(Debug)]
pub(crate) struct BatchRunner<F> {
    function: F,
    trigger: ServiceBusTrigger,
    pool: PgPool,
    clock: SharedClock,
    partitions: Partitions,
}

/// Why a transaction did not commit, or not all of its members are settled.
#[derive(Debug, thiserror::Error)]
enum AttemptFailed {
    /// The database cannot be used for anything: not reachable, or not as this release expects it.
    /// No message is at fault.
    #[error("{}", causes(.0))]
    Away(sqlx::Error),
    #[error("{}", causes(.0))]
    Database(sqlx::Error),
    #[error("{0}")]
    Function(JobError),
    #[error("the function panicked: {0}")]
    Panicked(String),
    #[error("the function returned {found} outcomes for {expected} messages")]
    Outcomes { expected: usize, found: usize },
    #[error("the message is being processed elsewhere")]
    Busy,
}

impl From<sqlx::Error> for AttemptFailed {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) {
            Self::Away(error)
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
        AttemptFailed::Away(error)
    }
}

impl<F: BatchFunction> BatchRunner<F> {
    pub(crate) fn new(
        function: F,
        trigger: ServiceBusTrigger,
        pool: PgPool,
        clock: SharedClock,
    ) -> Self {
        Self {
            function,
            trigger,
            pool,
            clock,
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
                            error = causes(&error),
                            "database cannot be used; holding the invocation"
                        );
                    }
                    last_error = Some(causes(&error));
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

    async fn attempt_alone(&self, member: &Member<F::Input>, cx: &Cx) -> Result<(), AttemptFailed> {
        let result = self.attempt(&[member], None, cx).await;
        if let Err(AttemptFailed::Function(error)) = &result
            && let Disposition::DeadLetter(reason) = error.disposition()
        {
            let refusal = Refusal {
                reason,
                description: error.to_string(),
            };
            return self.attempt(&[member], Some(&refusal), cx).await;
        }
        result
    }

    /// One transaction for `members`. `condemned` is given for a single member that is known to
    /// have no future.
    async fn attempt(
        &self,
        members: &[&Member<F::Input>],
        condemned: Option<&Refusal>,
        cx: &Cx,
    ) -> Result<(), AttemptFailed> {
        let claimable: Vec<&Member<F::Input>> = members
            .iter()
            .copied()
            .filter(|member| !matches!(member.content, Content::OutOfRetention(_)))
            .collect();
        let claims: Vec<Claim> = claimable.iter().map(|member| member.claim).collect();
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let result = self
            .transact(
                lease.connection(),
                members,
                &claimable,
                &claims,
                condemned,
                cx,
            )
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
        claimable: &[&Member<F::Input>],
        claims: &[Claim],
        condemned: Option<&Refusal>,
        cx: &Cx,
    ) -> Result<(), AttemptFailed> {
        self.partitions
            .ensure(connection, claims)
            .await
            .map_err(AttemptFailed::Away)?;
        let (mut tx, found) = self.claim(connection, claims).await.map_err(|error| {
            self.partitions.forget();
            platform_failed(error)
        })?;
        let mut work = Work::sort(members, claimable, &found, condemned);
        let items: Vec<&Item<F::Input>> = work.runnable.iter().map(|(_, item)| *item).collect();
        let outcomes = self.run(&items, &mut tx, cx).await?;
        work.take_outcomes(outcomes, &mut tx).await?;
        work.bury(F::NAME, &mut tx).await?;
        tx.commit().await?;
        work.log(F::NAME);
        if found.contains(&Claimed::Busy) {
            Err(AttemptFailed::Busy)
        } else {
            Ok(())
        }
    }

    /// Opens the transaction and claims what is to be done in it.
    async fn claim<'a>(
        &self,
        connection: &'a mut PgConnection,
        claims: &[Claim],
    ) -> Result<(Transaction<'a, Postgres>, Vec<Claimed>), sqlx::Error> {
        let mut tx = connection.begin_with(BEGIN).await?;
        let found = inbox::claim(&mut tx, F::NAME, claims).await?;
        Ok((tx, found))
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
        let outcomes = AssertUnwindSafe(self.function.run(items, tx, cx))
            .catch_unwind()
            .await
            .map_err(|panic| AttemptFailed::Panicked(panic_text(panic.as_ref())))?
            .map_err(AttemptFailed::Function)?;
        if outcomes.len() == items.len() {
            Ok(outcomes)
        } else {
            Err(AttemptFailed::Outcomes {
                expected: items.len(),
                found: outcomes.len(),
            })
        }
    }
}

enum PassFailed {
    Away(sqlx::Error),
    Members { failed: usize, first: String },
}

/// The members of one transaction, sorted by what is to be done with them.
struct Work<'a, I> {
    runnable: Vec<(&'a Member<I>, &'a Item<I>)>,
    /// Dead ones whose claim must be taken back.
    condemned: Vec<(&'a Member<I>, Refusal)>,
    /// Dead ones without a claim, and the key under which they are kept.
    unclaimed: Vec<(&'a Member<I>, JobKey, Refusal)>,
    finished: usize,
    skipped: usize,
}

impl<'a, I> Work<'a, I> {
    fn sort(
        members: &[&'a Member<I>],
        claimable: &[&'a Member<I>],
        found: &[Claimed],
        condemned: Option<&Refusal>,
    ) -> Self {
        let mut work = Self {
            runnable: Vec::with_capacity(claimable.len()),
            condemned: Vec::new(),
            unclaimed: Vec::new(),
            finished: 0,
            skipped: 0,
        };
        for (member, claimed) in claimable.iter().zip(found) {
            match (claimed, &member.content, condemned) {
                (Claimed::Ours, _, Some(refusal))
                | (Claimed::Ours, Content::Dead(refusal), None) => {
                    work.condemned.push((member, refusal.clone()));
                }
                (Claimed::Ours, Content::Runnable(item), None) => {
                    work.runnable.push((member, item));
                }
                (Claimed::IdReused, ..) => {
                    let key = member.claim.key.reused_with(member.claim.body_hash);
                    work.unclaimed.push((member, key, id_reused()));
                }
                (Claimed::Ours | Claimed::Finished | Claimed::Busy, ..) => work.finished += 1,
            }
        }
        for member in members {
            if let Content::OutOfRetention(refusal) = &member.content {
                work.unclaimed
                    .push((member, member.claim.key, refusal.clone()));
            }
        }
        work
    }

    async fn take_outcomes(
        &mut self,
        outcomes: Vec<Outcome>,
        tx: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        for ((member, _), outcome) in self.runnable.iter().zip(outcomes) {
            match outcome {
                Outcome::Refused(refusal) => self.condemned.push((member, refusal)),
                Outcome::Skipped(why) => {
                    self.skipped += 1;
                    inbox::note_skipped(tx, &member.claim, &why).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn bury(&self, function: &str, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.condemned.is_empty() {
            let claims: Vec<Claim> = self
                .condemned
                .iter()
                .map(|(member, _)| member.claim)
                .collect();
            inbox::release(tx, &claims).await?;
        }
        for (member, refusal) in &self.condemned {
            dead_letter::bury(tx, &member.letter(function, member.claim.key, refusal)).await?;
        }
        for (member, key, refusal) in &self.unclaimed {
            dead_letter::bury(tx, &member.letter(function, *key, refusal)).await?;
        }
        Ok(())
    }

    fn log(&self, function: &str) {
        let unclaimed = self
            .unclaimed
            .iter()
            .map(|(member, _, refusal)| (member, refusal));
        for (member, refusal) in self.condemned.iter().map(|(m, r)| (m, r)).chain(unclaimed) {
            tracing::warn!(
                function.name = function,
                job.key = %member.claim.key,
                message.sequence_number = member.message.sequence_number,
                dead_letter.reason = refusal.reason,
                "message is dead"
            );
        }
        tracing::debug!(
            function.name = function,
            batch.run = self.runnable.len(),
            batch.skipped = self.skipped,
            batch.dead = self.condemned.len() + self.unclaimed.len(),
            batch.finished_before = self.finished,
            "batch committed"
        );
    }
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
