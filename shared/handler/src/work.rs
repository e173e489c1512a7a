//! The members of one transaction: what stands in the way of each, how it ends, and how that is
//! written.

mod parts;
mod places;
mod slots;
mod take;
mod ticks;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, ConcurrencyKey, Enqueue, Item, JobKey, Outcome, Prepared, Refusal};
use nightshift_postgres::dead_letter::DeadLetter;
use nightshift_postgres::inbox;
use nightshift_postgres::open_message::{self, Opened, Reason, Waiting};
use nightshift_postgres::outbox::{self, Promised};
use nightshift_postgres::{dead_letter, lone_start};
use nightshift_telemetry::metrics::MESSAGES;
use nightshift_time::Ids;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::copy::{self, CopyOf, Original, copy_of, own_properties};
use crate::fate::{Failure, Fate, Wait};
use crate::member::{Content, Member};
use crate::ping::TickEnd;
use crate::runner::Definition;

/// What is known of the message that a member is, or is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) message_id: Option<String>,
    pub(crate) sequence_number: i64,
    /// Failed tries so far.
    pub(crate) attempt: i32,
}

impl Origin {
    fn of(row: Opened) -> Self {
        Self {
            message_id: row.message_id,
            sequence_number: row.sequence_number,
            attempt: row.attempt,
        }
    }
}

/// What a transaction may do, once it has looked.
pub(crate) struct Work<'a, I> {
    function: &'a Definition,
    /// To be run, or known to have failed already.
    tasks: Vec<Task<'a, I>>,
    /// Dead ones that are no key's first message, and the key under which they are kept.
    strays: Vec<(&'a Member<I>, JobKey, Refusal)>,
    /// Whether somebody else held one of the members.
    pub(crate) is_busy: bool,
    finished: usize,
    /// The number of the first message of each session that was not done when the transaction began.
    first_open: HashMap<String, i64>,
    /// Whether nothing new is to be run.
    is_paused: bool,
}

/// One member that this transaction settles.
struct Task<'a, I> {
    member: &'a Member<I>,
    origin: Origin,
    /// Whether it has a row in `open_message`.
    is_open: bool,
    /// The last call for it, if nobody knows how that ended.
    call: Option<Uuid>,
    /// Whether it has waited for the slot of its rate limit that is its own.
    has_slot: bool,
    /// The concurrency key of which it had a place when the transaction began.
    place: Option<ConcurrencyKey>,
    /// Its concurrency key, once that is known to be needed.
    key: Option<ConcurrencyKey>,
    /// Whether its tick goes on, or has ended, without it.
    is_over: bool,
    fate: Option<Fate>,
}

/// A call that is to be made once the transaction has committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calling<C> {
    pub(crate) id: Uuid,
    pub(crate) call: C,
}

/// What is to be done once what was written is committed.
#[derive(Debug)]
pub(crate) struct Written {
    /// To be sent.
    pub(crate) promised: Vec<Promised>,
    /// To be told outside.
    pub(crate) ended: Vec<TickEnd>,
}

/// A message was put off while a later one of its session ended in the same transaction.
#[derive(Debug)]
pub(crate) struct OutOfOrder;

/// Where ids of new rows come from.
pub(crate) type SharedIds = Mutex<Ids>;

pub(crate) fn next_id(ids: &SharedIds, now: DateTime<Utc>) -> Uuid {
    ids.lock().unwrap_or_else(PoisonError::into_inner).next(now)
}

impl<'a, I> Work<'a, I> {
    /// It is known how the calls of those that are not decided yet have ended.
    pub(crate) fn forget_calls(&mut self) {
        for task in self.tasks.iter_mut().filter(|task| task.fate.is_none()) {
            task.call = None;
        }
    }

    /// What is to be run, in order.
    pub(crate) fn items(&self) -> Vec<&'a Item<I>> {
        let undecided = self.tasks.iter().filter(|task| task.fate.is_none());
        undecided
            .filter_map(|task| match &task.member.content {
                Content::Runnable(item) => Some(item),
                Content::Dead(_) => None,
            })
            .collect()
    }

    /// Whether nobody knows how the last call for one of [`Self::items`] ended.
    pub(crate) fn is_unknown(&self) -> bool {
        let mut undecided = self.tasks.iter().filter(|task| task.fate.is_none());
        undecided.any(|task| task.call.is_some())
    }

    /// Takes what the function says of each of [`Self::items`]. A call that it wants to make is this
    /// process's for `lease`.
    pub(crate) fn take_prepared<C>(
        &mut self,
        prepared: Vec<Prepared<C>>,
        ids: &SharedIds,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Result<Option<Calling<C>>, OutOfOrder> {
        let mut calling = None;
        let undecided = self.tasks.iter_mut().filter(|task| task.fate.is_none());
        for (task, prepared) in undecided.zip(prepared) {
            let attempt = task.origin.attempt;
            task.fate = Some(match prepared {
                Prepared::End(outcome) => Fate::of_outcome(outcome, attempt, now),
                Prepared::Call(call) => {
                    let id = next_id(ids, now);
                    calling = Some(Calling { id, call });
                    Fate::calling(id, lease, attempt, now)
                }
            });
        }
        self.check_order()?;
        Ok(calling)
    }

    /// Takes what the function says of the one item.
    pub(crate) fn take_outcome(&mut self, outcome: Outcome, now: DateTime<Utc>) {
        let undecided = self.tasks.iter_mut().find(|task| task.fate.is_none());
        if let Some(task) = undecided {
            task.fate = Some(Fate::of_outcome(outcome, task.origin.attempt, now));
        }
    }

    /// Within a session nothing ends after something that waits, or that holds the session.
    fn check_order(&self) -> Result<(), OutOfOrder> {
        if !self.function.has_sessions {
            return Ok(());
        }
        let mut stopped = HashSet::new();
        for task in &self.tasks {
            let (Some(session), Some(fate)) = (session(task.member), &task.fate) else {
                continue;
            };
            let stops = match fate {
                Fate::Waits(_) => true,
                Fate::Dead(_) => self.function.holds_sessions(),
                Fate::Done | Fate::Split(_) | Fate::Skipped(_) => false,
            };
            if stops {
                stopped.insert(session);
            } else if stopped.contains(session) {
                return Err(OutOfOrder);
            }
        }
        Ok(())
    }

    /// Settles all that were to be run as failed. `random` is drawn from `0.0..1.0`.
    pub(crate) fn fail(&mut self, failure: &Failure, now: DateTime<Utc>, random: f64) {
        let policy = &self.function.policy;
        for task in self.tasks.iter_mut().filter(|task| task.fate.is_none()) {
            let fate = Fate::of_failure(failure, task.origin.attempt, policy, now, random);
            if failure.counts {
                task.origin.attempt = task.origin.attempt.saturating_add(1);
            }
            task.fate = Some(fate);
        }
    }

    /// Writes how every member ends and what the function has enqueued, and returns what follows
    /// after the commit. `survived` is the key of a message that was suspected of ending its
    /// process.
    pub(crate) async fn write(
        &self,
        tx: &mut PgConnection,
        enqueued: Vec<(Enqueue, Option<String>)>,
        survived: Option<JobKey>,
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Written, sqlx::Error> {
        let (mut closed, mut skipped, mut letters) = (Vec::new(), Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        for task in &self.tasks {
            let (member, key) = (task.member, task.member.claim.key);
            if task.is_open && !matches!(task.fate, Some(Fate::Waits(_))) {
                closed.push(key);
            }
            match &task.fate {
                None | Some(Fate::Done | Fate::Split(_)) => {}
                Some(Fate::Skipped(why)) => skipped.push((member.claim, why.as_str())),
                Some(Fate::Dead(refusal)) => {
                    let letter = member.letter(self.function, key, &task.origin, refusal);
                    letters.push(DeadLetter {
                        call: task.call,
                        ..letter
                    });
                }
                Some(Fate::Waits(wait)) => waiting.push((task, wait)),
            }
        }
        let strays: Vec<_> = self
            .strays
            .iter()
            .map(|(m, k, r)| (stray(m), m, k, r))
            .collect();
        for (origin, member, key, refusal) in &strays {
            letters.push(member.letter(self.function, **key, origin, refusal));
        }
        if let Some(key) = survived {
            lone_start::unmark(tx, key).await?;
        }
        if !closed.is_empty() {
            open_message::close(tx, &closed).await?;
        }
        if !skipped.is_empty() {
            inbox::note_skipped(tx, &skipped).await?;
        }
        if !letters.is_empty() {
            dead_letter::bury(tx, &letters).await?;
        }
        let mut promised = Vec::new();
        if !waiting.is_empty() {
            promised = self.wait(tx, &waiting, ids, now).await?;
        }
        promised.extend(self.wake(tx, ids, now).await?);
        promised.extend(self.pass_places_on(tx, ids, now).await?);
        promised.extend(enqueued.into_iter().map(|(message, traceparent)| {
            promise_of(&message, traceparent, None, next_id(ids, now), now)
        }));
        promised.extend(self.split(tx, ids, now).await?);
        promised.extend(self.end_children(tx, ids, now).await?);
        let (released, ended) = self.finish_ticks(tx).await?;
        promised.extend(released);
        if !promised.is_empty() {
            outbox::promise(tx, &promised).await?;
        }
        Ok(Written { promised, ended })
    }

    async fn wait(
        &self,
        tx: &mut PgConnection,
        waiting: &[(&Task<'_, I>, &Wait)],
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let rows: Vec<Waiting<'_>> = waiting
            .iter()
            .map(|(task, wait)| task.row(wait, now))
            .collect();
        let gens = open_message::wait(tx, self.function.name, &self.function.queue, &rows).await?;
        let gens: HashMap<JobKey, i32> = gens.into_iter().collect();
        let with_copy = waiting.iter().filter(|(_, wait)| wait.reason.has_copy());
        let copies = with_copy.filter_map(|(task, wait)| {
            let message = &task.member.message;
            let copy = CopyOf {
                key: task.member.claim.key,
                r#gen: *gens.get(&task.member.claim.key)?,
                attempt: wait.attempt,
                enqueued: task.member.claim.enqueued,
            };
            // The message's own body is a part of the whole batch's.
            let body = wait.body.clone();
            let original = Original {
                queue: self.function.queue.clone(),
                due: Some(wait.due),
                session_id: message.session_id.clone(),
                properties: own_properties(message),
                body: body.unwrap_or_else(|| Bytes::copy_from_slice(&message.body)),
                rescues: 0,
            };
            Some(copy.promise(next_id(ids, now), original))
        });
        Ok(copies.collect())
    }

    /// Where a message of a session has ended, it is the next one's turn.
    async fn wake(
        &self,
        tx: &mut PgConnection,
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let ended = self.tasks.iter().filter(|task| {
            let fate = task.fate.as_ref();
            fate.is_none_or(Fate::lets_session_go_on)
        });
        let sessions: BTreeSet<&str> = ended
            .filter_map(|task| session(task.member))
            .filter(|session| self.first_open.contains_key(*session))
            .collect();
        if sessions.is_empty() {
            return Ok(Vec::new());
        }
        let sessions: Vec<&str> = sessions.into_iter().collect();
        let woken = open_message::wake_next(tx, self.function.name, &sessions).await?;
        let copies = woken.into_iter().map(|row| copy_of(row, next_id(ids, now)));
        Ok(copies.collect())
    }

    /// Says and counts how it ended, once it is committed.
    pub(crate) fn log(&self) {
        let function = self.function.name;
        let (mut done, mut skipped, mut dead, mut waiting) = (0, 0, self.strays.len(), 0);
        for task in &self.tasks {
            task.end_span();
            match &task.fate {
                None | Some(Fate::Done | Fate::Split(_)) => done += 1,
                Some(Fate::Skipped(_)) => skipped += 1,
                Some(Fate::Dead(refusal)) => {
                    dead += 1;
                    log_dead(function, task.member, task.member.claim.key, refusal);
                }
                Some(Fate::Waits(wait)) => {
                    waiting += 1;
                    MESSAGES.add(&[function, wait.reason.name()], 1);
                    task.log_wait(function, wait);
                }
            }
        }
        for (member, key, refusal) in &self.strays {
            member.span.end("dead", Some(refusal.reason));
            log_dead(function, member, *key, refusal);
        }
        for (outcome, count) in [
            ("done", done),
            ("skipped", skipped),
            ("dead", dead),
            ("known", self.finished),
        ] {
            MESSAGES.add(&[function, outcome], count);
        }
        tracing::debug!(
            function.name = function,
            batch.done = done,
            batch.skipped = skipped,
            batch.dead = dead,
            batch.waiting = waiting,
            batch.finished_before = self.finished,
            "batch committed"
        );
    }
}

impl<I> Task<'_, I> {
    fn traceparent(&self) -> Option<&str> {
        match &self.member.content {
            Content::Runnable(item) => item.traceparent.as_deref(),
            Content::Dead(_) => None,
        }
    }

    fn row<'t>(&'t self, wait: &'t Wait, now: DateTime<Utc>) -> Waiting<'t> {
        let message = &self.member.message;
        let body = wait.body.as_ref().unwrap_or(&message.body);
        let body_hash = match &wait.body {
            Some(body) => BodyHash::of(body),
            None => self.member.claim.body_hash,
        };
        Waiting {
            key: self.member.claim.key,
            gen_at_least: self.member.r#gen().saturating_add(1),
            attempt: wait.attempt,
            reason: wait.reason,
            due: wait.due,
            last_error: wait.error.as_deref(),
            message_id: self.origin.message_id.as_deref(),
            session_id: message.session_id.as_deref(),
            sequence_number: self.origin.sequence_number,
            enqueued: self.member.claim.enqueued,
            properties: Value::Object(own_properties(message)).to_string(),
            body,
            body_hash,
            call: match wait.reason {
                Reason::Continue => None,
                _ => wait.call.or(self.call),
            },
            lease: wait.lease,
            concurrency_key: self.key_of_row(wait, now),
        }
    }

    /// Tells the trace how it ended.
    fn end_span(&self) {
        let span = &self.member.span;
        match &self.fate {
            None | Some(Fate::Done) => span.end("done", None),
            Some(Fate::Split(_)) => span.end("split", None),
            Some(Fate::Skipped(_)) => span.end("skipped", None),
            Some(Fate::Dead(refusal)) => span.end("dead", Some(refusal.reason)),
            Some(Fate::Waits(wait)) => {
                let why = wait.reason.name();
                span.end(why, wait.error.as_ref().map(|_error| why));
            }
        }
    }

    fn log_wait(&self, function: &str, wait: &Wait) {
        let Some(error) = &wait.error else {
            return;
        };
        tracing::warn!(
            function.name = function,
            job.key = %self.member.claim.key,
            job.attempt = wait.attempt,
            job.due = %wait.due,
            error,
            "the message failed and is tried again"
        );
    }
}

fn session<I>(member: &Member<I>) -> Option<&str> {
    member.message.session_id.as_deref()
}

fn stray<I>(member: &Member<I>) -> Origin {
    Origin {
        message_id: member.message.message_id.clone(),
        sequence_number: member.message.sequence_number,
        attempt: 0,
    }
}

/// `message` as the row `id` of the outbox, with the trace context that it carries on and the fan-out
/// that it is a child in.
fn promise_of(
    message: &Enqueue,
    traceparent: Option<String>,
    parent: Option<Uuid>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Promised {
    let parent = parent.map(|parent| (copy::PARENT, parent.to_string()));
    let properties = traceparent
        .map(|context| ("traceparent", context))
        .into_iter()
        .chain(parent)
        .map(|(name, value)| (name.to_owned(), Value::String(value)));
    Promised {
        id,
        queue: message.queue().to_owned(),
        message_id: message
            .message_id()
            .map_or_else(|| id.to_string(), str::to_owned),
        session_id: message.session_id().map(str::to_owned),
        due: message.due(now),
        properties: Value::Object(properties.collect()).to_string(),
        body: message.body().clone(),
        wakes: None,
    }
}

fn log_dead<I>(function: &str, member: &Member<I>, key: JobKey, refusal: &Refusal) {
    tracing::warn!(
        function.name = function,
        job.key = %key,
        message.sequence_number = member.message.sequence_number,
        dead_letter.reason = refusal.reason,
        dead_letter.description = refusal.description,
        "message is dead"
    );
}
