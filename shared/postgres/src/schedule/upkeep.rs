//! What keeps the ledger small, and notices when it is not written.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{BadSchedule, Timetable};
use sqlx::PgConnection;

use super::ledger::now;

/// How late the decision on a tick may be before somebody is told: a deployment or a restart takes
/// less.
const PATIENCE: Duration = Duration::from_mins(10);

/// How many schedules are looked at.
const MOST: i64 = 1000;

/// A schedule that nobody has looked at although a tick was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The function.
    pub function: String,
    /// When the first tick was due that nobody has decided on; `None` if the schedule cannot be read.
    pub due: Option<DateTime<Utc>>,
}

/// The schedules that have gone silent: no tick was decided on for longer than their period and some
/// grace. A pause is no silence, since what becomes due in it is still recorded.
pub async fn silent(tx: &mut PgConnection) -> Result<Vec<Silent>, sqlx::Error> {
    let now = now(tx).await?;
    let rows = sqlx::query!(
        "SELECT function, definition, cursor_at FROM nightshift.schedule ORDER BY function LIMIT $1",
        MOST
    )
    .fetch_all(tx)
    .await?;
    let patience = TimeDelta::from_std(PATIENCE).unwrap_or_default();
    let first_due = |definition: &str, cursor| -> Result<_, BadSchedule> {
        Ok(Timetable::from_json(definition)?.next_after(cursor))
    };
    let silent = rows.into_iter().filter_map(|row| {
        let due = match first_due(&row.definition, row.cursor_at) {
            Ok(due) => Some(due.filter(|due| *due + patience < now)?),
            Err(_) => None,
        };
        Some(Silent {
            function: row.function,
            due,
        })
    });
    Ok(silent.collect())
}

/// How a schedule stands, for those who watch from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEnd {
    /// The function.
    pub function: String,
    /// When a tick of it last ended well, if one ever has.
    pub ended_well: Option<DateTime<Utc>>,
    /// When the first tick was or is due since then, or since the schedule is known; `None` if there is none,
    /// or the schedule cannot be read.
    pub next_due: Option<DateTime<Utc>>,
}

/// When a tick of each schedule last ended well, and when the next should have.
pub async fn last_ends(tx: &mut PgConnection) -> Result<Vec<LastEnd>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT function, definition, ended_well_at, created_at
         FROM nightshift.schedule ORDER BY function LIMIT $1",
        MOST
    )
    .fetch_all(tx)
    .await?;
    let ends = rows.into_iter().map(|row| {
        let since = row.ended_well_at.unwrap_or(row.created_at);
        let timetable = Timetable::from_json(&row.definition).ok();
        LastEnd {
            function: row.function,
            ended_well: row.ended_well_at,
            next_due: timetable.and_then(|timetable| timetable.next_after(since)),
        }
    });
    Ok(ends.collect())
}

/// Removes at most `most` ticks that were written more than `days` days ago and have ended. Returns how
/// many.
pub async fn prune(tx: &mut PgConnection, days: i32, most: i64) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query_file!("sql/prune_ticks.sql", days, most)
        .execute(tx)
        .await?;
    Ok(pruned.rows_affected())
}
