//! The `cron` crate as a second opinion, where both agree by definition: six fields, ascending
//! ranges, steps within the range, UTC, and days of week written by it from 1 (Sunday) to 7.

use std::str::FromStr;

use proptest::prelude::*;

use super::*;

/// An item in a field from `first` to `last`, in our numbers and in those that are `shift` higher.
fn item(first: u32, last: u32, shift: u32) -> impl Strategy<Value = (String, String)> {
    let both = move |text: fn(u32, u32, u32) -> String, from, to, step| {
        (text(from, to, step), text(from + shift, to + shift, step))
    };
    let span = last - first;
    prop_oneof![
        (first..=last).prop_map(move |value| both(|value, _, _| value.to_string(), value, 0, 0)),
        (first..last, 1..=span).prop_map(move |(from, length)| {
            both(
                |from, to, _| format!("{from}-{to}"),
                from,
                (from + length).min(last),
                0,
            )
        }),
        (first..last, 1..=span, 1..=span).prop_map(move |(from, length, step)| {
            let to = (from + length).min(last);
            let step = step.min(to - from);
            both(
                |from, to, step| format!("{from}-{to}/{step}"),
                from,
                to,
                step,
            )
        }),
    ]
}

fn field(first: u32, last: u32, shift: u32) -> impl Strategy<Value = (String, String)> {
    let star = ("*".to_owned(), "*".to_owned());
    let steps = (1..=last - first).prop_map(|step| (format!("*/{step}"), format!("*/{step}")));
    let items = prop::collection::vec(item(first, last, shift), 1..4).prop_map(|items| {
        let (ours, theirs): (Vec<String>, Vec<String>) = items.into_iter().unzip();
        (ours.join(","), theirs.join(","))
    });
    prop_oneof![2 => Just(star), 1 => steps, 4 => items]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cron_crate_agrees_where_both_mean_the_same(
        fields in (field(0, 59, 0), field(0, 59, 0), field(0, 23, 0), field(1, 31, 0), field(1, 12, 0), field(0, 6, 1)),
        after in 1_577_836_800_i64..2_524_608_000,
    ) {
        let (second, minute, hour, day, month, weekday) = fields;
        let ours = [&second.0, &minute.0, &hour.0, &day.0, &month.0, &weekday.0].map(String::as_str).join(" ");
        let theirs = [&second.1, &minute.1, &hour.1, &day.1, &month.1, &weekday.1].map(String::as_str).join(" ");
        let after = DateTime::from_timestamp(after, 0).unwrap();
        let oracle = cron::Schedule::from_str(&theirs).unwrap();
        let expected: Vec<_> = oracle.after(&after).take(8).collect();
        match ours.parse::<Schedule>() {
            Err(error) => {
                prop_assert_eq!(error.reason(), &Reason::NeverOccurs);
                prop_assert!(expected.is_empty());
            }
            Ok(schedule) => {
                let found: Vec<_> = schedule
                    .occurrences_after(after, Tz::UTC)
                    .take(expected.len())
                    .map(|occurrence| occurrence.instant())
                    .collect();
                prop_assert_eq!(found, expected, "{} | {}", ours, theirs);
            }
        }
    }
}
