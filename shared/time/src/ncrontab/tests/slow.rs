//! A second evaluator, which knows nothing of the first: it draws expressions as structures, says
//! for every single value whether they admit it, and tries one second or minute after the other.

use chrono::{Datelike, LocalResult, NaiveDate, Offset, TimeDelta, TimeZone, Timelike};
use proptest::prelude::*;

use super::*;

/// The ranges of the six fields.
const RANGES: [(i64, i64); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

#[derive(Debug, Clone)]
enum Range {
    Star,
    Value(i64),
    Pair(i64, i64),
}

#[derive(Debug, Clone)]
struct Item {
    range: Range,
    step: Option<i64>,
}

/// An expression of six fields.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    fields: Vec<Vec<Item>>,
    /// For each field and value whether it is admitted.
    table: Vec<Vec<bool>>,
}

impl Item {
    fn text(&self) -> String {
        let range = match self.range {
            Range::Star => "*".to_owned(),
            Range::Value(value) => value.to_string(),
            Range::Pair(first, last) => format!("{first}-{last}"),
        };
        match self.step {
            Some(step) => format!("{range}/{step}"),
            None => range,
        }
    }

    fn admits(&self, value: i64, (first, last): (i64, i64)) -> bool {
        let (from, to) = match self.range {
            Range::Star => (first, last),
            Range::Value(only) if self.step.is_none() => (only, only),
            Range::Value(from) => (from, last),
            Range::Pair(one, other) => (one.min(other), one.max(other)),
        };
        let step = self.step.unwrap_or(1).max(1);
        from <= value && value <= to && (value - from) % step == 0
    }
}

impl Expression {
    pub(super) fn text(&self) -> String {
        let field = |items: &Vec<Item>| {
            let items: Vec<String> = items.iter().map(Item::text).collect();
            items.join(",")
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        fields.join(" ")
    }

    fn admits_value(&self, field: usize, value: u32) -> bool {
        self.table[field][value as usize]
    }

    fn admits_day(&self, day: NaiveDate) -> bool {
        self.admits_value(3, day.day())
            && self.admits_value(4, day.month())
            && self.admits_value(5, day.weekday().num_days_from_sunday())
    }

    fn admits(&self, wall: NaiveDateTime) -> bool {
        self.admits_value(0, wall.second())
            && self.admits_value(1, wall.minute())
            && self.admits_value(2, wall.hour())
            && self.admits_day(wall.date())
    }

    fn is_interval(&self) -> bool {
        self.table[..3]
            .iter()
            .any(|values| values.windows(2).any(|pair| pair[0] && pair[1]))
    }

    /// The first admitted wall time after `after`, looked for second by second on every admitted
    /// day of the next `days` days.
    pub(super) fn next_within(&self, after: NaiveDateTime, days: u32) -> Option<NaiveDateTime> {
        after
            .date()
            .iter_days()
            .take(days as usize)
            .filter(|day| self.admits_day(*day))
            .find_map(|day| {
                let midnight = day.and_hms_opt(0, 0, 0).unwrap();
                (0..86_400_u32)
                    .filter(|second| {
                        self.admits_value(0, second % 60)
                            && self.admits_value(1, second / 60 % 60)
                            && self.admits_value(2, second / 3600)
                    })
                    .map(|second| midnight + TimeDelta::seconds(second.into()))
                    .find(|wall| *wall > after)
            })
    }

    /// Every occurrence in (`from`, `to`), looked for minute by minute, by the stated rule.
    pub(super) fn minutes_between(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        zone: Tz,
    ) -> Vec<DateTime<Utc>> {
        let mut found = Vec::new();
        let mut instant = from + TimeDelta::minutes(1);
        while instant < to {
            let wall = instant.with_timezone(&zone).naive_local();
            if self.admits(wall) && (self.is_interval() || is_first_pass(instant, zone)) {
                found.push(instant);
            }
            instant += TimeDelta::minutes(1);
        }
        let start = from.with_timezone(&zone).naive_local() - TimeDelta::days(2);
        for minute in 0..(to - from).num_minutes() + 2 * 2 * 1440 {
            let wall = start + TimeDelta::minutes(minute);
            if self.admits(wall)
                && let Some(instant) = if_skipped(wall, zone)
                && from < instant
                && instant < to
            {
                found.push(instant);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn is_first_pass(instant: DateTime<Utc>, zone: Tz) -> bool {
    let wall = instant.with_timezone(&zone).naive_local();
    let first = zone.from_local_datetime(&wall).earliest();
    first.is_some_and(|first| first.to_utc() == instant)
}

/// If no clock shows `wall`: what instant it is by the clock before.
pub(super) fn if_skipped(wall: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let mut before = wall;
    loop {
        match zone.offset_from_local_datetime(&before) {
            LocalResult::None => before -= TimeDelta::minutes(1),
            _ if before == wall => return None,
            LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => {
                return Some((wall - offset.fix()).and_utc());
            }
        }
    }
}

fn item((first, last): (i64, i64)) -> impl Strategy<Value = Item> {
    let range = prop_oneof![
        2 => Just(Range::Star),
        5 => (first..=last).prop_map(Range::Value),
        2 => (first..=last, first..=last).prop_map(|(one, other)| Range::Pair(one, other)),
    ];
    let step = prop_oneof![3 => Just(None), 2 => (-2..=last + 3).prop_map(Some)];
    (range, step).prop_map(|(range, step)| Item { range, step })
}

/// Any expression that can be read; some never occur.
pub(super) fn expression() -> impl Strategy<Value = Expression> {
    let field = |index: usize| {
        let any = Just(vec![Item {
            range: Range::Star,
            step: None,
        }]);
        // Mostly `*` for the days, since drawn days rarely meet.
        let star = if index >= 3 { 3 } else { 1 };
        prop_oneof![star => any, 3 => prop::collection::vec(item(RANGES[index]), 1..=3)]
    };
    (field(0), field(1), field(2), field(3), field(4), field(5)).prop_map(
        |(second, minute, hour, day, month, weekday)| {
            Expression::new(vec![second, minute, hour, day, month, weekday])
        },
    )
}

impl Expression {
    fn new(fields: Vec<Vec<Item>>) -> Self {
        let table = fields.iter().zip(RANGES).map(|(items, range)| {
            (0..=range.1)
                .map(|value| items.iter().any(|item| item.admits(value, range)))
                .collect()
        });
        Self {
            table: table.collect(),
            fields,
        }
    }

    /// The same at second 0 only.
    pub(super) fn at_second_0(mut self) -> Self {
        self.fields[0] = vec![Item {
            range: Range::Value(0),
            step: None,
        }];
        Self::new(self.fields)
    }
}
