//! One transaction's decisions about one schedule, whose row it has locked.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{
    Decision, Due, OpenTicks, Overlap, Plan, REPLACED, Skipped, Tick, TickKind, Timetable,
    WhySkipped,
};
use nightshift_telemetry::trace::current_as_properties;
use nightshift_time::Ids;
use sqlx::PgConnection;

use super::{Bodies, Decided, ScheduleError, Scheduled};
use crate::outbox::{self, Promised};

/// A row of `nightshift.schedule`.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) queue: String,
    pub(super) definition: String,
    pub(super) revision: i32,
    pub(super) release: DateTime<Utc>,
    pub(super) cursor: DateTime<Utc>,
    pub(super) paused: Option<DateTime<Utc>>,
}

impl Row {
    /// The row of `function`, which is the transaction's from now on.
    pub(super) async fn lock(
        tx: &mut PgConnection,
        function: &str,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query_file!("sql/lock_schedule.sql", function)
            .fetch_optional(tx)
            .await?;
        Ok(row.map(|row| Self {
            queue: row.queue,
            definition: row.definition,
            revision: row.revision,
            release: row.release,
            cursor: row.cursor_at,
            paused: row.paused_at,
        }))
    }

    /// The row of a function that has none, which counts from `head_start` before now.
    pub(super) async fn create(
        tx: &mut PgConnection,
        scheduled: &Scheduled<'_>,
        definition: &str,
        head_start: Duration,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query_file!(
            "sql/create_schedule.sql",
            scheduled.function,
            scheduled.queue,
            definition,
            scheduled.release,
            head_start.as_secs_f64(),
        )
        .execute(&mut *tx)
        .await?;
        let row = Self::lock(tx, scheduled.function).await?;
        row.ok_or(sqlx::Error::RowNotFound)
    }

    /// Writes down how far the schedule has come.
    pub(super) async fn advance(
        &self,
        tx: &mut PgConnection,
        function: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query_file!(
            "sql/advance_schedule.sql",
            function,
            self.queue,
            self.definition,
            self.revision,
            self.release,
            self.cursor,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// The decisions of one transaction.
pub(super) struct Ledger<'t, 'b> {
    pub(super) tx: &'t mut PgConnection,
    function: &'b str,
    bodies: &'b Bodies<'b>,
    /// The database's.
    pub(super) now: DateTime<Utc>,
    pub(super) decided: Decided,
    ids: Ids,
}

fn state(decision: Decision) -> &'static str {
    match decision {
        Decision::Enqueue => "enqueued",
        Decision::Buffer => "buffered",
        Decision::Skip(_) => "skipped",
    }
}

/// A row of `nightshift.schedule_tick` to be written.
struct TickRow {
    tick: Tick,
    /// When the last of several ticks was due.
    last: DateTime<Utc>,
    count: Option<u32>,
    state: &'static str,
    why: Option<String>,
    run_at: DateTime<Utc>,
    body: Option<Bytes>,
}

impl<'t, 'b> Ledger<'t, 'b> {
    /// Opens the ledger of `function`, whose row is locked.
    pub(super) async fn open(
        tx: &'t mut PgConnection,
        function: &'b str,
        bodies: &'b Bodies<'b>,
    ) -> Result<Self, sqlx::Error> {
        let now = now(tx).await?;
        Ok(Self {
            tx,
            function,
            bodies,
            now,
            decided: Decided::default(),
            ids: Ids::random(),
        })
    }

    /// Decides on the ticks of `timetable` in (`from`, `to`]. While the schedule is paused none is run.
    pub(super) async fn cover(
        &mut self,
        row: &Row,
        timetable: &Timetable,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<(), ScheduleError> {
        let plan = if row.paused.is_some() {
            Plan {
                runs: Vec::new(),
                skipped: timetable.skipped(from, to, WhySkipped::Paused),
            }
        } else {
            timetable.plan(from, to)
        };
        let mut rows: Vec<TickRow> = plan.skipped.iter().map(skipped_row).collect();
        let ticks = plan.runs.iter().map(|Due { due, .. }| Tick {
            due: *due,
            kind: TickKind::Scheduled,
        });
        let ticks = self.unknown(ticks.collect()).await?;
        let open = self.open_ticks().await?;
        if timetable.overlap() == Overlap::CancelRunning && !ticks.is_empty() {
            self.cancel_enqueued().await?;
        }
        let decisions = timetable.overlap().decide(ticks.len(), open);
        for (tick, decision) in ticks.into_iter().zip(decisions) {
            rows.push(self.tick_row(timetable, tick, decision)?);
        }
        self.write(row, rows).await
    }

    /// Decides on ticks that somebody has asked for. They overlap with nothing unless the schedule
    /// allows it, and wait for their turn otherwise.
    pub(super) async fn ask(
        &mut self,
        row: &Row,
        timetable: &Timetable,
        ticks: Vec<Tick>,
    ) -> Result<(), ScheduleError> {
        let ticks = self.unknown(ticks).await?;
        let mut open = self.open_ticks().await?;
        let mut rows = Vec::with_capacity(ticks.len());
        for tick in ticks {
            let decision = if open.is_none() || timetable.overlap() == Overlap::Allow {
                Decision::Enqueue
            } else {
                Decision::Buffer
            };
            open.count(decision);
            rows.push(self.tick_row(timetable, tick, decision)?);
        }
        self.write(row, rows).await
    }

    /// Those of `ticks` that have no row yet.
    async fn unknown(&mut self, ticks: Vec<Tick>) -> Result<Vec<Tick>, sqlx::Error> {
        if ticks.is_empty() {
            return Ok(ticks);
        }
        let id = |tick: &Tick| tick.id(self.function).as_str().to_owned();
        let ids: Vec<String> = ticks.iter().map(id).collect();
        let known: HashSet<String> = sqlx::query_scalar!(
            "SELECT id FROM nightshift.schedule_tick WHERE id = ANY($1)",
            &ids
        )
        .fetch_all(&mut *self.tx)
        .await?
        .into_iter()
        .collect();
        let unknown = ticks.into_iter().zip(ids);
        let unknown = unknown.filter(|(_, id)| !known.contains(id));
        Ok(unknown.map(|(tick, _)| tick).collect())
    }

    async fn open_ticks(&mut self) -> Result<OpenTicks, sqlx::Error> {
        let open = sqlx::query_file!("sql/count_open_ticks.sql", self.function)
            .fetch_one(&mut *self.tx)
            .await?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(OpenTicks {
            enqueued: number(open.enqueued),
            buffered: number(open.buffered),
        })
    }

    async fn cancel_enqueued(&mut self) -> Result<(), sqlx::Error> {
        let cancelled = sqlx::query_file!(
            "sql/cancel_enqueued_ticks.sql",
            self.function,
            REPLACED,
            self.now
        )
        .execute(&mut *self.tx)
        .await?;
        self.decided.cancelled += cancelled.rows_affected();
        Ok(())
    }

    fn tick_row(
        &self,
        timetable: &Timetable,
        tick: Tick,
        decision: Decision,
    ) -> Result<TickRow, serde_json::Error> {
        let (why, body) = match decision {
            Decision::Skip(why) => (Some(why.to_owned()), None),
            Decision::Enqueue | Decision::Buffer => (None, Some((self.bodies)(&tick)?)),
        };
        let delay = match tick.kind {
            TickKind::Scheduled => timetable.delay(self.function, tick.due),
            TickKind::RunNow(_) | TickKind::Backfill(_) => Duration::ZERO,
        };
        let run_at = tick.due + TimeDelta::from_std(delay).unwrap_or_default();
        Ok(TickRow {
            last: tick.due,
            tick,
            count: Some(1),
            state: state(decision),
            why,
            run_at,
            body,
        })
    }

    async fn write(&mut self, row: &Row, rows: Vec<TickRow>) -> Result<(), ScheduleError> {
        if rows.is_empty() {
            return Ok(());
        }
        for tick in &rows {
            match tick.state {
                "enqueued" => self.decided.enqueued += 1,
                "buffered" => self.decided.buffered += 1,
                _ => self.decided.skipped += 1,
            }
        }
        let ids: Vec<String> = rows.iter().map(|row| row.id(self.function)).collect();
        let kinds: Vec<&str> = rows.iter().map(|row| row.tick.kind.name()).collect();
        let requests: Vec<Option<&str>> = rows.iter().map(|row| row.tick.kind.request()).collect();
        let dues: Vec<DateTime<Utc>> = rows.iter().map(|row| row.tick.due).collect();
        let lasts: Vec<DateTime<Utc>> = rows.iter().map(|row| row.last).collect();
        let count = |row: &TickRow| row.count.and_then(|count| i32::try_from(count).ok());
        let counts: Vec<Option<i32>> = rows.iter().map(count).collect();
        let states: Vec<&str> = rows.iter().map(|row| row.state).collect();
        let whys: Vec<Option<&str>> = rows.iter().map(|row| row.why.as_deref()).collect();
        let run_ats: Vec<DateTime<Utc>> = rows.iter().map(|row| row.run_at).collect();
        let bodies: Vec<Option<&[u8]>> = rows.iter().map(|row| row.body.as_deref()).collect();
        sqlx::query_file!(
            "sql/write_ticks.sql",
            &ids,
            &kinds as &[&str],
            &requests as &[Option<&str>],
            &dues,
            &lasts,
            &counts as &[Option<i32>],
            &states as &[&str],
            &whys as &[Option<&str>],
            &run_ats,
            &bodies as &[Option<&[u8]>],
            self.function,
            row.revision,
            self.now,
        )
        .execute(&mut *self.tx)
        .await?;
        for (tick, id) in rows.into_iter().zip(ids) {
            if let (Some(body), "enqueued") = (tick.body, tick.state) {
                self.send(&row.queue, id, tick.run_at, body);
            }
        }
        Ok(())
    }

    /// Promises the message of a tick; [`Self::promise`] writes it down.
    fn send(&mut self, queue: &str, id: String, run_at: DateTime<Utc>, body: Bytes) {
        let promised = promised(&mut self.ids, queue, id, run_at, body, self.now);
        self.decided.promised.push(promised);
    }

    /// Sends the messages of ticks again that may have been lost.
    pub(super) async fn resend(&mut self, row: &Row) -> Result<(), sqlx::Error> {
        let ticks = sqlx::query_file!("sql/resend_ticks.sql", self.function, self.now)
            .fetch_all(&mut *self.tx)
            .await?;
        self.decided.resent += ticks.len();
        for tick in ticks {
            self.send(&row.queue, tick.id, tick.run_at, tick.body.into());
        }
        Ok(())
    }

    /// Lets the tick go that has waited longest, if it waits for nobody any more.
    pub(super) async fn release_next(&mut self, row: &Row) -> Result<(), sqlx::Error> {
        let released = release_next(self.tx, self.function, row, self.now).await?;
        self.decided.enqueued += usize::from(released.is_some());
        self.decided.promised.extend(released);
        Ok(())
    }

    /// Writes down what is to be sent, and ends the ledger.
    pub(super) async fn promise(self) -> Result<Decided, sqlx::Error> {
        if !self.decided.promised.is_empty() {
            outbox::promise(self.tx, &self.decided.promised).await?;
        }
        Ok(self.decided)
    }
}

/// The database's now, by which schedules go.
pub(super) async fn now(tx: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!("SELECT nightshift.now() AS \"now!\"")
        .fetch_one(tx)
        .await
}

/// The tick of `function` that has waited longest, which goes now: promised, but not yet written down.
/// `None` while the schedule is paused, or another one has not ended.
pub(super) async fn release_next(
    tx: &mut PgConnection,
    function: &str,
    row: &Row,
    now: DateTime<Utc>,
) -> Result<Option<Promised>, sqlx::Error> {
    if row.paused.is_some() {
        return Ok(None);
    }
    let next = sqlx::query_file!("sql/release_buffered_tick.sql", function, now)
        .fetch_optional(tx)
        .await?;
    Ok(next.map(|tick| {
        let body = tick.body.into();
        promised(
            &mut Ids::random(),
            &row.queue,
            tick.id,
            tick.run_at,
            body,
            now,
        )
    }))
}

fn promised(
    ids: &mut Ids,
    queue: &str,
    message_id: String,
    run_at: DateTime<Utc>,
    body: Bytes,
    now: DateTime<Utc>,
) -> Promised {
    Promised {
        id: ids.next(now),
        queue: queue.to_owned(),
        message_id,
        session_id: None,
        due: (run_at > now).then_some(run_at),
        properties: current_as_properties(),
        body,
        wakes: None,
    }
}

impl TickRow {
    fn id(&self, function: &str) -> String {
        self.tick.id(function).as_str().to_owned()
    }
}

fn skipped_row(skipped: &Skipped) -> TickRow {
    TickRow {
        tick: Tick {
            due: skipped.first,
            kind: TickKind::Scheduled,
        },
        last: skipped.last,
        count: skipped.count,
        state: "skipped",
        why: Some(skipped.why.to_string()),
        run_at: skipped.first,
        body: None,
    }
}
