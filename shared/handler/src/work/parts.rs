//! Members that are split, and those that are parts of what was split.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nightshift_postgres::fan_out::{self, Ended};
use nightshift_postgres::outbox::Promised;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{SharedIds, Work, next_id, promise_of, ticks};
use crate::copy;
use crate::fate::Fate;

impl<I> Work<'_, I> {
    /// Sends the parts of what was split.
    pub(super) async fn split(
        &self,
        tx: &mut PgConnection,
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let mut promised = Vec::new();
        for task in &self.tasks {
            let Some(Fate::Split(children)) = &task.fate else {
                continue;
            };
            let trace = || task.traceparent().map(str::to_owned);
            let fan_out = next_id(ids, now);
            // A part that is split itself has ended when its own parts have.
            let grandparent = copy::parent(&task.member.message);
            let finish = promise_of(&children.finish, trace(), grandparent, fan_out, now);
            let finish = ticks::carry_on(task, finish);
            let count = i32::try_from(children.parts.len()).unwrap_or(i32::MAX);
            if count == 0 {
                promised.push(finish);
                continue;
            }
            fan_out::open(tx, fan_out, count, &finish).await?;
            promised.extend(children.parts.iter().map(|part| {
                let id = next_id(ids, now);
                // Each part is to end, so each has an id of its own.
                Promised {
                    message_id: id.to_string(),
                    ..promise_of(part, trace(), Some(fan_out), id, now)
                }
            }));
        }
        Ok(promised)
    }

    /// Counts the children that have ended, and sends the finish message where one is the last.
    pub(super) async fn end_children(
        &self,
        tx: &mut PgConnection,
        ids: &SharedIds,
        now: DateTime<Utc>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let mut ended: BTreeMap<Uuid, Ended> = BTreeMap::new();
        for task in &self.tasks {
            let is_dead = match task.fate {
                Some(Fate::Waits(_) | Fate::Split(_)) => continue,
                Some(Fate::Dead(_)) => true,
                None | Some(Fate::Done | Fate::Skipped(_)) => false,
            };
            let Some(parent) = copy::parent(&task.member.message) else {
                continue;
            };
            let count = ended.entry(parent).or_insert(Ended {
                parent,
                ended: 0,
                failed: 0,
            });
            count.ended += 1;
            count.failed += i32::from(is_dead);
        }
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let ended: Vec<Ended> = ended.into_values().collect();
        let finished = fan_out::end(tx, &ended).await?;
        Ok(copy::finish_of(finished, || next_id(ids, now)).collect())
    }
}
