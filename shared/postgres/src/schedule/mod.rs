//! The ledger of schedules: how far each has come, and every tick.
//!
//! A timer's wake-up is only a reason to look ([`wake_up`]). Whoever looks locks the schedule's row,
//! decides on the ticks between the cursor and the database's now, and advances the cursor, all in one
//! transaction with the messages of the ticks. So it does not matter whether a wake-up comes twice, late,
//! in two processes at once or not at all.
//!
//! The message of a tick has the tick's name as its id. Whatever transaction ends the message's work
//! calls [`finish`], which locks the same row, and lets the next tick go that has waited for it.

mod ledger;
mod request;
mod upkeep;
mod work;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{BadSchedule, GRACE, Tick, Timetable};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use crate::outbox::Promised;
use ledger::{Ledger, Row};
pub use request::{Requested, backfill, pause, resume, run_now};
pub use upkeep::{LastEnd, Silent, last_ends, prune, silent};
pub use work::{Ended, Finished, Over, finish, over};

/// Opens a transaction about schedules: one that somebody else decides on is waited for briefly, and a
/// statement that hangs is ended.
pub const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '20s'";

/// How many ticks one backfill may ask for.
pub const MOST_BACKFILLED: usize = 1000;

/// A scheduled function as this release has it.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled<'a> {
    /// Its name.
    pub function: &'a str,
    /// Where the messages of its ticks go.
    pub queue: &'a str,
    /// When it runs.
    pub timetable: &'a Timetable,
    /// Which release this is: of two with different timetables the newer one's counts.
    pub release: DateTime<Utc>,
}

/// Makes the body of a tick's message.
pub type Bodies<'a> = dyn Fn(&Tick) -> Result<Bytes, serde_json::Error> + Send + Sync + 'a;

/// Why somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A process starts: a schedule that is new, or has changed, counts from now on.
    Start,
    /// A timer has woken the function: a schedule that is seen for the first time counts from shortly
    /// before, so that the tick that it was woken for is not lost.
    WakeUp,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Looked {
    /// A newer release has another schedule; this one has written nothing.
    Superseded {
        /// The newer release.
        by: DateTime<Utc>,
    },
    /// All ticks up to now are decided on.
    Decided(Decided),
}

/// What was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Ticks that go to their queue.
    pub enqueued: usize,
    /// Ticks that wait for an earlier one's end.
    pub buffered: usize,
    /// Rows of ticks that are not run.
    pub skipped: usize,
    /// Earlier ticks that were called off.
    pub cancelled: u64,
    /// Ticks whose message is sent again.
    pub resent: usize,
    /// Whether the schedule has changed, or is new.
    pub is_new: bool,
    /// What is to be sent after the commit.
    pub promised: Vec<Promised>,
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The database's failure.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The body of a tick's message cannot be written.
    #[error("the payload of a tick cannot be written as JSON")]
    Body(#[from] serde_json::Error),
    /// The stored schedule cannot be read.
    #[error(transparent)]
    Stored(#[from] BadSchedule),
    /// There is no such schedule.
    #[error("no function called {0:?} has a schedule here; was it ever deployed?")]
    Unknown(String),
    /// A backfill of too many ticks.
    #[error(
        "there are more than {MOST_BACKFILLED} ticks from {from} to {to}; ask for less at a time"
    )]
    TooMany {
        /// The first instant asked for.
        from: DateTime<Utc>,
        /// The end, not asked for.
        to: DateTime<Utc>,
    },
    /// A backfill of what is not over yet.
    #[error(
        "the ticks until {to} are not all due, it is {now}; those to come will come by themselves"
    )]
    NotOver {
        /// The end that was asked for.
        to: DateTime<Utc>,
        /// The database's now.
        now: DateTime<Utc>,
    },
}

/// Decides on all ticks of `scheduled` that have become due, and adopts its timetable if that has
/// changed and the release is not older than the newest that was seen: up to the change the old one
/// counts, from then on the new one.
#[instrument(target = TRACE, name = "db.schedule.wake_up", skip_all)]
pub async fn wake_up(
    tx: &mut PgConnection,
    scheduled: &Scheduled<'_>,
    occasion: Occasion,
    bodies: &Bodies<'_>,
) -> Result<Looked, ScheduleError> {
    let function = scheduled.function;
    let definition = scheduled.timetable.to_json();
    let head_start = match occasion {
        Occasion::Start => Duration::ZERO,
        Occasion::WakeUp => GRACE,
    };
    let (row, is_new) = match Row::lock(tx, function).await? {
        Some(row) => (row, false),
        None => (
            Row::create(tx, scheduled, &definition, head_start).await?,
            true,
        ),
    };
    let changes = row.definition != definition;
    if changes && scheduled.release < row.release {
        return Ok(Looked::Superseded { by: row.release });
    }
    let mut ledger = Ledger::open(tx, function, bodies).await?;
    ledger.decided.is_new = is_new || changes;
    let mut cursor = row.cursor;
    let mut revision = row.revision;
    if changes {
        let head_start = TimeDelta::from_std(head_start).unwrap_or_default();
        let change = (ledger.now - head_start).max(cursor);
        // What this release cannot read is of a format that it is too old for; nobody else will.
        if let Ok(old) = Timetable::from_json(&row.definition) {
            ledger.cover(&row, &old, cursor, change).await?;
        }
        cursor = change;
        revision += 1;
    }
    let now = ledger.now;
    let row = Row {
        queue: scheduled.queue.to_owned(),
        definition,
        revision,
        release: scheduled.release,
        cursor: now,
        ..row
    };
    ledger.cover(&row, scheduled.timetable, cursor, now).await?;
    ledger.resend(&row).await?;
    row.advance(ledger.tx, function).await?;
    Ok(Looked::Decided(ledger.promise().await?))
}
