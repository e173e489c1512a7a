//! An expression as bit sets, and the search for its next wall time.
//!
//! The search never steps second by second: within a day it looks at three sets, and a day is
//! found month by month in a set that already combines day of month and day of week. Expressions
//! that never occur are not constructed, so the longest search is from one 29 February on a given
//! weekday to the next, 40 years; and none goes beyond the year 9999.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};

use super::error::ParseError;
use super::field::Field;
use super::parser;
use super::values::Values;

/// The last year of .NET's calendar, and so of any schedule.
const LAST_YEAR: i32 = 9999;

/// An NCRONTAB expression. It knows wall times only; time zones are
/// [`Schedule`](super::Schedule)'s part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crontab {
    /// In the order of [`Field::ALL`].
    values: [Values; 6],
    /// Whether the expression had six fields; matters for its text only.
    has_seconds: bool,
    /// The days of a month of 31 days that both day fields admit, by the weekday of its first.
    days: [Values; 7],
}

impl Crontab {
    /// The expression with `values`, in the order of [`Field::ALL`], none of them empty. `None` if
    /// no month has one of the days.
    pub(super) fn new(values: [Values; 6], has_seconds: bool) -> Option<Self> {
        let [.., days_of_month, months, days_of_week] = values;
        // Any year's longest February counts: every date falls on every weekday sooner or later.
        let exists = (1..=12).any(|month| {
            let first_day = days_of_month.first();
            months.contains(month) && first_day <= days_in_month(2000, month)
        });
        let mut days = [Values::default(); 7];
        for (first_weekday, days) in (0..).zip(&mut days) {
            *days = (1..=31)
                .filter(|day| days_of_month.contains(*day))
                .filter(|day| days_of_week.contains((first_weekday + day - 1) % 7))
                .fold(Values::default(), |days, day| {
                    days.union(Values::every(day, day, 1))
                });
        }
        exists.then_some(Self {
            values,
            has_seconds,
            days,
        })
    }

    /// The first wall time strictly after `after`, whose fraction of a second is dropped first.
    /// `None` when there is none up to the year 9999.
    pub fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let start = after
            .with_nanosecond(0)?
            .checked_add_signed(TimeDelta::seconds(1))?;
        if start.year() > LAST_YEAR {
            return None;
        }
        if self.admits_day(start.date())
            && let Some(time) = self.time_from(start.time())
        {
            return Some(start.date().and_time(time));
        }
        let date = self.day_from(start.date().succ_opt()?)?;
        Some(date.and_time(self.time_from(NaiveTime::MIN)?))
    }

    /// Whether `wall`, without its fraction of a second, is one of the expression's times.
    pub fn admits(&self, wall: NaiveDateTime) -> bool {
        let [seconds, minutes, hours, ..] = self.values;
        seconds.contains(wall.second())
            && minutes.contains(wall.minute())
            && hours.contains(wall.hour())
            && self.admits_day(wall.date())
    }

    /// Whether the expression names intervals rather than points in time: whether second, minute
    /// or hour is `*` or has a range in the canonical text (`1,2` is `1-2` there). When clocks go
    /// back, intervals go on through the repeated hour and points in time do not come twice.
    pub fn is_interval(&self) -> bool {
        let [seconds, minutes, hours, ..] = self.values;
        [seconds, minutes, hours]
            .into_iter()
            .any(Values::has_neighbours)
    }

    /// In the order of [`Field::ALL`].
    pub(super) const fn values(&self) -> [Values; 6] {
        self.values
    }

    /// Whether it runs several times in every minute.
    pub(super) fn is_more_frequent_than_a_minute(&self) -> bool {
        let [seconds, rest @ ..] = self.values;
        seconds.count() > 1
            && rest
                .iter()
                .zip(&Field::ALL[1..])
                .all(|(values, field)| values.is_all(*field))
    }

    fn admits_day(&self, date: NaiveDate) -> bool {
        let [.., days_of_month, months, days_of_week] = self.values;
        months.contains(date.month())
            && days_of_month.contains(date.day())
            && days_of_week.contains(date.weekday().num_days_from_sunday())
    }

    /// The first time of day that is not before `time`.
    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime> {
        let [seconds, minutes, hours, ..] = self.values;
        if hours.contains(time.hour()) {
            if minutes.contains(time.minute())
                && let Some(second) = seconds.at_or_after(time.second())
            {
                return NaiveTime::from_hms_opt(time.hour(), time.minute(), second);
            }
            if let Some(minute) = minutes.at_or_after(time.minute() + 1) {
                return NaiveTime::from_hms_opt(time.hour(), minute, seconds.first());
            }
        }
        let hour = hours.at_or_after(time.hour() + 1)?;
        NaiveTime::from_hms_opt(hour, minutes.first(), seconds.first())
    }

    /// The first day that is not before `date`.
    fn day_from(&self, date: NaiveDate) -> Option<NaiveDate> {
        let [.., months, _] = self.values;
        let (mut year, mut month, mut day) = (date.year(), date.month(), date.day());
        while year <= LAST_YEAR {
            let Some(found) = months.at_or_after(month) else {
                (year, month, day) = (year + 1, 1, 1);
                continue;
            };
            if found != month {
                (month, day) = (found, 1);
            }
            let first = NaiveDate::from_ymd_opt(year, month, 1)?;
            let days = match first.weekday().num_days_from_sunday() {
                weekday @ 0..7 => self.days[weekday as usize],
                _ => return None,
            };
            if let Some(found) = days.at_or_after(day)
                && found <= days_in_month(year, month)
            {
                return first.with_day(found);
            }
            (month, day) = (month + 1, 1);
        }
        None
    }
}

/// In the proleptic Gregorian calendar.
fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for Crontab {
    type Err = ParseError;

    /// Reads an expression of five or six fields.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parser::crontab(text, &parser::pieces(text))
    }
}

impl fmt::Display for Crontab {
    /// The canonical text: numbers only, neighbours joined to `a-b`, all values as `*`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = usize::from(!self.has_seconds);
        let fields = self.values.iter().zip(Field::ALL).skip(skipped);
        for (index, (values, field)) in fields.enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{}", values.text(field))?;
        }
        Ok(())
    }
}
