//! A timer's invocation: a look at what is due, as one transaction.
//!
//! What the invocation says does not matter, only that there is one. While the database is away it is
//! held and tried again; if that takes too long it fails, and the next one finds what this one has not.
//! A process looks at all its schedules when it starts, so that a new one counts from its deployment on
//! and what was missed is caught up with, and every minute from then on.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use nightshift_crashpoint::CrashPoint;
use nightshift_job::{Listed, RequestId, ScheduledFunction, Tick, Timetable};
use nightshift_postgres::schedule::{
    BEGIN, Decided, Looked, Occasion, Requested, ScheduleError, Scheduled, backfill, run_now,
    wake_up,
};
use nightshift_postgres::{BACKGROUND, Lease, in_time};
use nightshift_telemetry::causes;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::call::{Call, InvocationFailed};
use crate::outbox::Outbox;

/// The first and the longest wait between two tries while the database is away.
const HOLD_FIRST: Duration = Duration::from_millis(100);
const HOLD_MAX: Duration = Duration::from_secs(1);

/// How often a process looks by itself, and the longest wait between two tries while it cannot.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const WATCH_MAX: Duration = Duration::from_secs(30);

/// A scheduled function that can be asked to look.
pub(crate) trait Timed: Send + Sync {
    /// What it is.
    fn listed(&self) -> Listed;

    /// One look at what is due, committed and sent.
    fn look(
        &self,
        release: DateTime<Utc>,
        occasion: Occasion,
    ) -> BoxFuture<'_, Result<(), ScheduleError>>;

    /// As [`run_now`].
    fn run_now<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        request: &'a RequestId,
    ) -> BoxFuture<'a, Result<Requested, ScheduleError>>;

    /// As [`backfill`].
    fn backfill<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        range: (DateTime<Utc>, DateTime<Utc>),
        request: &'a RequestId,
    ) -> BoxFuture<'a, Result<Requested, ScheduleError>>;
}

/// Looks for one [`ScheduledFunction`].
#[derive(Debug)]
pub(crate) struct Timer<S> {
    function: S,
    queue: String,
    timetable: Timetable,
    pool: PgPool,
    outbox: Outbox,
}

impl<S: ScheduledFunction> Timer<S> {
    pub(crate) fn new(
        function: S,
        queue: String,
        timetable: Timetable,
        pool: PgPool,
        outbox: Outbox,
    ) -> Self {
        Self {
            function,
            queue,
            timetable,
            pool,
            outbox,
        }
    }

    fn body(&self, tick: &Tick) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(&self.function.payload(tick)).map(Bytes::from)
    }

    async fn look_once(
        &self,
        release: DateTime<Utc>,
        occasion: Occasion,
    ) -> Result<(), ScheduleError> {
        let mut lease = Lease::take(&self.pool).await?;
        let mut tx = lease.connection().begin_with(BEGIN).await?;
        let scheduled = Scheduled {
            function: S::NAME,
            queue: &self.queue,
            timetable: &self.timetable,
            release,
        };
        let body = |tick: &Tick| self.body(tick);
        let looked = wake_up(&mut tx, &scheduled, occasion, &body).await?;
        CrashPoint::InTick.reach().await;
        tx.commit().await?;
        lease.end();
        CrashPoint::AfterTick.reach().await;
        match looked {
            Looked::Superseded { by } => tracing::info!(
                function.name = S::NAME,
                schedule.release = %release,
                schedule.superseded_by = %by,
                "a newer release has another schedule; this one decides nothing"
            ),
            Looked::Decided(decided) => {
                log::<S>(&decided);
                self.outbox.flush(decided.promised);
            }
            _ => {}
        }
        Ok(())
    }
}

impl<S: ScheduledFunction> Timed for Timer<S> {
    fn listed(&self) -> Listed {
        Listed {
            function: S::NAME.to_owned(),
            queue: self.queue.clone(),
            wake_up: self.timetable.wake_up(),
            schedule: self.timetable.clone(),
        }
    }

    fn look(
        &self,
        release: DateTime<Utc>,
        occasion: Occasion,
    ) -> BoxFuture<'_, Result<(), ScheduleError>> {
        Box::pin(in_time(BACKGROUND, self.look_once(release, occasion)))
    }

    fn run_now<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        request: &'a RequestId,
    ) -> BoxFuture<'a, Result<Requested, ScheduleError>> {
        Box::pin(async move {
            let body = |tick: &Tick| self.body(tick);
            run_now(tx, S::NAME, request, &body).await
        })
    }

    fn backfill<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        range: (DateTime<Utc>, DateTime<Utc>),
        request: &'a RequestId,
    ) -> BoxFuture<'a, Result<Requested, ScheduleError>> {
        Box::pin(async move {
            let body = |tick: &Tick| self.body(tick);
            backfill(tx, S::NAME, range, request, &body).await
        })
    }
}

fn log<S: ScheduledFunction>(decided: &Decided) {
    if decided.is_new {
        tracing::info!(
            function.name = S::NAME,
            schedule.cron = S::SCHEDULE.cron,
            schedule.zone = S::SCHEDULE.zone,
            "the schedule counts from now on"
        );
    }
    tracing::debug!(
        function.name = S::NAME,
        ticks.enqueued = decided.enqueued,
        ticks.buffered = decided.buffered,
        ticks.skipped = decided.skipped,
        ticks.cancelled = decided.cancelled,
        ticks.resent = decided.resent,
        "looked at the schedule"
    );
}

/// One invocation of `timer`.
pub(crate) async fn invoke(
    timer: &dyn Timed,
    release: DateTime<Utc>,
    call: &Call,
) -> Result<(), InvocationFailed> {
    let budget = call.budget(None);
    let (deadline, seconds) = (Instant::now() + budget, budget.as_secs_f64());
    let mut wait = HOLD_FIRST;
    let mut last_error = None;
    loop {
        match timeout_at(deadline, timer.look(release, Occasion::WakeUp)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ScheduleError::Database(error))) => last_error = Some(causes(&error)),
            Ok(Err(error)) => return Err(InvocationFailed::Schedule(error)),
            Err(_elapsed) => {}
        }
        if timeout_at(deadline, sleep(wait)).await.is_err() {
            return Err(match last_error {
                Some(last_error) => InvocationFailed::Unavailable {
                    seconds,
                    last_error,
                },
                None => InvocationFailed::Deadline { seconds },
            });
        }
        wait = (wait * 2).min(HOLD_MAX);
    }
}

/// Looks at `timer` as soon as the database lets it, and then every minute until `stop`: the host's timer
/// may wake it a little before the database's clock says that a tick is due, or not at all.
pub(crate) async fn watch(timer: &dyn Timed, release: DateTime<Utc>, stop: &CancellationToken) {
    let mut wait = HOLD_FIRST;
    loop {
        let looked = tokio::select! {
            looked = timer.look(release, Occasion::Start) => looked,
            () = stop.cancelled() => return,
        };
        let pause = match looked {
            Ok(()) => {
                wait = HOLD_FIRST;
                LOOK_EVERY
            }
            Err(error) => {
                if wait == HOLD_FIRST {
                    // Once for each outage.
                    tracing::warn!(
                        function.name = timer.listed().function,
                        error = causes(&error),
                        "the schedule cannot be looked at; trying on"
                    );
                }
                let pause = wait;
                wait = (wait * 2).min(WATCH_MAX);
                pause
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
