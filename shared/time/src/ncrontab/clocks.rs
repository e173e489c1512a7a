//! From wall times to instants, through both changes of the clocks.
//!
//! A zone is a sequence of clocks, each with its own offset from UTC, and each change starts the
//! next one. The stated rule needs no more than to say how long each clock is looked at:
//!
//! - Clocks go forward: the wall times in between are read on the **old** clock, which therefore
//!   counts for as long as the gap is wide. 02:30 in a gap of one hour is the instant at which the
//!   new clock shows 03:30.
//! - Clocks go back: an interval goes on with the new clock at once, so that it runs in both
//!   passes, in the order of real time. A point in time has had its turn in the first pass, so the
//!   new clock counts only from the end of the repetition on.
//!
//! The next occurrence is the earliest one of any clock while that clock counts. Where both clocks
//! of a gap name the same instant, there is one occurrence.
//!
//! Zone tables offer no list of changes, so they are found by looking at the offset in strides and
//! halving. That is done only around a candidate: offsets of one zone never differ by more than 27
//! hours, so far from a wall time of the expression no clock can name an instant.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::crontab::Crontab;

const HOUR: i64 = 3600;

/// Longer than any change of a clock: the date line was crossed by 24 hours.
const REACH: i64 = 26 * HOUR;

/// Longer than any difference between two offsets.
const QUIET: i64 = 48 * HOUR;

/// How far apart offsets are looked at. No zone changes its offset twice within such a time.
const STRIDE: i64 = 13 * HOUR;

/// An occurrence, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// When it is.
    pub(super) instant: i64,
    /// The offset of the clock on which its wall time was read.
    pub(super) offset: i64,
}

/// How one look around an instant ended.
enum Look {
    Found(Found),
    /// Nothing up to this instant, which is later than the one looked from.
    NothingUntil(i64),
    Never,
}

/// The first occurrence strictly after the instant `after` in `zone`.
pub(super) fn next(crontab: &Crontab, mut after: i64, zone: Tz) -> Option<Found> {
    loop {
        match look(crontab, after, zone) {
            Look::Found(found) => return Some(found),
            Look::NothingUntil(instant) => after = instant,
            Look::Never => return None,
        }
    }
}

fn look(crontab: &Crontab, after: i64, zone: Tz) -> Look {
    // The clock in hand, when it began, and the instant after which it counts.
    let mut since = after - REACH;
    let mut offset = offset_at(zone, since);
    let mut from = after;
    // The earliest occurrence on the clocks before it.
    let mut earliest: Option<Found> = None;
    loop {
        let candidate = next_on(crontab, offset, from);
        // Of two clocks that name the same instant the newer one is shown there.
        let nearest = match (candidate, earliest) {
            (Some(new), Some(old)) if old.instant < new.instant => Some(old),
            (None, old) => old,
            (new, _) => new,
        };
        let horizon = nearest.map_or(i64::MAX, |found| found.instant);
        let horizon = horizon.min(from + QUIET);
        let Some((change, next_offset)) = change_between(zone, since, horizon, offset) else {
            return match nearest {
                Some(found) if found.instant <= horizon => Look::Found(found),
                Some(found) => Look::NothingUntil(horizon.max(found.instant - QUIET)),
                None => Look::Never,
            };
        };
        let end = change + (next_offset - offset).max(0);
        if candidate.is_some_and(|found| found.instant < end) {
            earliest = nearest;
        }
        let repetition = (offset - next_offset).max(0);
        let start = if crontab.is_interval() {
            change
        } else {
            change + repetition
        };
        from = after.max(start - 1);
        (since, offset) = (change, next_offset);
    }
}

/// The first occurrence strictly after `after` on a clock that is `offset` seconds ahead of UTC.
fn next_on(crontab: &Crontab, offset: i64, after: i64) -> Option<Found> {
    let wall = DateTime::from_timestamp(after + offset, 0)?.naive_utc();
    let instant = crontab.next_after(wall)?.and_utc().timestamp() - offset;
    Some(Found { instant, offset })
}

/// The first change in (`from`, `to`], and the new offset; `offset` is that at `from`.
fn change_between(zone: Tz, from: i64, to: i64, offset: i64) -> Option<(i64, i64)> {
    let mut before = from;
    while before < to {
        let mut after = to.min(before + STRIDE);
        if offset_at(zone, after) == offset {
            before = after;
            continue;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset_at(zone, middle) == offset {
                before = middle;
            } else {
                after = middle;
            }
        }
        return Some((after, offset_at(zone, after)));
    }
    None
}

/// How many seconds the clocks of `zone` are ahead of UTC at `instant`.
fn offset_at(zone: Tz, instant: i64) -> i64 {
    DateTime::from_timestamp(instant, 0).map_or(0, |instant| {
        let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    })
}
