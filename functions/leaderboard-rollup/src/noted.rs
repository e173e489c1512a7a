//! Sources that can have no column `xid`: what is new there is what is not noted yet.
//!
//! An event says when it was recorded, which is before it becomes visible, and by how much nobody knows; the
//! declaration names the most, the *overlap*. Each count looks at everything that was recorded since the
//! last one, less the overlap (the *cut-off*), notes the ids that it has not met, and counts exactly those. Below the
//! cut-off everything was counted, so that notes are not needed there. What becomes visible below it after
//! all is found when the source is verified.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use tracing::instrument;

use crate::declaration::Source;
use crate::events::{LONGEST_ID, instant};

/// How many events one count takes: each is noted, too.
const SLICE: i64 = 250_000;

/// Times that we and Postgres write alike. What was recorded at others counts for nothing.
const READABLE: &str =
    "e.recorded_at >= '0002-01-01 00:00:00+00' AND e.recorded_at < '9999-01-01 00:00:00+00'";

/// The events that a count has noted.
#[derive(Debug, FromRow)]
pub(crate) struct Noted {
    events: i64,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    /// When the newest event of all was recorded.
    newest: Option<DateTime<Utc>>,
}

impl Noted {
    /// There is more than one count takes.
    pub(crate) fn is_full(&self) -> bool {
        self.events >= SLICE
    }

    /// The first and the last instant at which they were recorded.
    pub(crate) fn between(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        self.first.zip(self.last)
    }

    /// The cut-off that follows from them; it never goes back.
    pub(crate) fn cutoff(
        &self,
        before: Option<DateTime<Utc>>,
        overlap: TimeDelta,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let reached = cutoff(self.newest, overlap, now);
        let reached = match self.last {
            Some(last) if self.is_full() => reached.map(|reached| reached.min(last)),
            _ => reached,
        };
        reached.max(before)
    }
}

/// The instant before which everything is visible that comes in time. A clock of ours that is ahead does not
/// matter, since nobody has recorded anything then.
fn cutoff(
    newest: Option<DateTime<Utc>>,
    overlap: TimeDelta,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    newest?.min(now).checked_sub_signed(overlap)
}

/// Notes the events that were recorded since `cutoff` and are not noted, as taken by the count `run`: so
/// many that it ends soon.
#[instrument(target = TRACE, name = "db.leaderboard_seen.insert", skip_all)]
pub(crate) async fn note(
    tx: &mut PgConnection,
    source: &Source,
    cutoff: Option<DateTime<Utc>>,
    run: i64,
) -> Result<Noted, sqlx::Error> {
    let (relation, cutoff) = (&source.relation, instant(cutoff));
    let sql = format!(
        "WITH new AS MATERIALIZED (
            SELECT e.event_id::text AS event_id, e.recorded_at FROM {relation} AS e
            WHERE {READABLE} AND e.recorded_at >= {cutoff} AND octet_length(e.event_id::text) <= {LONGEST_ID}
                AND NOT EXISTS (SELECT FROM nightshift.leaderboard_seen AS n
                    WHERE n.source = $1 AND n.event_id = e.event_id::text)
            ORDER BY e.recorded_at LIMIT {SLICE}
        ), noted AS (
            INSERT INTO nightshift.leaderboard_seen (source, event_id, recorded_at, run)
            SELECT $1, event_id, max(recorded_at), $2 FROM new GROUP BY event_id ON CONFLICT DO NOTHING)
        SELECT count(*) AS events, min(recorded_at) AS first, max(recorded_at) AS last,
            (SELECT max(e.recorded_at) FROM {relation} AS e WHERE {READABLE}) AS newest
        FROM new",
    );
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(&source.name)
        .bind(run)
        .fetch_one(tx)
        .await
}

/// Where to begin with a source that was counted otherwise until now.
#[instrument(target = TRACE, name = "db.leaderboard_event.newest", skip_all)]
pub(crate) async fn begin(
    tx: &mut PgConnection,
    source: &Source,
    overlap: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let sql = format!(
        "SELECT max(e.recorded_at) FROM {} AS e WHERE {READABLE}",
        source.relation,
    );
    let newest = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(tx).await?;
    Ok(cutoff(newest, overlap, now))
}

/// Removes the notes of what was recorded before `cutoff`; without one, all.
#[instrument(target = TRACE, name = "db.leaderboard_seen.delete", skip_all)]
pub(crate) async fn prune(
    tx: &mut PgConnection,
    source: &Source,
    cutoff: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM nightshift.leaderboard_seen
        WHERE source = $1 AND recorded_at < coalesce($2::timestamptz, 'infinity')",
        source.name,
        cutoff,
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: TimeDelta = TimeDelta::minutes(10);

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-18T{time}:00Z").parse().unwrap()
    }

    fn noted(events: i64, last: &str, newest: &str) -> Noted {
        Noted {
            events,
            first: Some(at("08:00")),
            last: Some(at(last)),
            newest: Some(at(newest)),
        }
    }

    #[test]
    fn the_cutoff_follows_the_newest_event_whatever_the_clock_says_and_never_goes_back() {
        let few = noted(3, "11:59", "12:00");
        let cutoff = |before, now| few.cutoff(before, OVERLAP, at(now));
        assert_eq!(cutoff(None, "12:00"), Some(at("11:50")));
        // A clock ahead, and one behind.
        assert_eq!(cutoff(Some(at("11:40")), "18:00"), Some(at("11:50")));
        assert_eq!(cutoff(Some(at("11:40")), "11:00"), Some(at("11:40")));
        // A writer's clock ahead.
        let ahead = noted(3, "18:00", "18:00");
        assert_eq!(ahead.cutoff(None, OVERLAP, at("12:00")), Some(at("11:50")));
    }

    #[test]
    fn the_cutoff_of_a_full_count_does_not_pass_what_is_left() {
        let full = noted(SLICE, "09:00", "12:00");
        assert_eq!(full.cutoff(None, OVERLAP, at("12:00")), Some(at("09:00")));
        let full = noted(SLICE, "11:55", "12:00");
        assert_eq!(full.cutoff(None, OVERLAP, at("12:00")), Some(at("11:50")));
    }

    #[test]
    fn without_events_there_is_no_cutoff() {
        let none = Noted {
            events: 0,
            first: None,
            last: None,
            newest: None,
        };
        assert_eq!(none.cutoff(None, OVERLAP, at("12:00")), None);
        assert_eq!(none.between(), None);
    }
}
