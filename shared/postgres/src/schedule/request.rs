//! What people ask of a schedule. Each function locks its row, and a request that comes twice is one
//! request.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{RequestId, Tick, TickKind, Timetable};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use super::ledger::{Ledger, Row};
use super::{Bodies, Decided, MOST_BACKFILLED, ScheduleError};

/// What became of a request for runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// It was granted before, and nothing was written.
    Known,
    /// It is granted.
    Granted(Decided),
}

/// From now on no tick of `function` is run: what becomes due is skipped, and what waits for an earlier
/// one's end waits on. A message that is in its queue already is worked on. Returns whether that is
/// new. Idempotent.
#[instrument(target = TRACE, name = "db.schedule.pause", skip_all)]
pub async fn pause(tx: &mut PgConnection, function: &str) -> Result<bool, ScheduleError> {
    let row = known(tx, function).await?;
    if row.paused.is_some() {
        return Ok(false);
    }
    sqlx::query!(
        "UPDATE nightshift.schedule SET paused_at = nightshift.now() WHERE function = $1",
        function
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// Ends a pause; what became due in it is skipped. Idempotent.
#[instrument(target = TRACE, name = "db.schedule.resume", skip_all)]
pub async fn resume(tx: &mut PgConnection, function: &str) -> Result<Decided, ScheduleError> {
    let mut row = known(tx, function).await?;
    if row.paused.is_none() {
        return Ok(Decided::default());
    }
    let timetable = Timetable::from_json(&row.definition)?;
    // Nothing that a pause leaves to be decided has a body.
    let mut ledger = Ledger::open(tx, function, &|_| Ok(bytes::Bytes::new())).await?;
    let now = ledger.now;
    ledger.cover(&row, &timetable, row.cursor, now).await?;
    row.cursor = now;
    row.advance(ledger.tx, function).await?;
    row.paused = None;
    sqlx::query!(
        "UPDATE nightshift.schedule SET paused_at = NULL WHERE function = $1",
        function
    )
    .execute(&mut *ledger.tx)
    .await?;
    ledger.release_next(&row).await?;
    Ok(ledger.promise().await?)
}

/// Runs `function` once, now, even while it is paused. If it overlaps with a tick that has not ended,
/// and the schedule does not allow that, the run waits for its turn. Idempotent by `request`.
#[instrument(target = TRACE, name = "db.schedule.run_now", skip_all)]
pub async fn run_now(
    tx: &mut PgConnection,
    function: &str,
    request: &RequestId,
    bodies: &Bodies<'_>,
) -> Result<Requested, ScheduleError> {
    let row = known(tx, function).await?;
    if is_known(tx, function, "run-now", request).await? {
        return Ok(Requested::Known);
    }
    let timetable = Timetable::from_json(&row.definition)?;
    let mut ledger = Ledger::open(tx, function, bodies).await?;
    let tick = Tick {
        due: ledger.now,
        kind: TickKind::RunNow(request.clone()),
    };
    ledger.ask(&row, &timetable, vec![tick]).await?;
    Ok(Requested::Granted(ledger.promise().await?))
}

/// Runs `function` for every tick that its schedule has from `from` until before `to`, whether or not it
/// was run then; one after the other, unless the schedule allows overlaps. Idempotent by `request`.
#[instrument(target = TRACE, name = "db.schedule.backfill", skip_all)]
pub async fn backfill(
    tx: &mut PgConnection,
    function: &str,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    request: &RequestId,
    bodies: &Bodies<'_>,
) -> Result<Requested, ScheduleError> {
    let row = known(tx, function).await?;
    if is_known(tx, function, "backfill", request).await? {
        return Ok(Requested::Known);
    }
    let timetable = Timetable::from_json(&row.definition)?;
    let mut ledger = Ledger::open(tx, function, bodies).await?;
    if to > ledger.now {
        let now = ledger.now;
        return Err(ScheduleError::NotOver { to, now });
    }
    let ticks: Vec<Tick> = timetable
        .ticks(from - TimeDelta::seconds(1), to)
        .filter(|due| (from..to).contains(due))
        .map(|due| Tick {
            due,
            kind: TickKind::Backfill(request.clone()),
        })
        .take(MOST_BACKFILLED + 1)
        .collect();
    if ticks.len() > MOST_BACKFILLED {
        return Err(ScheduleError::TooMany { from, to });
    }
    ledger.ask(&row, &timetable, ticks).await?;
    Ok(Requested::Granted(ledger.promise().await?))
}

async fn known(tx: &mut PgConnection, function: &str) -> Result<Row, ScheduleError> {
    let row = Row::lock(tx, function).await?;
    row.ok_or_else(|| ScheduleError::Unknown(function.to_owned()))
}

async fn is_known(
    tx: &mut PgConnection,
    function: &str,
    kind: &str,
    request: &RequestId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT EXISTS (
             SELECT FROM nightshift.schedule_tick
             WHERE function = $1 AND request = $2 AND kind = $3) AS \"is_known!\"",
        function,
        request.as_str(),
        kind,
    )
    .fetch_one(tx)
    .await
}
