//! `nightshift cron`: when a schedule runs next, or what is wrong with it and where.

use std::fmt::Write as _;
use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use nightshift_time::ncrontab::{ClockChange, Occurrence, ParseError, Schedule, Tz, zone};
use nightshift_time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::args::CronArgs;
use crate::output;

/// What the clocks show, and how far they are ahead of UTC.
pub(super) const LOCAL: &str = "%a %Y-%m-%d %H:%M:%S %:z";

pub(super) fn run(args: &CronArgs, is_json: bool) -> u8 {
    let from = args.from.unwrap_or_else(|| SystemClock.now());
    match answer(args, from, is_json) {
        Ok(text) => {
            output::line(text);
            0
        }
        Err(refusal) => {
            if is_json {
                output::line(refusal.json);
            }
            // Nobody may be reading any more; the exit code says the same.
            let _ = writeln!(std::io::stderr().lock(), "nightshift: {}", refusal.text);
            nightshift_settings::EXIT_CODE
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Refusal {
    pub(crate) fn of_text(text: String) -> Self {
        Self {
            json: json!({ "error": { "message": text } }),
            text,
        }
    }

    pub(crate) fn of_schedule(error: &ParseError, expression: &str) -> Self {
        let span = error.span();
        let message = match error.field() {
            Some(field) => format!("{field}: {}", error.reason()),
            None => error.reason().to_string(),
        };
        Self {
            text: format!(
                "not a schedule: {error}\n\n{}\n",
                indented(&error.pointer(expression))
            ),
            json: json!({ "error": {
                "message": message,
                "field": error.field().map(|field| field.to_string()),
                "position": span.start + 1,
                "length": span.len(),
            } }),
        }
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// What goes to standard output.
fn answer(args: &CronArgs, from: DateTime<Utc>, is_json: bool) -> Result<String, Refusal> {
    let schedule: Schedule = args
        .expression
        .parse()
        .map_err(|error| Refusal::of_schedule(&error, &args.expression))?;
    let zone = zone(&args.zone).map_err(|error| Refusal::of_text(error.to_string()))?;
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    let occurrences: Vec<Occurrence> = schedule.occurrences_after(from, zone).take(count).collect();
    let notes = notes(&occurrences, from, zone);
    Ok(if is_json {
        as_json(&schedule, from, zone, &occurrences, &notes).to_string()
    } else {
        let is_complete = occurrences.len() == count;
        as_table(&schedule, zone, &occurrences, &notes, is_complete)
    })
}

/// What to say about the clocks at each of `occurrences`.
fn notes(occurrences: &[Occurrence], from: DateTime<Utc>, zone: Tz) -> Vec<Option<String>> {
    let mut before = from.with_timezone(&zone);
    occurrences
        .iter()
        .map(|occurrence| {
            let local = occurrence.local();
            let change =
                local.naive_local() - before.naive_local() - (local.to_utc() - before.to_utc());
            before = local;
            let wall = occurrence.wall().format("%H:%M:%S");
            match occurrence.clock_change() {
                Some(ClockChange::Skipped) => Some(format!("{wall} is skipped that day")),
                Some(ClockChange::FirstPass) => Some(format!("first of two {wall}")),
                Some(ClockChange::SecondPass) => Some(format!("second of two {wall}")),
                _ if change.is_zero() => None,
                _ => Some(moved(change)),
            }
        })
        .collect()
}

/// Says how far the clocks were moved since the line above.
fn moved(change: TimeDelta) -> String {
    let direction = if change > TimeDelta::zero() {
        "forward"
    } else {
        "back"
    };
    let minutes = change.num_minutes().abs();
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!("clocks went {direction} by {hours}:{minutes:02} before this")
}

pub(super) fn utc(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn as_table(
    schedule: &Schedule,
    zone: Tz,
    occurrences: &[Occurrence],
    notes: &[Option<String>],
    is_complete: bool,
) -> String {
    let mut text = format!("{}, {zone}", described(schedule));
    let local: Vec<String> = occurrences
        .iter()
        .map(|occurrence| occurrence.local().format(LOCAL).to_string())
        .collect();
    let utc: Vec<String> = occurrences
        .iter()
        .map(|occurrence| utc(occurrence.instant()))
        .collect();
    let width = utc.iter().map(String::len).max().unwrap_or(0);
    for ((local, utc), note) in local.iter().zip(&utc).zip(notes) {
        let row = match note {
            Some(note) => format!("{local}  {utc:width$}  {note}"),
            None => format!("{local}  {utc}"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{row}");
    }
    if !is_complete {
        text.push_str("\nno further occurrence up to the year 9999");
    }
    text
}

/// What was understood, so that a surprise (`5-1`, `25:00:00`) is seen.
fn described(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Crontab(crontab) if crontab.is_interval() => format!("{crontab} (interval)"),
        Schedule::Crontab(crontab) => format!("{crontab} (points in time)"),
        _ => format!("every {schedule} (days.hours:minutes:seconds) after the start of a run"),
    }
}

fn as_json(
    schedule: &Schedule,
    from: DateTime<Utc>,
    zone: Tz,
    occurrences: &[Occurrence],
    notes: &[Option<String>],
) -> Value {
    let rows: Vec<Value> = occurrences
        .iter()
        .zip(notes)
        .map(|(occurrence, note)| {
            json!({
                "local": occurrence.local().to_rfc3339_opts(SecondsFormat::AutoSi, false),
                "utc": utc(occurrence.instant()),
                "note": note,
            })
        })
        .collect();
    json!({
        "schedule": schedule.to_string(),
        "zone": zone.name(),
        "from": utc(from),
        "occurrences": rows,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn try_answer(arguments: &[&str]) -> Result<String, Refusal> {
        let cli = Cli::parse_from([&["nightshift", "cron"], arguments].concat());
        let Command::Cron(args) = cli.command else {
            panic!("{arguments:?}")
        };
        answer(&args, args.from.unwrap(), cli.json)
    }

    const BERLIN: [&str; 2] = ["--zone", "Europe/Berlin"];

    #[test]
    fn a_skipped_and_a_repeated_time_are_noted() {
        let skipped = ["0 30 2 * * *", "--from=2026-03-28T00:00:00Z", "--count=3"];
        let text = try_answer(&[&skipped[..], &BERLIN].concat()).unwrap();
        assert_eq!(
            text,
            "0 30 2 * * * (points in time), Europe/Berlin\n\
             Sat 2026-03-28 02:30:00 +01:00  2026-03-28T01:30:00Z\n\
             Sun 2026-03-29 03:30:00 +02:00  2026-03-29T01:30:00Z  02:30:00 is skipped that day\n\
             Mon 2026-03-30 02:30:00 +02:00  2026-03-30T00:30:00Z"
        );
        let repeated = ["30 * * * *", "--from=2026-10-25T00:00:00Z", "--count=3"];
        let text = try_answer(&[&repeated[..], &BERLIN].concat()).unwrap();
        assert_eq!(
            text,
            "30 * * * * (interval), Europe/Berlin\n\
             Sun 2026-10-25 02:30:00 +02:00  2026-10-25T00:30:00Z  first of two 02:30:00\n\
             Sun 2026-10-25 02:30:00 +01:00  2026-10-25T01:30:00Z  second of two 02:30:00\n\
             Sun 2026-10-25 03:30:00 +01:00  2026-10-25T02:30:00Z"
        );
    }

    #[test]
    fn clocks_that_moved_in_between_are_noted() {
        let daily = ["0 0 12 * * *", "--from=2026-10-24T11:00:00Z", "--count=1"];
        let text = try_answer(&[&daily[..], &BERLIN].concat()).unwrap();
        assert!(
            text.ends_with("11:00:00Z  clocks went back by 1:00 before this"),
            "{text}"
        );
    }

    #[test]
    fn an_error_points_at_its_place() {
        let from = "--from=2026-01-01T00:00:00Z";
        let refusal = try_answer(&["0 0 24 * * *", from]).unwrap_err();
        assert_eq!(
            refusal.text,
            "not a schedule: character 5, hour: 24 is not between 0 and 23\n\n  \
             0 0 24 * * *\n      ^^\n"
        );
        assert_eq!(
            refusal.json,
            json!({ "error": {
                "message": "hour: 24 is not between 0 and 23",
                "field": "hour", "position": 5, "length": 2,
            } })
        );
        let refusal = try_answer(&["0 0 * * *", "--zone=europe/berlin", from]).unwrap_err();
        assert!(
            refusal.text.ends_with("did you mean Europe/Berlin?"),
            "{}",
            refusal.text
        );
    }

    #[test]
    fn json_holds_what_the_table_shows() {
        let arguments = ["25:00:00", "--from=2026-01-01T00:00:00Z", "--count=1"];
        let text = try_answer(&[&arguments[..], &["--json"]].concat()).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "schedule": "25.00:00:00", "zone": "UTC", "from": "2026-01-01T00:00:00Z",
                "occurrences": [{
                    "local": "2026-01-26T00:00:00+00:00",
                    "utc": "2026-01-26T00:00:00Z",
                    "note": null,
                }],
            })
        );
    }

    #[test]
    fn the_end_of_the_calendar_is_said() {
        let arguments = ["0 0 1 1 *", "--from=9998-06-01T00:00:00Z", "--count=3"];
        let text = try_answer(&arguments).unwrap();
        assert!(
            text.ends_with("9999-01-01T00:00:00Z\nno further occurrence up to the year 9999"),
            "{text}"
        );
    }
}
