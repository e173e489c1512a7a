//! The forecast, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use nightshift_job::Timetable;
use nightshift_time::ncrontab::{Occurrence, Tz};
use serde_json::{Value, json};

use super::changes::Change;
use super::forecast::{End, Fate, Forecast, Outage, Span, note};
use crate::commands::cron::{LOCAL, utc};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Escape sequences, or nothing in their place.
#[derive(Debug, Clone, Copy)]
struct Style {
    bold: &'static str,
    dim: &'static str,
    green: &'static str,
    yellow: &'static str,
    reset: &'static str,
}

/// The whole forecast as text, without an end of line.
pub(super) fn as_text(span: Span, forecasts: &[Forecast], is_coloured: bool) -> String {
    let code = |code: &'static str| if is_coloured { code } else { "" };
    let style = Style {
        bold: code(BOLD),
        dim: code(DIM),
        green: code(GREEN),
        yellow: code(YELLOW),
        reset: code(RESET),
    };
    if forecasts.is_empty() {
        return "no function is called by the clock".to_owned();
    }
    let parts: Vec<String> = forecasts
        .iter()
        .map(|forecast| one(span, forecast, style))
        .collect();
    parts.join("\n\n")
}

// Writing to a string cannot fail, which is why the results are dropped.
fn one(span: Span, forecast: &Forecast, style: Style) -> String {
    let Style {
        bold, dim, reset, ..
    } = style;
    let listed = &forecast.listed;
    let timetable = &listed.schedule;
    let mut text = format!("{bold}{}{reset}  {}", listed.function, described(timetable));
    let _ = write!(text, "\n{dim}{}{reset}", rules(timetable));
    if timetable.cron() != listed.wake_up {
        let _ = write!(text, "\n{dim}woken in UTC by {}{reset}", listed.wake_up);
    }
    runs(&mut text, span, forecast, style);
    for (change, near) in &forecast.later {
        let _ = write!(text, "\n\n{}", changed(change, timetable, style));
        for run in near {
            text.push_str(&row(run, timetable, style));
        }
        if near.is_empty() {
            let _ = write!(text, "\n  {dim}no run within three hours of it{reset}");
        }
    }
    if let Some(found) = &forecast.outage {
        outage(&mut text, found, timetable.zone(), style);
    }
    text
}

fn runs(text: &mut String, span: Span, forecast: &Forecast, style: Style) {
    let Style { dim, reset, .. } = style;
    let timetable = &forecast.listed.schedule;
    let mut changes = forecast.changes.iter().peekable();
    text.push('\n');
    for run in &forecast.runs {
        while let Some(change) = changes.next_if(|change| change.at <= run.instant()) {
            let _ = write!(text, "\n{}", changed(change, timetable, style));
        }
        text.push_str(&row(run, timetable, style));
    }
    let until = utc(span.until);
    if forecast.runs.is_empty() && forecast.more == 0 {
        let _ = write!(text, "\n  {dim}no run until {until}{reset}");
    }
    if forecast.more > 0 {
        let at_least = if forecast.is_counted() {
            ""
        } else {
            "more than "
        };
        let more = forecast.more;
        let _ = write!(
            text,
            "\n  {dim}and {at_least}{more} more until {until}; --most shows more{reset}"
        );
    }
    for change in changes {
        let _ = write!(text, "\n{}", changed(change, timetable, style));
    }
}

fn row(run: &Occurrence, timetable: &Timetable, style: Style) -> String {
    let Style { yellow, reset, .. } = style;
    let local = run.local().format(LOCAL);
    let mut row = format!("\n  {local}  {}", utc(run.instant()));
    if let Some(note) = note(run, timetable.is_interval()) {
        let _ = write!(row, "  {yellow}{note}{reset}");
    }
    row
}

/// `0 30 2 * * *` in Europe/Berlin, points in time.
fn described(timetable: &Timetable) -> String {
    let kind = if timetable.is_interval() {
        "interval"
    } else {
        "points in time"
    };
    format!("{} ({kind}), {}", timetable.cron(), timetable.zone())
}

fn rules(timetable: &Timetable) -> String {
    let mut rules = format!(
        "overlap {}, missed {}, catch-up {}",
        word(&json!(timetable.overlap())),
        word(&json!(timetable.missed())),
        clock(timetable.catch_up())
    );
    if !timetable.jitter().is_zero() {
        let _ = write!(rules, ", jitter {}", clock(timetable.jitter()));
    }
    rules
}

/// `"last"` as `last`, `{"all":{"max":3}}` as `all (max 3)`.
fn word(value: &Value) -> String {
    match (value.as_str(), &value["all"]["max"]) {
        (Some(word), _) => word.to_owned(),
        (None, max) => format!("all (max {max})"),
    }
}

/// `26:00:00`.
fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn changed(change: &Change, timetable: &Timetable, style: Style) -> String {
    let Style { yellow, reset, .. } = style;
    let before = (change.at - TimeDelta::seconds(1)).with_timezone(&timetable.zone());
    let old = before.naive_local() + TimeDelta::seconds(1);
    let new = old + change.by;
    let day = old.format("%a %Y-%m-%d");
    let (old, new) = (old.format("%H:%M:%S"), new.format("%H:%M:%S"));
    let (direction, what) = if change.by > TimeDelta::zero() {
        (
            "forward",
            format!("there is no {old} to {new}; what is due then runs as much later"),
        )
    } else {
        let runs = if timetable.is_interval() {
            "what is due then runs both times"
        } else {
            "what is due then runs the first time only"
        };
        ("back", format!("{new} to {old} comes twice; {runs}"))
    };
    let by = clock(change.by.abs().to_std().unwrap_or_default());
    format!("  {yellow}{day}: clocks go {direction} by {by}: {what}{reset}")
}

fn outage(text: &mut String, outage: &Outage, zone: Tz, style: Style) {
    let Style {
        bold,
        dim,
        green,
        reset,
        ..
    } = style;
    let (from, to) = (utc(outage.from), utc(outage.to));
    let _ = write!(
        text,
        "\n\n  {bold}If nothing woke from {from} to {to}{reset}"
    );
    if outage.ends.is_empty() {
        let _ = write!(text, "\n  {dim}nothing was due{reset}");
    }
    for end in &outage.ends {
        let due = spelt(end, zone);
        let _ = match &end.fate {
            Fate::Runs => write!(
                text,
                "\n  {green}runs   {reset}  {due}  {} late",
                clock((outage.to - end.last).to_std().unwrap_or_default())
            ),
            Fate::Waits => write!(
                text,
                "\n  {green}waits  {reset}  {due}  for the end of the one before"
            ),
            Fate::Skipped(why) => write!(text, "\n  {dim}skipped  {due}  {why}{reset}"),
        };
    }
}

fn spelt(end: &End, zone: Tz) -> String {
    let local = |instant: DateTime<Utc>| instant.with_timezone(&zone).format(LOCAL).to_string();
    match end.count {
        Some(1) => local(end.first),
        Some(count) => format!("{} … {} ({count})", local(end.first), local(end.last)),
        None => format!(
            "{} … {} (more than 10000)",
            local(end.first),
            local(end.last)
        ),
    }
}

/// The whole forecast as one object.
pub(super) fn as_json(span: Span, forecasts: &[Forecast]) -> Value {
    let schedules: Vec<Value> = forecasts
        .iter()
        .map(|forecast| {
            let timetable = &forecast.listed.schedule;
            let runs = |runs: &[Occurrence]| -> Vec<Value> {
                runs.iter().map(|run| run_json(run, timetable)).collect()
            };
            let changes: Vec<Value> = forecast.changes.iter().map(change_json).collect();
            let later: Vec<Value> = forecast
                .later
                .iter()
                .map(|(change, near)| {
                    let mut later = change_json(change);
                    later["runs_within_three_hours"] = json!(runs(near));
                    later
                })
                .collect();
            json!({
                "function": forecast.listed.function,
                "queue": forecast.listed.queue,
                "wake_up": forecast.listed.wake_up,
                "schedule": timetable,
                "runs": runs(&forecast.runs),
                "more_runs": forecast.is_counted().then_some(forecast.more),
                "clock_changes": changes,
                "later_clock_changes": later,
                "outage": forecast.outage.as_ref().map(outage_json),
            })
        })
        .collect();
    json!({
        "from": utc(span.from),
        "until": utc(span.until),
        "schedules": schedules,
    })
}

fn run_json(run: &Occurrence, timetable: &Timetable) -> Value {
    json!({
        "local": run.local().to_rfc3339_opts(SecondsFormat::AutoSi, false),
        "utc": utc(run.instant()),
        "note": note(run, timetable.is_interval()),
    })
}

fn change_json(change: &Change) -> Value {
    json!({ "utc": utc(change.at), "by_seconds": change.by.num_seconds() })
}

fn outage_json(outage: &Outage) -> Value {
    let ticks: Vec<Value> = outage
        .ends
        .iter()
        .map(|end| {
            let (fate, why) = match &end.fate {
                Fate::Runs => ("runs", None),
                Fate::Waits => ("waits", None),
                Fate::Skipped(why) => ("skipped", Some(why)),
            };
            json!({
                "first": utc(end.first),
                "last": utc(end.last),
                "count": end.count,
                "fate": fate,
                "why": why,
            })
        })
        .collect();
    json!({ "from": utc(outage.from), "to": utc(outage.to), "ticks": ticks })
}
