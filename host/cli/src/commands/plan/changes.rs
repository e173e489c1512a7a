//! When the clocks of a zone change.

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use nightshift_time::ncrontab::Tz;

/// No zone changes its offset twice within such a time.
const STRIDE: TimeDelta = TimeDelta::hours(13);

/// A change of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// The first instant of the new clock.
    pub(super) at: DateTime<Utc>,
    /// How far the clocks go forward; less than zero if they go back.
    pub(super) by: TimeDelta,
}

/// The changes of the clocks of `zone` in (`from`, `until`].
pub(super) fn changes(zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut before = from;
    while before < until {
        let after = (before + STRIDE).min(until);
        let by = offset(zone, after) - offset(zone, before);
        if !by.is_zero() {
            let at = bisect(zone, before, after);
            changes.push(Change { at, by });
        }
        before = after;
    }
    changes
}

/// The first second in (`before`, `after`] with the offset of `after`.
fn bisect(zone: Tz, before: DateTime<Utc>, after: DateTime<Utc>) -> DateTime<Utc> {
    let new = offset(zone, after);
    let (mut old, mut found) = (before.timestamp(), after.timestamp());
    while found - old > 1 {
        let middle = old + (found - old) / 2;
        let instant = DateTime::from_timestamp(middle, 0).unwrap_or(after);
        if offset(zone, instant) == new {
            found = middle;
        } else {
            old = middle;
        }
    }
    DateTime::from_timestamp(found, 0).unwrap_or(after)
}

fn offset(zone: Tz, instant: DateTime<Utc>) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
    TimeDelta::seconds(offset.fix().local_minus_utc().into())
}
