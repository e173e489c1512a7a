//! Which windows an instant lies in, by the calendar of a named zone.
//!
//! A window is half-open, `[start, end)`. A day begins with the first instant that has its date there,
//! so days on which clocks change have 23 or 25 hours, and one whose midnight does not exist begins
//! later. Weeks are those of ISO 8601: they begin on Monday, and week 1 has the year's first Thursday.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The kinds of windows, as the declaration calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A day.
    Daily,
    /// A week, from Monday.
    Weekly,
    /// A month.
    Monthly,
    /// Everything.
    AllTime,
    /// What the board's seasons say.
    Season,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::AllTime,
        Self::Season,
    ];

    /// The word for it, in the declaration and in keys.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::AllTime => "all-time",
            Self::Season => "season",
        }
    }

    /// The kind with this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// Which kind.
    pub(crate) kind: Kind,
    /// `2026-11-22`, `2026-W47`, `2026-11`, `all-time`, or the season's name.
    pub(crate) label: String,
    /// The first instant.
    pub(crate) starts: DateTime<Utc>,
    /// The first instant after it.
    pub(crate) ends: DateTime<Utc>,
}

impl Window {
    /// Whether `instant` lies in it.
    pub(crate) fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.starts <= instant && instant < self.ends
    }
}

/// How many bits the seconds of a window take, if it is so short that scores have enough of Redis' 53 beside
/// them: two years.
pub(crate) fn bits_of_seconds(starts: DateTime<Utc>, ends: DateTime<Utc>) -> Option<u32> {
    let seconds = u64::try_from((ends - starts).num_seconds()).unwrap_or(u64::MAX);
    let bits = u64::BITS - seconds.leading_zeros();
    (bits <= 26).then_some(bits)
}

/// Where all time begins and ends: what Postgres and the clock both can say.
pub(crate) fn all_time() -> Window {
    let at = |year| Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).single();
    Window {
        kind: Kind::AllTime,
        label: Kind::AllTime.as_str().to_owned(),
        starts: at(1).unwrap_or(DateTime::<Utc>::MIN_UTC),
        ends: at(9999).unwrap_or(DateTime::<Utc>::MAX_UTC),
    }
}

/// The windows of one kind that have an instant of `[from, until]` in them, in order. `None`: the zone's
/// calendar does not reach so far. Seasons are not the calendar's.
pub(crate) fn between(
    kind: Kind,
    zone: Tz,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Option<Vec<Window>> {
    let mut windows = Vec::new();
    match kind {
        Kind::AllTime => windows.push(all_time()),
        Kind::Season => {}
        Kind::Daily | Kind::Weekly | Kind::Monthly => {
            let mut date = first_date(kind, from.with_timezone(&zone).date_naive())?;
            loop {
                let next = next_date(kind, date)?;
                let (starts, ends) = (start_of(date, zone)?, start_of(next, zone)?);
                if starts > until {
                    break;
                }
                // In a zone that has left out a day nothing lies in it.
                if starts < ends && ends > from {
                    let label = label(kind, date);
                    windows.push(Window {
                        kind,
                        label,
                        starts,
                        ends,
                    });
                }
                date = next;
            }
        }
    }
    Some(windows)
}

/// The date with which the window of `date` begins.
fn first_date(kind: Kind, date: NaiveDate) -> Option<NaiveDate> {
    match kind {
        Kind::Weekly => {
            date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into()))
        }
        Kind::Monthly => date.with_day(1),
        _ => Some(date),
    }
}

fn next_date(kind: Kind, date: NaiveDate) -> Option<NaiveDate> {
    match kind {
        Kind::Weekly => date.checked_add_days(Days::new(7)),
        Kind::Monthly => date.checked_add_months(Months::new(1)),
        _ => date.succ_opt(),
    }
}

fn label(kind: Kind, date: NaiveDate) -> String {
    match kind {
        Kind::Weekly => {
            let week = date.iso_week();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Kind::Monthly => date.format("%Y-%m").to_string(),
        _ => date.format("%Y-%m-%d").to_string(),
    }
}

/// The first instant that has this date or a later one in the zone.
fn start_of(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let mut local = date.and_time(NaiveTime::MIN);
    // Where midnight was left out, the day begins when the clock was put on; gaps end on a quarter of
    // an hour, or are as long as a day.
    for _ in 0..=2 * 96 {
        if let Some(found) = zone.from_local_datetime(&local).earliest() {
            return Some(found.with_timezone(&Utc));
        }
        local = local.checked_add_signed(TimeDelta::minutes(15))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn the(kind: Kind, zone: Tz, instant: &str) -> (String, String, i64) {
        let found = between(kind, zone, at(instant), at(instant)).unwrap();
        let [window] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(window.contains(at(instant)), "{window:?}");
        let hours = (window.ends - window.starts).num_minutes() * 10 / 60;
        (window.label.clone(), window.starts.to_rfc3339(), hours)
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let week = |instant| the(Kind::Weekly, Tz::UTC, instant).0;
        assert_eq!(week("2027-01-01T00:00:00Z"), "2026-W53");
        assert_eq!(week("2027-01-03T23:59:59Z"), "2026-W53");
        assert_eq!(week("2027-01-04T00:00:00Z"), "2027-W01");
        assert_eq!(week("2024-12-30T00:00:00Z"), "2025-W01");
        assert_eq!(week("2026-11-22T23:59:59.999999Z"), "2026-W47");
        assert_eq!(week("2026-11-23T00:00:00Z"), "2026-W48");
    }

    #[test]
    fn days_on_which_clocks_change_have_another_length() {
        let day = |zone, instant| the(Kind::Daily, zone, instant);
        let berlin = chrono_tz::Europe::Berlin;
        assert_eq!(
            day(berlin, "2026-03-29T12:00:00Z"),
            ("2026-03-29".into(), "2026-03-28T23:00:00+00:00".into(), 230)
        );
        assert_eq!(day(berlin, "2026-10-25T12:00:00Z").2, 250);
        let weeks = the(Kind::Weekly, berlin, "2026-10-25T22:59:59Z");
        assert_eq!((weeks.0.as_str(), weeks.2), ("2026-W43", (7 * 24 + 1) * 10));
        // Half an hour.
        assert_eq!(
            day(chrono_tz::Australia::Lord_Howe, "2026-10-03T20:00:00Z").2,
            235
        );
        // Midnight is left out, and comes twice.
        assert_eq!(
            day(chrono_tz::America::Sao_Paulo, "2018-11-04T12:00:00Z"),
            ("2018-11-04".into(), "2018-11-04T03:00:00+00:00".into(), 230)
        );
        assert_eq!(
            day(chrono_tz::America::Havana, "2026-11-01T04:30:00Z"),
            ("2026-11-01".into(), "2026-11-01T04:00:00+00:00".into(), 250)
        );
    }

    #[test]
    fn a_date_that_a_zone_has_left_out_has_no_window() {
        // Samoa went from 29 to 31 December 2011.
        let (from, until) = (at("2011-12-30T00:00:00Z"), at("2011-12-31T12:00:00Z"));
        let days = between(Kind::Daily, chrono_tz::Pacific::Apia, from, until).unwrap();
        let labels: Vec<_> = days.iter().map(|day| day.label.as_str()).collect();
        assert_eq!(labels, ["2011-12-29", "2011-12-31", "2012-01-01"]);
        for [a, b] in days.array_windows() {
            assert_eq!(a.ends, b.starts);
        }
    }

    #[test]
    fn windows_follow_each_other_without_a_gap_in_every_zone() {
        for zone in chrono_tz::TZ_VARIANTS {
            for kind in [Kind::Daily, Kind::Weekly, Kind::Monthly] {
                let (from, until) = (at("2025-12-25T00:00:00Z"), at("2027-02-03T00:00:00Z"));
                let windows = between(kind, zone, from, until).unwrap();
                assert!(windows[0].contains(from) && windows[windows.len() - 1].contains(until));
                for [a, b] in windows.array_windows() {
                    assert_eq!(a.ends, b.starts, "{zone} {kind:?}");
                    assert!(
                        a.label < b.label,
                        "{zone} {kind:?}: {} {}",
                        a.label,
                        b.label
                    );
                }
            }
        }
    }
}
