//! Wake-ups in UTC of expressions that follow the clocks of a zone.

use chrono::TimeDelta;
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::slow::expression;
use super::*;
use crate::ncrontab::zone;

fn wake_up(text: &str, name: &str) -> String {
    crontab(text).wake_up(zone(name).unwrap()).to_string()
}

#[test]
fn a_wake_up_in_utc_is_the_expression_itself() {
    for name in ["UTC", "Etc/UCT", "Africa/Abidjan"] {
        assert_eq!(wake_up("0 30 2 1 * 1-5", name), "0 30 2 1 * 1-5");
    }
}

#[test]
fn each_offset_of_a_zone_wakes() {
    assert_eq!(wake_up("0 30 7 * * *", "Europe/Berlin"), "0 30 5-6 * * *");
    assert_eq!(wake_up("0 0 9 * * *", "Asia/Kolkata"), "0 30 3 * * *");
    let lord_howe = wake_up("0 0 12 * * *", "Australia/Lord_Howe");
    assert_eq!(lord_howe, "0 0,30 1 * * *");
}

#[test]
fn days_that_begin_earlier_or_later_in_utc_are_days_before_and_after() {
    let monday = wake_up("0 30 0 * * 1", "Europe/Berlin");
    assert_eq!(monday, "0 30 22-23 * * 0");
    let first = wake_up("0 30 1 1 3 *", "Europe/Berlin");
    assert_eq!(first, "0 30 0,23 1,28-31 2-3 *");
    let evening = wake_up("0 0 22 31 12 *", "America/New_York");
    assert_eq!(evening, "0 0 2-3 1 1,12 *");
    let saturday = wake_up("0 0 22 * * 6", "America/New_York");
    assert_eq!(saturday, "0 0 2-3 * * 0");
}

/// Every occurrence of `text` in `zone` from `from` until `to` is one of its wake-ups.
fn check(text: &str, zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>, most: usize) {
    let wake_up = crontab(text).wake_up(zone);
    let schedule: Schedule = text.parse().unwrap();
    let due = schedule.occurrences_after(from, zone).take(most);
    for due in due.map(|due| due.instant()).take_while(|due| *due < to) {
        assert!(
            wake_up.admits(due.naive_utc()),
            "{text} in {zone} is due at {due}, when {wake_up} does not wake"
        );
    }
}

/// In every zone; with `NIGHTSHIFT_TEST_SOAK` in the environment for many more expressions.
#[test]
fn every_tick_of_five_years_is_at_a_wake_up() {
    let is_long = std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some();
    for zone in TZ_VARIANTS {
        for text in [
            "0 30 2 * * *",
            "0 15 0 1 * *",
            "30 45 23 * * 1-5",
            "0 0 22 28,30 2,4,12 *",
        ] {
            let (from, to) = (
                instant("2025-01-01T00:00:00Z"),
                instant("2030-01-01T00:00:00Z"),
            );
            let most = if is_long { usize::MAX } else { 200 };
            check(text, zone, from, to, most);
        }
    }
    let cases = if is_long { 20_000 } else { 300 };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let start = 0..5 * 365_i64;
    let drawn = (expression(), prop::sample::select(&TZ_VARIANTS[..]), start);
    let outcome = runner.run(&drawn, |(expression, zone, day)| {
        let text = expression.text();
        prop_assume!(text.parse::<Crontab>().is_ok());
        let from = instant("2025-01-01T00:00:00Z") + TimeDelta::days(day);
        check(&text, zone, from, from + TimeDelta::days(400), 100);
        Ok(())
    });
    outcome.unwrap();
}
