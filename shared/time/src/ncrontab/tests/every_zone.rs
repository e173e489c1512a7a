//! Every zone there is, over five years: each wall time of a schedule once, by the stated rule.
//!
//! By default around each change of the clocks, and once for zones whose clocks changed alike;
//! with `NIGHTSHIFT_TEST_SOAK` in the environment every zone and every day.

use std::collections::BTreeSet;

use chrono::{LocalResult, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::TZ_VARIANTS;

use super::slow::if_skipped;
use super::*;

const FROM: &str = "2025-01-01T00:00:00Z";
const TO: &str = "2030-01-01T00:00:00Z";

/// Expressions, with the minutes of a day that they name, every day.
fn schedules() -> Vec<(Schedule, bool, Vec<u32>)> {
    let every = |step: usize| (0..1440).step_by(step).collect();
    [
        ("0 30 2 * * *", false, vec![150]),
        ("0 0 0 * * *", false, vec![0]),
        ("0 15,45 0,2 * * *", false, vec![15, 45, 135, 165]),
        ("0 30 1-3 * * *", true, vec![90, 150, 210]),
        ("0 */20 * * * *", true, every(20)),
    ]
    .map(|(text, is_interval, minutes)| (text.parse().unwrap(), is_interval, minutes))
    .into()
}

fn offset(zone: Tz, instant: DateTime<Utc>) -> i32 {
    let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
    offset.fix().local_minus_utc()
}

/// The hours, all on the dot, after which the offset of `zone` changes, and what it changes to.
fn changes(zone: Tz) -> Vec<(DateTime<Utc>, i32)> {
    let mut changes = Vec::new();
    let mut day = instant(FROM);
    while day < instant(TO) {
        let next = day + TimeDelta::hours(24);
        if offset(zone, day) != offset(zone, next) {
            let hours = (0..24).map(|hour| day + TimeDelta::hours(hour));
            let before = hours
                .take_while(|hour| offset(zone, *hour) == offset(zone, day))
                .last();
            changes.push((before.unwrap(), offset(zone, next)));
        }
        day = next;
    }
    changes
}

/// The instants of `minutes` on every day, between `from` and `to`.
fn expected(
    minutes: &[u32],
    is_interval: bool,
    zone: Tz,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Vec<DateTime<Utc>> {
    let day = |instant: DateTime<Utc>| instant.with_timezone(&zone).date_naive();
    let days = (day(from) - TimeDelta::days(2)).iter_days();
    let mut instants: Vec<DateTime<Utc>> = days
        .take_while(|date| *date <= day(to))
        .flat_map(|date: NaiveDate| {
            let time = |minute: &u32| NaiveTime::from_hms_opt(minute / 60, minute % 60, 0);
            minutes
                .iter()
                .filter_map(time)
                .map(move |time| date.and_time(time))
        })
        .flat_map(|wall| match zone.from_local_datetime(&wall) {
            LocalResult::Single(only) => vec![only.to_utc()],
            LocalResult::Ambiguous(first, second) if is_interval => {
                vec![first.to_utc(), second.to_utc()]
            }
            LocalResult::Ambiguous(first, _) => vec![first.to_utc()],
            LocalResult::None => vec![if_skipped(wall, zone).unwrap()],
        })
        .filter(|instant| from < *instant && *instant < to)
        .collect();
    instants.sort_unstable();
    instants.dedup();
    instants
}

fn check(zone: Tz, window: (DateTime<Utc>, DateTime<Utc>)) {
    for (schedule, is_interval, minutes) in schedules() {
        let found: Vec<DateTime<Utc>> = schedule
            .occurrences_after(window.0, zone)
            .map(|occurrence| occurrence.instant())
            .take_while(|instant| *instant < window.1)
            .collect();
        let expected = expected(&minutes, is_interval, zone, window);
        assert!(
            found == expected,
            "{schedule} in {zone} from {}: {found:?} instead of {expected:?}",
            window.0
        );
    }
}

#[test]
fn every_zone_runs_each_occurrence_once_over_five_years() {
    if std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some() {
        for zone in TZ_VARIANTS {
            check(zone, (instant(FROM), instant(TO)));
        }
        return;
    }
    let mut seen = BTreeSet::new();
    for zone in TZ_VARIANTS {
        let changes = changes(zone);
        if !seen.insert((offset(zone, instant(FROM)), changes.clone())) {
            continue;
        }
        for (change, _) in changes {
            check(
                zone,
                (change - TimeDelta::hours(25), change + TimeDelta::hours(30)),
            );
        }
    }
    assert!(seen.len() > 50, "{} different zones", seen.len());
}
