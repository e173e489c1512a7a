//! The admin API: who may do what, what it says, and what it changes. The functions of this repository and
//! some of the tests' own, against a real database, asked without a socket.

mod access;
mod audit;
mod bad_input;
mod cancel;
mod dead_letters;
mod functions;
mod fuzz;
mod limits;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::{Method, Request, Response};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_contract::NotificationRequested;
use nightshift_functions::{Access, Settings, registry};
use nightshift_handler::{Outbox, Registry};
use nightshift_job::{
    BatchFunction, Children, Classify, Cx, Disposition, Enqueue, Item, JobError, Outcome, Policy,
    SessionRule,
};
use nightshift_postgres::run::{LongFunction, Run};
use nightshift_settings::{MapSource, Reader};
use nightshift_testkit::{TestDatabase, USER, message, notification};
use nightshift_time::{Clock, SharedClock, SystemClock};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::Semaphore;

const READER: &str = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr";
const OPERATOR: &str = "oooooooooooooooooooooooooooooooo";
const ADMIN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Where the paths of the API begin.
const ROOT: &str = "/api/ops";

/// Why a message of these tests is dead.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Ill(&'static str, String);

impl Classify for Ill {
    fn disposition(&self) -> Disposition {
        Disposition::DeadLetter(self.0)
    }
}

/// What the functions of these tests do with a message, which its title says.
fn outcome(title: &str, cx: &Cx) -> Result<Outcome, JobError> {
    match title.split(' ').next().unwrap_or_default() {
        "die" => Err(Ill("broken", format!("{title:?} is broken for good")).into()),
        "ill" => Err(Ill("ill-formed", format!("{title:?} has no form")).into()),
        "wait" => Ok(Outcome::Snooze(cx.now() + Duration::from_hours(1))),
        "split" => Ok(Outcome::Children(Children {
            parts: vec![to(QUEUE, "wait for a part")],
            finish: to(QUEUE, "the finish"),
        })),
        _ => Ok(Outcome::Completed),
    }
}

fn to(queue: &str, title: &str) -> Enqueue {
    let body: Value = serde_json::from_str(&notification(USER, title)).unwrap();
    Enqueue::to(queue, &body).unwrap()
}

const QUEUE: &str = "plain";

#[derive(Debug)]
struct Plain;

impl BatchFunction for Plain {
    const NAME: &'static str = "plain-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "plain", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy::DEFAULT;
    type Input = NotificationRequested;

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        _tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        items
            .iter()
            .map(|item| outcome(item.input.title.as_str(), cx))
            .collect()
    }
}

/// Works in sessions, which wait for a dead message.
#[derive(Debug)]
struct Holding;

impl BatchFunction for Holding {
    const NAME: &'static str = "holding-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "holding", "connection": "ServiceBusConnection",
        "isSessionsEnabled": true, "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        session: SessionRule::Hold,
        ..Policy::DEFAULT
    };
    type Input = NotificationRequested;

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        _tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        items
            .iter()
            .map(|item| outcome(item.input.title.as_str(), cx))
            .collect()
    }
}

/// Works for as long as it is let.
#[derive(Debug)]
struct Slow(Arc<Semaphore>);

impl LongFunction for Slow {
    const NAME: &'static str = "slow-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "slow", "connection": "ServiceBusConnection",
        "cardinality": "one", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        timeout: Duration::from_mins(1),
        ..Policy::DEFAULT
    };
    const LEASE: Duration = Duration::from_secs(3);
    type Input = NotificationRequested;

    async fn run(
        &self,
        item: &Item<NotificationRequested>,
        run: &Run,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        run.progress(&format!("about to do {}", item.input.title.as_str()))
            .await?;
        self.0.acquire().await.unwrap().forget();
        let mut tx = run.begin().await?;
        run.report(&mut tx, &json!({ "did": item.input.title.as_str() }))
            .await?;
        tx.commit().await?;
        Ok(Outcome::Completed)
    }
}

/// A handler with its database, and the keys to its API.
struct Console {
    database: TestDatabase,
    app: Arc<Registry>,
    /// Lets runs go on.
    may: Arc<Semaphore>,
}

/// An answer of the API.
#[derive(Debug)]
struct Said {
    status: u16,
    body: Value,
    response: Response<()>,
}

impl Said {
    /// What it is, if it is no problem.
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The kind of problem and what it says.
    fn problem(self, status: u16) -> (String, String) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["status"], status);
        let kind = self.response.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "application/problem+json");
        let text = |name: &str| self.body[name].as_str().unwrap().to_owned();
        let kind = text("type");
        let kind = kind.strip_prefix("urn:nightshift:problem:").unwrap();
        (kind.to_owned(), text("detail"))
    }
}

fn access(keys: &str) -> Access {
    let source: MapSource = [("NIGHTSHIFT_OPS_KEYS", keys)].into_iter().collect();
    let mut reader = Reader::new(&source);
    let access = Access::read(&mut reader);
    reader.finish(&[]).unwrap();
    access
}

impl Console {
    async fn new() -> Self {
        Self::with(|all| all).await
    }

    /// With what `more` adds to the functions.
    async fn with(more: impl FnOnce(Registry) -> Registry) -> Self {
        let database = TestDatabase::create().await;
        let may = Arc::new(Semaphore::new(0));
        let app = Arc::new(more(Self::app(&database, &may)));
        Self { database, app, may }
    }

    fn app(database: &TestDatabase, may: &Arc<Semaphore>) -> Registry {
        let keys = format!("rita:Reader:{READER},otto:Operator:{OPERATOR},ada:Admin:{ADMIN}");
        let pool = database.pool().clone();
        let clock: SharedClock = SystemClock::shared();
        let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
        let empty = Registry::new(pool, outbox, clock);
        let all = registry(empty, access(&keys), Settings::default(), None).unwrap();
        let all = all.with_batch(Plain).unwrap().with_batch(Holding).unwrap();
        all.with_long(Slow(Arc::clone(may))).unwrap()
    }

    /// Asks with the key, as somebody who has it does.
    async fn ask(&self, key: &str, method: Method, path: &str, body: &Value) -> Said {
        let request = Request::builder()
            .method(method)
            .uri(format!("{ROOT}{path}"))
            .header("x-functions-key", key)
            .header("content-type", "application/json");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(request.body(Bytes::from(body)).unwrap()).await
    }

    async fn send(&self, request: Request<Bytes>) -> Said {
        let response = self.app.respond(request).await.expect("a route");
        let (parts, body) = response.into_parts();
        Said {
            status: parts.status.as_u16(),
            body: serde_json::from_slice(&body).unwrap(),
            response: Response::from_parts(parts, ()),
        }
    }

    async fn get(&self, path: &str) -> Said {
        self.ask(READER, Method::GET, path, &Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Said {
        self.ask(ADMIN, Method::POST, path, &body).await
    }

    /// All pages of a list.
    async fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut page = self
                .get(&format!("{path}{separator}limit=2{cursor}"))
                .await
                .ok();
            items.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    async fn deliver(&self, function: &'static str, messages: &[TriggerMessage]) {
        let delivered = nightshift_testkit::deliver(&self.app, function, messages, now());
        delivered.await.unwrap();
    }

    async fn texts(&self, statement: &'static str) -> Vec<String> {
        let texts = sqlx::query_scalar(statement).fetch_all(self.database.pool());
        texts.await.unwrap()
    }

    /// What was written into the audit: who did what to what.
    async fn audited(&self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' ', actor, action, target) FROM nightshift.audit ORDER BY seq",
        )
        .await
    }

    async fn end(self) {
        let verdict = self.get("/audit/verify").await.ok();
        assert_eq!(verdict["intact"], true, "{verdict}");
        self.database.remove().await;
    }
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

/// A message whose id is its title.
fn titled(title: &str) -> TriggerMessage {
    message(title, notification(USER, title), now()).build()
}
