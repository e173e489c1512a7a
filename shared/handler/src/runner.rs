//! An invocation's messages as transactions, and what to do when one fails.
//!
//! The happy path of a batch is four round trips: begin, claim, effect, commit. When anything fails,
//! nothing was committed, and the cause decides:
//!
//! - the database is away: the invocation is held and everything tried again until its time is
//!   over, then answered as failed; an outage must not burn the deliveries of a whole queue;
//! - anything else, with several members: they are run one by one, so that the others commit and
//!   the failing one is isolated. A member that takes too long fails like any other;
//! - a single member whose failure is permanent becomes a dead letter; one whose failure may pass
//!   waits in the database, and a copy of it is scheduled for its next try. Both are as good as done
//!   for the broker, whose own redelivery knows no pauses;
//! - a commit of which nobody knows whether it happened is like a database that is away: the next
//!   try finds out;
//! - what somebody else is at work on makes the invocation fail: the broker delivers everything
//!   again, and what is finished is recognised.
//!
//! A message that was delivered often without an outcome may be what ends its processes. It is run
//! after the others and by itself, and that it is started is committed first ([`lone_start`]).
//!
//! A function that calls another system does so between two transactions: the first says that the
//! call is made, the second how it ended.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use nightshift_bindings::function_json::{Cardinality, ServiceBusTrigger};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::decode::{DecodeError, decode_batch, decode_single};
use nightshift_crashpoint::CrashPoint;
use nightshift_job::{
    AfterCommit, Classify, Cx, Disposition, Enqueue, Item, JobError, JobKey, Outcome, Policy,
    Prepared, SessionRule,
};
use nightshift_postgres::control::Pauses;
use nightshift_postgres::inbox::{BEGIN, Claim, Partitions};
use nightshift_postgres::{Lease, is_conflict, is_lost, is_not_in_order, is_unreachable};
use nightshift_postgres::{lone_start, open_message};
use nightshift_telemetry::causes;
use nightshift_time::{Ids, SharedClock};
use rand::Rng;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::call::{Call, InvocationFailed};
use crate::copy;
use crate::drain::GivenUp;
use crate::fate::{Failure, later};
use crate::member::{Content, Member, read_members};
use crate::outbox::Outbox;
use crate::shape::Shape;
use crate::work::{Calling, OutOfOrder, SharedIds, Work};

/// The first and the longest wait between two tries while the database is away.
const HOLD_FIRST: Duration = Duration::from_millis(50);
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The least time in which it makes sense to run a member, and to write that it has taken too long.
const LEAST_RUN: Duration = Duration::from_millis(100);
const MOST_TO_WRITE: Duration = Duration::from_secs(2);

/// How long after its time a call that was not settled counts as unknown: longer than two machines'
/// clocks and a slow commit are apart.
const CALL_GRACE: Duration = Duration::from_secs(30);

/// How many processes may start a message by itself and not survive it. The third start is a dead
/// letter.
const MAX_LONE_STARTS: i32 = 2;

/// A function as the runtime sees it.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    /// Where its messages come from, and copies of them go.
    pub(crate) queue: String,
    pub(crate) policy: Policy,
    /// Whether its queue has sessions.
    pub(crate) has_sessions: bool,
}

impl Definition {
    /// Whether the rest of a session waits for a dead message of it.
    pub(crate) fn holds_sessions(&self) -> bool {
        self.has_sessions && self.policy.session == SessionRule::Hold
    }
}

/// Runs one function.
#[derive(Debug)]
pub(crate) struct Runner<S> {
    shape: S,
    function: Definition,
    trigger: ServiceBusTrigger,
    pool: PgPool,
    outbox: Outbox,
    clock: SharedClock,
    ids: SharedIds,
    partitions: Partitions,
    pauses: Pauses,
    /// Tells its starts from those of processes that are gone.
    process: Uuid,
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
    /// The function was not done in time, and may have left a statement in the middle.
    #[error("{}", .0.error)]
    TooSlow(Failure),
    #[error("a message is put off before which another one of its session ended")]
    OutOfOrder,
    #[error("the message is being processed elsewhere")]
    Busy,
    #[error("the others have taken all the time")]
    NoTime,
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

impl From<OutOfOrder> for AttemptFailed {
    fn from(OutOfOrder: OutOfOrder) -> Self {
        Self::OutOfOrder
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

/// What one transaction does.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    /// Given for a single member on which the function has failed; it is not run.
    failure: Option<&'a Failure>,
    /// The member is a suspect, which this transaction shows to be innocent.
    survived: Option<JobKey>,
    /// How long the function may take.
    limit: Duration,
}

/// How a call ended.
enum Called<A> {
    Answered {
        answer: A,
        /// What it has sent, which leaves with its end.
        enqueued: Vec<(Enqueue, Option<String>)>,
    },
    Failed(Failure),
}

/// The circumstances of one invocation.
struct Invocation<'a> {
    call: &'a Call,
    until: Instant,
}

impl Invocation<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// How long a member may run before `others` more, with time left to write that it has taken too
    /// long.
    fn slice(&self, others: usize, policy: &Policy) -> Option<Duration> {
        let left = self.left();
        let slice = if others == 0 {
            left.saturating_sub((left / 10).min(MOST_TO_WRITE))
        } else {
            left / 2
        };
        (slice >= LEAST_RUN).then(|| slice.min(policy.timeout))
    }
}

impl<S: Shape> Runner<S> {
    pub(crate) fn new(
        shape: S,
        trigger: ServiceBusTrigger,
        queue: String,
        pool: PgPool,
        outbox: Outbox,
        clock: SharedClock,
    ) -> Self {
        let function = Definition {
            name: S::NAME,
            queue,
            policy: S::POLICY,
            has_sessions: trigger.is_sessions_enabled,
        };
        let mut ids = Ids::random();
        let process = ids.next(clock.now());
        Self {
            shape,
            function,
            trigger,
            pool,
            outbox,
            clock,
            ids: Mutex::new(ids),
            partitions: Partitions::default(),
            pauses: Pauses::default(),
            process,
        }
    }

    /// Runs one invocation, whose request body is `body`.
    pub(crate) async fn invoke(&self, body: &[u8], call: &Call) -> Result<(), InvocationFailed> {
        let mut messages = self.decode(body)?;
        let all = messages.len();
        let mut members = Vec::new();
        let budget = self.budget(call);
        let deadline = Instant::now() + budget;
        let invocation = Invocation {
            call,
            until: deadline,
        };
        let mut wait = HOLD_FIRST;
        let mut last_error = None;
        loop {
            let pass = async {
                if members.is_empty() {
                    self.fetch_bodies(&mut messages).await.map_err(away)?;
                    let messages = std::mem::take(&mut messages);
                    members = read_members(&self.function, messages, self.clock.now());
                }
                self.pass(&members, &invocation).await
            };
            match timeout_at(deadline, pass).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(PassFailed::Away(error))) => {
                    if last_error.is_none() {
                        tracing::warn!(
                            function.name = S::NAME,
                            invocation.id = call.invocation_id,
                            error,
                            "database cannot be used; holding the invocation"
                        );
                    }
                    last_error = Some(error);
                }
                Ok(Err(PassFailed::Members { failed, first })) => {
                    return Err(InvocationFailed::SomeFailed { failed, all, first });
                }
                Err(_elapsed) => return Err(out_of_time(budget, last_error)),
            }
            if timeout_at(deadline, sleep(wait)).await.is_err() {
                return Err(out_of_time(budget, last_error));
            }
            wait = (wait * 2).min(HOLD_MAX);
        }
    }

    /// Where the function's messages come from.
    pub(crate) fn queue(&self) -> &str {
        &self.function.queue
    }

    /// How the function's messages come.
    pub(crate) fn trigger(&self) -> &ServiceBusTrigger {
        &self.trigger
    }

    /// Writes of a message that the broker has given up what that means for it, unless it is done.
    pub(crate) async fn take_back(&self, given_up: GivenUp) -> Result<(), String> {
        let GivenUp { message, failure } = given_up;
        let mut messages = [message];
        let fetched = self.fetch_bodies(&mut messages).await;
        fetched.map_err(|error| causes(&error))?;
        let members = read_members(&self.function, messages.into(), self.clock.now());
        let members: Vec<&Member<S::Input>> = members.iter().collect();
        let attempt = Attempt {
            failure: Some(&failure),
            survived: None,
            limit: Duration::ZERO,
        };
        self.attempt(&members, attempt, &CancellationToken::new())
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// How long an invocation may take. The lock of a single message is renewed by the host for as
    /// long as it runs, so that the function's own wish counts; those of a batch are not.
    fn budget(&self, call: &Call) -> Duration {
        match self.trigger.cardinality {
            Cardinality::Many => call.budget(None),
            Cardinality::One => call.budget(Some(S::POLICY.timeout + MOST_TO_WRITE)),
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Vec<TriggerMessage>, DecodeError> {
        match self.trigger.cardinality {
            Cardinality::Many => decode_batch(body, &self.trigger.name),
            Cardinality::One => Ok(vec![decode_single(body, &self.trigger.name)?]),
        }
    }

    /// Gives copies that are too large for a message their bodies. One that waits for nothing any
    /// more stays without, and is completed.
    async fn fetch_bodies(&self, messages: &mut [TriggerMessage]) -> Result<(), sqlx::Error> {
        let keys: Vec<JobKey> = messages.iter().filter_map(copy::stored).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut lease = Lease::take(&self.pool).await?;
        let bodies = open_message::bodies(lease.connection(), &keys).await?;
        lease.end();
        let bodies: HashMap<JobKey, Bytes> = bodies
            .into_iter()
            .map(|(key, body)| (key, body.into()))
            .collect();
        for message in messages {
            // Several copies of one message may have come.
            if let Some(body) = copy::stored(message).and_then(|key| bodies.get(&key)) {
                message.body = body.clone();
            }
        }
        Ok(())
    }

    /// One try at everything: together, and if that fails, one by one; suspects at last.
    async fn pass(
        &self,
        members: &[Member<S::Input>],
        invocation: &Invocation<'_>,
    ) -> Result<(), PassFailed> {
        let mut turns = self.turns(members).await?;
        let together: Vec<_> = match turns.iter().position(|member| member.is_suspect()) {
            // Nothing of a session comes before the suspect that is before it.
            Some(_) if self.function.has_sessions => Vec::new(),
            Some(first) => turns[..first].to_vec(),
            None => turns.clone(),
        };
        if S::TOGETHER && together.len() > 1 {
            let attempt = Attempt {
                failure: None,
                survived: None,
                limit: S::POLICY.timeout.min(invocation.left() / 2),
            };
            let cancellation = &invocation.call.cancellation;
            match self.attempt(&together, attempt, cancellation).await {
                Ok(_) => drop(turns.drain(..together.len())),
                Err(AttemptFailed::Away(error)) => return Err(PassFailed::Away(error)),
                Err(error) => {
                    tracing::info!(function.name = S::NAME, batch.size = together.len(), %error, "batch failed; running its messages one by one");
                }
            }
        }
        let mut failed = 0;
        let mut first = None;
        // Sessions with a message that is not settled: nothing of them runs after it.
        let mut stopped = HashSet::new();
        for (member, others) in turns.iter().zip((0..turns.len()).rev()) {
            let session = member.message.session_id.as_deref();
            let session = session.filter(|_| self.function.has_sessions);
            if session.is_some_and(|session| stopped.contains(session)) {
                failed += 1;
                continue;
            }
            let slice = invocation.slice(others, &S::POLICY);
            let result = if member.is_suspect() {
                self.attempt_suspect(member, slice, invocation).await
            } else {
                self.attempt_alone(member, None, slice, invocation).await
            };
            match result {
                Ok(()) => {}
                Err(AttemptFailed::Away(error)) => return Err(PassFailed::Away(error)),
                Err(error) => {
                    failed += 1;
                    first.get_or_insert(error.to_string());
                    stopped.extend(session);
                }
            }
        }
        first.map_or(Ok(()), |first| Err(PassFailed::Members { failed, first }))
    }

    /// `members` in the order in which they are run: suspects at last, where there is no order of
    /// sessions to keep, and of those the ones first that nobody has started yet.
    async fn turns<'m>(
        &self,
        members: &'m [Member<S::Input>],
    ) -> Result<Vec<&'m Member<S::Input>>, PassFailed> {
        if self.function.has_sessions {
            return Ok(members.iter().collect());
        }
        let (suspects, mut turns): (Vec<_>, Vec<_>) =
            members.iter().partition(|member| member.is_suspect());
        turns.extend(self.by_starts(suspects).await?);
        Ok(turns)
    }

    /// `suspects`, those first that nobody has started yet.
    async fn by_starts<'m>(
        &self,
        mut suspects: Vec<&'m Member<S::Input>>,
    ) -> Result<Vec<&'m Member<S::Input>>, PassFailed> {
        if suspects.len() < 2 {
            return Ok(suspects);
        }
        let keys: Vec<JobKey> = suspects.iter().map(|member| member.claim.key).collect();
        let mut lease = Lease::take(&self.pool).await.map_err(away)?;
        let marked = lone_start::marked(lease.connection(), &keys)
            .await
            .map_err(away)?;
        lease.end();
        let marked: HashMap<JobKey, i32> = marked.into_iter().collect();
        suspects.sort_by_key(|member| marked.get(&member.claim.key).copied().unwrap_or(0));
        Ok(suspects)
    }

    /// One member that may end the process: that it is started is committed before.
    async fn attempt_suspect(
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
    async fn attempt_alone(
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
    async fn attempt(
        &self,
        members: &[&Member<S::Input>],
        attempt: Attempt<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Option<Calling<S::Call>>, AttemptFailed> {
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let result = self
            .transact(lease.connection(), members, attempt, cancellation)
            .await;
        if !matches!(
            result,
            Err(AttemptFailed::Away(_) | AttemptFailed::TooSlow(_))
        ) {
            lease.end();
        }
        result
    }

    async fn transact(
        &self,
        connection: &mut PgConnection,
        members: &[&Member<S::Input>],
        attempt: Attempt<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Option<Calling<S::Call>>, AttemptFailed> {
        let known = members.iter().filter(|member| member.forgotten.is_none());
        let claims: Vec<Claim> = known.map(|member| member.claim).collect();
        self.partitions
            .ensure(connection, &claims)
            .await
            .map_err(|error| AttemptFailed::Away(causes(&error)))?;
        let is_paused = self
            .pauses
            .is_paused(connection, S::NAME)
            .await
            .map_err(platform_failed)?;
        CrashPoint::BeforeClaim.reach().await;
        let taken = self.take(connection, members, is_paused).await;
        let (mut tx, mut work) = taken.map_err(|error| {
            self.partitions.forget();
            platform_failed(error)
        })?;
        let cx = self.cx(attempt.limit, cancellation);
        let mut calling = None;
        if let Some(failure) = attempt.failure {
            work.fail(failure, self.clock.now(), rand::rng().random());
        } else {
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

    fn cx(&self, limit: Duration, cancellation: &CancellationToken) -> Cx {
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
        let mut tx = connection.begin_with(BEGIN).await?;
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
        let prepared = guard(limit, run).await?;
        CrashPoint::AfterEffect.reach().await;
        if prepared.len() == items.len() {
            return Ok(prepared);
        }
        let (expected, found) = (items.len(), prepared.len());
        let error = format!("the function returned {found} outcomes for {expected} messages");
        Err(AttemptFailed::Function(Failure::passing(error)))
    }

    /// Writes the outcomes and what was enqueued, commits, and lets go what waits for the commit.
    async fn commit(
        &self,
        mut tx: Transaction<'_, Postgres>,
        work: &Work<'_, S::Input>,
        cx: &Cx,
        survived: Option<JobKey>,
    ) -> Result<(), sqlx::Error> {
        let enqueued = cx.take_enqueued();
        let promised = work
            .write(&mut tx, enqueued, survived, &self.ids, self.clock.now())
            .await?;
        tx.commit().await?;
        work.log();
        self.outbox.flush(promised);
        spawn_all(cx.take_after_commit());
        Ok(())
    }

    /// Makes the call that was committed, and writes how it ended.
    async fn call(
        &self,
        member: &Member<S::Input>,
        calling: Calling<S::Call>,
        attempt: Attempt<'_>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let Content::Runnable(item) = &member.content else {
            return Ok(());
        };
        let Calling { id, call } = calling;
        // Without time left the call is not made: whoever takes it over has the lease by then.
        let limit = invocation.slice(0, &S::POLICY).unwrap_or_default();
        let limit = limit.min(attempt.limit);
        let cx = self.cx(limit, &invocation.call.cancellation);
        let called = if limit < LEAST_RUN {
            Err(Failure {
                counts: false,
                ..Failure::passing("no time was left for the call".to_owned())
            })
        } else {
            guard_call(limit, self.shape.call(item, call, &cx)).await
        };
        let called = match called {
            Ok(answer) => Called::Answered {
                answer,
                enqueued: cx.take_enqueued(),
            },
            Err(failure) => Called::Failed(failure),
        };
        let mut wait = HOLD_FIRST;
        loop {
            let settled = self.settle(member, item, id, &called, invocation).await;
            match settled {
                Err(AttemptFailed::Database(error)) if !is_conflict(&error) => {
                    let failure = Failure {
                        is_unknown: true,
                        ..Failure::passing(causes(&error))
                    };
                    let called = Called::Failed(failure);
                    return self.settle(member, item, id, &called, invocation).await;
                }
                Err(
                    error @ (AttemptFailed::Away(_)
                    | AttemptFailed::Database(_)
                    | AttemptFailed::Conflict(_)),
                ) => {
                    // The answer is known here and nowhere else.
                    tracing::warn!(function.name = S::NAME, job.key = %item.key, %error, "the end of a call cannot be written; trying on");
                    sleep(wait).await;
                    wait = (wait * 2).min(HOLD_MAX);
                }
                Err(AttemptFailed::Function(failure) | AttemptFailed::TooSlow(failure)) => {
                    let failure = Failure {
                        is_unknown: true,
                        ..failure
                    };
                    let called = Called::Failed(failure);
                    return self.settle(member, item, id, &called, invocation).await;
                }
                other => {
                    if other.is_ok() {
                        spawn_all(cx.take_after_commit());
                    }
                    return other;
                }
            }
        }
    }

    /// One transaction that says how the call `id` ended.
    async fn settle(
        &self,
        member: &Member<S::Input>,
        item: &Item<S::Input>,
        id: Uuid,
        called: &Called<S::Answer>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
        let mut tx = lease.connection().begin_with(BEGIN).await?;
        let now = self.clock.now();
        let resumed = Work::resume(&mut tx, &self.function, member, id).await;
        let Some(mut work) = resumed.map_err(platform_failed)? else {
            tracing::warn!(function.name = S::NAME, job.key = %item.key, "a call took so long that its message was taken over");
            return Ok(());
        };
        let limit = S::POLICY.timeout.min(invocation.left().max(LEAST_RUN));
        let cx = self.cx(limit, &invocation.call.cancellation);
        match called {
            Called::Failed(failure) => {
                if !failure.is_unknown {
                    work.forget_calls();
                }
                work.fail(failure, now, rand::rng().random());
            }
            Called::Answered { answer, enqueued } => {
                work.forget_calls();
                let record = self.shape.record(item, answer, &mut tx, &cx);
                let outcome: Outcome = guard(limit, record).await?;
                work.take_outcome(outcome, self.clock.now());
                cx.enqueue_all(enqueued);
            }
        }
        self.commit(tx, &work, &cx, None).await?;
        lease.end();
        Ok(())
    }
}

/// Lets a function run no longer than `limit`, and turns a panic into a failure.
async fn guard<T>(
    limit: Duration,
    run: impl Future<Output = Result<T, JobError>>,
) -> Result<T, AttemptFailed> {
    match timeout(limit, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(function_failed(error)),
        Ok(Err(panic)) => Err(AttemptFailed::Function(Failure::passing(panicked(
            panic.as_ref(),
        )))),
        Err(_elapsed) => Err(AttemptFailed::TooSlow(Failure::passing(too_slow(limit)))),
    }
}

/// As [`guard`], for a call: after a panic or an end of its time nobody knows whether the other side
/// has acted.
async fn guard_call<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, JobError>>,
) -> Result<T, Failure> {
    let unknown = |error| Failure {
        is_unknown: true,
        ..Failure::passing(error)
    };
    match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(failure_of(&error)),
        Ok(Err(panic)) => Err(unknown(panicked(panic.as_ref()))),
        Err(_elapsed) => Err(unknown(too_slow(limit))),
    }
}

/// What a function's error says. One that goes back to a database that went away, or to another
/// transaction that was in the way, is not the message's fault and costs it no try.
fn function_failed(error: JobError) -> AttemptFailed {
    match error.database_error() {
        Some(cause) if is_lost(cause) => AttemptFailed::Away(error.to_string()),
        Some(cause) if is_conflict(cause) => AttemptFailed::Conflict(error),
        _ => AttemptFailed::Function(failure_of(&error)),
    }
}

fn failure_of(error: &JobError) -> Failure {
    Failure {
        disposition: error.disposition().clone(),
        is_unknown: error.is_unknown(),
        ..Failure::passing(error.to_string())
    }
}

fn too_slow(limit: Duration) -> String {
    format!(
        "the function was not done after {:.1} s",
        limit.as_secs_f64()
    )
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("the function panicked: {text}")
}

fn spawn_all(work: Vec<AfterCommit>) {
    for work in work {
        tokio::spawn(work);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn away(error: sqlx::Error) -> PassFailed {
    PassFailed::Away(causes(&error))
}

enum PassFailed {
    Away(String),
    Members { failed: usize, first: String },
}

fn out_of_time(budget: Duration, last_error: Option<String>) -> InvocationFailed {
    let seconds = budget.as_secs_f64();
    match last_error {
        Some(last_error) => InvocationFailed::Unavailable {
            seconds,
            last_error,
        },
        None => InvocationFailed::Deadline { seconds },
    }
}
