//! When a timer runs: the rules of the timer extension, without a clock of their own.

use chrono::{DateTime, Utc};
use nightshift_time::ncrontab::{Schedule, Tz};

use super::status::Status;

/// What a start finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// What to remember from now on.
    pub(super) status: Status,
    /// Whether a run was missed.
    pub(super) is_past_due: bool,
}

/// The first occurrence after `base`; `None` when the schedule has ended.
pub(super) fn next(schedule: &Schedule, zone: Tz, base: DateTime<Utc>) -> Option<DateTime<Utc>> {
    schedule.next_after(base, zone).map(|found| found.instant())
}

/// Where a timer goes on that begins at `now` with what was `remembered`. A schedule that was
/// edited in between does not make a run late.
pub(super) fn begin(
    schedule: &Schedule,
    zone: Tz,
    now: DateTime<Utc>,
    remembered: Option<Status>,
) -> Option<Start> {
    let fresh = |next: DateTime<Utc>| Start {
        status: Status {
            last: None,
            next,
            last_updated: now,
        },
        is_past_due: false,
    };
    let Some(status) = remembered else {
        return next(schedule, zone, now).map(fresh);
    };
    let expected = next(schedule, zone, status.last.unwrap_or(status.last_updated))?;
    if expected != status.next {
        return if expected < now {
            next(schedule, zone, now).map(fresh)
        } else {
            Some(fresh(expected))
        };
    }
    Some(Start {
        is_past_due: now > status.next,
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn started(now: &str, remembered: Option<(Option<&str>, &str, &str)>) -> (String, bool) {
        let schedule = "0 0 * * * *".parse().unwrap();
        let remembered = remembered.map(|(last, next, updated)| Status {
            last: last.map(at),
            next: at(next),
            last_updated: at(updated),
        });
        let start = begin(&schedule, Tz::UTC, at(now), remembered).unwrap();
        (
            start.status.next.format("%T").to_string(),
            start.is_past_due,
        )
    }

    #[test]
    fn a_start_finds_what_was_missed() {
        let at_ten = ("10:00:00".to_owned(), false);
        assert_eq!(started("09:30:00", None), at_ten);
        let remembered = Some((Some("09:00:00"), "10:00:00", "09:00:01"));
        assert_eq!(started("09:30:00", remembered), at_ten);
        assert_eq!(
            started("13:30:00", remembered),
            ("10:00:00".to_owned(), true)
        );
        // Never run, but known since half past eight.
        let waiting = Some((None, "09:00:00", "08:30:00"));
        assert_eq!(started("09:30:00", waiting), ("09:00:00".to_owned(), true));
    }

    #[test]
    fn an_edited_schedule_makes_no_run_late() {
        let daily = Some((Some("00:00:00"), "23:59:00", "00:00:01"));
        assert_eq!(started("00:30:00", daily), ("01:00:00".to_owned(), false));
        assert_eq!(started("05:30:00", daily), ("06:00:00".to_owned(), false));
    }
}
