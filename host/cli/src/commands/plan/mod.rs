//! `nightshift plan`: when every scheduled function runs, what the changes of the clocks do to it, and
//! what an outage would.
//!
//! The handler's own program says which schedules there are; a schedule can also be tried out before it
//! stands in code. Nothing here asks a database: what somebody has paused or asked for is not seen.

mod changes;
mod forecast;
mod render;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use nightshift_job::{BadSchedule, Listed, Missed, Overlap, Schedule, Timetable};
use nightshift_settings::Environment;
use nightshift_time::{Clock, SystemClock};
use serde_json::json;

use super::cron::Refusal;
use crate::args::PlanArgs;
use crate::output;
use crate::servers::{Progress, Tool};
use crate::up::build;
use forecast::{Forecast, Span};

/// How far is looked ahead, unless the user says otherwise.
const HORIZON: TimeDelta = TimeDelta::days(7);

/// How a schedule that is tried out is called.
const PREVIEW: &str = "preview";

pub(super) async fn run(args: PlanArgs, is_json: bool) -> anyhow::Result<u8> {
    let from = args
        .from
        .unwrap_or_else(|| SystemClock.now().trunc_subsecs(0));
    let until = args.until.unwrap_or(from + HORIZON);
    if until <= from {
        bail!("--until {until} is not after {from}, from which is looked");
    }
    let listed = match (&args.cron, &args.handler) {
        (Some(cron), _) => match preview(&args, cron) {
            Ok(listed) => vec![listed],
            Err(error) => {
                refuse(&error, is_json);
                return Ok(nightshift_settings::EXIT_CODE);
            }
        },
        (None, Some(handler)) => chosen(ask(handler).await?, &args.function)?,
        (None, None) => chosen(ask(&built(is_json).await?).await?, &args.function)?,
    };
    let span = Span {
        from,
        until,
        most: args.most,
    };
    let forecasts: Vec<Forecast> = listed
        .into_iter()
        .map(|listed| Forecast::new(listed, span, args.outage))
        .collect();
    if is_json {
        output::line(render::as_json(span, &forecasts));
    } else {
        let is_coloured = Progress::on_output(&Environment).is_coloured();
        output::line(render::as_text(span, &forecasts, is_coloured));
    }
    Ok(0)
}

/// The schedule on the command line.
fn preview(args: &PlanArgs, cron: &str) -> Result<Listed, BadSchedule> {
    let schedule = json!({
        "cron": cron,
        "zone": args.zone,
        "overlap": args.overlap,
        "missed": args.missed,
        "catch_up_seconds": Schedule::DEFAULT.catch_up.as_secs(),
        "jitter_seconds": Schedule::DEFAULT.jitter.as_secs(),
    });
    let schedule = Timetable::from_json(&schedule.to_string())?;
    Ok(Listed {
        function: PREVIEW.to_owned(),
        queue: PREVIEW.to_owned(),
        wake_up: schedule.wake_up(),
        schedule,
    })
}

fn refuse(error: &BadSchedule, is_json: bool) {
    let refusal = match error {
        BadSchedule::Cron { expression, source } => Refusal::of_schedule(source, expression),
        other => Refusal::of_text(other.to_string()),
    };
    if is_json {
        output::line(refusal.json);
    }
    // Nobody may be reading any more; the exit code says the same.
    let _ = writeln!(std::io::stderr().lock(), "nightshift: {}", refusal.text);
}

/// The handler's program as this checkout makes it.
async fn built(is_json: bool) -> anyhow::Result<PathBuf> {
    let checkout = super::checkout()
        .context("name the handler's program with --handler, or try out a schedule with --cron")?;
    if !is_json {
        Progress::on_errors(&Environment).say("handler", "building");
    }
    build::handler(&checkout).await
}

/// The schedules in the program `handler`.
async fn ask(handler: &Path) -> anyhow::Result<Vec<Listed>> {
    let text = Tool::new(handler)
        .arg("schedules")
        .run()
        .await
        .with_context(|| format!("{} does not say its schedules", handler.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} says something else than its schedules",
            handler.display()
        )
    })
}

/// Those of `listed` that are called as in `wanted`; all if nothing is wanted.
fn chosen(listed: Vec<Listed>, wanted: &[String]) -> anyhow::Result<Vec<Listed>> {
    let names: Vec<&str> = listed
        .iter()
        .map(|listed| listed.function.as_str())
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        bail!(
            "{unknown} is not called by the clock; these functions are: {}",
            names.join(", ")
        );
    }
    let is_wanted = |listed: &Listed| wanted.is_empty() || wanted.contains(&listed.function);
    Ok(listed.into_iter().filter(is_wanted).collect())
}

/// The parts of `--outage FROM..TO`.
pub(crate) fn outage(text: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("write two instants with .. between them")?;
    let (from, to) = (instant(from)?, instant(to)?);
    if from < to {
        Ok((from, to))
    } else {
        Err("the outage must end after it has begun".to_owned())
    }
}

/// An instant in RFC 3339, or a day, which begins at midnight in UTC.
pub(crate) fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let day = format!("{text}T00:00:00Z");
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|error| DateTime::parse_from_rfc3339(&day).map_err(|_| error));
    parsed.map(|instant| instant.to_utc()).map_err(|error| {
        format!("{text:?} is neither RFC 3339 nor a day such as 2026-03-29: {error}")
    })
}

/// An overlap by its name.
pub(crate) fn overlap(text: &str) -> Result<Overlap, String> {
    serde_json::from_value(json!(text))
        .map_err(|_| "is one of skip, buffer-one, buffer-all, cancel-running and allow".to_owned())
}

/// `none`, `last` or `all:N`.
pub(crate) fn missed(text: &str) -> Result<Missed, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Missed::None),
        None if text == "last" => Ok(Missed::Last),
        Some(("all", max)) => max
            .parse()
            .map(|max| Missed::All { max })
            .map_err(|_| format!("{max:?} in all:{max} is no number")),
        _ => Err("is none, last or all:N".to_owned()),
    }
}

#[cfg(test)]
mod tests;
