//! Both clock changes, statement by statement.

use super::*;
use crate::ncrontab::{ClockChange, zone};

const BERLIN: Tz = Tz::Europe__Berlin;
const LORD_HOWE: Tz = Tz::Australia__Lord_Howe;

#[test]
fn gap_a_wall_time_that_does_not_exist_runs_once_shifted_by_the_gap() {
    assert_eq!(
        locals("0 30 2 * * *", BERLIN, "2026-03-28T00:00:00Z", 3),
        [
            "03-28 02:30:00 +01:00",
            "03-29 03:30:00 +02:00",
            "03-30 02:30:00 +02:00"
        ]
    );
    assert_eq!(
        locals(
            "0 0 0 * * *",
            Tz::America__Santiago,
            "2026-09-05T00:00:00Z",
            3
        ),
        [
            "09-05 00:00:00 -04:00",
            "09-06 01:00:00 -03:00",
            "09-07 00:00:00 -03:00"
        ]
    );
}

#[test]
fn gap_every_skipped_wall_time_runs_once() {
    assert_eq!(
        locals("0 0,20,40 2 * * *", BERLIN, "2026-03-29T00:00:00Z", 4),
        [
            "03-29 03:00:00 +02:00",
            "03-29 03:20:00 +02:00",
            "03-29 03:40:00 +02:00",
            "03-30 02:00:00 +02:00"
        ]
    );
}

#[test]
fn gap_where_a_shifted_time_meets_another_there_is_one_run() {
    assert_eq!(
        locals("0 30 2,3 * * *", BERLIN, "2026-03-29T00:00:00Z", 2),
        ["03-29 03:30:00 +02:00", "03-30 02:30:00 +02:00"]
    );
    assert_eq!(
        locals("0 */30 * * * *", BERLIN, "2026-03-29T00:00:00Z", 4),
        [
            "03-29 01:30:00 +01:00",
            "03-29 03:00:00 +02:00",
            "03-29 03:30:00 +02:00",
            "03-29 04:00:00 +02:00"
        ]
    );
}

#[test]
fn gap_of_half_an_hour_keeps_real_time_order() {
    // 02:00 to 02:30 is skipped: 02:15 becomes 02:45, after 02:40.
    assert_eq!(
        locals("0 15,40 2 * * *", LORD_HOWE, "2026-10-03T12:00:00Z", 3),
        [
            "10-04 02:40:00 +11:00",
            "10-04 02:45:00 +11:00",
            "10-05 02:15:00 +11:00"
        ]
    );
}

#[test]
fn gap_of_a_whole_day_loses_no_day() {
    // Samoa crossed the date line and had no 30 December.
    assert_eq!(
        locals("0 0 12 * * *", Tz::Pacific__Apia, "2011-12-29T12:00:00Z", 3),
        [
            "12-29 12:00:00 -10:00",
            "12-31 12:00:00 +14:00",
            "01-01 12:00:00 +14:00"
        ]
    );
    let friday: Schedule = "0 0 12 * * Fri".parse().unwrap();
    let found = friday
        .next_after(instant("2011-12-29T23:00:00Z"), Tz::Pacific__Apia)
        .unwrap();
    assert_eq!(found.wall(), wall("2011-12-30T12:00:00"));
    assert_eq!(found.instant(), instant("2011-12-30T22:00:00Z"));
}

#[test]
fn overlap_a_class_is_interval_iff_a_star_or_a_range_is_in_the_first_fields() {
    let is_interval = |text: &str| crontab(text).is_interval();
    for text in [
        "* 0 1 * * *",
        "0 * 1 * * *",
        "0 0 * * * *",
        "0-5 0 1 * * *",
        "0 0 1-3 * * *",
        "* 1 * * *",
        "0 * * * *",
        "0 */20 * * * *",
    ] {
        assert!(is_interval(text), "{text}");
    }
    for text in [
        "0 30 1 * * *",
        "30 1 * * *",
        "0 0,30 1 * * *",
        "0 30 1,3 * * *",
        "0 30 1 1-5 1-6 1-5",
        "0 30 */2 * * *",
    ] {
        assert!(!is_interval(text), "{text}");
    }
}

#[test]
fn overlap_adjacent_hours_are_a_range_and_so_an_interval() {
    assert!(crontab("0 30 1,2 * * *").is_interval());
    assert_eq!(
        locals("0 30 1,2 * * *", BERLIN, "2026-10-24T22:00:00Z", 4),
        [
            "10-25 01:30:00 +02:00",
            "10-25 02:30:00 +02:00",
            "10-25 02:30:00 +01:00",
            "10-26 01:30:00 +01:00"
        ]
    );
}

#[test]
fn overlap_an_interval_runs_through_both_passes_in_real_time_order() {
    assert_eq!(
        locals("0 */20 * * * *", BERLIN, "2026-10-24T23:50:00Z", 7),
        [
            "10-25 02:00:00 +02:00",
            "10-25 02:20:00 +02:00",
            "10-25 02:40:00 +02:00",
            "10-25 02:00:00 +01:00",
            "10-25 02:20:00 +01:00",
            "10-25 02:40:00 +01:00",
            "10-25 03:00:00 +01:00"
        ]
    );
}

#[test]
fn overlap_a_point_in_time_runs_in_the_first_pass_only() {
    assert_eq!(
        locals("0 30 2 * * *", BERLIN, "2026-10-24T12:00:00Z", 2),
        ["10-25 02:30:00 +02:00", "10-26 02:30:00 +01:00"]
    );
}

#[test]
fn overlap_inside_the_second_pass_the_point_in_time_is_deemed_done() {
    for after in [
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:10:00Z",
        "2026-10-25T01:29:59Z",
    ] {
        let next = locals("0 30 2 * * *", BERLIN, after, 1);
        assert_eq!(next, ["10-26 02:30:00 +01:00"], "{after}");
    }
    // The last moment of the first pass.
    let next = locals("59 59 2 * * *", BERLIN, "2026-10-25T00:59:58Z", 2);
    assert_eq!(next, ["10-25 02:59:59 +02:00", "10-26 02:59:59 +01:00"]);
}

#[test]
fn overlap_the_end_of_the_repetition_is_not_repeated() {
    assert_eq!(
        locals("0 0 3 * * *", BERLIN, "2026-10-24T12:00:00Z", 2),
        ["10-25 03:00:00 +01:00", "10-26 03:00:00 +01:00"]
    );
    assert_eq!(
        locals("0 0 2 * * *", BERLIN, "2026-10-24T12:00:00Z", 2),
        ["10-25 02:00:00 +02:00", "10-26 02:00:00 +01:00"]
    );
}

#[test]
fn overlap_of_half_an_hour() {
    assert_eq!(
        locals("0 45 1 * * *", LORD_HOWE, "2026-04-04T00:00:00Z", 2),
        ["04-05 01:45:00 +11:00", "04-06 01:45:00 +10:30"]
    );
    assert_eq!(
        locals("0 45 * * * *", LORD_HOWE, "2026-04-04T14:30:00Z", 3),
        [
            "04-05 01:45:00 +11:00",
            "04-05 01:45:00 +10:30",
            "04-05 02:45:00 +10:30"
        ]
    );
}

#[test]
fn the_offset_of_now_counts_and_not_only_its_wall_time() {
    // 02:25 by the clock both times.
    let first = locals("0 */20 * * * *", BERLIN, "2026-10-25T00:25:00Z", 1);
    let second = locals("0 */20 * * * *", BERLIN, "2026-10-25T01:25:00Z", 1);
    assert_eq!(first, ["10-25 02:40:00 +02:00"]);
    assert_eq!(second, ["10-25 02:40:00 +01:00"]);
}

#[test]
fn in_utc_clocks_do_not_change() {
    assert_eq!(
        locals("0 30 2 * * *", Tz::UTC, "2026-03-28T12:00:00Z", 2),
        ["03-29 02:30:00 +00:00", "03-30 02:30:00 +00:00"]
    );
}

#[test]
fn an_occurrence_says_what_the_clocks_did_to_it() {
    let at = |text: &str, after: &str| {
        let schedule: Schedule = text.parse().unwrap();
        schedule.next_after(instant(after), BERLIN).unwrap()
    };
    let skipped = at("0 30 2 * * *", "2026-03-28T12:00:00Z");
    assert_eq!(skipped.clock_change(), Some(ClockChange::Skipped));
    assert_eq!(skipped.wall(), wall("2026-03-29T02:30:00"));
    let first = at("0 30 * * * *", "2026-10-25T00:00:00Z");
    assert_eq!(first.clock_change(), Some(ClockChange::FirstPass));
    let second = at("0 30 * * * *", "2026-10-25T01:00:00Z");
    assert_eq!(second.clock_change(), Some(ClockChange::SecondPass));
    // Both 02:30 and 03:30 are meant; the one that the clock shows is named.
    let both = at("0 30 2,3 * * *", "2026-03-29T00:00:00Z");
    assert_eq!(
        (both.clock_change(), both.wall()),
        (None, wall("2026-03-29T03:30:00"))
    );
}

#[test]
fn a_sparse_schedule_is_found_without_looking_at_every_day() {
    let found = locals("0 30 2 29 2 Sun", BERLIN, "2032-03-01T00:00:00Z", 2);
    assert_eq!(found, ["02-29 02:30:00 +01:00", "02-29 02:30:00 +01:00"]);
}

#[test]
fn zones_are_found_by_name_and_a_similar_one_is_suggested() {
    assert_eq!(zone("Europe/Berlin"), Ok(BERLIN));
    assert_eq!(zone("UTC"), Ok(Tz::UTC));
    let suggested = |name: &str| zone(name).unwrap_err().suggestion;
    assert_eq!(suggested("europe/berlin"), Some(BERLIN));
    assert_eq!(suggested("Berlin"), Some(BERLIN));
    assert_eq!(suggested("new york"), Some(Tz::America__New_York));
    assert_eq!(suggested("Europe/Belrin"), Some(BERLIN));
    assert_eq!(suggested("%%%"), None);
    assert_eq!(suggested(""), None);
    assert_eq!(
        zone("europe/berlin").unwrap_err().to_string(),
        "no time zone is called \"europe/berlin\" in the IANA database; did you mean Europe/Berlin?"
    );
}
