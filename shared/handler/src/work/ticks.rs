//! Members that are the messages of ticks: whether they still run, and who is told when they end.

use std::collections::HashSet;

use nightshift_job::{JobKey, TickId};
use nightshift_postgres::open_message;
use nightshift_postgres::outbox::Promised;
use nightshift_postgres::schedule::{self, Ended, Over};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::{Task, Work};
use crate::copy::TICK;
use crate::fate::Fate;
use crate::member::Member;
use crate::ping::TickEnd;

/// `finish`, the last message of what `task` was split into, which carries on its tick, if it has one.
pub(super) fn carry_on<I>(task: &Task<'_, I>, finish: Promised) -> Promised {
    let Some(tick) = task.tick() else {
        return finish;
    };
    // What we have written ourselves is an object.
    let mut properties: Map<String, Value> =
        serde_json::from_str(&finish.properties).unwrap_or_default();
    properties.insert(TICK.to_owned(), Value::String(tick.as_str().to_owned()));
    Promised {
        properties: Value::Object(properties).to_string(),
        ..finish
    }
}

impl<'a, I> Work<'a, I> {
    /// Takes out of `claimants` the messages of ticks that wait. A tick's message is sent again when its
    /// end does not come, also on another day than the one on which the first was claimed.
    pub(super) async fn leave_open_ticks(
        &mut self,
        tx: &mut PgConnection,
        claimants: &mut Vec<&'a Member<I>>,
    ) -> Result<(), sqlx::Error> {
        let id = |member: &Member<I>| TickId::of_message(member.message.message_id.as_deref()?);
        let ticks = claimants.iter().filter(|member| id(member).is_some());
        let keys: Vec<JobKey> = ticks.map(|member| member.claim.key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let open = open_message::lock(tx, &keys).await?;
        let open: HashSet<JobKey> = open.into_iter().map(|(key, _)| key).collect();
        claimants.retain(|member| {
            let is_open = open.contains(&member.claim.key);
            if is_open {
                self.finish(member);
            }
            !is_open
        });
        Ok(())
    }

    /// Settles those whose tick is over: they are not run. One of whose last call nobody knows how it
    /// ended is not left alone with that.
    pub(crate) async fn skip_ended_ticks(
        &mut self,
        tx: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let can_be_left = |task: &Task<'_, I>| task.fate.is_none() && task.call.is_none();
        let tasks = self.tasks.iter().filter(|task| can_be_left(task));
        let ticks: Vec<TickId> = tasks.filter_map(Task::tick).collect();
        if ticks.is_empty() {
            return Ok(());
        }
        let over = schedule::over(tx, &ticks).await?;
        for task in self.tasks.iter_mut().filter(|task| can_be_left(task)) {
            let over = task.tick().and_then(|tick| over.get(tick.as_str()));
            let is_carried = task.carried_tick().is_some();
            if let Some(over) = over.filter(|over| !is_carried || **over != Over::Split) {
                task.is_over = true;
                task.fate = Some(Fate::Skipped(over.why().to_owned()));
            }
        }
        Ok(())
    }

    /// Tells the schedules of those that end. Returns what goes next, which is to be promised, and what is to
    /// be told outside.
    pub(super) async fn finish_ticks(
        &self,
        tx: &mut PgConnection,
    ) -> Result<(Vec<Promised>, Vec<TickEnd>), sqlx::Error> {
        let mut ends: Vec<(TickId, Ended)> = self.tasks.iter().filter_map(Task::end).collect();
        let strays = self
            .strays
            .iter()
            .filter(|(member, _, _)| member.forgotten.is_some());
        ends.extend(strays.filter_map(|(member, _, refusal)| {
            let tick = TickId::of_message(member.message.message_id.as_deref()?)?;
            Some((tick, Ended::Failed(refusal.description.clone())))
        }));
        // In the order in which everybody locks schedules.
        ends.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let (mut promised, mut told) = (Vec::new(), Vec::new());
        for (tick, ended) in &ends {
            let finished = schedule::finish(tx, tick, ended).await?;
            told.extend(TickEnd::of(tick, ended, &finished));
            promised.extend(finished.next);
        }
        Ok((promised, told))
    }
}

impl<I> Task<'_, I> {
    /// The tick whose message this is, or is a copy of, or that it carries on.
    fn tick(&self) -> Option<TickId> {
        let first = || TickId::of_message(self.origin.message_id.as_deref()?);
        self.carried_tick().or_else(first)
    }

    fn carried_tick(&self) -> Option<TickId> {
        let carried = self.member.message.application_properties.get(TICK)?;
        TickId::of_message(carried.as_str()?)
    }

    fn end(&self) -> Option<(TickId, Ended)> {
        let tick = self.tick().filter(|_| !self.is_over)?;
        let ended = match &self.fate {
            None | Some(Fate::Done) => Ended::Done,
            Some(Fate::Split(_)) => Ended::Split,
            Some(Fate::Skipped(why)) => Ended::Skipped(why.clone()),
            Some(Fate::Dead(refusal)) => {
                Ended::Failed(format!("{}: {}", refusal.reason, refusal.description))
            }
            Some(Fate::Waits(_)) => return None,
        };
        Some((tick, ended))
    }
}
