//! What operators may learn of functions, and ask of them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_bus::ServiceBusClient;
use nightshift_job::{JobKey, Listed, Policy, RateLimit, Refusal, RequestId};
use nightshift_postgres::outbox::Promised;
use nightshift_postgres::schedule::{Requested, ScheduleError};
use nightshift_telemetry::trace::current_as_properties;
use sqlx::PgConnection;

use crate::cancel::{self, CancelFailed, Cancelled};
use crate::registry::{Caller, Registry};

/// A function as operators see it.
#[derive(Debug)]
pub struct Described<'a> {
    /// Its name.
    pub name: &'static str,
    /// What calls it.
    pub trigger: Trigger<'a>,
}

/// What calls a function.
#[derive(Debug)]
pub enum Trigger<'a> {
    /// Messages of a queue.
    Messages {
        /// The queue.
        queue: &'a str,
        /// Whether the queue has sessions.
        has_sessions: bool,
        /// How they are run.
        policy: &'a Policy,
        /// How many messages of one concurrency key are at work at a time.
        places: Places,
    },
    /// The clock.
    Clock(Listed),
    /// HTTP requests.
    Requests {
        /// The route below the prefix of all routes.
        route: String,
        /// In upper case; empty for all.
        methods: &'a [String],
    },
}

/// How many messages of one concurrency key a function works on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Its messages have no such key.
    NoKey,
    /// One, because its work is done in the transaction of the claim.
    InCommit,
    /// As many, unless an operator says otherwise.
    Declared(u32),
}

/// Why nothing can be asked of a function.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskFailed {
    /// The clock does not call it, or there is none with this name.
    #[error("{0:?} is not a function that the clock calls")]
    NotScheduled(String),
    /// The ledger of schedules says no.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl Registry {
    /// All functions, by name.
    pub fn described(&self) -> impl Iterator<Item = Described<'_>> {
        self.callers().map(|(name, caller)| {
            let trigger = match caller {
                Caller::Messages(invocable) => Trigger::Messages {
                    queue: invocable.queue(),
                    has_sessions: invocable.trigger().is_sessions_enabled,
                    policy: invocable.policy(),
                    places: invocable.places(),
                },
                Caller::Clock(timer) => Trigger::Clock(timer.listed()),
                Caller::Requests(door) => Trigger::Requests {
                    route: door.route.to_string(),
                    methods: &door.methods,
                },
            };
            Described { name, trigger }
        })
    }

    /// The function `name`.
    pub fn describe(&self, name: &str) -> Option<Described<'_>> {
        self.described().find(|function| function.name == name)
    }

    /// The rate limits, each with the functions that name it.
    pub fn rate_limits(&self) -> impl Iterator<Item = (RateLimit, Vec<&'static str>)> {
        self.limits().map(|(limit, _)| {
            let named = self.described().filter(|function| match function.trigger {
                Trigger::Messages { policy, .. } => policy.rate == Some(*limit),
                _ => false,
            });
            (*limit, named.map(|function| function.name).collect())
        })
    }

    /// Whether Redis answers, or what is wrong.
    pub async fn check_cache(&self) -> Result<(), String> {
        self.limiter().check().await
    }

    /// What the function `name` would say of a message with this `body` before it ran it: `Ok` if it can
    /// be decoded. `None` when no messages call it.
    pub fn decode(&self, name: &str, body: &[u8]) -> Option<Result<(), Refusal>> {
        match self.caller(name)? {
            Caller::Messages(invocable) => Some(invocable.decode(body)),
            Caller::Clock(_) | Caller::Requests(_) => None,
        }
    }

    /// Has the clock's function `name` run once, now, in `tx`. Idempotent by `request`. What is promised is
    /// sent by [`Registry::flush`] after the commit, or by the next sweep.
    pub async fn run_now(
        &self,
        tx: &mut PgConnection,
        name: &str,
        request: &RequestId,
    ) -> Result<Requested, AskFailed> {
        let Some(Caller::Clock(timer)) = self.caller(name) else {
            return Err(AskFailed::NotScheduled(name.to_owned()));
        };
        Ok(timer.run_now(tx, request).await?)
    }

    /// Has the clock's function `name` run for every tick in `range`, in `tx`. Idempotent by `request`;
    /// otherwise as [`Registry::run_now`].
    pub async fn backfill(
        &self,
        tx: &mut PgConnection,
        name: &str,
        range: (DateTime<Utc>, DateTime<Utc>),
        request: &RequestId,
    ) -> Result<Requested, AskFailed> {
        let Some(Caller::Clock(timer)) = self.caller(name) else {
            return Err(AskFailed::NotScheduled(name.to_owned()));
        };
        Ok(timer.backfill(tx, range, request).await?)
    }

    /// Ends what waits or runs under `key`, in `tx`, as if there had been nothing to do, because of `why`.
    /// What is promised is as with [`Registry::run_now`].
    ///
    /// # Errors
    /// [`CancelFailed`] says why it cannot be ended.
    pub async fn cancel(
        &self,
        tx: &mut PgConnection,
        key: JobKey,
        why: &str,
    ) -> Result<Cancelled, CancelFailed> {
        cancel::cancel(tx, key, why, &self.places(), self.clock().now()).await
    }

    /// Throws the dead letters with `keys` away, in `tx`, because of `why`; sessions that wait for one of them go on. Returns
    /// what is to be sent after the commit.
    pub async fn discard(
        &self,
        tx: &mut PgConnection,
        keys: &[JobKey],
        why: &str,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        cancel::discard(tx, keys, why, self.clock().now()).await
    }

    /// Makes dead letters again, in `tx`, of at most `most` redriven messages, of `function` or of all, of
    /// which no copy was sent yet. Returns how many, and what is to be sent after the commit.
    pub async fn undo(
        &self,
        tx: &mut PgConnection,
        function: Option<&str>,
        most: i64,
    ) -> Result<(usize, Vec<Promised>), sqlx::Error> {
        cancel::undo(tx, function, most, self.clock().now()).await
    }

    /// Has the sweeper look now for what is due, and not with its next round.
    pub fn sweep_soon(&self) {
        self.outbox().sweep_soon();
    }

    /// A message with this `body` for `queue`, to be promised.
    pub fn message(&self, queue: &str, message_id: &str, body: Bytes) -> Promised {
        let now = self.clock().now();
        Promised {
            id: nightshift_time::Ids::random().next(now),
            queue: queue.to_owned(),
            message_id: message_id.to_owned(),
            session_id: None,
            due: None,
            properties: current_as_properties(),
            body,
            wakes: None,
        }
    }

    /// Sends what a transaction that has just committed has promised.
    pub fn flush(&self, promised: Vec<Promised>) {
        self.outbox().flush(promised);
    }

    /// The broker; `None` if another process sends for this one.
    ///
    /// # Errors
    /// What [`nightshift_bus`] says when it cannot be reached.
    pub async fn broker(&self) -> Result<Option<ServiceBusClient>, nightshift_bus::BusError> {
        self.outbox().client().await
    }
}
