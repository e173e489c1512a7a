//! The evaluation, statement by statement.

use super::*;
use chrono::Datelike;

#[test]
fn strictly_after_the_base_time() {
    assert_eq!(
        walls("0 0 * * * *", "2026-01-01T00:00:00", 1),
        ["2026-01-01T01:00:00"]
    );
}

#[test]
fn the_base_is_truncated_to_the_second() {
    assert_eq!(
        walls("* * * * * *", "2026-01-01T00:00:00.999999999", 1),
        ["2026-01-01T00:00:01"]
    );
    assert_eq!(
        walls("0 0 0 * * *", "2025-12-31T23:59:59.5", 1),
        ["2026-01-01T00:00:00"]
    );
}

#[test]
fn day_of_month_and_day_of_week_must_both_match() {
    assert_eq!(
        walls("0 0 13 * Fri", "2026-01-01T00:00:00", 4),
        [
            "2026-02-13T00:00:00",
            "2026-03-13T00:00:00",
            "2026-11-13T00:00:00",
            "2027-08-13T00:00:00"
        ]
    );
}

#[test]
fn dates_that_never_occur_are_refused_at_once() {
    for text in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 0 30,31 2 Mon",
        "0 0 31/5 4-6/2 0",
    ] {
        assert_eq!(refusal(text).reason(), &Reason::NeverOccurs, "{text}");
    }
    for text in ["0 0 29 2 *", "0 0 30 2,4 *", "0 0 31 4/4 0"] {
        assert!(
            crontab(text)
                .next_after(wall("2026-01-01T00:00:00"))
                .is_some(),
            "{text}"
        );
    }
}

#[test]
fn short_months_are_passed_over() {
    assert_eq!(
        walls("0 0 31 * *", "2026-01-31T00:00:00", 3),
        [
            "2026-03-31T00:00:00",
            "2026-05-31T00:00:00",
            "2026-07-31T00:00:00"
        ]
    );
    assert_eq!(
        walls("0 0 29-31 2 *", "2026-01-01T00:00:00", 2),
        ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]
    );
}

#[test]
fn a_leap_day_on_any_weekday_is_found_across_a_century() {
    for day in 0..7 {
        let text = format!("0 0 29 2 {day}");
        for year in [1890, 2026, 2088, 2190] {
            let found = crontab(&text).next_after(wall(&format!("{year}-03-01T00:00:00")));
            let found = found.unwrap_or_else(|| panic!("{text} after {year}"));
            assert_eq!(found.format("%m-%d %w").to_string(), format!("02-29 {day}"));
            assert!(found.year() - year <= 40, "{text} after {year}: {found}");
        }
    }
}

#[test]
fn the_search_ends_with_the_year_9999() {
    assert_eq!(
        walls("0 0 0 1 1 *", "9998-01-01T00:00:00", 5),
        ["9999-01-01T00:00:00"]
    );
    assert_eq!(
        walls("* * * * * *", "9999-12-31T23:59:58", 5),
        ["9999-12-31T23:59:59"]
    );
    assert_eq!(crontab("* * * * * *").next_after(NaiveDateTime::MAX), None);
    assert!(
        crontab("* * * * * *")
            .next_after(NaiveDateTime::MIN)
            .is_some()
    );
    let schedule: Schedule = "* * * * * *".parse().unwrap();
    for zone in [Tz::UTC, Tz::Asia__Tokyo, Tz::America__New_York] {
        assert_eq!(schedule.next_after(DateTime::<Utc>::MAX_UTC, zone), None);
        let first = schedule.next_after(DateTime::<Utc>::MIN_UTC, zone).unwrap();
        assert_eq!(first.instant(), instant("0001-01-01T00:00:00Z"));
    }
    let rest = schedule.occurrences_after(instant("9999-12-31T23:59:57Z"), Tz::UTC);
    assert_eq!(rest.count(), 2);
}

#[test]
fn an_expression_itself_knows_no_zone() {
    assert_eq!(
        walls("30 2 29 3 *", "2026-01-01T00:00:00", 1),
        ["2026-03-29T02:30:00"]
    );
}

#[test]
fn the_canonical_text_is_numeric_joins_neighbours_and_lists_the_rest() {
    assert_eq!(
        canonical("0 1,2 */6 1,3,5-6,7 Jan-Mar,December Mon"),
        "0 1-2 0,6,12,18 1,3,5-7 1-3,12 1"
    );
    assert_eq!(canonical("0-58,59 */1 0-23 1/1 1-12 S-Sa"), "* * * * * *");
    assert_eq!(canonical("0 */1 * * *"), "0 * * * *");
}

#[test]
fn it_admits_exactly_its_own_times() {
    let crontab = crontab("0 30 9 * * Mon-Fri");
    assert!(crontab.admits(wall("2026-11-20T09:30:00.25")));
    assert!(!crontab.admits(wall("2026-11-20T09:30:01")));
    assert!(!crontab.admits(wall("2026-11-21T09:30:00")));
}
