//! One transaction for one member or several, and what is written when the function fails in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use nightshift_crashpoint::CrashPoint;
use nightshift_job::{AfterCommit, Classify, ConcurrencyKey, Cx, Disposition, JobKey, Prepared};
use nightshift_postgres::inbox::{self, BEGIN};
use nightshift_postgres::{Lease, is_conflict, lone_start, open_message};
use nightshift_telemetry::causes;
use nightshift_telemetry::metrics::TRANSACTION_SECONDS;
use nightshift_telemetry::trace::{LOG, TRACE};
use rand::Rng;
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio_util::sync::CancellationToken;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::failed::{AttemptFailed, guard, in_the_way, platform_failed, told};
use super::{Invocation, Runner};
use crate::fate::{Failure, later};
use crate::member::{Content, Member};
use crate::shape::Shape;
use crate::work::{Calling, Work};

/// How long after its time a call that was not settled counts as unknown: longer than two machines'
/// clocks and a slow commit are apart.
const CALL_GRACE: Duration = Duration::from_secs(30);

/// How many processes may start a message by itself and not survive it. The third start is a dead
/// letter.
const MAX_LONE_STARTS: i32 = 2;

/// What one transaction does.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// Given for a single member on which the function has failed; it is not run.
    pub(super) failure: Option<&'a Failure>,
    /// The member is a suspect, which this transaction shows to be innocent.
    pub(super) survived: Option<JobKey>,
    /// How long the function may take.
    pub(super) limit: Duration,
}

impl<S: Shape> Runner<S> {
    /// One member that may end the process: that it is started is committed before.
    pub(super) async fn attempt_suspect(
        &self,
        member: &Member<S::Input>,
        slice: Option<Duration>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let key = member.claim.key;
        let slice = slice.ok_or(AttemptFailed::NoTime)?;
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let starts = lone_start::mark(lease.connection(), S::NAME, key, self.process)
            .await
            .map_err(platform_failed)?;
        lease.end();
        if starts <= MAX_LONE_STARTS {
            let result = self
                .attempt_alone(member, Some(key), Some(slice), invocation)
                .await;
            if result.is_err() {
                // It is not done, but nobody was killed either. Should the database be away, the mark
                // stays, and is this process's for as long as it lives.
                self.unmark(key).await;
            }
            return result;
        }
        let failure = Failure {
            disposition: Disposition::DeadLetter("kills-the-process"),
            ..Failure::passing(format!(
                "{MAX_LONE_STARTS} processes have started this message by itself and not survived it, and it was delivered {} times; look at their last words for an abort, a stack overflow or too much memory",
                member.message.delivery_count
            ))
        };
        let attempt = Attempt {
            failure: Some(&failure),
            survived: Some(key),
            limit: Duration::ZERO,
        };
        self.attempt(&[member], attempt, &invocation.call.cancellation)
            .await?;
        Ok(())
    }

    async fn unmark(&self, key: JobKey) {
        let unmarked = async {
            let mut lease = Lease::take(&self.pool).await?;
            lone_start::unmark(lease.connection(), key).await?;
            lease.end();
            Ok::<(), sqlx::Error>(())
        };
        if let Err(error) = unmarked.await {
            tracing::debug!(function.name = S::NAME, job.key = %key, %error, "the mark of a start stays");
        }
    }

    /// One member. If the function fails on it, that is what is written.
    pub(super) async fn attempt_alone(
        &self,
        member: &Member<S::Input>,
        survived: Option<JobKey>,
        slice: Option<Duration>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let cancellation = &invocation.call.cancellation;
        let attempt = Attempt {
            failure: None,
            survived,
            limit: slice.ok_or(AttemptFailed::NoTime)?,
        };
        let failure = match self.attempt(&[member], attempt, cancellation).await {
            Ok(None) => return Ok(()),
            Ok(Some(calling)) => return self.call(member, calling, attempt, invocation).await,
            Err(AttemptFailed::Function(failure) | AttemptFailed::TooSlow(failure)) => failure,
            Err(AttemptFailed::Conflict(error)) => Failure {
                counts: false,
                ..Failure::passing(error.to_string())
            },
            // What the function has left behind cannot be committed.
            Err(AttemptFailed::Database(error)) if !is_conflict(&error) => Failure {
                disposition: error.disposition(),
                ..Failure::passing(causes(&error))
            },
            Err(other) => return Err(other),
        };
        let attempt = Attempt {
            failure: Some(&failure),
            ..attempt
        };
        self.attempt(&[member], attempt, cancellation).await?;
        Ok(())
    }

    /// One transaction for `members`.
    pub(super) async fn attempt(
        &self,
        members: &[&Member<S::Input>],
        attempt: Attempt<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Option<Calling<S::Call>>, AttemptFailed> {
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let began = Instant::now();
        let result = self
            .transact_in_its_partitions(lease.connection(), members, attempt, cancellation)
            .instrument(transaction(S::NAME, members))
            .instrument(lines_of(S::NAME, members))
            .await;
        TRANSACTION_SECONDS.observe(&[S::NAME], began.elapsed());
        if !matches!(
            result,
            Err(AttemptFailed::Away(_) | AttemptFailed::TooSlow(_))
        ) {
            lease.end();
        }
        result
    }

    /// Once more if the partition of a day was missing, as on the first day and after a restore.
    async fn transact_in_its_partitions(
        &self,
        connection: &mut PgConnection,
        members: &[&Member<S::Input>],
        attempt: Attempt<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Option<Calling<S::Call>>, AttemptFailed> {
        let result = self
            .transact(connection, members, attempt, cancellation)
            .await;
        let Err(AttemptFailed::NoPartition(_)) = result else {
            return result;
        };
        let known = members.iter().filter(|member| member.forgotten.is_none());
        let days: BTreeSet<NaiveDate> = known.map(|member| member.claim.day()).collect();
        for day in days {
            let ensured = inbox::ensure_partitions(connection, day).await;
            ensured.map_err(|error| AttemptFailed::Away(told(&error)))?;
        }
        let result = self
            .transact(connection, members, attempt, cancellation)
            .await;
        match result {
            Err(AttemptFailed::NoPartition(error)) => Err(AttemptFailed::Away(error)),
            result => result,
        }
    }

    async fn transact(
        &self,
        connection: &mut PgConnection,
        members: &[&Member<S::Input>],
        attempt: Attempt<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Option<Calling<S::Call>>, AttemptFailed> {
        let is_paused = self
            .controls
            .is_paused(connection, S::NAME)
            .await
            .map_err(platform_failed)?;
        CrashPoint::BeforeClaim.reach().await;
        let taken = self.take(connection, members, is_paused).await;
        let (mut tx, mut work) = taken.map_err(platform_failed)?;
        let cx = self.cx(attempt.limit, cancellation);
        let mut calling = None;
        if let Some(failure) = attempt.failure {
            work.fail(failure, self.clock.now(), rand::rng().random());
        } else {
            self.admit(&mut work, &mut tx, attempt.limit).await?;
            let prepared = self.run(&work, &mut tx, &cx, attempt.limit).await?;
            let now = self.clock.now();
            let lease = S::LEASE.unwrap_or(attempt.limit.saturating_add(CALL_GRACE));
            calling = work.take_prepared(prepared, &self.ids, now, lease)?;
        }
        self.commit(tx, &work, &cx, attempt.survived).await?;
        if work.is_busy {
            Err(AttemptFailed::Busy)
        } else {
            Ok(calling)
        }
    }

    pub(super) fn cx(&self, limit: Duration, cancellation: &CancellationToken) -> Cx {
        let deadline = later(self.clock.now(), limit);
        Cx::new(self.clock.clone(), deadline, cancellation.clone())
    }

    /// Opens the transaction and takes what is to be done in it.
    async fn take<'a, 'm>(
        &'m self,
        connection: &'a mut PgConnection,
        members: &[&'m Member<S::Input>],
        is_paused: bool,
    ) -> Result<(Transaction<'a, Postgres>, Work<'m, S::Input>), sqlx::Error> {
        let begin = connection.begin_with(BEGIN);
        let begin = begin.instrument(tracing::info_span!(target: TRACE, "db.transaction.begin"));
        let mut tx = begin.await?;
        let mut work = Work::take(
            &mut tx,
            &self.function,
            members,
            is_paused,
            self.clock.now(),
        )
        .await?;
        work.skip_ended_ticks(&mut tx).await?;
        Ok((tx, work))
    }

    /// Leaves to be run what may be at work now: what has a place of its concurrency key and a slot of its
    /// rate limit.
    async fn admit(
        &self,
        work: &mut Work<'_, S::Input>,
        tx: &mut PgConnection,
        limit: Duration,
    ) -> Result<(), AttemptFailed> {
        let keys = self.concurrency_keys(work, limit).await?;
        if !S::IS_IN_COMMIT && !keys.is_empty() {
            let taken = work.take_places(tx, &keys, self.clock.now()).await;
            taken.map_err(in_the_way)?;
        }
        if let Some(rate) = &self.rate {
            let limit = self.controls.limit(rate.limit);
            work.take_slots(&rate.at(limit), &self.clock).await;
        }
        // Whoever works in this transaction has a place as long as it lasts.
        let keys: Vec<ConcurrencyKey> = keys.into_iter().flatten().collect();
        if S::IS_IN_COMMIT && !keys.is_empty() {
            let locked = open_message::lock_places(tx, &keys).await;
            locked.map_err(in_the_way)?;
        }
        Ok(())
    }

    /// The concurrency keys of what is to be run; none if there is none.
    async fn concurrency_keys(
        &self,
        work: &Work<'_, S::Input>,
        limit: Duration,
    ) -> Result<Vec<Option<ConcurrencyKey>>, AttemptFailed> {
        let Some(key_of) = S::CONCURRENCY_KEY else {
            return Ok(Vec::new());
        };
        let items = work.items();
        // The function may panic here as well.
        let keys = guard(limit, async {
            let keys = items.iter().map(|item| key_of(&item.input));
            let keys = keys.map(|key| Some(ConcurrencyKey::of(S::NAME, &key?)));
            Ok(keys.collect::<Vec<_>>())
        });
        let keys = keys.await?;
        Ok(if keys.iter().any(Option::is_some) {
            keys
        } else {
            Vec::new()
        })
    }

    /// Runs the function on what is to be run, no longer than `limit`.
    async fn run(
        &self,
        work: &Work<'_, S::Input>,
        tx: &mut PgConnection,
        cx: &Cx,
        limit: Duration,
    ) -> Result<Vec<Prepared<S::Call>>, AttemptFailed> {
        let items = work.items();
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let run = self.shape.run(&items, work.is_unknown(), tx, cx);
        let span = tracing::info_span!(target: TRACE, "function.effect");
        let prepared = guard(limit, run).instrument(span).await?;
        CrashPoint::AfterEffect.reach().await;
        if prepared.len() == items.len() {
            return Ok(prepared);
        }
        let (expected, found) = (items.len(), prepared.len());
        let error = format!("the function returned {found} outcomes for {expected} messages");
        Err(AttemptFailed::Function(Failure::passing(error)))
    }

    /// Writes the outcomes and what was enqueued, commits, and lets go what waits for the commit.
    pub(super) async fn commit(
        &self,
        mut tx: Transaction<'_, Postgres>,
        work: &Work<'_, S::Input>,
        cx: &Cx,
        survived: Option<JobKey>,
    ) -> Result<(), sqlx::Error> {
        let enqueued = cx.take_enqueued();
        let written = work
            .write(&mut tx, enqueued, survived, &self.ids, self.clock.now())
            .await?;
        tx.commit()
            .instrument(tracing::info_span!(target: TRACE, "db.transaction.commit"))
            .await?;
        work.log();
        self.outbox.flush(written.promised);
        self.outbox.tell(written.ended);
        spawn_all(cx.take_after_commit());
        Ok(())
    }
}

/// What traces show of a transaction for `members`. Of several it is none's alone, and linked with all.
pub(super) fn transaction<I>(function: &str, members: &[&Member<I>]) -> Span {
    if let [member] = members {
        return tracing::info_span!(
            target: TRACE,
            parent: member.span.get(),
            "db.transaction",
            function.name = function,
        );
    }
    let span = tracing::info_span!(
        target: TRACE,
        parent: None,
        "db.transaction",
        function.name = function,
        batch.size = members.len(),
    );
    for member in members {
        let of_member = member.span.get();
        span.follows_from(of_member);
        of_member.follows_from(&span);
    }
    span
}

/// What a function's own log lines say about where they come from.
fn lines_of<I>(function: &str, members: &[&Member<I>]) -> Span {
    let span = tracing::info_span!(
        target: LOG,
        "function.run",
        function.name = function,
        trigger.kind = "queue",
        batch.size = members.len(),
        job.key = Empty,
        job.attempt = Empty,
        traceparent = Empty,
    );
    if let [member] = members
        && let Content::Runnable(item) = &member.content
    {
        span.record("job.key", display(item.key));
        span.record("job.attempt", item.attempt);
        if let Some(traceparent) = &item.traceparent {
            span.record("traceparent", traceparent.as_str());
        }
    }
    span
}

pub(super) fn spawn_all(work: Vec<AfterCommit>) {
    for work in work {
        tokio::spawn(work);
    }
}
