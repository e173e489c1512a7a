//! Functions: what they are, how they stand, and what can be done with them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_handler::{AskFailed, Described, Trigger};
use nightshift_job::{Enqueue, Policy, RateLimit, RequestId};
use nightshift_postgres::audit::{self, Act};
use nightshift_postgres::control;
use nightshift_postgres::schedule::{self, Requested};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ask::{Answer, Ask, json, reason, storable_time};
use crate::problem::Problem;
use crate::queues::{Depth, depth};

/// The most that is counted; whoever has more has at least so many.
const MOST_COUNTED: i64 = 10_000;

/// The most messages per second that a resume lets come back.
const FASTEST: f64 = 10_000.0;

/// The slowest: one in some three hours.
const SLOWEST: f64 = 0.0001;

/// A function.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Function {
    /// Its name.
    name: String,
    /// What calls it.
    trigger: Called,
    /// Why it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Paused>,
}

/// What calls a function.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Called {
    /// Messages of a queue.
    Queue {
        /// The queue.
        queue: String,
        /// Whether the queue has sessions.
        has_sessions: bool,
        /// How often a message is tried before it is dead.
        max_attempts: u32,
        /// How long one try may take, in seconds.
        timeout_seconds: f64,
        /// The longest body that is accepted, in bytes.
        max_body_bytes: usize,
        /// How many messages of one concurrency key are at work at a time, as the code says; `/limits` has
        /// what counts.
        concurrency: u32,
        /// The name of its rate limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
    },
    /// The clock.
    Timer {
        /// The queue that the messages of its ticks go to.
        queue: String,
        /// The schedule, NCRONTAB or a time span.
        cron: String,
        /// The time zone that the schedule is read in.
        zone: String,
        /// When it runs next.
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<DateTime<Utc>>,
    },
    /// HTTP requests.
    Http {
        /// The route, below the prefix of all routes.
        route: String,
        /// The methods that it takes; none stands for all.
        methods: Vec<String>,
    },
}

/// A pause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paused {
    /// Since when.
    at: DateTime<Utc>,
    /// Who has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// All functions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Functions {
    /// By name.
    items: Vec<Function>,
}

/// A function, and how it stands with its messages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionInFull {
    #[serde(flatten)]
    function: Function,
    /// How many messages wait, by the reason; 10000 stands for that many or more.
    waiting: BTreeMap<String, i64>,
    /// How many dead letters it has; 10000 stands for that many or more.
    dead: i64,
}

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

/// The pauses, by function.
async fn pauses(connection: &mut PgConnection) -> Result<BTreeMap<String, Paused>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/pauses.sql")
        .fetch_all(connection)
        .await?;
    let pauses = rows.into_iter().map(|row| {
        let paused = Paused {
            at: row.at,
            by: row.by,
            why: row.why,
        };
        (row.function, paused)
    });
    Ok(pauses.collect())
}

fn view(
    described: &Described<'_>,
    now: DateTime<Utc>,
    pauses: &mut BTreeMap<String, Paused>,
) -> Function {
    let trigger = match &described.trigger {
        Trigger::Messages {
            queue,
            has_sessions,
            policy,
            ..
        } => {
            let Policy {
                max_attempts,
                timeout,
                max_body_bytes,
                concurrency,
                rate,
                ..
            } = policy;
            Called::Queue {
                queue: (*queue).to_owned(),
                has_sessions: *has_sessions,
                max_attempts: *max_attempts,
                timeout_seconds: timeout.as_secs_f64(),
                max_body_bytes: *max_body_bytes,
                concurrency: *concurrency,
                limit: rate.map(|RateLimit { name, .. }| name.to_owned()),
            }
        }
        Trigger::Clock(listed) => Called::Timer {
            queue: listed.queue.clone(),
            cron: listed.schedule.cron(),
            zone: listed.schedule.zone().name().to_owned(),
            next: listed.schedule.next_after(now),
        },
        Trigger::Requests { route, methods } => Called::Http {
            route: route.clone(),
            methods: methods.to_vec(),
        },
    };
    Function {
        name: described.name.to_owned(),
        trigger,
        paused: pauses.remove(described.name),
    }
}

/// The function that the path names.
pub(crate) fn named<'a>(ask: &'a Ask<'_>) -> Result<Described<'a>, Problem> {
    let name = ask.parameter(0);
    ask.app.describe(name).ok_or_else(|| {
        let known: Vec<&str> = ask.app.described().map(|function| function.name).collect();
        let known = known.join(", ");
        Problem::not_found(format!(
            "there is no function called {name:?}; there are {known}"
        ))
    })
}

/// All functions, what calls them, and which are paused.
#[utoipa::path(get, path = "/functions", tag = "functions", responses((status = 200, body = Functions)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut tx = ask.look().await?;
    let mut pauses = pauses(tx.connection()).await?;
    tx.roll_back().await?;
    let now = ask.app.clock().now();
    let described = ask.app.described();
    let items = described.map(|function| view(&function, now, &mut pauses));
    json(&Functions {
        items: items.collect(),
    })
}

/// One function, with how many of its messages wait and are dead.
#[utoipa::path(get, path = "/functions/{function}", tag = "functions",
    params(("function" = String, Path, description = "Its name")),
    responses((status = 200, body = FunctionInFull)))]
pub(crate) async fn show(ask: &Ask<'_>) -> Answer {
    let described = named(ask)?;
    let mut tx = ask.look().await?;
    let mut pauses = pauses(tx.connection()).await?;
    let waiting = waiting(tx.connection(), described.name).await?;
    let dead = sqlx::query_file_scalar!("sql/count_dead.sql", described.name, MOST_COUNTED)
        .fetch_one(tx.connection())
        .await?;
    tx.roll_back().await?;
    json(&FunctionInFull {
        function: view(&described, ask.app.clock().now(), &mut pauses),
        waiting,
        dead,
    })
}

/// How many messages of `function` wait, by the reason.
pub(crate) async fn waiting(
    connection: &mut PgConnection,
    function: &str,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/count_waiting.sql", function, MOST_COUNTED)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.reason, row.count))
        .collect())
}

/// How many ticks are shown that a pause would skip.
const SHOWN_TICKS: usize = 5;

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

/// Ends a transaction whose effects were wanted, or only to be seen.
pub(crate) async fn finish(tx: crate::ask::Tx<'_>, dry_run: bool) -> Result<(), Problem> {
    if dry_run {
        tx.roll_back().await
    } else {
        tx.commit().await
    }
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
    finish(tx, dry_run).await?;
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
