//! A timer's schedule and its occurrences.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::clocks;
use super::crontab::Crontab;
use super::error::ParseError;
use super::interval::Interval;
use super::parser;

/// The first and the last second that .NET's calendar, and so a schedule, knows: the beginning of
/// the year 1 and the end of the year 9999.
const CALENDAR: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What stands in the `schedule` of a timer trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Five or six fields.
    Crontab(Crontab),
    /// A time span.
    Interval(Interval),
}

impl Schedule {
    /// The first occurrence strictly after `after`, whose fraction of a second an expression
    /// drops first; a time span is counted from `after`, the start of the last run. `None` when
    /// there is none up to the year 9999.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<Occurrence> {
        match self {
            Self::Crontab(crontab) => {
                let after = after.timestamp().max(*CALENDAR.start() - 1);
                let found = clocks::next(crontab, after, zone)?;
                let wall = DateTime::from_timestamp(found.instant + found.offset, 0)?;
                let instant = DateTime::from_timestamp(found.instant, 0)?;
                Occurrence::new(instant, zone, Some(wall.naive_utc()))
            }
            Self::Interval(interval) => {
                let span = TimeDelta::from_std(interval.as_duration()).ok()?;
                Occurrence::new(after.checked_add_signed(span)?, zone, None)
            }
        }
    }

    /// Every occurrence after `after`, in order.
    pub fn occurrences_after(
        &self,
        after: DateTime<Utc>,
        zone: Tz,
    ) -> impl Iterator<Item = Occurrence> {
        let first = self.next_after(after, zone);
        std::iter::successors(first, move |last| self.next_after(last.instant(), zone))
    }

    /// Whether a host should remember the last run across restarts (`useMonitor`). Not with an
    /// expression that runs several times in every minute or a time span below a minute: catching
    /// up on those is worth nothing.
    pub fn is_worth_monitoring(&self) -> bool {
        match self {
            Self::Crontab(crontab) => !crontab.is_more_frequent_than_a_minute(),
            Self::Interval(interval) => interval.as_duration() >= Duration::from_mins(1),
        }
    }
}

impl FromStr for Schedule {
    type Err = ParseError;

    /// Five or six pieces between spaces are an expression, a single one of digits, colons and
    /// points a time span.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let pieces = parser::pieces(text);
        match pieces[..] {
            [piece] if Interval::is_meant(piece.text) => {
                Interval::parse(text, piece).map(Self::Interval)
            }
            _ => parser::crontab(text, &pieces).map(Self::Crontab),
        }
    }
}

impl fmt::Display for Schedule {
    /// The canonical text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crontab(crontab) => crontab.fmt(formatter),
            Self::Interval(interval) => interval.fmt(formatter),
        }
    }
}

/// One time at which a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    local: DateTime<Tz>,
    wall: NaiveDateTime,
}

/// What a change of the clocks did to an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockChange {
    /// Its wall time does not exist that day; it runs that much later by the clock.
    Skipped,
    /// Its wall time comes twice, and this is the first.
    FirstPass,
    /// Its wall time comes twice, and this is the second.
    SecondPass,
}

impl Occurrence {
    /// `None` beyond the calendar. Without `wall`, it is what the clocks show at `instant`.
    fn new(instant: DateTime<Utc>, zone: Tz, wall: Option<NaiveDateTime>) -> Option<Self> {
        if !CALENDAR.contains(&instant.timestamp()) {
            return None;
        }
        let local = instant.with_timezone(&zone);
        let wall = wall.unwrap_or_else(|| local.naive_local());
        Some(Self { local, wall })
    }

    /// When it is.
    pub fn instant(&self) -> DateTime<Utc> {
        self.local.to_utc()
    }

    /// What the clocks of the zone show then.
    pub const fn local(&self) -> DateTime<Tz> {
        self.local
    }

    /// The time that the expression names. It differs from [`local`](Self::local) only where the
    /// clocks skip it.
    pub const fn wall(&self) -> NaiveDateTime {
        self.wall
    }

    /// What a change of the clocks did to it, if one did.
    pub fn clock_change(&self) -> Option<ClockChange> {
        if self.wall != self.local.naive_local() {
            return Some(ClockChange::Skipped);
        }
        let zone = self.local.timezone();
        let offset = self.local.offset().fix();
        match zone.offset_from_local_datetime(&self.wall) {
            chrono::LocalResult::Ambiguous(first, _) if first.fix() == offset => {
                Some(ClockChange::FirstPass)
            }
            chrono::LocalResult::Ambiguous(..) => Some(ClockChange::SecondPass),
            _ => None,
        }
    }
}
