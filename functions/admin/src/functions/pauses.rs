//! Functions that are stopped and go on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_handler::{Described, Trigger};
use nightshift_postgres::audit::{self, Act};
use nightshift_postgres::{control, schedule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{named, pauses, waiting};
use crate::ask::{Answer, Ask, json, reason};
use crate::problem::Problem;
use crate::queues::{Depth, depth};

/// The most messages per second that a resume lets come back.
const FASTEST: f64 = 10_000.0;

/// The slowest: one in some three hours.
const SLOWEST: f64 = 0.0001;

/// How many ticks are shown that a pause would skip.
const SHOWN_TICKS: usize = 5;

/// What is said of a pause.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: String,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What is said of the end of a pause.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resume {
    /// How many of the messages that wait come back per second; all at once if it is absent.
    #[schema(minimum = 0.0001, maximum = 10000)]
    per_second: Option<f64>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What came of a pause, or of its end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseResult {
    /// The function.
    function: String,
    /// Whether something has changed, or would.
    changed: bool,
    /// Whether it was only said what would happen.
    dry_run: bool,
    /// How many messages wait because of a pause: they come back, or stay; 10000 stands for that many or
    /// more.
    held: i64,
    /// What is in its queue: a pause makes it wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Depth>,
    /// The next ticks, which a pause skips.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ticks: Vec<DateTime<Utc>>,
}

/// Pauses a function: within two seconds its messages are no longer run but wait, and nothing is lost; of
/// one that the clock calls no tick is run.
#[utoipa::path(post, path = "/functions/{function}/pause", tag = "functions",
    params(("function" = String, Path, description = "Its name")),
    request_body = Pause, responses((status = 200, body = PauseResult)))]
pub(crate) async fn pause(ask: &Ask<'_>) -> Answer {
    let described = named(ask)?;
    let Pause { why, dry_run } = ask.body()?;
    let why = reason(&why)?;
    if let Trigger::Requests { .. } = described.trigger {
        return Err(not_stoppable(described.name));
    }
    let now = ask.app.clock().now();
    let ticks = match &described.trigger {
        Trigger::Clock(listed) => {
            let next = listed.schedule.ticks_after(now).take(SHOWN_TICKS);
            next.map(|tick| tick.instant()).collect()
        }
        _ => Vec::new(),
    };
    let (changed, held) = if dry_run {
        let (was_paused, held) = standing(ask, described.name).await?;
        (!was_paused, held)
    } else {
        pause_now(ask, &described, why).await?
    };
    let queue = match &described.trigger {
        Trigger::Messages { queue, .. } if dry_run => Some(depth(ask.app, queue).await),
        _ => None,
    };
    json(&PauseResult {
        function: described.name.to_owned(),
        changed,
        dry_run,
        held,
        queue,
        ticks,
    })
}

/// Whether a function is paused, and how many of its messages wait because of that.
async fn standing(ask: &Ask<'_>, function: &str) -> Result<(bool, i64), Problem> {
    let mut tx = ask.look().await?;
    let is_paused = pauses(tx.connection()).await?.contains_key(function);
    let waiting = waiting(tx.connection(), function).await?;
    tx.roll_back().await?;
    Ok((is_paused, waiting.get("paused").copied().unwrap_or(0)))
}

/// Pauses, and says whether that is new and how many messages wait because of a pause.
async fn pause_now(
    ask: &Ask<'_>,
    described: &Described<'_>,
    why: &str,
) -> Result<(bool, i64), Problem> {
    let actor = &ask.principal.name;
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let waiting = waiting(connection, described.name).await?;
    let changed = if let Trigger::Clock(_) = described.trigger {
        let changed = schedule::pause(connection, described.name).await?;
        let act = Act {
            actor,
            action: "schedule.pause",
            target: described.name,
        };
        let details = serde_json::json!({ "why": why, "was_paused": !changed });
        audit::append(connection, act, &details).await?;
        changed
    } else {
        control::pause(connection, described.name, actor, why).await?
    };
    tx.commit().await?;
    Ok((changed, waiting.get("paused").copied().unwrap_or(0)))
}

fn not_stoppable(name: &str) -> Problem {
    Problem::conflict(format!(
        "{name} answers HTTP requests, which cannot wait; stop it where requests come in"
    ))
}

/// Ends a pause. What waits comes back in the order of its arrival.
#[utoipa::path(post, path = "/functions/{function}/resume", tag = "functions",
    params(("function" = String, Path, description = "Its name")),
    request_body = Resume, responses((status = 200, body = PauseResult)))]
pub(crate) async fn resume(ask: &Ask<'_>) -> Answer {
    let described = named(ask)?;
    let Resume {
        per_second,
        dry_run,
    } = ask.body()?;
    let interval = interval(per_second)?;
    if let Trigger::Requests { .. } = described.trigger {
        return Err(not_stoppable(described.name));
    }
    let (changed, held) = if dry_run {
        standing(ask, described.name).await?
    } else {
        resume_now(ask, &described, interval).await?
    };
    json(&PauseResult {
        function: described.name.to_owned(),
        changed,
        dry_run,
        held,
        queue: None,
        ticks: Vec::new(),
    })
}

/// Ends a pause, and says whether there was one and how many messages come back.
async fn resume_now(
    ask: &Ask<'_>,
    described: &Described<'_>,
    interval: Duration,
) -> Result<(bool, i64), Problem> {
    let actor = &ask.principal.name;
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let was_paused = pauses(connection).await?.contains_key(described.name);
    let mut promised = Vec::new();
    let held = if let Trigger::Clock(_) = described.trigger {
        promised = schedule::resume(connection, described.name).await?.promised;
        let act = Act {
            actor,
            action: "schedule.resume",
            target: described.name,
        };
        let details = serde_json::json!({ "was_paused": was_paused });
        audit::append(connection, act, &details).await?;
        0
    } else {
        let woken = control::resume(connection, described.name, interval, actor).await?;
        i64::try_from(woken).unwrap_or(i64::MAX)
    };
    tx.commit().await?;
    ask.app.flush(promised);
    Ok((was_paused, held))
}

/// The pause between two messages of which `per_second` are wanted.
pub(crate) fn interval(per_second: Option<f64>) -> Result<Duration, Problem> {
    match per_second {
        None => Ok(Duration::ZERO),
        Some(rate) if (SLOWEST..=FASTEST).contains(&rate) => {
            Ok(Duration::from_secs_f64(1.0 / rate))
        }
        Some(_) => Err(Problem::bad_request(format!(
            "per_second must be {SLOWEST} to {FASTEST}"
        ))),
    }
}
