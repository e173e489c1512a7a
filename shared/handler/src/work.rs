//! The members of one transaction: what stands in its way, how each ends, and how that is written.

mod ticks;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{Disposition, Item, JobKey, Outcome, Policy, Refusal};
use nightshift_postgres::dead_letter;
use nightshift_postgres::inbox::{self, Claim, Claimed};
use nightshift_postgres::open_message::{self, Opened, Reason, Waiting};
use nightshift_postgres::outbox::{self, Promised};
use nightshift_time::Ids;
use serde_json::Value;
use sqlx::PgConnection;

use crate::copy::{CopyOf, Original, own_properties};
use crate::member::{Content, Member, id_reused};

/// The nearest and the farthest time to which a message is put off by request.
const SHORTEST_WISH: Duration = Duration::from_secs(1);
const LONGEST_WISH: Duration = Duration::from_hours(30 * 24);

/// What is known of the message that a member is, or is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) message_id: Option<String>,
    pub(crate) sequence_number: i64,
    /// Failed tries so far.
    pub(crate) attempt: i32,
}

/// Why a try of one member failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) disposition: Disposition,
    pub(crate) error: String,
}

/// What a transaction may do, once it has looked.
pub(crate) struct Work<'a, I> {
    /// To be run, or known to have failed already.
    tasks: Vec<Task<'a, I>>,
    /// Dead ones that are no key's first message, and the key under which they are kept.
    strays: Vec<(&'a Member<I>, JobKey, Refusal)>,
    /// Whether somebody else held one of the members.
    pub(crate) is_busy: bool,
    finished: usize,
}

/// One member that this transaction settles.
struct Task<'a, I> {
    member: &'a Member<I>,
    origin: Origin,
    /// Whether it has a row in `open_message`.
    is_open: bool,
    fate: Option<Fate>,
}

/// How one member ends in this transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Done,
    Skipped(String),
    Dead(Refusal),
    Waits(Wait),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wait {
    reason: Reason,
    due: DateTime<Utc>,
    /// Failed tries, this one included.
    attempt: i32,
    error: Option<String>,
}

/// Where the function's messages come from and go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) function: &'a str,
    pub(crate) queue: &'a str,
}

impl<'a, I> Work<'a, I> {
    /// Takes what is to be done of `members`: copies by their number, originals by a claim.
    pub(crate) async fn take(
        tx: &mut PgConnection,
        function: &str,
        members: &[&'a Member<I>],
    ) -> Result<Self, sqlx::Error> {
        let copies: Vec<JobKey> = members
            .iter()
            .filter_map(|member| member.copy)
            .map(|copy| copy.key)
            .collect();
        let mut opened: HashMap<JobKey, Opened> = HashMap::new();
        if !copies.is_empty() {
            opened.extend(open_message::lock(tx, &copies).await?);
        }
        let mut work = Self {
            tasks: Vec::with_capacity(members.len()),
            strays: Vec::new(),
            is_busy: false,
            finished: 0,
        };
        // A copy without a row is stale, unless the database was restored to an earlier state: then
        // it is all that is left of the message, and its claim decides.
        let mut claimants: Vec<&'a Member<I>> = Vec::with_capacity(members.len());
        let mut claimed = HashSet::with_capacity(members.len());
        for member in members.iter().copied() {
            let row = member
                .copy
                .and_then(|copy| Some((copy, opened.get(&copy.key)?)));
            match (row, &member.forgotten) {
                (Some((copy, row)), _) if row.r#gen == copy.r#gen => {
                    work.add(member, Some(row.clone()));
                }
                (None, None) if claimed.insert(member.claim.key) => claimants.push(member),
                (None, Some(refusal)) if member.copy.is_none() => {
                    work.strays
                        .push((member, member.claim.key, refusal.clone()));
                }
                _ => work.finished += 1,
            }
        }
        if claimants.is_empty() {
            return Ok(work);
        }
        let claims: Vec<Claim> = claimants.iter().map(|member| member.claim).collect();
        let found = inbox::claim(tx, function, &claims).await?;
        for (member, found) in claimants.into_iter().zip(found) {
            match found {
                Claimed::Ours => work.add(member, None),
                Claimed::Finished => work.finished += 1,
                Claimed::Busy => work.is_busy = true,
                Claimed::IdReused if member.copy.is_some() => work.finished += 1,
                Claimed::IdReused => {
                    let key = member.claim.key.reused_with(member.claim.body_hash);
                    work.strays.push((member, key, id_reused()));
                }
            }
        }
        Ok(work)
    }

    fn add(&mut self, member: &'a Member<I>, row: Option<Opened>) {
        let is_open = row.is_some();
        let origin = row.map_or_else(
            || Origin {
                message_id: member.message.message_id.clone(),
                sequence_number: member.message.sequence_number,
                attempt: member.copy.map_or(0, |copy| copy.attempt),
            },
            |row| Origin {
                message_id: row.message_id,
                sequence_number: row.sequence_number,
                attempt: row.attempt,
            },
        );
        let fate = match &member.content {
            Content::Dead(refusal) => Some(Fate::Dead(refusal.clone())),
            Content::Runnable(_) => None,
        };
        self.tasks.push(Task {
            member,
            origin,
            is_open,
            fate,
        });
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

    /// Takes what the function says of each of [`Self::items`].
    pub(crate) fn take_outcomes(&mut self, outcomes: Vec<Outcome>, now: DateTime<Utc>) {
        let undecided = self.tasks.iter_mut().filter(|task| task.fate.is_none());
        for (task, outcome) in undecided.zip(outcomes) {
            task.fate = Some(match outcome {
                Outcome::Skipped(why) => Fate::Skipped(why),
                Outcome::Refused(refusal) => Fate::Dead(refusal),
                Outcome::Snooze(due) => Fate::Waits(Wait {
                    reason: Reason::Snooze,
                    due: bounded(due, now),
                    attempt: task.origin.attempt,
                    error: None,
                }),
                _ => Fate::Done,
            });
        }
    }

    /// Settles all that were to be run as failed. `random` is drawn from `0.0..1.0`.
    pub(crate) fn fail(
        &mut self,
        failure: &Failure,
        policy: &Policy,
        now: DateTime<Utc>,
        random: f64,
    ) {
        for task in self.tasks.iter_mut().filter(|task| task.fate.is_none()) {
            let fate = fate_of(failure, task.origin.attempt, policy, now, random);
            task.origin.attempt = task.origin.attempt.saturating_add(1);
            task.fate = Some(fate);
        }
    }

    /// Writes how every member ends, and returns what is to be sent after the commit.
    pub(crate) async fn write(
        &self,
        tx: &mut PgConnection,
        place: Place<'_>,
        ids: &Mutex<Ids>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let is_closed =
            |task: &&Task<'_, I>| task.is_open && !matches!(task.fate, Some(Fate::Waits(_)));
        let closed = self.tasks.iter().filter(is_closed);
        let closed: Vec<JobKey> = closed.map(|task| task.member.claim.key).collect();
        if !closed.is_empty() {
            open_message::close(tx, &closed).await?;
        }
        let mut promised = Vec::new();
        for task in &self.tasks {
            let (member, key) = (task.member, task.member.claim.key);
            match &task.fate {
                None | Some(Fate::Done) => {}
                Some(Fate::Skipped(why)) => inbox::note_skipped(tx, &member.claim, why).await?,
                Some(Fate::Dead(refusal)) => {
                    let letter = member.letter(place.function, key, &task.origin, refusal);
                    dead_letter::bury(tx, &letter).await?;
                }
                Some(Fate::Waits(wait)) => {
                    let r#gen = task.wait(tx, place, wait).await?;
                    let copy = CopyOf {
                        key,
                        r#gen,
                        attempt: wait.attempt,
                        enqueued: member.claim.enqueued,
                    };
                    let id = ids.lock().unwrap_or_else(PoisonError::into_inner).next(now);
                    let original = Original {
                        queue: place.queue.to_owned(),
                        due: Some(wait.due),
                        session_id: member.message.session_id.clone(),
                        properties: own_properties(&member.message),
                        // The message's own is a part of the whole batch's.
                        body: Bytes::copy_from_slice(&member.message.body),
                        rescues: 0,
                    };
                    promised.push(copy.promise(id, original));
                }
            }
        }
        for (member, key, refusal) in &self.strays {
            let origin = Origin {
                message_id: member.message.message_id.clone(),
                sequence_number: member.message.sequence_number,
                attempt: 0,
            };
            let letter = member.letter(place.function, *key, &origin, refusal);
            dead_letter::bury(tx, &letter).await?;
        }
        promised.extend(self.finish_ticks(tx).await?);
        if !promised.is_empty() {
            outbox::promise(tx, &promised).await?;
        }
        Ok(promised)
    }

    /// Says how it ended, once it is committed.
    pub(crate) fn log(&self, function: &str) {
        let (mut done, mut skipped, mut dead, mut waiting) = (0, 0, self.strays.len(), 0);
        for task in &self.tasks {
            match &task.fate {
                None | Some(Fate::Done) => done += 1,
                Some(Fate::Skipped(_)) => skipped += 1,
                Some(Fate::Dead(refusal)) => {
                    dead += 1;
                    log_dead(function, task.member, task.member.claim.key, refusal);
                }
                Some(Fate::Waits(wait)) => {
                    waiting += 1;
                    task.log_wait(function, wait);
                }
            }
        }
        for (member, key, refusal) in &self.strays {
            log_dead(function, member, *key, refusal);
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
    async fn wait(
        &self,
        tx: &mut PgConnection,
        place: Place<'_>,
        wait: &Wait,
    ) -> Result<i32, sqlx::Error> {
        let message = &self.member.message;
        let properties = Value::Object(own_properties(message)).to_string();
        let waiting = Waiting {
            key: self.member.claim.key,
            function: place.function,
            queue: place.queue,
            gen_at_least: self.member.r#gen().saturating_add(1),
            attempt: wait.attempt,
            reason: wait.reason,
            due: wait.due,
            last_error: wait.error.as_deref(),
            message_id: self.origin.message_id.as_deref(),
            session_id: message.session_id.as_deref(),
            sequence_number: self.origin.sequence_number,
            enqueued: self.member.claim.enqueued,
            properties: &properties,
            body: &message.body,
            body_hash: self.member.claim.body_hash,
        };
        open_message::wait(tx, &waiting).await
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

/// What becomes of a message that has failed now, after `attempt` failed tries before.
fn fate_of(
    failure: &Failure,
    attempt: i32,
    policy: &Policy,
    now: DateTime<Utc>,
    random: f64,
) -> Fate {
    let failures = u32::try_from(attempt).unwrap_or(0).saturating_add(1);
    let due = match failure.disposition {
        Disposition::DeadLetter(reason) => {
            return Fate::Dead(Refusal {
                reason,
                description: failure.error.clone(),
            });
        }
        _ if failures >= policy.max_attempts => {
            return Fate::Dead(Refusal {
                reason: "attempts-used-up",
                description: format!("failed {failures} times; last: {}", failure.error),
            });
        }
        Disposition::RetryAfter(pause) => bounded(later(now, pause), now),
        _ => later(now, policy.backoff.pause(failures, random)),
    };
    Fate::Waits(Wait {
        reason: Reason::Retry,
        due,
        attempt: attempt.saturating_add(1),
        error: Some(failure.error.clone()),
    })
}

/// An instant that a function or another system asks for, not so early that the message would go round
/// without a pause, and not so late that a slip of theirs would hide it for ever.
fn bounded(due: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    due.clamp(later(now, SHORTEST_WISH), later(now, LONGEST_WISH))
}

fn later(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause.min(LONGEST_WISH)).unwrap_or_default();
    now.checked_add_signed(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(disposition: Disposition, attempt: i32) -> Fate {
        let failure = Failure {
            disposition,
            error: "away".to_owned(),
        };
        fate_of(
            &failure,
            attempt,
            &Policy::DEFAULT,
            DateTime::UNIX_EPOCH,
            0.5,
        )
    }

    fn due_in(fate: &Fate) -> Option<i64> {
        match fate {
            Fate::Waits(wait) => Some((wait.due - DateTime::UNIX_EPOCH).num_milliseconds()),
            _ => None,
        }
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_is_dead_in_the_end() {
        assert_eq!(due_in(&fate(Disposition::Retry, 0)), Some(2_500));
        assert_eq!(due_in(&fate(Disposition::Retry, 3)), Some(20_000));
        assert_eq!(due_in(&fate(Disposition::Retry, 10)), Some(1_800_000));
        let Fate::Dead(refusal) = fate(Disposition::Retry, 11) else {
            panic!("the twelfth failure is the last");
        };
        assert_eq!(refusal.reason, "attempts-used-up");
        assert_eq!(refusal.description, "failed 12 times; last: away");
    }

    #[test]
    fn a_pause_that_is_asked_for_wins_and_a_permanent_failure_waits_for_nothing() {
        let asked = Disposition::RetryAfter(Duration::from_mins(7));
        assert_eq!(due_in(&fate(asked, 5)), Some(420_000));
        for (wish, bound) in [
            (Duration::ZERO, SHORTEST_WISH),
            (Duration::MAX, LONGEST_WISH),
        ] {
            let due = due_in(&fate(Disposition::RetryAfter(wish), 0)).unwrap();
            assert_eq!(u128::try_from(due).unwrap(), bound.as_millis());
        }
        let dead = fate(Disposition::DeadLetter("gone"), 0);
        assert!(matches!(dead, Fate::Dead(refusal) if refusal.reason == "gone"));
    }
}
