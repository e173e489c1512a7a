//! The rules by which messages are run, waited with and given up: the handler's own code against a
//! real database, with a function that fails as it is told to and a clock that a test moves.

mod audit;
mod calls;
mod children;
mod clocks;
mod copies;
mod disk;
mod enqueued;
mod limits;
mod pauses;
mod places;
mod pooler;
pub(crate) mod processes;
mod redrive;
mod releases;
mod retries;
mod runs;
mod sessions;
mod suspects;
mod workbench;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_contract::NotificationRequested;
use nightshift_handler::{InvocationFailed, Outbox, Registry};
use nightshift_job::{
    Backoff, BatchFunction, Children, Classify, Cx, Disposition, Enqueue, EnqueueError, Item,
    JobError, Outcome, Policy, SessionRule,
};
use nightshift_testkit::{TestDatabase, USER, message, notification, take_overdue, take_promised};
use nightshift_time::{Clock, SharedClock, TestClock};
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

/// What the function does with a message in one of its tries.
#[derive(Debug, Clone)]
enum Step {
    Fail(Disposition),
    Panic,
    ForgetOutcome,
    /// Until then.
    Snooze(DateTime<Utc>),
    Skip,
    Refuse,
    /// The server ends the connection, the first time.
    CutOnce,
    /// A prepared statement is not there any more, the first time.
    LoseStatementOnce,
    /// It executes a statement that it has never prepared.
    ExecuteMissing,
    /// A statement takes longer than it may.
    TooSlow,
    /// The function does not come to an end.
    Hang,
    /// Another message is sent: its title, and its unique key if it has one.
    Enqueue(&'static str, Option<&'static str>),
    /// As another message is sent, then fails.
    EnqueueAndFail,
    /// The work is split into these titles, and ends with `finish`.
    Split(&'static [&'static str]),
    /// The work goes on with another title.
    Continue(&'static str),
}

/// Does what a test wants, by the message's title and the number of the try. Without a wish it
/// writes a row.
#[derive(Debug, Clone, Default)]
struct Scripted(Arc<Mutex<HashMap<String, Vec<Step>>>>);

#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
struct Told(Disposition);

impl Classify for Told {
    fn disposition(&self) -> Disposition {
        self.0.clone()
    }
}

fn follow_up(title: &str, unique: Option<&str>) -> Result<Enqueue, EnqueueError> {
    let payload: serde_json::Value = serde_json::from_str(&notification(USER, title)).unwrap();
    let message = Enqueue::to("elsewhere", &payload)?.delayed_by(Duration::from_secs(90));
    unique.map_or(Ok(message.clone()), |key| message.unique(key))
}

impl BatchFunction for Scripted {
    const NAME: &'static str = "scripted";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "scripted", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        max_attempts: 4,
        backoff: Backoff {
            first: Duration::from_secs(8),
            cap: Duration::from_secs(20),
        },
        timeout: Duration::from_millis(1_500),
        ..Policy::DEFAULT
    };
    type Input = NotificationRequested;

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let mut outcomes = Vec::new();
        for item in items {
            // What a failing member has written must vanish, so each writes first.
            sqlx::query("INSERT INTO effect (key, title, attempt) VALUES ($1, $2, $3)")
                .bind(item.key.0)
                .bind(item.input.title.as_str())
                .bind(i32::try_from(item.attempt).unwrap())
                .execute(&mut *tx)
                .await?;
            if item.failed_children > 0 {
                sqlx::query("UPDATE effect SET title = $2 WHERE key = $1")
                    .bind(item.key.0)
                    .bind(format!(
                        "{} without {}",
                        item.input.title.as_str(),
                        item.failed_children
                    ))
                    .execute(&mut *tx)
                    .await?;
            }
            let script = self.0.lock().unwrap().clone();
            let steps = script.get(item.input.title.as_str());
            let tries = usize::try_from(item.attempt).unwrap();
            outcomes.push(match steps.and_then(|steps| steps.get(tries - 1)) {
                None => Outcome::Completed,
                Some(Step::Fail(disposition)) => return Err(Told(disposition.clone()).into()),
                Some(Step::Panic) => panic!("the script says so"),
                Some(Step::ForgetOutcome) => continue,
                Some(Step::TooSlow) => {
                    sqlx::raw_sql("SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)")
                        .execute(&mut *tx)
                        .await?;
                    Outcome::Completed
                }
                Some(Step::Hang) => std::future::pending().await,
                Some(Step::Enqueue(title, unique)) => {
                    cx.enqueue(item, follow_up(title, *unique)?);
                    Outcome::Completed
                }
                Some(Step::EnqueueAndFail) => {
                    cx.enqueue(item, follow_up("never", None)?);
                    return Err(Told(Disposition::Retry).into());
                }
                Some(Step::Split(parts)) => {
                    let parts = parts.iter().map(|part| follow_up(part, None));
                    Outcome::Children(Children {
                        parts: parts.collect::<Result<_, _>>()?,
                        finish: follow_up("finish", None)?,
                    })
                }
                Some(Step::Continue(title)) => {
                    sqlx::query("DELETE FROM effect WHERE key = $1")
                        .bind(item.key.0)
                        .execute(&mut *tx)
                        .await?;
                    let mut next = item.input.clone();
                    next.title = serde_json::from_value((*title).into()).unwrap();
                    Outcome::go_on_with(&next)?
                }
                Some(Step::CutOnce) => {
                    self.0.lock().unwrap().remove(item.input.title.as_str());
                    sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())")
                        .execute(&mut *tx)
                        .await?;
                    Outcome::Completed
                }
                Some(Step::ExecuteMissing) => {
                    sqlx::raw_sql("EXECUTE missing").execute(&mut *tx).await?;
                    Outcome::Completed
                }
                Some(Step::LoseStatementOnce) => {
                    self.0.lock().unwrap().remove(item.input.title.as_str());
                    for statement in ["SELECT 1", "DEALLOCATE ALL", "SELECT 1"] {
                        sqlx::query(statement).execute(&mut *tx).await?;
                    }
                    Outcome::Completed
                }
                Some(Step::Snooze(until)) if *until <= cx.now() => Outcome::Completed,
                Some(other) => {
                    sqlx::query("DELETE FROM effect WHERE key = $1")
                        .bind(item.key.0)
                        .execute(&mut *tx)
                        .await?;
                    match other {
                        Step::Snooze(until) => Outcome::Snooze(*until),
                        Step::Refuse => Outcome::refused("told", "the script says so"),
                        _ => Outcome::Skipped("the script says so".to_owned()),
                    }
                }
            });
        }
        Ok(outcomes)
    }
}

/// The same function on a queue with sessions.
#[derive(Debug, Clone)]
struct InSessions<const HOLD: bool>(Scripted);

impl<const HOLD: bool> BatchFunction for InSessions<HOLD> {
    const NAME: &'static str = if HOLD { "holding" } else { "ordered" };
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "ordered", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary", "isSessionsEnabled": true}]}"#;
    const POLICY: Policy = Policy {
        session: if HOLD {
            SessionRule::Hold
        } else {
            SessionRule::Continue
        },
        ..Scripted::POLICY
    };
    type Input = NotificationRequested;

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        self.0.run(items, tx, cx).await
    }
}

/// Where the function writes.
const EFFECT: &str = "CREATE TABLE effect (
    key uuid PRIMARY KEY, title text, attempt integer, n integer GENERATED ALWAYS AS IDENTITY)";

/// The function in a handler, its database and its clock.
struct World {
    database: TestDatabase,
    clock: TestClock,
    registry: Registry,
    script: Scripted,
}

fn start_of_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

fn after(seconds: i64) -> DateTime<Utc> {
    start_of_time() + TimeDelta::seconds(seconds)
}

impl World {
    async fn new(script: &[(&str, &[Step])]) -> Self {
        let database = TestDatabase::create().await;
        database.pool().execute(EFFECT).await.unwrap();
        let own = |(title, steps): &(&str, &[Step])| ((*title).to_owned(), steps.to_vec());
        let script = Scripted(Arc::new(Mutex::new(script.iter().map(own).collect())));
        let clock = TestClock::new(start_of_time());
        Self {
            registry: registry(&database, &clock, &script),
            database,
            clock,
            script,
        }
    }

    fn clock_now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Another process with the same database.
    fn restarted(&self) -> Registry {
        registry(&self.database, &self.clock, &self.script)
    }

    async fn deliver(&self, messages: &[TriggerMessage]) -> Result<(), InvocationFailed> {
        deliver(&self.registry, messages).await
    }

    async fn deliver_to(
        &self,
        function: &'static str,
        messages: &[TriggerMessage],
    ) -> Result<(), InvocationFailed> {
        deliver_to(&self.registry, function, messages).await
    }

    /// What was promised since the last time, and nothing else.
    async fn promised(&self) -> Vec<TriggerMessage> {
        take_promised(self.database.pool(), start_of_time()).await
    }

    /// The one message that was promised.
    async fn copy(&self) -> TriggerMessage {
        let mut promised = self.promised().await;
        assert_eq!(promised.len(), 1);
        promised.remove(0)
    }

    /// Titles of effects with the try that made them.
    async fn effects(&self) -> Vec<String> {
        self.texts("SELECT format('%s %s', title, attempt) FROM effect ORDER BY title")
            .await
    }

    /// What waits: title, reason, number, failed tries.
    async fn waiting(&self) -> Vec<String> {
        self.texts(
            "SELECT format('%s %s %s %s', convert_from(body, 'utf8')::json ->> 'title', reason,
                    gen, attempt) FROM nightshift.open_message ORDER BY 1",
        )
        .await
    }

    /// What is dead: title, reason, failed tries.
    async fn dead(&self) -> Vec<String> {
        self.texts(
            "SELECT format('%s %s %s', convert_from(body, 'utf8')::json ->> 'title', reason,
                    attempt) FROM nightshift.dead_letter ORDER BY 1",
        )
        .await
    }

    async fn texts(&self, statement: &'static str) -> Vec<String> {
        sqlx::query_scalar(statement)
            .fetch_all(self.database.pool())
            .await
            .unwrap()
    }

    /// Nothing waits and nothing is to be sent.
    async fn end(self) {
        assert_eq!(self.waiting().await, [""; 0]);
        assert_eq!(self.promised().await, []);
        self.database.remove().await;
    }
}

fn registry(database: &TestDatabase, clock: &TestClock, script: &Scripted) -> Registry {
    let pool = database.pool().clone();
    let clock: SharedClock = Arc::new(clock.clone());
    let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
    let registry = Registry::new(pool, outbox, clock);
    let registry = registry.with_batch(script.clone()).unwrap();
    let ordered = InSessions::<false>(script.clone());
    let holding = InSessions::<true>(script.clone());
    registry
        .with_batch(ordered)
        .unwrap()
        .with_batch(holding)
        .unwrap()
}

async fn deliver(registry: &Registry, messages: &[TriggerMessage]) -> Result<(), InvocationFailed> {
    deliver_to(registry, Scripted::NAME, messages).await
}

async fn deliver_to(
    registry: &Registry,
    function: &'static str,
    messages: &[TriggerMessage],
) -> Result<(), InvocationFailed> {
    nightshift_testkit::deliver(registry, function, messages, start_of_time()).await
}

/// A message whose id is its title.
fn titled(title: &str) -> TriggerMessage {
    message(title, notification(USER, title), start_of_time()).build()
}
