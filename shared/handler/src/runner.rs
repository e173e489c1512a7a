//! An invocation's messages as transactions, and what to do when one fails.
//!
//! The happy path of a batch is four round trips: begin, claim, effect, commit. When anything fails,
//! nothing was committed, and the cause decides:
//!
//! - the database is away, or behind a pooler that loses statements: the invocation is held and
//!   everything tried again until its time is over, then answered as failed; an outage must not burn the
//!   deliveries of a whole queue;
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

mod attempt;
mod call;
mod failed;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use nightshift_bindings::function_json::{Cardinality, ServiceBusTrigger};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::decode::{DecodeError, decode_batch, decode_single};
use nightshift_job::{JobKey, Policy, SessionRule};
use nightshift_postgres::control::Controls;
use nightshift_postgres::{Lease, lone_start, open_message};
use nightshift_time::{Ids, SharedClock};
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::attempt::Attempt;
use self::failed::{AttemptFailed, told};
use crate::call::{Call, InvocationFailed};
use crate::copy;
use crate::drain::GivenUp;
use crate::member::{Member, read_members};
use crate::outbox::Outbox;
use crate::rate::{Limiter, Rate};
use crate::shape::Shape;
use crate::work::SharedIds;

/// The first and the longest wait between two tries while the database is away.
const HOLD_FIRST: Duration = Duration::from_millis(50);
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The least time in which it makes sense to run a member, and to write that it has taken too long.
const LEAST_RUN: Duration = Duration::from_millis(100);
const MOST_TO_WRITE: Duration = Duration::from_secs(2);

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
    controls: Controls,
    rate: Option<Rate>,
    /// Tells its starts from those of processes that are gone.
    process: Uuid,
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
        limiter: &Limiter,
    ) -> Self {
        let rate = |limit| Rate {
            limit,
            limiter: limiter.clone(),
        };
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
            controls: Controls::default(),
            rate: S::POLICY.rate.map(rate),
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
                    let within = call.traceparent.as_deref().filter(|_| all == 1);
                    members = read_members(&self.function, messages, within, self.clock.now());
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

    /// How they are run.
    pub(crate) fn policy(&self) -> &Policy {
        &self.function.policy
    }

    /// Writes of a message that the broker has given up what that means for it, unless it is done.
    pub(crate) async fn take_back(&self, given_up: GivenUp) -> Result<(), String> {
        let GivenUp { message, failure } = given_up;
        let mut messages = [message];
        let fetched = self.fetch_bodies(&mut messages).await;
        fetched.map_err(|error| told(&error))?;
        let members = read_members(&self.function, messages.into(), None, self.clock.now());
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
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn away(error: sqlx::Error) -> PassFailed {
    PassFailed::Away(told(&error))
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
