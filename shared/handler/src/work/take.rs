//! What stands in the way of each member, and what the transaction takes to be done.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{JobKey, Refusal};
use nightshift_postgres::inbox::{self, Claim, Claimed};
use nightshift_postgres::open_message::{self, Opened, Reason};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Origin, Task, Work, session};
use crate::fate::Fate;
use crate::member::{Content, Member, id_reused};
use crate::runner::Definition;

/// How long after its slot a message may still run in it.
const SLOT_GRACE: TimeDelta = TimeDelta::seconds(30);

impl<'a, I> Work<'a, I> {
    fn new(function: &'a Definition, is_paused: bool) -> Self {
        Self {
            function,
            tasks: Vec::new(),
            strays: Vec::new(),
            is_busy: false,
            finished: 0,
            first_open: HashMap::new(),
            is_paused,
        }
    }

    /// Takes what is to be done of `members`: copies by their number, originals by a claim.
    pub(crate) async fn take(
        tx: &mut PgConnection,
        function: &'a Definition,
        members: &[&'a Member<I>],
        is_paused: bool,
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        let mut work = Self::new(function, is_paused);
        work.tasks.reserve(members.len());
        work.lock_sessions(tx, members).await?;
        let copies: Vec<JobKey> = members
            .iter()
            .filter_map(|member| member.copy)
            .map(|copy| copy.key)
            .collect();
        let mut opened: HashMap<JobKey, Opened> = HashMap::new();
        if !copies.is_empty() {
            opened.extend(open_message::lock(tx, &copies).await?);
        }
        // A copy without a row is stale, unless the database was restored to an earlier state: then
        // it is all that is left of the message, and its claim decides.
        let mut claimants: Vec<&'a Member<I>> = Vec::with_capacity(members.len());
        let mut claimed = HashSet::with_capacity(members.len());
        for member in members.iter().copied() {
            let row = member
                .copy
                .and_then(|copy| Some((copy, opened.get(&copy.key)?)));
            match (row, &member.forgotten) {
                _ if member.is_left_over => work.finish(member),
                (Some((copy, row)), _) if row.r#gen == copy.r#gen && !is_at_work(row) => {
                    work.add(member, Some(row.clone()), now);
                }
                (None, None) if claimed.insert(member.claim.key) => claimants.push(member),
                (None, Some(refusal)) if member.copy.is_none() => {
                    work.strays
                        .push((member, member.claim.key, refusal.clone()));
                }
                _ => work.finish(member),
            }
        }
        work.leave_open_ticks(tx, &mut claimants).await?;
        if claimants.is_empty() {
            return Ok(work);
        }
        let claims: Vec<Claim> = claimants.iter().map(|member| member.claim).collect();
        let found = inbox::claim(tx, function.name, &claims).await?;
        for (member, found) in claimants.into_iter().zip(found) {
            match found {
                Claimed::Ours => work.add(member, None, now),
                Claimed::Finished => work.finish(member),
                Claimed::Busy => work.is_busy = true,
                Claimed::IdReused if member.copy.is_some() => work.finish(member),
                Claimed::IdReused => {
                    let key = member.claim.key.reused_with(member.claim.body_hash);
                    work.strays.push((member, key, id_reused()));
                }
            }
        }
        Ok(work)
    }

    /// There is nothing to be done for `member`, which has ended before.
    pub(super) fn finish(&mut self, member: &Member<I>) {
        self.finished += 1;
        member.span.end("known", None);
    }

    /// Takes the message for which the call `id` has been made; `None` if somebody else has settled
    /// it since, because it took too long.
    pub(crate) async fn resume(
        tx: &mut PgConnection,
        function: &'a Definition,
        member: &'a Member<I>,
        id: Uuid,
    ) -> Result<Option<Self>, sqlx::Error> {
        let mut work = Self::new(function, false);
        work.lock_sessions(tx, &[member]).await?;
        let opened = open_message::lock(tx, &[member.claim.key]).await?;
        let row = opened.into_iter().next().map(|(_, row)| row);
        let is_its = |row: &Opened| row.call == Some(id) && row.reason == Reason::Calling;
        let Some(row) = row.filter(is_its) else {
            return Ok(None);
        };
        // Whatever has come before it in its session since: the call is made.
        work.tasks.push(Task {
            member,
            is_open: true,
            call: row.call,
            has_slot: true,
            place: row.place,
            key: row.place,
            origin: Origin::of(row),
            is_over: false,
            fate: None,
        });
        Ok(Some(work))
    }

    async fn lock_sessions(
        &mut self,
        tx: &mut PgConnection,
        members: &[&'a Member<I>],
    ) -> Result<(), sqlx::Error> {
        if !self.function.has_sessions {
            return Ok(());
        }
        let sessions = members.iter().filter_map(|member| session(member));
        let sessions: Vec<&str> = sessions.collect::<BTreeSet<&str>>().into_iter().collect();
        if !sessions.is_empty() {
            let first = open_message::lock_sessions(tx, self.function.name, &sessions).await?;
            self.first_open = first.into_iter().collect();
        }
        Ok(())
    }

    fn add(&mut self, member: &'a Member<I>, row: Option<Opened>, now: DateTime<Utc>) {
        // What was held up is not let loose all at once.
        let is_late = row.as_ref().is_some_and(|row| row.due + SLOT_GRACE < now);
        let is_open = row.is_some();
        let call = row.as_ref().and_then(|row| row.call);
        let reason = row.as_ref().map(|row| row.reason);
        let place = row.as_ref().and_then(|row| row.place);
        let was_cut_off = reason == Some(Reason::Calling);
        let mut origin = row.map_or_else(
            || Origin {
                message_id: member.message.message_id.clone(),
                sequence_number: member.message.sequence_number,
                attempt: member.copy.map_or(0, |copy| copy.attempt),
            },
            Origin::of,
        );
        // Whoever made its call is gone, and it may be the cause.
        origin.attempt = origin.attempt.saturating_add(i32::from(was_cut_off));
        let is_last = was_cut_off
            && u32::try_from(origin.attempt).is_ok_and(|n| n >= self.function.policy.max_attempts);
        let first = session(member).and_then(|session| self.first_open.get(session));
        let fate = match &member.content {
            Content::Dead(refusal) => Some(Fate::Dead(refusal.clone())),
            Content::Runnable(_) if is_last => Some(Fate::Dead(kills_the_process(origin.attempt))),
            Content::Runnable(_) if first.is_some_and(|first| *first < origin.sequence_number) => {
                Some(Fate::parked(origin.attempt, now))
            }
            // What was begun is brought to an end.
            Content::Runnable(_) if self.is_paused && call.is_none() => {
                Some(Fate::paused(origin.attempt, now))
            }
            Content::Runnable(_) => None,
        };
        self.tasks.push(Task {
            member,
            origin,
            is_open,
            call,
            has_slot: reason == Some(Reason::Limited) && !is_late,
            place,
            key: None,
            is_over: false,
            fate,
        });
    }
}

/// Whether somebody is making the call that a message waits for. What is past its time was left by
/// a process that is gone.
fn is_at_work(row: &Opened) -> bool {
    row.reason == Reason::Calling && row.is_early
}

fn kills_the_process(attempt: i32) -> Refusal {
    let description = format!(
        "{attempt} tries have failed, and the process that made the last call for it is gone; look at its last words for an abort, a stack overflow or too much memory"
    );
    Refusal {
        reason: "kills-the-process",
        description,
    }
}
