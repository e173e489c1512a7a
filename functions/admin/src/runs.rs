//! Runs of long work: who is at it, how far it is, and what came of it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::ask::{Answer, Ask, json, range};
use crate::page::{self, Page, Place};
use crate::problem::Problem;
use crate::trace::trace_id;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// A process is at it.
    Running,
    /// It waits: for its next slice, another try, the end of a pause.
    Waiting,
    /// It has ended as it should.
    Done,
    /// It is a dead letter.
    Dead,
    /// An operator has ended it.
    Cancelled,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// The key of its message.
    key: String,
    /// Its function.
    function: String,
    /// How it stands: `running`, `waiting`, `done`, `dead` or `cancelled`.
    state: String,
    /// How often it was started or taken over.
    starts: i32,
    /// Failed tries since it last went on.
    attempt: i32,
    /// When it was first started.
    started: DateTime<Utc>,
    /// When it last wrote something.
    changed: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<DateTime<Utc>>,
    /// Until when it is its process's, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DateTime<Utc>>,
    /// How far it is, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    progress: Option<Box<RawValue>>,
    /// What came of it, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    report: Option<Box<RawValue>>,
    /// What the last failed try said, with its causes; or why it is dead or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The id of its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    /// The trace that its producer was in, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Which runs are wanted.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Runs {
    /// Only of this function.
    function: Option<String>,
    /// Only those that stand so.
    state: Option<State>,
    /// Only those that were started at this instant or later.
    from: Option<DateTime<Utc>>,
    /// Only those that were started before.
    to: Option<DateTime<Utc>>,
    /// Only those in whose progress, report, error or message id this text is, in any case.
    #[param(min_length = 1, max_length = 200)]
    text: Option<String>,
    /// How many at a time; 50 if it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// The longest text that is looked for, in characters.
const LONGEST_TEXT: usize = 200;

/// `text` as a pattern that finds it anywhere.
pub(crate) fn pattern(text: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() || text.chars().count() > LONGEST_TEXT {
        let what = format!("text must have 1 to {LONGEST_TEXT} characters");
        return Err(Problem::bad_request(what));
    }
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%");
    Ok(Some(format!("%{}%", escaped.replace('_', "\\_"))))
}

/// Runs of long work, the newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(Runs),
    responses((status = 200, body = Page<Run>)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut query: Runs = ask.query()?;
    let limit = page::rows(query.limit.take())?;
    let cursor = query.cursor.take();
    let (from, to) = range(query.from, query.to)?;
    let pattern = pattern(query.text.as_deref())?;
    let list = ("runs", &query);
    let place = page::read(cursor.as_deref(), &list)?;
    let (at, key) = place_of(place)?;
    let state = query.state.map(State::name);
    let window = page::window(limit, pattern.is_some() || state.is_some());
    let only_open = matches!(query.state, Some(State::Running | State::Waiting));
    let mut tx = ask.look().await?;
    let keys = match (&query.function, only_open) {
        (None, false) => {
            sqlx::query_file_as!(
                Looked,
                "sql/runs.sql",
                from,
                to,
                at,
                key,
                window,
                state,
                pattern
            )
            .fetch_all(tx.connection())
            .await?
        }
        (Some(function), false) => {
            sqlx::query_file_as!(
                Looked,
                "sql/runs_of.sql",
                from,
                to,
                at,
                key,
                window,
                state,
                pattern,
                function
            )
            .fetch_all(tx.connection())
            .await?
        }
        (function, true) => {
            sqlx::query_file_as!(
                Looked,
                "sql/runs_open.sql",
                from,
                to,
                at,
                key,
                window,
                state,
                pattern,
                function.as_deref()
            )
            .fetch_all(tx.connection())
            .await?
        }
    };
    let page = page::fill(keys, window, limit, &list, Looked::place, |key| {
        key.is_wanted.then_some(key.key)
    })?;
    let mut runs = read(tx.connection(), &page.items).await?;
    tx.roll_back().await?;
    json(&page.map(|key| runs.remove(&key)))
}

/// One run.
#[utoipa::path(get, path = "/runs/{key}", tag = "runs",
    params(("key" = String, Path, description = "Its key, 32 hexadecimal digits", pattern = "^[0-9a-f]{32}$")),
    responses((status = 200, body = Run)))]
pub(crate) async fn show(ask: &Ask<'_>) -> Answer {
    let key = ask.key(0)?;
    let mut tx = ask.look().await?;
    let mut runs = read(tx.connection(), &[key.0]).await?;
    tx.roll_back().await?;
    match runs.remove(&key.0) {
        Some(run) => json(&run),
        None => Err(Problem::not_found(format!(
            "there is no run {key}; only long work has runs, and messages are under /messages"
        ))),
    }
}

/// A row of a list that was looked at.
pub(crate) struct Looked {
    pub(crate) key: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) is_wanted: bool,
}

impl Looked {
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.at,
            id: self.key.simple().to_string(),
        }
    }
}

/// The time and the key of `place`.
pub(crate) fn place_of(
    place: Option<Place>,
) -> Result<(Option<DateTime<Utc>>, Option<Uuid>), Problem> {
    let Some(Place { at, id }) = place else {
        return Ok((None, None));
    };
    match Uuid::try_parse(&id) {
        Ok(key) => Ok((Some(at), Some(key))),
        Err(_) => Err(Problem::bad_request(
            "cursor is none that this API has given out",
        )),
    }
}

async fn read(
    connection: &mut PgConnection,
    keys: &[Uuid],
) -> Result<HashMap<Uuid, Run>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/run_rows.sql", keys)
        .fetch_all(connection)
        .await?;
    let raw = |text: Option<String>| RawValue::from_string(text?).ok();
    let runs = rows.into_iter().map(|row| {
        let run = Run {
            key: row.key.simple().to_string(),
            function: row.function,
            state: row.state,
            starts: row.epoch,
            attempt: row.attempt.unwrap_or(0),
            started: row.started_at,
            changed: row.changed_at,
            ended: row.ended_at,
            due: row.due_at,
            progress: raw(row.progress),
            report: raw(row.report),
            error: row.error,
            message_id: row.message_id,
            trace_id: row.properties.as_deref().and_then(trace_id),
        };
        (row.key, run)
    });
    Ok(runs.collect())
}
