//! Members that are the messages of ticks: whether they still run, and who is told when they end.

use nightshift_job::TickId;
use nightshift_postgres::outbox::Promised;
use nightshift_postgres::schedule::{self, Ended};
use sqlx::PgConnection;

use super::{Task, Work};
use crate::fate::Fate;

impl<I> Work<'_, I> {
    /// Settles those whose tick is over: they are not run. One of whose last call nobody knows how it
    /// ended is not left alone with that.
    pub(crate) async fn skip_ended_ticks(
        &mut self,
        tx: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let can_be_left = |task: &Task<'_, I>| task.fate.is_none() && !task.is_unknown;
        let tasks = self.tasks.iter().filter(|task| can_be_left(task));
        let ticks: Vec<TickId> = tasks.filter_map(Task::tick).collect();
        if ticks.is_empty() {
            return Ok(());
        }
        let over = schedule::over(tx, &ticks).await?;
        for task in self.tasks.iter_mut().filter(|task| can_be_left(task)) {
            if let Some(why) = task.tick().and_then(|tick| over.get(tick.as_str())) {
                task.fate = Some(Fate::Skipped((*why).to_owned()));
            }
        }
        Ok(())
    }

    /// Tells the schedules of those that end, and returns what goes next, which is to be promised.
    pub(super) async fn finish_ticks(
        &self,
        tx: &mut PgConnection,
    ) -> Result<Vec<Promised>, sqlx::Error> {
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
        let mut promised = Vec::new();
        for (tick, ended) in &ends {
            promised.extend(schedule::finish(tx, tick, ended).await?);
        }
        Ok(promised)
    }
}

impl<I> Task<'_, I> {
    /// The tick whose message this is, or is a copy of.
    fn tick(&self) -> Option<TickId> {
        TickId::of_message(self.origin.message_id.as_deref()?)
    }

    fn end(&self) -> Option<(TickId, Ended)> {
        let tick = self.tick()?;
        let ended = match &self.fate {
            None | Some(Fate::Done | Fate::Split(_)) => Ended::Done,
            Some(Fate::Skipped(why)) => Ended::Skipped(why.clone()),
            Some(Fate::Dead(refusal)) => {
                Ended::Failed(format!("{}: {}", refusal.reason, refusal.description))
            }
            Some(Fate::Waits(_)) => return None,
        };
        Some((tick, ended))
    }
}
