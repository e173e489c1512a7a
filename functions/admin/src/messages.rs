//! Messages: which wait and why, and what became of one.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use nightshift_handler::CancelFailed;
use nightshift_job::JobKey;
use nightshift_postgres::audit::{self, Act};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::ask::{Answer, Ask, json, reason};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::runs::{Looked, place_of};
use crate::trace::trace_id;

/// A message that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// Its key.
    key: String,
    /// Its function.
    function: String,
    /// Why it waits, such as `retry`, `snooze`, `paused`, `limited`, `queued`; `calling` while a process is
    /// at work on it.
    reason: String,
    /// Failed tries.
    attempt: i32,
    /// When it is due; for one that waits for another's end, since when.
    due: DateTime<Utc>,
    /// What the last failed try said, with its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    /// Its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// When the broker accepted it.
    enqueued: DateTime<Utc>,
    /// Since when it waits, with or without interruptions.
    opened: DateTime<Utc>,
    /// The trace that its producer was in, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Which messages are wanted.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Messages {
    /// Only of this function.
    function: Option<String>,
    /// Only those that wait for this reason.
    #[param(example = "retry")]
    reason: Option<String>,
    /// Only the one with this id; with `function`.
    message_id: Option<String>,
    /// How many at a time; 50 if it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// Messages that wait, the ones first that have waited for the shortest time.
#[utoipa::path(get, path = "/messages", tag = "messages", params(Messages),
    responses((status = 200, body = Page<Waiting>)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut query: Messages = ask.query()?;
    let limit = page::rows(query.limit.take())?;
    let cursor = query.cursor.take();
    let list = ("messages", &query);
    let (at, key) = place_of(page::read(cursor.as_deref(), &list)?)?;
    let only = match (&query.function, &query.message_id) {
        (Some(function), Some(id)) => Some(JobKey::of_message_id(function, id).0),
        (None, Some(_)) => {
            let what = "message_id needs function: ids are a function's own";
            return Err(Problem::bad_request(what));
        }
        _ => None,
    };
    let is_filtered = query.function.is_some() || query.reason.is_some();
    let window = page::window(limit, is_filtered);
    let mut tx = ask.look().await?;
    let keys = sqlx::query_file_as!(
        Looked,
        "sql/waiting.sql",
        at,
        key,
        window,
        query.function,
        query.reason,
        only
    )
    .fetch_all(tx.connection())
    .await?;
    let page = page::fill(keys, window, limit, &list, Looked::place, |key| {
        key.is_wanted.then_some(key.key)
    })?;
    let mut waiting = read(tx.connection(), &page.items).await?;
    tx.roll_back().await?;
    json(&page.map(|key| waiting.remove(&key)))
}

async fn read(
    connection: &mut PgConnection,
    keys: &[Uuid],
) -> Result<HashMap<Uuid, Waiting>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/waiting_rows.sql", keys)
        .fetch_all(connection)
        .await?;
    let waiting = rows.into_iter().map(|row| {
        let waiting = Waiting {
            key: row.key.simple().to_string(),
            function: row.function,
            reason: row.reason,
            attempt: row.attempt,
            due: row.due_at,
            error: row.last_error,
            message_id: row.message_id,
            session_id: row.session_id,
            enqueued: row.enqueued_at,
            opened: row.opened_at,
            trace_id: trace_id(&row.properties),
        };
        (row.key, waiting)
    });
    Ok(waiting.collect())
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fate {
    /// Its key.
    key: String,
    /// `done`, `skipped`, `waiting` or `dead`.
    state: String,
    /// Its function.
    function: String,
    /// When it was done or skipped, or is due; or died.
    at: DateTime<Utc>,
    /// Why it was skipped, waits or is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What became of one message.
#[utoipa::path(get, path = "/messages/{key}", tag = "messages",
    params(("key" = String, Path, description = "Its key, 32 hexadecimal digits", pattern = "^[0-9a-f]{32}$")),
    responses((status = 200, body = Fate)))]
pub(crate) async fn show(ask: &Ask<'_>) -> Answer {
    let key = ask.key(0)?;
    let mut tx = ask.look().await?;
    let row = sqlx::query_file!("sql/fate.sql", key.0)
        .fetch_optional(tx.connection())
        .await?;
    tx.roll_back().await?;
    let Some(row) = row else {
        return Err(Problem::not_found(format!(
            "no message {key} was ever done, waits or is dead; it may be in its queue still"
        )));
    };
    json(&Fate {
        key: key.to_string(),
        state: row.state,
        function: row.function,
        at: row.at,
        why: row.why,
    })
}

/// What is said of the end of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: String,
}

/// What was ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelResult {
    /// Its key.
    key: String,
    /// Its function.
    function: String,
    /// Why it waited; `calling` if a process was at it.
    was: String,
    /// Failed tries by then.
    attempt: i32,
}

/// Ends a message that waits, or a run, whoever is at it: nothing of it is written any more, and it does not
/// come back.
#[utoipa::path(post, path = "/messages/{key}/cancel", tag = "messages",
    params(("key" = String, Path, description = "Its key, 32 hexadecimal digits", pattern = "^[0-9a-f]{32}$")),
    request_body = Cancel, responses((status = 200, body = CancelResult)))]
pub(crate) async fn cancel(ask: &Ask<'_>) -> Answer {
    let key = ask.key(0)?;
    let Cancel { why } = ask.body()?;
    let actor = &ask.principal.name;
    let said = format!("cancelled by {actor}: {}", reason(&why)?);
    let mut tx = ask.change_patiently().await?;
    let connection = tx.connection();
    let cancelled = match ask.app.cancel(connection, key, &said).await {
        Ok(cancelled) => cancelled,
        Err(error) => {
            tx.roll_back().await?;
            return Err(error.into());
        }
    };
    let act = Act {
        actor,
        action: "message.cancel",
        target: &key.to_string(),
    };
    let details = serde_json::json!({
        "why": why.trim(),
        "function": cancelled.function,
        "was": cancelled.reason,
        "attempt": cancelled.attempt,
    });
    audit::append(connection, act, &details).await?;
    tx.commit().await?;
    ask.app.flush(cancelled.promised);
    json(&CancelResult {
        key: key.to_string(),
        function: cancelled.function,
        was: cancelled.reason,
        attempt: cancelled.attempt,
    })
}

impl From<CancelFailed> for Problem {
    fn from(error: CancelFailed) -> Self {
        match error {
            CancelFailed::Database(error) => error.into(),
            CancelFailed::NotOpen(_) => Self::not_found(error.to_string()),
            error => Self::conflict(error.to_string()),
        }
    }
}
