//! Members of which only so many with one concurrency key are at work at a time.
//!
//! A message that is called for has a place from the commit that begins the call, or that lets it wait
//! for a near slot of its rate limit, to the one that ends the call, with the next slices. Whoever finds none free waits without a
//! copy, and whoever gives one up wakes the first of those, who has the place from then on. So each
//! commit after which a message has its place no longer looks for the next one.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::ConcurrencyKey;
use nightshift_postgres::open_message::{self, Places, Reason};
use nightshift_postgres::outbox::Promised;
use sqlx::PgConnection;

use super::{SharedIds, Task, Work, next_id};
use crate::copy::copy_of;
use crate::fate::{Fate, Wait};
use crate::runner::Definition;

/// Who waits for a slot of its rate limit keeps its place for no longer than this: others with its key
/// may do their work meanwhile.
const NEAR: TimeDelta = TimeDelta::minutes(1);

impl<I> Work<'_, I> {
    /// Lets those of [`Self::items`], whose keys are `keys`, wait that find no place.
    pub(crate) async fn take_places(
        &mut self,
        tx: &mut PgConnection,
        keys: &[Option<ConcurrencyKey>],
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let function = self.function;
        let undecided = self.tasks.iter_mut().filter(|task| task.fate.is_none());
        for (task, key) in undecided.zip(keys) {
            task.key = *key;
            let Some(key) = *key else { continue };
            if task.place == Some(key) {
                continue;
            }
            let (own, number) = (task.member.claim.key, task.origin.sequence_number);
            let places = places_of(function, key);
            if !open_message::has_place(tx, places, own, number).await? {
                task.fate = Some(Fate::queued(task.origin.attempt, now));
            }
        }
        Ok(())
    }

    /// Wakes those who wait for the places that are given up.
    pub(super) async fn pass_places_on(
        &self,
        tx: &mut PgConnection,
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let given_up = self.tasks.iter().filter(|task| !task.keeps_place(now));
        let given_up: BTreeSet<ConcurrencyKey> = given_up.filter_map(|task| task.place).collect();
        let mut promised = Vec::new();
        for key in given_up {
            let places = places_of(self.function, key);
            let woken = open_message::wake_queued(tx, places).await?;
            promised.extend(woken.into_iter().map(|row| copy_of(row, next_id(ids, now))));
        }
        Ok(promised)
    }
}

fn places_of(function: &Definition, key: ConcurrencyKey) -> Places<'_> {
    Places {
        function: function.name,
        key,
        declared: function.policy.concurrency,
    }
}

impl<I> Task<'_, I> {
    /// The concurrency key of its row, if it is to wait so from `now`.
    pub(super) fn key_of_row(&self, wait: &Wait, now: DateTime<Utc>) -> Option<ConcurrencyKey> {
        match wait.reason {
            Reason::Calling | Reason::Queued => self.key,
            // It would lose its slot if it found no place then.
            Reason::Limited | Reason::Closed if wait.due <= now + NEAR => self.key,
            // The next slice goes on with the place of this one, after a pause as well.
            Reason::Continue | Reason::Paused => self.place,
            _ => None,
        }
    }

    fn keeps_place(&self, now: DateTime<Utc>) -> bool {
        matches!(&self.fate, Some(Fate::Waits(wait)) if self.key_of_row(wait, now) == self.place)
    }
}
