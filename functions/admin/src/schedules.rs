//! Schedules: when functions run by the clock, and what became of their ticks.

use chrono::{DateTime, Utc};
use nightshift_handler::Trigger;
use nightshift_job::Listed;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ask::{Answer, Ask, json};
use crate::page::{self, Page, Place};
use crate::problem::Problem;

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    /// The function that it calls.
    function: String,
    /// When, NCRONTAB or a time span.
    cron: String,
    /// The time zone that it is read in.
    zone: String,
    /// Since when it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<DateTime<Utc>>,
    /// Up to when its ticks are decided on; absent before its first deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_until: Option<DateTime<Utc>>,
    /// When it runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<DateTime<Utc>>,
    /// The last tick that was decided on.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<DateTime<Utc>>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_state: Option<String>,
}

/// All schedules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules {
    /// By function.
    items: Vec<Schedule>,
}

/// A tick: a time at which a schedule was due, and what became of that.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tick {
    /// Its name, and its message's.
    id: String,
    /// `tick`, `run-now` or `backfill`.
    kind: String,
    /// The name of the request, if somebody has asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// When it was due.
    due: DateTime<Utc>,
    /// `enqueued`, `buffered`, `done`, `failed`, `skipped` or `cancelled`.
    state: String,
    /// Why it was skipped, cancelled or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// How many ticks it stands for; absent for very many.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticks: Option<i32>,
    /// When it was decided on.
    written: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<DateTime<Utc>>,
}

/// Which runs to come are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Next {
    /// How many; 10 if it is absent.
    #[param(minimum = 1, maximum = 1000)]
    count: Option<u32>,
}

/// Runs to come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Coming {
    /// The function.
    function: String,
    /// When it runs, in order.
    runs: Vec<DateTime<Utc>>,
}

/// Which ticks are wanted.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Ticks {
    /// Only those in this state.
    #[param(example = "failed")]
    state: Option<String>,
    /// How many at a time; 50 if it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

fn listed(ask: &Ask<'_>) -> Result<Listed, Problem> {
    let name = ask.parameter(0);
    match ask.app.describe(name).map(|function| function.trigger) {
        Some(Trigger::Clock(listed)) => Ok(listed),
        Some(_) => Err(Problem::not_found(format!(
            "{name} has no schedule: the clock does not call it"
        ))),
        None => Err(Problem::not_found(format!(
            "there is no function called {name:?}"
        ))),
    }
}

/// All schedules, with the last tick and the next.
#[utoipa::path(get, path = "/schedules", tag = "schedules", responses((status = 200, body = Schedules)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut tx = ask.look().await?;
    let rows = sqlx::query_file!("sql/schedules.sql")
        .fetch_all(tx.connection())
        .await?;
    tx.roll_back().await?;
    let now = ask.app.clock().now();
    let all = ask.app.schedules().into_iter().map(|listed| {
        let row = rows.iter().find(|row| row.function == listed.function);
        Schedule {
            cron: listed.schedule.cron(),
            zone: listed.schedule.zone().name().to_owned(),
            paused_at: row.and_then(|row| row.paused_at),
            decided_until: row.map(|row| row.cursor_at),
            next: listed.schedule.next_after(now),
            last: row.and_then(|row| row.last),
            last_state: row.and_then(|row| row.last_state.clone()),
            function: listed.function,
        }
    });
    json(&Schedules {
        items: all.collect(),
    })
}

/// How many runs to come are shown, and how many at most.
const COUNT: u32 = 10;
const MOST: u32 = 1000;

/// When a schedule is due next, pauses aside.
#[utoipa::path(get, path = "/schedules/{function}/next", tag = "schedules",
    params(("function" = String, Path, description = "The function's name"), Next),
    responses((status = 200, body = Coming)))]
pub(crate) async fn next(ask: &Ask<'_>) -> Answer {
    let Next { count } = ask.query()?;
    let count = count.unwrap_or(COUNT);
    if !(1..=MOST).contains(&count) {
        return Err(Problem::bad_request(format!("count must be 1 to {MOST}")));
    }
    let Listed {
        function, schedule, ..
    } = listed(ask)?;
    let ticks = schedule.ticks_after(ask.app.clock().now());
    let runs = ticks.take(count as usize).map(|tick| tick.instant());
    json(&Coming {
        function,
        runs: runs.collect(),
    })
}

/// What became of a schedule's ticks, the newest first.
#[utoipa::path(get, path = "/schedules/{function}/ticks", tag = "schedules",
    params(("function" = String, Path, description = "The function's name"), Ticks),
    responses((status = 200, body = Page<Tick>)))]
pub(crate) async fn ticks(ask: &Ask<'_>) -> Answer {
    let mut query: Ticks = ask.query()?;
    let limit = page::rows(query.limit.take())?;
    let cursor = query.cursor.take();
    let function = listed(ask)?.function;
    let list = ("ticks", &function, &query);
    let place = page::read(cursor.as_deref(), &list)?;
    let (at, id) = place.map(|place| (place.at, place.id)).unzip();
    let window = page::window(limit, query.state.is_some());
    let mut tx = ask.look().await?;
    let rows = sqlx::query_file!("sql/ticks.sql", function, at, id, window)
        .fetch_all(tx.connection())
        .await?;
    tx.roll_back().await?;
    let page = page::fill(
        rows,
        window,
        limit,
        &list,
        |row| Place {
            at: row.due_at,
            id: row.id.clone(),
        },
        |row| {
            let is_wanted = query.state.as_ref().is_none_or(|state| *state == row.state);
            is_wanted.then_some(Tick {
                id: row.id,
                kind: row.kind,
                request: row.request,
                due: row.due_at,
                state: row.state,
                why: row.why,
                ticks: row.ticks,
                written: row.written_at,
                ended: row.ended_at,
            })
        },
    )?;
    json(&page)
}
