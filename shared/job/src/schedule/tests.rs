//! What is due, what of it runs, and what is said of the rest.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    let text = if text.len() > 8 {
        text.to_owned()
    } else {
        format!("2026-03-02T{text}Z")
    };
    text.parse().unwrap()
}

const HOURLY: Schedule = Schedule::DEFAULT;

fn plan(schedule: Schedule, cursor: &str, now: &str) -> Plan {
    schedule.read().unwrap().plan(at(cursor), at(now))
}

fn runs(plan: &Plan) -> Vec<String> {
    let shown = plan.runs.iter().map(|run| {
        let missed = if run.is_missed { " missed" } else { "" };
        format!("{}{missed}", run.due.format("%H:%M:%S"))
    });
    shown.collect()
}

fn skipped(plan: &Plan) -> Vec<String> {
    let shown = plan.skipped.iter().map(|skipped| {
        let (first, last) = (skipped.first.format("%H:%M"), skipped.last.format("%H:%M"));
        match skipped.count {
            Some(1) => format!("{first} {:?}", skipped.why),
            Some(count) => format!("{first}-{last} {count} {:?}", skipped.why),
            None => format!("{first}-{last} many {:?}", skipped.why),
        }
    });
    shown.collect()
}

#[test]
fn a_tick_within_its_grace_is_simply_run() {
    for now in ["10:00:00", "10:00:59", "10:01:59"] {
        for missed in [Missed::None, Missed::Last, Missed::All { max: 5 }] {
            let schedule = Schedule { missed, ..HOURLY };
            let plan = plan(schedule, "09:30:00", now);
            assert_eq!(runs(&plan), ["10:00:00"]);
            assert_eq!(plan.skipped, []);
        }
    }
}

#[test]
fn a_tick_at_the_cursor_is_over_and_one_at_now_is_due() {
    let plan_of = |cursor, now| runs(&plan(HOURLY, cursor, now));
    assert_eq!(plan_of("10:00:00", "10:59:59"), [""; 0]);
    assert_eq!(plan_of("10:00:00", "11:00:00"), ["11:00:00"]);
    assert_eq!(plan_of("11:00:00", "11:00:00"), [""; 0]);
    assert_eq!(plan_of("12:00:00", "11:00:00"), [""; 0]);
}

#[test]
fn of_missed_ticks_the_policy_keeps_none_or_the_last_or_the_newest() {
    let after_outage = |missed| plan(Schedule { missed, ..HOURLY }, "06:30:00", "10:30:00");
    let none = after_outage(Missed::None);
    assert_eq!(runs(&none), [""; 0]);
    assert_eq!(skipped(&none).len(), 4);
    assert_eq!(skipped(&none)[0], "07:00 Missed");
    let last = after_outage(Missed::Last);
    assert_eq!(runs(&last), ["10:00:00 missed"]);
    assert_eq!(
        skipped(&last),
        ["07:00 NotTheLast", "08:00 NotTheLast", "09:00 NotTheLast"]
    );
    let two = after_outage(Missed::All { max: 2 });
    assert_eq!(runs(&two), ["09:00:00 missed", "10:00:00 missed"]);
    assert_eq!(skipped(&two), ["07:00 TooMany(2)", "08:00 TooMany(2)"]);
    let all = after_outage(Missed::All { max: 9 });
    assert_eq!(runs(&all).len(), 4);
    assert_eq!(all.skipped, []);
}

#[test]
fn a_tick_that_is_just_due_runs_for_all_that_were_missed() {
    let plan = plan(HOURLY, "06:30:00", "10:01:00");
    assert_eq!(runs(&plan), ["10:00:00"]);
    assert_eq!(skipped(&plan).len(), 3);
}

#[test]
fn what_is_older_than_the_catch_up_window_is_not_caught_up_with() {
    let schedule = Schedule {
        missed: Missed::All { max: 100 },
        catch_up: Duration::from_mins(90),
        ..HOURLY
    };
    let plan = plan(schedule, "06:30:00", "10:30:00");
    assert_eq!(runs(&plan), ["10:00:00 missed"]);
    assert_eq!(
        skipped(&plan),
        ["07:00 TooOld", "08:00 TooOld", "09:00 TooOld"]
    );
}

#[test]
fn an_outage_of_a_year_of_a_schedule_of_seconds_is_a_bounded_plan() {
    let schedule = Schedule {
        cron: "* * * * * *",
        missed: Missed::All { max: u32::MAX },
        catch_up: Duration::from_hours(366 * 24),
        ..HOURLY
    };
    let plan = plan(schedule, "2025-03-02T00:00:00Z", "2026-03-02T00:00:00Z");
    assert_eq!(plan.runs.len(), 1000 + 120);
    assert_eq!(plan.skipped.len(), 1 + 100);
    assert_eq!(plan.skipped[0].first, at("2025-03-02T00:00:01Z"));
    assert_eq!(plan.skipped[0].count, None);
    let seconds = plan.skipped[1].first - plan.skipped[0].last;
    assert_eq!(seconds, TimeDelta::seconds(1));
}

#[test]
fn ticks_that_are_summed_up_are_counted() {
    let schedule = Schedule {
        missed: Missed::None,
        ..HOURLY
    };
    let plan = plan(schedule, "2026-01-01T00:30:00Z", "2026-03-02T00:30:00Z");
    let summary = plan.skipped[0];
    let days = 60;
    // The last 24 hours are missed, the others too old; of those the newest are named.
    assert_eq!(summary.count, Some(days * 24 - 24 - 100));
    assert_eq!(summary.why, WhySkipped::TooOld);
    assert_eq!(plan.skipped.len(), 1 + 100 + 24);
}

#[test]
fn a_delay_is_fixed_and_shorter_than_the_jitter_and_differs_by_function() {
    let schedule = Schedule {
        jitter: Duration::from_mins(10),
        ..HOURLY
    };
    let timetable = schedule.read().unwrap();
    let delays: Vec<Duration> = (0..100)
        .map(|hour| timetable.delay("a", at("00:00:00") + TimeDelta::hours(hour)))
        .collect();
    assert!(delays.iter().all(|delay| *delay < Duration::from_mins(10)));
    let late = delays
        .iter()
        .filter(|delay| **delay > Duration::from_mins(5));
    assert!((30..70).contains(&late.count()), "{delays:?}");
    assert_eq!(delays[0], timetable.delay("a", at("00:00:00")));
    assert_ne!(delays[0], timetable.delay("b", at("00:00:00")));
    assert_eq!(
        HOURLY.read().unwrap().delay("a", at("00:00:00")),
        Duration::ZERO
    );
}

#[test]
fn a_bad_schedule_is_explained() {
    let refusal = |schedule: Schedule| schedule.read().unwrap_err().to_string();
    let cron = |cron| refusal(Schedule { cron, ..HOURLY });
    assert_eq!(
        cron("0 3 * * *"),
        "cron \"0 3 * * *\" must have six fields: second minute hour day month day-of-week; put \"0 \" before five"
    );
    assert_eq!(cron("01:00:00"), cron("01:00:00"));
    let hour = cron("0 0 24 * * *");
    assert!(hour.contains("24 is not between 0 and 23"), "{hour}");
    let zone = refusal(Schedule {
        zone: "Europe/Berlim",
        ..HOURLY
    });
    assert!(zone.contains("did you mean Europe/Berlin?"), "{zone}");
    let none = refusal(Schedule {
        missed: Missed::All { max: 0 },
        ..HOURLY
    });
    assert!(none.contains("at least 1"), "{none}");
}

#[test]
fn what_is_kept_of_a_timetable_makes_the_same_again() {
    let schedule = Schedule {
        cron: "0 5-1 2 * * MON",
        zone: "Asia/Kolkata",
        overlap: Overlap::BufferOne,
        missed: Missed::All { max: 3 },
        catch_up: Duration::from_mins(5),
        jitter: Duration::from_secs(7),
    };
    let timetable = schedule.read().unwrap();
    let text = timetable.to_json();
    assert_eq!(
        text,
        r#"{"cron":"0 1-5 2 * * 1","zone":"Asia/Kolkata","overlap":"buffer-one","missed":{"all":{"max":3}},"catch_up_seconds":300,"jitter_seconds":7}"#
    );
    assert_eq!(Timetable::from_json(&text), Ok(timetable));
    let broken = Timetable::from_json("{}").unwrap_err();
    assert!(broken.to_string().contains("missing field"), "{broken}");
}

#[test]
fn the_name_of_a_tick_says_whose_it_is_and_fits_into_a_message_id() {
    let request = RequestId::new(&"r".repeat(36)).unwrap();
    let function = "f".repeat(MAX_NAME_LENGTH);
    for kind in [
        TickKind::Scheduled,
        TickKind::RunNow(request.clone()),
        TickKind::Backfill(request),
    ] {
        let id = Tick {
            due: at("10:00:00"),
            kind,
        }
        .id(&function);
        assert!(id.as_str().len() <= 128, "{id}");
        assert_eq!(id.function(), function);
        assert_eq!(TickId::of_message(id.as_str()), Some(id));
    }
    for other in ["", "ns:0123:1", "ns-tick:", "ns-tick:f", "tick:f:x"] {
        assert_eq!(TickId::of_message(other), None);
    }
    assert!(RequestId::new("a b").is_err() && RequestId::new("").is_err());
}

fn missed() -> impl Strategy<Value = Missed> {
    prop_oneof![
        Just(Missed::None),
        Just(Missed::Last),
        (1_u32..30).prop_map(|max| Missed::All { max }),
    ]
}

proptest! {
    /// Whenever somebody looks, each tick is run or skipped, once.
    #[test]
    fn looks_at_any_times_see_every_tick_once(
        missed in missed(),
        catch_up in 0_u64..10_000,
        pauses in prop::collection::vec(1_i64..5_000, 1..12),
        cron in prop::sample::select(&["0 */7 * * * *", "30 0 * * * *", "0 15,45 1-3 * * *"][..]),
    ) {
        let catch_up = Duration::from_secs(catch_up);
        let schedule = Schedule { cron, zone: "Europe/Berlin", missed, catch_up, ..HOURLY };
        let timetable = schedule.read().unwrap();
        // The night in which the clocks go back.
        let start = at("2026-10-24T22:00:00Z");
        let (mut cursor, mut seen) = (start, Vec::new());
        for pause in pauses {
            let now = cursor + TimeDelta::seconds(pause);
            let plan = timetable.plan(cursor, now);
            let mut part: Vec<_> = plan.runs.iter().map(|run| run.due).collect();
            for skipped in &plan.skipped {
                let between = timetable.ticks(skipped.first - TimeDelta::seconds(1), skipped.last);
                let before = part.len();
                part.extend(between);
                prop_assert_eq!(Some(part.len() - before), skipped.count.map(|count| count as usize));
            }
            part.sort_unstable();
            seen.extend(part);
            cursor = now;
        }
        let all: Vec<_> = timetable.ticks(start, cursor).collect();
        prop_assert_eq!(seen, all);
    }
}
