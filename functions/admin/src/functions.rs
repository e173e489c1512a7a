//! Functions: what they are, how they stand, and what can be done with them.

pub(crate) mod pauses;
pub(crate) mod requests;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nightshift_handler::{Described, Trigger};
use nightshift_job::{Policy, RateLimit};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};
use crate::problem::Problem;

/// The most that is counted; whoever has more has at least so many.
const MOST_COUNTED: i64 = 10_000;

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
