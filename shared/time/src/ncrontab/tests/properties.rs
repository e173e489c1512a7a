//! The engine against the slow evaluator, and against anything at all.

use chrono::TimeDelta;
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;

use super::slow::expression;
use super::*;

/// How far the slow evaluator looks: two leap days ahead.
const DAYS: u32 = 9 * 366;

fn any_wall() -> impl Strategy<Value = NaiveDateTime> {
    // 1900 to 2100.
    (-2_208_988_800_i64..4_102_444_800, 0..1_000_000_000_u32)
        .prop_map(|(second, nano)| DateTime::from_timestamp(second, nano).unwrap().naive_utc())
}

fn any_zone() -> impl Strategy<Value = Tz> {
    (0..TZ_VARIANTS.len()).prop_map(|index| TZ_VARIANTS[index])
}

/// A whole minute from 2000 to 2037 shortly before a change of the clocks in `zone`, if it has one
/// in the two years after `start`.
fn before_change(zone: Tz, start: i64) -> DateTime<Utc> {
    let at =
        |hour: i64| DateTime::from_timestamp(start * 3600, 0).unwrap() + TimeDelta::hours(hour);
    let shown = |hour: i64| at(hour).with_timezone(&zone).naive_local() - at(hour).naive_utc();
    let change = (0..2 * 366).find(|day| shown(day * 24) != shown(day * 24 + 24));
    at(change.unwrap_or(0) * 24) - TimeDelta::hours(3)
}

/// Expressions and bits of expressions, glued together.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9*,/?LW#:.@ \\t-]{0,12}",
        "(Mon|jan|S|Decembers|\u{fc}|\u{1f552})",
        Just(" ".to_owned()),
        ".{0,4}",
        "[0-9]{1,20}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_wall_time_is_that_of_the_slow_evaluator(
        expression in expression(), after in any_wall(),
    ) {
        let slow = expression.next_within(after, DAYS);
        match expression.text().parse::<Crontab>() {
            Err(error) => {
                prop_assert_eq!(error.reason(), &Reason::NeverOccurs);
                prop_assert_eq!(slow, None);
            }
            Ok(crontab) => {
                let next = crontab.next_after(after);
                match slow {
                    Some(_) => prop_assert_eq!(next, slow),
                    None => prop_assert!(next.is_none_or(|next| (next - after).num_days() >= i64::from(DAYS) - 1)),
                }
                prop_assert!(next.is_none_or(|next| crontab.admits(next)));
            }
        }
    }

    #[test]
    fn the_canonical_text_means_the_same(expression in expression()) {
        if let Ok(crontab) = expression.text().parse::<Crontab>() {
            let text = crontab.to_string();
            prop_assert_eq!(text.parse::<Crontab>().unwrap(), crontab.clone());
            let is_interval = text.split(' ').take(3).any(|field| field.contains(['*', '-', '/']));
            prop_assert_eq!(is_interval, crontab.is_interval());
        }
    }

    #[test]
    fn nothing_makes_the_parser_panic_and_every_error_is_inside_the_text(text in any_text()) {
        if let Err(error) = text.parse::<Schedule>() {
            let span = error.span();
            prop_assert!(span.start <= span.end && span.end <= text.chars().count());
            prop_assert_eq!(error.pointer(&text).lines().last().map(str::trim_start).is_some(), true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn occurrences_around_clock_changes_are_those_of_the_slow_evaluator(
        expression in expression(), zone in any_zone(), start in 262_968..587_000_i64,
    ) {
        let expression = expression.at_second_0();
        let Ok(schedule) = expression.text().parse::<Schedule>() else { return Ok(()) };
        let from = before_change(zone, start);
        let to = from + TimeDelta::hours(54);
        let fast: Vec<DateTime<Utc>> = schedule
            .occurrences_after(from, zone)
            .map(|occurrence| occurrence.instant())
            .take_while(|instant| *instant < to)
            .collect();
        prop_assert_eq!(fast, expression.minutes_between(from, to, zone));
    }

    #[test]
    fn where_one_starts_does_not_matter(
        expression in expression(), zone in any_zone(), start in 262_968..587_000_i64, ahead in 0..200_000_i64,
    ) {
        let Ok(schedule) = expression.text().parse::<Schedule>() else { return Ok(()) };
        let from = before_change(zone, start);
        let later = from + TimeDelta::seconds(ahead);
        let through = schedule
            .next_after(later, zone)
            .map(|occurrence| occurrence.instant());
        // Nothing is between `later` and it, however closely one looks.
        if let Some(through) = through {
            let middle = later + (through - later) / 2;
            let again = schedule.next_after(middle, zone).unwrap().instant();
            prop_assert_eq!(again, through);
            let just_before = schedule.next_after(through - TimeDelta::seconds(1), zone);
            prop_assert_eq!(just_before.unwrap().instant(), through);
        }
    }
}
