//! Errors name the place.

use super::*;
use crate::ncrontab::Field;

/// The text under the carets.
fn pointed(text: &str) -> String {
    let span = refusal(text).span();
    text.chars().skip(span.start).take(span.len()).collect()
}

#[test]
fn the_span_is_the_wrong_part() {
    assert_eq!(pointed("0 0 1,24 * * *"), "24");
    assert_eq!(pointed("0 0 1-24/2 * * *"), "24");
    assert_eq!(pointed("0 0 0 * Jan,Foo-Mar *"), "Foo");
    assert_eq!(pointed("0 */x * * * *"), "x");
    assert_eq!(pointed("0 1-2-3 * * * *"), "-");
    assert_eq!(pointed("0 -5 * * * *"), "-");
    assert_eq!(pointed("0 0 0 30 2 *"), "30 2");
    assert_eq!(pointed("0 0 0 1 1 * 2027 2028 "), "2027 2028");
    assert_eq!(pointed("0 0 0 * * 5#2"), "#");
}

#[test]
fn a_missing_part_has_an_empty_span_where_it_should_be() {
    assert_eq!(refusal("0 1,,2 * * * *").span(), 4..4);
    assert_eq!(refusal("0 1, * * * *").span(), 4..4);
    assert_eq!(refusal("* * *").span(), 5..5);
}

#[test]
fn positions_count_characters_and_not_bytes() {
    let error = refusal("* * * ü,é 0");
    assert_eq!(error.span(), 6..7);
    assert_eq!(error.pointer("* * * ü,é 0"), "* * * ü,é 0\n      ^");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "0\t\u{1b}[2J 5 * * * *";
    let pointer = refusal(text).pointer(text);
    assert_eq!(pointer, "0\u{fffd}\u{fffd}[2J 5 * * * *\n ^");
    let text = "\u{1b}[2J * * * * *";
    assert!(!refusal(text).to_string().contains('\u{1b}'));
}

#[test]
fn a_long_value_is_shortened() {
    let text = format!("{} * * * * *", "9".repeat(100_000));
    let message = refusal(&text).to_string();
    assert!(message.len() < 200, "{} bytes", message.len());
}

#[test]
fn the_message_names_position_field_and_reason() {
    let message = |text: &str| refusal(text).to_string();
    assert_eq!(
        message("0 0 24 * * *"),
        "character 5, hour: 24 is not between 0 and 23"
    );
    assert_eq!(
        message("0 0 * * Foo"),
        "character 9, day of week: \"Foo\" is not a number or the beginning of an English name"
    );
    assert_eq!(
        message("0 0 x * *"),
        "character 5, day of month: \"x\" is not a number"
    );
    assert_eq!(
        message("0 0 0"),
        "character 6: expected 5 fields (minute hour day month day-of-week), 6 (second first) or \
         a time span such as 01:30:00, found 3 fields"
    );
    assert_eq!(
        message("0 0 30 2 *"),
        "character 5, day of month: none of these days exists in any of these months, so this \
         would never run"
    );
}

#[test]
fn an_error_has_its_field() {
    assert_eq!(refusal("0 0 24 * * *").field(), Some(Field::Hour));
    assert_eq!(refusal("0 0 0 * * 7").field(), Some(Field::DayOfWeek));
    assert_eq!(refusal("0 0").field(), None);
}
