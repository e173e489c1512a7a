//! What the schedules promise: one test per statement of the grammar, of the evaluation and of the
//! rule for clock changes; an evaluator that is too slow to be wrong; another crate as a second
//! opinion; and every zone there is.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Crontab, ParseError, Reason, Schedule, Tz};

mod errors;
mod evaluation;
mod every_zone;
mod grammar;
mod oracle;
mod properties;
mod slow;
mod time_spans;
mod wake_ups;
mod zones;

fn crontab(text: &str) -> Crontab {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> ParseError {
    match text.parse::<Schedule>() {
        Ok(schedule) => panic!("{text} is understood as {schedule}"),
        Err(error) => error,
    }
}

fn canonical(text: &str) -> String {
    crontab(text).to_string()
}

/// What `field` becomes as the seconds of an expression.
fn seconds(field: &str) -> String {
    let text = canonical(&format!("{field} * * * * *"));
    text.strip_suffix(" * * * * *").unwrap().to_owned()
}

/// Why `field` is refused as the seconds of an expression.
fn seconds_refused(field: &str) -> Reason {
    refusal(&format!("{field} * * * * *")).reason().clone()
}

/// What `field` becomes as the days of week of an expression.
fn days_of_week(field: &str) -> String {
    let text = canonical(&format!("* * * * {field}"));
    text.strip_prefix("* * * * ").unwrap().to_owned()
}

/// What `field` becomes as the months of an expression.
fn months(field: &str) -> String {
    let text = canonical(&format!("* * * {field} *"));
    let months = text.strip_prefix("* * * ").unwrap();
    months.strip_suffix(" *").unwrap().to_owned()
}

fn wall(text: &str) -> NaiveDateTime {
    text.parse().unwrap()
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn walls(text: &str, after: &str, count: usize) -> Vec<String> {
    let crontab = crontab(text);
    let first = crontab.next_after(wall(after));
    std::iter::successors(first, |last| crontab.next_after(*last))
        .take(count)
        .map(|wall| wall.format("%Y-%m-%dT%H:%M:%S").to_string())
        .collect()
}

/// The local times of the first `count` occurrences after `after`.
fn locals(text: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let schedule: Schedule = text.parse().unwrap();
    schedule
        .occurrences_after(instant(after), zone)
        .take(count)
        .map(|occurrence| occurrence.local().format("%m-%d %H:%M:%S %:z").to_string())
        .collect()
}
