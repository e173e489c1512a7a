//! Time spans and what a host needs to know about schedules in general.

use std::time::Duration;

use super::*;

fn span(text: &str) -> Duration {
    match text.parse() {
        Ok(Schedule::Interval(interval)) => interval.as_duration(),
        other => panic!("{text}: {other:?}"),
    }
}

const DAY: u64 = 86_400;

#[test]
fn hours_from_24_on_shift_the_fields_so_that_25_hours_are_25_days() {
    assert_eq!(span("25:00:00"), Duration::from_secs(25 * DAY));
    assert_eq!(span("24:01:00"), Duration::from_secs(24 * DAY + 3600));
    assert_eq!(span("23:59:59"), Duration::from_secs(DAY - 1));
}

#[test]
fn one_point_is_one_day() {
    assert_eq!(span("1.00:00:00"), Duration::from_secs(DAY));
    assert_eq!(
        span("1.02:03:04.05"),
        Duration::from_millis((DAY + 7384) * 1000 + 50)
    );
}

#[test]
fn every_way_to_write_a_time_span() {
    assert_eq!(span(" 00:05:00 "), Duration::from_mins(5));
    assert_eq!(span("1:30"), Duration::from_mins(90));
    assert_eq!(span("3"), Duration::from_secs(3 * DAY));
    assert_eq!(span("1.12:30"), Duration::from_secs(DAY + 45_000));
    assert_eq!(span("1:12:30:15"), Duration::from_secs(DAY + 45_015));
    assert_eq!(
        span("1:12:30:15.5"),
        Duration::from_millis((DAY + 45_015) * 1000 + 500)
    );
    assert_eq!(span("00:00:00.0000001"), Duration::from_nanos(100));
    assert_eq!(span("10675199"), Duration::from_secs(10_675_199 * DAY));
}

#[test]
fn a_broken_time_span_is_refused() {
    for text in [
        "1:",
        ":1",
        "1::2",
        "1.2",
        "1:2.3",
        "1:2:3:4:5",
        "1:2:3:4:5:6",
        "1-2",
        "1.2.3:4:5",
    ] {
        assert_eq!(refusal(text).reason(), &Reason::NotATimeSpan, "{text}");
    }
    for text in [
        "25:00",
        "00:60",
        "00:00:60",
        "25:60:00",
        "25:24:00",
        "1.24:00:00",
        "10675200",
        "0:0:0.12345678",
    ] {
        assert!(
            matches!(refusal(text).reason(), Reason::TimeSpanPart { .. }),
            "{text}"
        );
    }
    assert!(matches!(
        refusal("99999999999").reason(),
        Reason::TooLarge { .. }
    ));
    let long = format!("1{}", ":1".repeat(100_000));
    assert_eq!(refusal(&long).reason(), &Reason::NotATimeSpan);
}

#[test]
fn a_time_span_of_zero_or_less_is_refused() {
    for text in ["00:00:00", "0", "-00:05:00", "0.00:00:00.0"] {
        assert_eq!(refusal(text).reason(), &Reason::NotPositive, "{text}");
    }
}

#[test]
fn a_time_span_is_counted_from_the_start_of_the_run() {
    assert_eq!(
        locals("01:30:00", Tz::Europe__Berlin, "2026-03-29T00:15:30Z", 2),
        ["03-29 03:45:30 +02:00", "03-29 05:15:30 +02:00"]
    );
    let schedule: Schedule = "00:05:00".parse().unwrap();
    assert_eq!(schedule.next_after(DateTime::<Utc>::MAX_UTC, Tz::UTC), None);
    assert_eq!(
        schedule.next_after(instant("9999-12-31T23:57:00Z"), Tz::UTC),
        None
    );
}

#[test]
fn the_text_of_a_time_span_is_dotnets() {
    for (text, canonical) in [
        ("25:00:00", "25.00:00:00"),
        ("1:30", "01:30:00"),
        ("0:0:0.5", "00:00:00.5000000"),
    ] {
        assert_eq!(text.parse::<Schedule>().unwrap().to_string(), canonical);
    }
}

#[test]
fn several_runs_a_minute_and_spans_below_a_minute_are_not_worth_monitoring() {
    let is_worth = |text: &str| text.parse::<Schedule>().unwrap().is_worth_monitoring();
    assert!(!is_worth("* * * * * *"));
    assert!(!is_worth("*/30 * * * * *"));
    assert!(!is_worth("00:00:59"));
    assert!(is_worth("30 * * * * *"));
    assert!(is_worth("* * * * *"));
    assert!(is_worth("*/30 0 * * * *"));
    assert!(is_worth("*/30 * * * * 1"));
    assert!(is_worth("00:01:00"));
}
