//! One place to run functions on: a database, a clock that is moved by hand, and what the functions
//! send, which stays here until the clock says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_bindings::function_json::{Cardinality, EntityPath, ServiceBusTrigger};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::encode::Envelope;
use nightshift_handler::{Call, InvocationFailed, Outbox, Registry, RegistryError};
use nightshift_time::{Clock, SharedClock, TestClock};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Sent, TestDatabase, take_sent};

/// How long one invocation may take.
const BUDGET: Duration = Duration::from_secs(10);

/// Functions on a database of their own.
///
/// Nothing is sent anywhere: what functions enqueue, and the copies of messages that wait, are kept
/// here. [`Workbench::step`] moves the clock to the next of them and delivers it, through retries,
/// snoozes, slices and parts, as a broker would.
#[derive(Debug)]
pub struct Workbench {
    database: TestDatabase,
    clock: TestClock,
    registry: Registry,
    sent: Mutex<Vec<Sent>>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Dead {
    /// The function that refused it.
    pub function: String,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub description: String,
    /// Failed tries.
    pub attempt: i32,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Waiting {
    /// The function that it waits for.
    pub function: String,
    /// For what it waits, such as `retry`.
    pub reason: String,
    /// Failed tries.
    pub attempt: i32,
    /// What the last one said.
    pub last_error: Option<String>,
}

impl Workbench {
    /// A workbench for the functions that `add` puts into the list, at `now`.
    ///
    /// # Panics
    /// When a function cannot be registered or there is no server: a test cannot go on then.
    pub async fn new(
        now: DateTime<Utc>,
        add: impl FnOnce(Registry) -> Result<Registry, RegistryError>,
    ) -> Self {
        let database = TestDatabase::create().await;
        let clock = TestClock::new(now);
        let registry = add(Self::empty_registry(&database, &clock));
        Self {
            registry: registry
                .unwrap_or_else(|error| panic!("a function cannot be registered: {error}")),
            database,
            clock,
            sent: Mutex::default(),
        }
    }

    fn empty_registry(database: &TestDatabase, clock: &TestClock) -> Registry {
        let pool = database.pool().clone();
        let clock: SharedClock = Arc::new(clock.clone());
        let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
        Registry::new(pool, outbox, clock)
    }

    /// The database.
    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// The clock.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Another process with the same database and clock, which knows nothing of this one.
    ///
    /// # Panics
    /// When a function cannot be registered.
    pub fn another_process(
        &self,
        add: impl FnOnce(Registry) -> Result<Registry, RegistryError>,
    ) -> Registry {
        let registry = add(Self::empty_registry(&self.database, &self.clock));
        registry.unwrap_or_else(|error| panic!("a function cannot be registered: {error}"))
    }

    /// Delivers `messages` to `function`: in one invocation, or in one for each if it takes one at a
    /// time.
    ///
    /// # Errors
    /// As the host would see it: the messages come again.
    pub async fn deliver(
        &self,
        function: &'static str,
        messages: &[TriggerMessage],
    ) -> Result<(), InvocationFailed> {
        deliver(&self.registry, function, messages, self.clock.now()).await
    }

    /// What was sent and not delivered yet.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn enqueued(&self) -> Vec<Sent> {
        let promised = take_sent(self.database.pool(), self.clock.now()).await;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend(promised);
        sent.clone()
    }

    /// Moves the clock to when the next of [`Self::enqueued`] is due for one of the functions here, and
    /// delivers it. `None` when there is none.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn step(&self) -> Option<Result<(), InvocationFailed>> {
        self.enqueued().await;
        let (function, next) = self.take_next()?;
        if next.message.enqueued_time > self.clock.now() {
            self.clock.set(next.message.enqueued_time);
        }
        Some(self.deliver(function, &[next.message]).await)
    }

    fn take_next(&self) -> Option<(&'static str, Sent)> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = sent.iter().enumerate().filter_map(|(index, sent)| {
            Some((
                sent.message.enqueued_time,
                index,
                self.function_of(&sent.queue)?,
            ))
        });
        let (_, index, function) = ours.min_by_key(|(due, index, _)| (*due, *index))?;
        Some((function, sent.remove(index)))
    }

    fn function_of(&self, queue: &str) -> Option<&'static str> {
        let is_its = |trigger: &ServiceBusTrigger| matches!(&trigger.entity, EntityPath::Queue(name) if name == queue);
        let mut names = self.registry.names().into_iter();
        names.find(|name| self.registry.trigger(name).is_some_and(is_its))
    }

    /// Steps until nothing is to be delivered, at most a thousand times.
    ///
    /// # Panics
    /// When an invocation fails, or there is no end to it.
    pub async fn run_to_end(&self) {
        for _ in 0..1_000 {
            match self.step().await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => panic!("an invocation failed: {error}"),
            }
        }
        panic!("there is always something more to deliver");
    }

    /// The dead letters, in the order of their deaths.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn dead(&self) -> Vec<Dead> {
        let dead = sqlx::query_as(
            "SELECT function, reason, description, attempt FROM nightshift.dead_letter
             ORDER BY dead_at",
        );
        must(dead.fetch_all(self.database.pool()).await)
    }

    /// What waits.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn waiting(&self) -> Vec<Waiting> {
        let waiting = sqlx::query_as(
            "SELECT function, reason, attempt, last_error FROM nightshift.open_message
             ORDER BY opened_at",
        );
        must(waiting.fetch_all(self.database.pool()).await)
    }

    /// Removes the database.
    pub async fn remove(self) {
        self.database.remove().await;
    }
}

/// Delivers `messages` to a function of `registry`, as [`Workbench::deliver`].
///
/// # Errors
/// As the host would see it: the messages come again.
///
/// # Panics
/// When there is no such function, or it takes no messages.
pub async fn deliver(
    registry: &Registry,
    function: &'static str,
    messages: &[TriggerMessage],
    now: DateTime<Utc>,
) -> Result<(), InvocationFailed> {
    let trigger = registry.trigger(function);
    let trigger = trigger.unwrap_or_else(|| panic!("there is no function {function}"));
    let envelope = Envelope {
        function,
        binding: &trigger.name,
        data_type: trigger.data_type,
        now,
        random: Uuid::nil(),
    };
    let bodies: Vec<Vec<u8>> = match trigger.cardinality {
        Cardinality::One => messages
            .iter()
            .map(|message| envelope.encode_single(message))
            .collect(),
        Cardinality::Many => match envelope.encode_batch(messages) {
            Ok(body) => vec![body],
            Err(error) => panic!("the messages are no batch: {error}"),
        },
    };
    for body in bodies {
        let id = "test".to_owned();
        let call = Call::new(id, BUDGET, None, now, CancellationToken::new());
        if let Some(Err(error)) = registry.invoke(function, &body, &call).await {
            return Err(error);
        }
    }
    Ok(())
}

fn must<T>(result: Result<T, sqlx::Error>) -> T {
    result.unwrap_or_else(|error| panic!("the database failed: {error}"))
}
