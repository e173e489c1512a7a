//! What is due in a span of time, what of it is run, and what is skipped and why.
//!
//! However long the span, the work and the answer are bounded: at most [`MAX_CATCH_UP`] missed ticks
//! are run, at most [`MOST_ROWS`] skipped ones are named one by one, and the older ones are summed up,
//! counted up to [`MOST_COUNTED`].

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Missed, Timetable};

/// A tick that is looked at no later than this after its due time counts as on time: two wake-ups of a
/// timer that wakes each minute.
pub const GRACE: Duration = Duration::from_mins(2);

/// How many missed ticks are run at most.
pub const MAX_CATCH_UP: u32 = 1000;

/// How many skipped ticks in a row are named one by one, the newest.
const MOST_ROWS: usize = 100;

/// How far ticks are counted that are not named one by one.
const MOST_COUNTED: usize = 10_000;

/// What is due in a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is to be run, in order.
    pub runs: Vec<Due>,
    /// What is not, in order.
    pub skipped: Vec<Skipped>,
}

/// A tick that is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When it is due.
    pub due: DateTime<Utc>,
    /// Whether it was missed, and is caught up with now.
    pub is_missed: bool,
}

/// A tick that is not run, or several that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// When the first of them was due.
    pub first: DateTime<Utc>,
    /// When the last of them was due.
    pub last: DateTime<Utc>,
    /// How many they are; `None` if they are more than ten thousand.
    pub count: Option<u32>,
    /// Why they are not run.
    pub why: WhySkipped,
}

/// Why a tick is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhySkipped {
    /// It is older than the schedule's `catch_up`.
    TooOld,
    /// The schedule catches up with nothing.
    Missed,
    /// The schedule runs the last one only.
    NotTheLast,
    /// The schedule runs so many at most.
    TooMany(u32),
    /// The schedule was paused.
    Paused,
}

impl fmt::Display for WhySkipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld => formatter.write_str("missed, and older than the catch-up window"),
            Self::Missed => formatter.write_str("missed, and missed ticks are not run"),
            Self::NotTheLast => formatter.write_str("missed, and a later one runs for all"),
            Self::Paused => formatter.write_str("the schedule is paused"),
            Self::TooMany(max) => write!(formatter, "missed, and only the newest {max} are run"),
        }
    }
}

impl Timetable {
    /// What is due after `cursor`, up to and including `now`.
    pub fn plan(&self, cursor: DateTime<Utc>, now: DateTime<Utc>) -> Plan {
        if now <= cursor {
            return Plan::default();
        }
        let on_time_after = before(now, GRACE).max(cursor);
        let on_time: Vec<Due> = self
            .ticks(on_time_after, now)
            .map(|due| Due {
                due,
                is_missed: false,
            })
            .collect();
        let (kept, why) = match self.missed() {
            Missed::None => (0, WhySkipped::Missed),
            Missed::Last => (usize::from(on_time.is_empty()), WhySkipped::NotTheLast),
            Missed::All { max } => {
                let max = max.min(MAX_CATCH_UP);
                let kept = usize::try_from(max).unwrap_or(usize::MAX);
                (kept, WhySkipped::TooMany(max))
            }
        };
        // Before the first of these, a missed tick is too old.
        let window = before(now, self.catch_up()).clamp(cursor, on_time_after);
        let missed = self.newest(window, on_time_after, kept);
        let policy_until = missed
            .front()
            .map_or(on_time_after, |first| just_before(*first));
        let mut skipped = self.skipped(cursor, window, WhySkipped::TooOld);
        skipped.extend(self.skipped(window, policy_until, why));
        let mut runs: Vec<Due> = missed
            .into_iter()
            .map(|due| Due {
                due,
                is_missed: true,
            })
            .collect();
        runs.extend(on_time);
        Plan { runs, skipped }
    }

    /// The ticks in (`after`, `until`].
    pub fn ticks(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        self.ticks_after(after)
            .map(|tick| tick.instant())
            .take_while(move |due| *due <= until)
    }

    /// All ticks in (`after`, `until`] as skipped: the newest one by one, the others as one entry.
    pub fn skipped(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        why: WhySkipped,
    ) -> Vec<Skipped> {
        let newest = self.newest(after, until, MOST_ROWS);
        let mut skipped = Vec::with_capacity(newest.len() + 1);
        if let Some(oldest) = newest.front()
            && let Some(summary) = self.summary(after, just_before(*oldest), why)
        {
            skipped.push(summary);
        }
        skipped.extend(newest.into_iter().map(|due| Skipped {
            first: due,
            last: due,
            count: Some(1),
            why,
        }));
        skipped
    }

    fn summary(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        why: WhySkipped,
    ) -> Option<Skipped> {
        let last = *self.newest(after, until, 1).front()?;
        let mut ticks = self.ticks(after, until);
        let first = ticks.next()?;
        let others = ticks.take(MOST_COUNTED).count();
        let count = (others < MOST_COUNTED).then(|| u32::try_from(others + 1).unwrap_or(u32::MAX));
        Some(Skipped {
            first,
            last,
            count,
            why,
        })
    }

    /// The last `most` ticks in (`after`, `until`], in order. The calendar can only be walked forward,
    /// so it is walked from ever farther back until there are enough.
    fn newest(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        most: usize,
    ) -> VecDeque<DateTime<Utc>> {
        let mut newest = VecDeque::with_capacity(most);
        let mut reach = GRACE;
        loop {
            let from = before(until, reach).max(after);
            newest.clear();
            if most > 0 && from < until {
                for due in self.ticks(from, until) {
                    if newest.len() == most {
                        newest.pop_front();
                    }
                    newest.push_back(due);
                }
            }
            if newest.len() == most || from <= after {
                return newest;
            }
            reach = reach.saturating_mul(2);
        }
    }
}

fn before(instant: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    let span = TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    let earlier = instant.checked_sub_signed(span);
    earlier.unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn just_before(due: DateTime<Utc>) -> DateTime<Utc> {
    before(due, Duration::from_secs(1))
}
