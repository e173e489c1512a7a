//! Runs that somebody wants.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_handler::{AskFailed, Described, Trigger};
use nightshift_job::{Enqueue, RequestId};
use nightshift_postgres::audit::{self, Act};
use nightshift_postgres::schedule::Requested;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::named;
use crate::ask::{Answer, Ask, json, storable_time};
use crate::problem::Problem;

/// A run that somebody wants now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunNow {
    /// The payload of the message, for a function that messages call; the clock's functions make their own.
    #[schema(value_type = serde_json::Value, required = false)]
    payload: Option<serde_json::Value>,
    /// The name of the request: one that comes twice is one. Made up if it is absent.
    #[schema(min_length = 1, max_length = 36, pattern = "^[A-Za-z0-9_-]{1,36}$")]
    request: Option<String>,
}

/// Runs that somebody wants for a time that is over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backfill {
    /// The first instant.
    from: DateTime<Utc>,
    /// The first instant after it, which must be over.
    to: DateTime<Utc>,
    /// As of a run.
    #[schema(min_length = 1, max_length = 36, pattern = "^[A-Za-z0-9_-]{1,36}$")]
    request: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What came of a wish for runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunResult {
    /// The function.
    function: String,
    /// The name of the request.
    request: String,
    /// Whether the request is new, and not one that was granted before.
    is_new: bool,
    /// Whether it was only said what would happen.
    dry_run: bool,
    /// How many messages are sent.
    enqueued: usize,
    /// How many wait for the end of others.
    buffered: usize,
    /// The key of the message, for a function that messages call.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn request_id(request: Option<String>) -> Result<RequestId, Problem> {
    let request = request.unwrap_or_else(|| Uuid::new_v4().to_string());
    RequestId::new(&request).map_err(|error| Problem::bad_request(format!("request: {error}")))
}

/// Runs a function now: sends it a message with the payload, or, of one that the clock calls, makes a tick.
#[utoipa::path(post, path = "/functions/{function}/run", tag = "functions",
    params(("function" = String, Path, description = "Its name")),
    request_body = RunNow, responses((status = 200, body = RunResult)))]
pub(crate) async fn run(ask: &Ask<'_>) -> Answer {
    let described = named(ask)?;
    let RunNow { payload, request } = ask.body()?;
    let request = request_id(request)?;
    match (&described.trigger, payload) {
        (Trigger::Messages { queue, .. }, Some(payload)) => {
            send(ask, &described, queue, &payload, &request).await
        }
        (Trigger::Messages { .. }, None) => Err(Problem::bad_request(format!(
            "{} is called by messages; say its payload",
            described.name
        ))),
        (Trigger::Clock(_), Some(_)) => Err(Problem::bad_request(format!(
            "{} makes the payload of its ticks by itself; leave payload out",
            described.name
        ))),
        (Trigger::Clock(_), None) => tick(ask, &described, &request).await,
        (Trigger::Requests { .. }, _) => Err(Problem::conflict(format!(
            "{} answers HTTP requests; send it one",
            described.name
        ))),
    }
}

/// Sends a message with `payload`, unless the request was granted before.
async fn send(
    ask: &Ask<'_>,
    described: &Described<'_>,
    queue: &str,
    payload: &serde_json::Value,
    request: &RequestId,
) -> Answer {
    let body = Bytes::from(payload.to_string());
    if let Some(Err(refusal)) = ask.app.decode(described.name, &body) {
        return Err(Problem::bad_request(format!(
            "{} would refuse this payload ({}): {}",
            described.name, refusal.reason, refusal.description
        )));
    }
    // Checked as any other message is.
    Enqueue::to(queue, payload).map_err(|error| Problem::bad_request(error.to_string()))?;
    let message_id = format!("ops:{}:{}", described.name, request.as_str());
    let key = nightshift_job::JobKey::of_message_id(described.name, &message_id);
    let promised = vec![ask.app.message(queue, &message_id, body)];
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    // Two that come at once wait for each other here.
    sqlx::query!("SELECT seq FROM nightshift.audit_head FOR UPDATE")
        .fetch_one(&mut *connection)
        .await?;
    let is_known = sqlx::query_file_scalar!("sql/is_asked.sql", described.name, request.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if !is_known {
        nightshift_postgres::outbox::promise(connection, &promised).await?;
        let act = Act {
            actor: &ask.principal.name,
            action: "function.run",
            target: described.name,
        };
        let details = serde_json::json!({
            "request": request.as_str(), "key": key.to_string(), "payload": payload });
        audit::append(connection, act, &details).await?;
    }
    tx.commit().await?;
    if !is_known {
        ask.app.flush(promised);
    }
    json(&RunResult {
        function: described.name.to_owned(),
        request: request.as_str().to_owned(),
        is_new: !is_known,
        dry_run: false,
        enqueued: usize::from(!is_known),
        buffered: 0,
        key: Some(key.to_string()),
    })
}

async fn tick(ask: &Ask<'_>, described: &Described<'_>, request: &RequestId) -> Answer {
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let requested = ask.app.run_now(connection, described.name, request).await?;
    if let Requested::Granted(decided) = &requested {
        let act = Act {
            actor: &ask.principal.name,
            action: "schedule.run",
            target: described.name,
        };
        let details = serde_json::json!({
            "request": request.as_str(),
            "enqueued": decided.enqueued,
            "buffered": decided.buffered,
        });
        audit::append(connection, act, &details).await?;
    }
    tx.commit().await?;
    granted(ask, described, request, requested, false)
}

/// Runs a function of the clock for every tick of a time that is over, whether or not it was run then.
#[utoipa::path(post, path = "/functions/{function}/backfill", tag = "functions",
    params(("function" = String, Path, description = "Its name")),
    request_body = Backfill, responses((status = 200, body = RunResult)))]
pub(crate) async fn backfill(ask: &Ask<'_>) -> Answer {
    let described = named(ask)?;
    let Backfill {
        from,
        to,
        request,
        dry_run,
    } = ask.body()?;
    let request = request_id(request)?;
    let (from, to) = (storable_time("from", from)?, storable_time("to", to)?);
    if from >= to {
        return Err(Problem::bad_request("from must be before to"));
    }
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let backfilled = ask
        .app
        .backfill(connection, described.name, (from, to), &request);
    let requested = backfilled.await?;
    if let Requested::Granted(decided) = &requested {
        let act = Act {
            actor: &ask.principal.name,
            action: "schedule.backfill",
            target: described.name,
        };
        let details = serde_json::json!({
            "request": request.as_str(),
            "from": from,
            "to": to,
            "enqueued": decided.enqueued,
            "buffered": decided.buffered,
        });
        audit::append(connection, act, &details).await?;
    }
    tx.finish(dry_run).await?;
    granted(ask, &described, &request, requested, dry_run)
}

fn granted(
    ask: &Ask<'_>,
    described: &Described<'_>,
    request: &RequestId,
    requested: Requested,
    dry_run: bool,
) -> Answer {
    let mut result = RunResult {
        function: described.name.to_owned(),
        request: request.as_str().to_owned(),
        is_new: false,
        dry_run,
        enqueued: 0,
        buffered: 0,
        key: None,
    };
    if let Requested::Granted(decided) = requested {
        result.is_new = true;
        result.enqueued = decided.enqueued;
        result.buffered = decided.buffered;
        if !dry_run {
            ask.app.flush(decided.promised);
        }
    }
    json(&result)
}

impl From<AskFailed> for Problem {
    fn from(error: AskFailed) -> Self {
        match error {
            AskFailed::Schedule(error) => error.into(),
            error => Self::conflict(error.to_string()),
        }
    }
}
