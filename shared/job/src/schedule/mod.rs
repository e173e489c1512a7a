//! When a function runs by the clock, as a value in code, and what that means.
//!
//! A [`Schedule`] is written as a constant; [`Schedule::read`] makes a [`Timetable`] of it, which can
//! be asked what is due in a span of time ([`Timetable::plan`]). Nothing here knows a database or a
//! clock. The rules, of which `docs/GUARANTEES.md` has the reasons:
//!
//! - A tick that is looked at within [`GRACE`] of its due time is simply run.
//! - An older one is *missed*, because nothing woke up in between. [`Missed`] says which of those are
//!   run all the same, and `catch_up` how old they may be. The others are skipped, and it is said why.
//! - At a change of the clocks every wall time comes once ([`nightshift_time::ncrontab`]).

mod definition;
mod overlap;
mod plan;
#[cfg(test)]
mod tests;
mod tick;

use std::time::Duration;

use nightshift_time::ncrontab::{ParseError, UnknownZone};
use serde::{Deserialize, Serialize};

pub use definition::Timetable;
pub use overlap::{Decision, OpenTicks, Overlap, REPLACED};
pub use plan::{Due, GRACE, MAX_CATCH_UP, Plan, Skipped, WhySkipped};
pub use tick::{BadRequestId, MAX_NAME_LENGTH, RequestId, Tick, TickId, TickKind};

/// A schedule, as it stands in code.
///
/// ```
/// use nightshift_job::{Missed, Schedule};
///
/// const NIGHTLY: Schedule = Schedule {
///     cron: "0 30 2 * * *",
///     zone: "Europe/Berlin",
///     missed: Missed::Last,
///     ..Schedule::DEFAULT
/// };
/// assert_eq!(NIGHTLY.read()?.wake_up(), "0 30 0-1 * * *");
/// # Ok::<(), nightshift_job::BadSchedule>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// An NCRONTAB expression of six fields, the first of which are seconds.
    pub cron: &'static str,
    /// The zone whose clocks it follows: a name of the IANA database, or `UTC`.
    pub zone: &'static str,
    /// What happens to a tick while an earlier one is still being worked on.
    pub overlap: Overlap,
    /// Which ticks are run that were missed.
    pub missed: Missed,
    /// How long after its due time a missed tick may still be run.
    pub catch_up: Duration,
    /// Ticks are spread over so much time after their due time, each by its own, fixed delay.
    pub jitter: Duration,
}

impl Schedule {
    /// Every hour on the hour in UTC; one at a time, the last one that was missed in a day, no
    /// jitter. A schedule is this one with wishes of its own.
    pub const DEFAULT: Self = Self {
        cron: "0 0 * * * *",
        zone: "UTC",
        overlap: Overlap::Skip,
        missed: Missed::Last,
        catch_up: Duration::from_hours(24),
        jitter: Duration::ZERO,
    };

    /// The schedule as something that can be asked.
    pub fn read(&self) -> Result<Timetable, BadSchedule> {
        Timetable::new(self)
    }
}

/// Which of the missed ticks are run. What runs is subject to [`Overlap`], as if all of them came at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// None.
    None,
    /// The last one, for all of them; not even that if a tick is just due that does as well.
    Last,
    /// The newest, at most so many.
    All {
        /// At least 1; more than [`MAX_CATCH_UP`] count as that.
        max: u32,
    },
}

/// Why a schedule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSchedule {
    /// The expression is no NCRONTAB.
    #[error("cron {expression:?}: {source}")]
    Cron {
        /// The expression.
        expression: String,
        /// Where and why.
        #[source]
        source: ParseError,
    },
    /// The expression is a time span, or lacks the seconds.
    #[error(
        "cron {0:?} must have six fields: second minute hour day month day-of-week; put \"0 \" before five"
    )]
    Fields(String),
    /// There is no such zone.
    #[error("{0}")]
    Zone(#[from] UnknownZone),
    /// A span that makes no sense.
    #[error("{0}")]
    Span(&'static str),
    /// What is kept of a schedule is not what this release writes.
    #[error("the stored schedule cannot be read: {0}")]
    Stored(String),
}

/// A scheduled function as a handler lists it (`handler schedules`), for those who only want to know when
/// it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The function.
    pub function: String,
    /// Where the messages of its ticks go.
    pub queue: String,
    /// The `schedule` of its `function.json`.
    pub wake_up: String,
    /// When it runs.
    pub schedule: Timetable,
}
