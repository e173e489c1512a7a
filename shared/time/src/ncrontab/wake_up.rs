//! From an expression in a zone to one in UTC that misses none of its occurrences.
//!
//! Azure's Flex plan runs timers in UTC only. A timer that is to follow the clocks of a zone is
//! therefore woken too often, once for each offset from UTC that the zone has, and whoever is woken
//! looks whether something is due.

use std::collections::BTreeSet;

use chrono::{DateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::crontab::Crontab;
use super::field::Field;
use super::values::Values;

/// The span in which a zone's offsets count, in seconds since 1970: from 2025 to the end of the
/// tables, in 2100. Later the clocks stay as they are.
const YEARS: std::ops::Range<i64> = 1_735_689_600..4_133_980_800;

/// How far apart the offsets are looked at. The shortest time for which a zone keeps one is that of
/// Morocco in Ramadan, about five weeks.
const STRIDE: TimeDelta = TimeDelta::days(7);

const MINUTES_PER_DAY: i32 = 24 * 60;

/// The offsets of `zone` from UTC, from 2025 on, in minutes. None has seconds.
fn offsets(zone: Tz) -> BTreeSet<i32> {
    let first = DateTime::from_timestamp(YEARS.start, 0).unwrap_or_default();
    let instants = std::iter::successors(Some(first), |instant| instant.checked_add_signed(STRIDE));
    instants
        .take_while(|instant| instant.timestamp() < YEARS.end)
        .map(|instant| zone.offset_from_utc_datetime(&instant.naive_utc()))
        .map(|offset| offset.fix().local_minus_utc().div_euclid(60))
        .collect()
}

impl Crontab {
    /// An expression whose occurrences in UTC contain those of this one in `zone`, from 2025 on. In
    /// UTC it is the expression itself.
    #[must_use]
    pub fn wake_up(&self, zone: Tz) -> Self {
        if zone == Tz::UTC {
            return self.clone();
        }
        let offsets = offsets(zone);
        let [seconds, minutes, hours, days_of_month, months, days_of_week] = self.values();
        let mut wake_up = [Values::default(); 6];
        wake_up[0] = seconds;
        let mut day_shifts = BTreeSet::new();
        for offset in offsets {
            for (hour, minute) in pairs(hours, minutes) {
                let utc = hour * 60 + minute - offset;
                let in_day = utc.rem_euclid(MINUTES_PER_DAY);
                add(&mut wake_up[1], in_day % 60);
                add(&mut wake_up[2], in_day / 60);
                day_shifts.insert(utc.div_euclid(MINUTES_PER_DAY));
            }
        }
        for shift in day_shifts {
            wake_up[3] = wake_up[3].union(shifted_days_of_month(days_of_month, shift));
            wake_up[4] = wake_up[4].union(shifted_months(months, days_of_month, shift));
            for day in members(days_of_week, Field::DayOfWeek) {
                add(&mut wake_up[5], (day + shift).rem_euclid(7));
            }
        }
        // What occurs somewhere occurs in UTC.
        Self::new(wake_up, true).unwrap_or_else(|| self.clone())
    }
}

fn members(values: Values, field: Field) -> impl Iterator<Item = i32> {
    (field.first()..=field.last())
        .filter(move |value| values.contains(*value))
        .filter_map(|value| i32::try_from(value).ok())
}

fn pairs(hours: Values, minutes: Values) -> impl Iterator<Item = (i32, i32)> {
    members(hours, Field::Hour)
        .flat_map(move |hour| members(minutes, Field::Minute).map(move |minute| (hour, minute)))
}

fn add(values: &mut Values, value: i32) {
    if let Ok(value) = u32::try_from(value) {
        *values = values.union(Values::every(value, value, 1));
    }
}

/// `days`, moved by `shift` (-1, 0 or 1), whatever the month's length.
fn shifted_days_of_month(days: Values, shift: i32) -> Values {
    let mut shifted = Values::default();
    for day in members(days, Field::DayOfMonth) {
        match day + shift {
            0 => (28..=31).for_each(|last| add(&mut shifted, last)),
            32 => add(&mut shifted, 1),
            moved => {
                add(&mut shifted, moved);
                if shift > 0 && day >= 28 {
                    add(&mut shifted, 1);
                }
            }
        }
    }
    shifted
}

/// `months`, and their neighbours if one of `days` that is moved by `shift` falls into one.
fn shifted_months(months: Values, days: Values, shift: i32) -> Values {
    let leaves = match shift {
        0 => false,
        ..0 => days.contains(1),
        _ => days.at_or_after(28).is_some(),
    };
    let mut shifted = months;
    if leaves {
        for month in members(months, Field::Month) {
            add(&mut shifted, (month - 1 + shift).rem_euclid(12) + 1);
        }
    }
    shifted
}
