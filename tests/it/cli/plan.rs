//! `nightshift plan`, which asks the real handler for its schedules.

use nightshift_tests::program;
use serde_json::Value;

use super::*;

#[test]
fn the_handlers_schedules_are_planned() {
    let checkout = Checkout::new();
    let handler = program("handler");
    let handler = handler.to_str().unwrap();
    let span = ["--from", "2026-03-01", "--until", "2026-03-02"];
    let ask = ["--json", "plan", "--handler", handler];
    let output = checkout
        .nightshift(&[&ask[..], &span].concat())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schedules = plan["schedules"].as_array().unwrap();
    let housekeeping = schedules
        .iter()
        .find(|schedule| schedule["function"] == "housekeeping-schedule");
    let housekeeping = housekeeping.unwrap();
    assert_eq!(housekeeping["queue"], "housekeeping");
    assert_eq!(housekeeping["runs"][0]["utc"], "2026-03-01T00:01:00Z");
    assert_eq!(housekeeping["more_runs"], 24 * 60 - 50);
}

#[test]
fn a_function_that_the_clock_does_not_call_is_named_with_those_that_it_does() {
    let checkout = Checkout::new();
    let handler = program("handler");
    let output = checkout
        .nightshift(&["plan", "--function", "notifications-dispatch", "--handler"])
        .arg(handler)
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    let error = text(&output.stderr);
    let expected =
        "nightshift: notifications-dispatch is not called by the clock; these functions are: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("housekeeping-schedule"), "{error}");
}

#[test]
fn a_program_that_is_no_handler_and_a_schedule_that_is_none_are_refused() {
    let checkout = Checkout::new();
    let other = checkout.script("other", "echo hello");
    let output = checkout
        .nightshift(&["plan", "--handler", other.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    let error = text(&output.stderr);
    assert!(
        error.contains("something else than its schedules"),
        "{error}"
    );
    let output = checkout
        .nightshift(&["plan", "--cron", "0 0 24 * * *"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 64);
    let error = text(&output.stderr);
    assert!(error.contains("24 is not between 0 and 23"), "{error}");
    let output = checkout
        .nightshift(&["plan", "--cron", "0 24 * * *"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 64);
    let error = text(&output.stderr);
    assert!(error.contains("must have six fields"), "{error}");
}
