//! Messages that wait.
//!
//! The row carries the work. What the broker holds, scheduled for the same instant, is a copy: an
//! alarm clock. Each copy has a number, and only the newest one runs, so that one that was sent
//! twice, or comes late, changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, ConcurrencyKey, JobKey};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::text::storable;

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// For another try after a failed one.
    Retry,
    /// Because its function wants it later.
    Snooze,
    /// For the next slice of long work.
    Continue,
    /// For an earlier message of its session, whose end makes it [`Reason::Turn`].
    Parked,
    /// For nothing any more.
    Turn,
    /// For the end of a call to another system.
    Calling,
    /// For a decision about a call whose end nobody knows.
    Unknown,
    /// For another try after it was dead.
    Redrive,
    /// For the end of its function's pause.
    Paused,
    /// For a slot of its function's rate limit, which is its own.
    Limited,
    /// Because its function's rate limit gives out no slots.
    Closed,
    /// For a place among those of its concurrency key, which makes it [`Reason::Turn`].
    Queued,
}

impl Reason {
    const ALL: [Self; 12] = [
        Self::Retry,
        Self::Snooze,
        Self::Continue,
        Self::Parked,
        Self::Turn,
        Self::Calling,
        Self::Unknown,
        Self::Redrive,
        Self::Paused,
        Self::Limited,
        Self::Closed,
        Self::Queued,
    ];

    /// The word for it in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Snooze => "snooze",
            Self::Continue => "continue",
            Self::Parked => "parked",
            Self::Turn => "turn",
            Self::Calling => "calling",
            Self::Unknown => "unknown",
            Self::Redrive => "redrive",
            Self::Paused => "paused",
            Self::Limited => "limited",
            Self::Closed => "closed",
            Self::Queued => "queued",
        }
    }

    /// A word that a later release has written is a wait like any other.
    fn of(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|reason| reason.name() == name)
            .unwrap_or(Self::Retry)
    }

    /// Whether a copy wakes the message.
    pub fn has_copy(self) -> bool {
        !matches!(
            self,
            Self::Parked | Self::Calling | Self::Paused | Self::Queued
        )
    }
}

/// A message that is to wait.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// The identity of the work.
    pub key: JobKey,
    /// The number for the copy, if the message does not wait yet; else it gets the next one.
    pub gen_at_least: i32,
    /// Failed tries so far.
    pub attempt: i32,
    /// Why it waits.
    pub reason: Reason,
    /// Until when.
    pub due: DateTime<Utc>,
    /// What the last failed try said.
    pub last_error: Option<&'a str>,
    /// The original's id.
    pub message_id: Option<&'a str>,
    /// The session it belongs to.
    pub session_id: Option<&'a str>,
    /// The original's number in its queue.
    pub sequence_number: i64,
    /// When the broker accepted the original.
    pub enqueued: DateTime<Utc>,
    /// The application properties, as JSON text.
    pub properties: String,
    /// The body.
    pub body: &'a [u8],
    /// The body's hash.
    pub body_hash: BodyHash,
    /// The call that is under way or was last.
    pub call: Option<Uuid>,
    /// For how long the call that is under way is its process's, instead of `due`.
    pub lease: Option<Duration>,
    /// Of which concurrency key it has a place or, if it is [`Reason::Queued`], waits for one.
    pub concurrency_key: Option<ConcurrencyKey>,
}

/// What is known of a waiting message whose copy has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The number of the copy that may run.
    pub r#gen: i32,
    /// Failed tries so far.
    pub attempt: i32,
    /// Why it waits.
    pub reason: Reason,
    /// Whether its time has not come yet, by the database's clock.
    pub is_early: bool,
    /// The time that it waits for.
    pub due: DateTime<Utc>,
    /// The call that is under way or was last.
    pub call: Option<Uuid>,
    /// The concurrency key of which it has a place.
    pub place: Option<ConcurrencyKey>,
    /// The original's id.
    pub message_id: Option<String>,
    /// The original's number in its queue.
    pub sequence_number: i64,
}

/// Locks those of `keys` that wait, for the rest of the transaction.
#[instrument(target = TRACE, name = "db.open_message.lock", skip_all)]
pub async fn lock(
    tx: &mut PgConnection,
    keys: &[JobKey],
) -> Result<Vec<(JobKey, Opened)>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let rows = sqlx::query_file!("sql/lock_waiting.sql", &keys)
        .fetch_all(tx)
        .await?;
    let opened = rows.into_iter().map(|row| {
        let reason = Reason::of(&row.reason);
        let place = row.concurrency_key.map(ConcurrencyKey);
        let opened = Opened {
            r#gen: row.r#gen,
            attempt: row.attempt,
            reason,
            is_early: row.is_early,
            due: row.due_at,
            call: row.call_id,
            place: place.filter(|_| reason != Reason::Queued),
            message_id: row.message_id,
            sequence_number: row.sequence_number,
        };
        (JobKey(row.key), opened)
    });
    Ok(opened.collect())
}

/// The bodies of those of `keys` that wait: a copy that is too large for a message has none.
#[instrument(target = TRACE, name = "db.open_message.read_bodies", skip_all)]
pub async fn bodies(
    connection: &mut PgConnection,
    keys: &[JobKey],
) -> Result<Vec<(JobKey, Vec<u8>)>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let rows = sqlx::query!(
        "SELECT key, body FROM nightshift.open_message WHERE key = ANY($1)",
        &keys
    )
    .fetch_all(connection)
    .await?;
    let bodies = rows.into_iter().map(|row| (JobKey(row.key), row.body));
    Ok(bodies.collect())
}

/// Makes messages of `function`, whose keys must differ, wait or wait on. Returns for each the number
/// of the copy that will wake it, in another order.
#[instrument(target = TRACE, name = "db.open_message.wait", skip_all)]
pub async fn wait(
    tx: &mut PgConnection,
    function: &str,
    queue: &str,
    waiting: &[Waiting<'_>],
) -> Result<Vec<(JobKey, i32)>, sqlx::Error> {
    let all = waiting.iter();
    let keys: Vec<Uuid> = all.clone().map(|row| row.key.0).collect();
    let gens: Vec<i32> = all.clone().map(|row| row.gen_at_least).collect();
    let attempts: Vec<i32> = all.clone().map(|row| row.attempt).collect();
    let reasons: Vec<&str> = all.clone().map(|row| row.reason.name()).collect();
    let dues: Vec<DateTime<Utc>> = all.clone().map(|row| row.due).collect();
    let errors: Vec<Option<String>> = all
        .clone()
        .map(|row| row.last_error.map(storable))
        .collect();
    let message_ids: Vec<Option<String>> = all
        .clone()
        .map(|row| row.message_id.map(storable))
        .collect();
    let sessions: Vec<Option<String>> = all
        .clone()
        .map(|row| row.session_id.map(storable))
        .collect();
    let numbers: Vec<i64> = all.clone().map(|row| row.sequence_number).collect();
    let enqueued: Vec<DateTime<Utc>> = all.clone().map(|row| row.enqueued).collect();
    let properties: Vec<&str> = all.clone().map(|row| row.properties.as_str()).collect();
    let bodies: Vec<&[u8]> = all.clone().map(|row| row.body).collect();
    let hashes: Vec<Uuid> = all.clone().map(|row| row.body_hash.0).collect();
    let calls: Vec<Option<Uuid>> = all.clone().map(|row| row.call).collect();
    let places: Vec<Option<Uuid>> = all
        .clone()
        .map(|row| row.concurrency_key.map(|key| key.0))
        .collect();
    let leases: Vec<Option<f64>> = all
        .map(|row| row.lease.as_ref().map(Duration::as_secs_f64))
        .collect();
    let rows = sqlx::query_file!(
        "sql/wait.sql",
        &keys,
        &gens,
        &attempts,
        &reasons as &[&str],
        &dues,
        &errors as &[Option<String>],
        &message_ids as &[Option<String>],
        &sessions as &[Option<String>],
        &numbers,
        &enqueued,
        &properties as &[&str],
        &bodies as &[&[u8]],
        &hashes,
        &calls as &[Option<Uuid>],
        function,
        queue,
        &leases as &[Option<f64>],
        &places as &[Option<Uuid>],
    )
    .fetch_all(tx)
    .await?;
    let gens = rows.into_iter().map(|row| (JobKey(row.key), row.r#gen));
    Ok(gens.collect())
}

/// A message that waits, for which a copy is to be sent.
#[derive(Debug, Clone)]
pub struct ToWake {
    /// The identity of the work.
    pub key: JobKey,
    /// The function that it is for.
    pub function: String,
    /// The queue that the copy goes to.
    pub queue: String,
    /// The number of the copy.
    pub r#gen: i32,
    /// Failed tries so far.
    pub attempt: i32,
    /// How many copies with this number were sent after the first, this one included; 0 for the first.
    pub rescues: i32,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// When the broker accepted the original.
    pub enqueued: DateTime<Utc>,
    /// The producer's application properties, as JSON text.
    pub properties: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A [`ToWake`] as the database returns it.
struct ToWakeRow {
    key: Uuid,
    function: String,
    queue: String,
    r#gen: i32,
    attempt: i32,
    rescues: i32,
    session_id: Option<String>,
    enqueued_at: DateTime<Utc>,
    properties: String,
    body: Vec<u8>,
}

impl From<ToWakeRow> for ToWake {
    fn from(row: ToWakeRow) -> Self {
        Self {
            key: JobKey(row.key),
            function: row.function,
            queue: row.queue,
            r#gen: row.r#gen,
            attempt: row.attempt,
            rescues: row.rescues,
            session_id: row.session_id,
            enqueued: row.enqueued_at,
            properties: row.properties,
            body: row.body,
        }
    }
}

/// Makes it the turn of the first open message of each of `sessions`, where it is parked. In the same
/// transaction the caller promises the copies.
#[instrument(target = TRACE, name = "db.open_message.wake_next", skip_all)]
pub async fn wake_next(
    tx: &mut PgConnection,
    function: &str,
    sessions: &[&str],
) -> Result<Vec<ToWake>, sqlx::Error> {
    let stored: Vec<String> = sessions.iter().copied().map(storable).collect();
    let rows = sqlx::query_file_as!(ToWakeRow, "sql/wake_next.sql", function, &stored)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(ToWake::from).collect())
}

/// Makes sure that nobody else works for `sessions` of `function` until the transaction ends, and
/// returns for each that has open messages the number of the first.
#[instrument(target = TRACE, name = "db.session.lock", skip_all)]
pub async fn lock_sessions(
    tx: &mut PgConnection,
    function: &str,
    sessions: &[&str],
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let stored: Vec<String> = sessions.iter().copied().map(storable).collect();
    sqlx::query_file!("sql/lock_sessions.sql", function, &stored)
        .fetch_all(&mut *tx)
        .await?;
    let rows = sqlx::query_file!("sql/first_open_of_sessions.sql", function, &stored)
        .fetch_all(tx)
        .await?;
    let first = rows.into_iter().map(|row| (row.session_id, row.first));
    Ok(first.collect())
}

/// Makes sure that nobody else takes or gives up a place of `keys` until the transaction ends.
#[instrument(target = TRACE, name = "db.place.lock", skip_all)]
pub async fn lock_places(
    tx: &mut PgConnection,
    keys: &[ConcurrencyKey],
) -> Result<(), sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query_file!("sql/lock_places.sql", &keys)
        .fetch_all(tx)
        .await?;
    Ok(())
}

/// A concurrency key of a function, and how many of its messages may be at work at a time unless an
/// operator says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places<'a> {
    /// The function.
    pub function: &'a str,
    /// The key.
    pub key: ConcurrencyKey,
    /// How many.
    pub declared: u32,
}

/// Whether the message `key`, the `sequence_number`-th of its queue, may take one of `places`. Locks them.
#[instrument(target = TRACE, name = "db.place.find", skip_all)]
pub async fn has_place(
    tx: &mut PgConnection,
    places: Places<'_>,
    key: JobKey,
    sequence_number: i64,
) -> Result<bool, sqlx::Error> {
    lock_places(tx, &[places.key]).await?;
    sqlx::query_file_scalar!(
        "sql/has_place.sql",
        places.key.0,
        key.0,
        sequence_number,
        i64::from(places.declared),
        places.function
    )
    .fetch_one(tx)
    .await
}

/// Gives the first of those that wait for one of `places` those that are free. In the same transaction the
/// caller promises the copies.
#[instrument(target = TRACE, name = "db.open_message.wake_queued", skip_all)]
pub async fn wake_queued(
    tx: &mut PgConnection,
    places: Places<'_>,
) -> Result<Vec<ToWake>, sqlx::Error> {
    lock_places(tx, &[places.key]).await?;
    let rows = sqlx::query_file_as!(
        ToWakeRow,
        "sql/wake_queued.sql",
        places.key.0,
        i64::from(places.declared),
        places.function
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(ToWake::from).collect())
}

/// At most `at_most` concurrency keys of which messages wait while there is a free place, each with its
/// function. `declared` says how many places a key has, by function; one that is not there has one. What
/// operators say counts before both.
pub async fn stuck_queues(
    connection: &mut PgConnection,
    declared: &BTreeMap<&str, u32>,
    at_most: i64,
) -> Result<Vec<(String, ConcurrencyKey)>, sqlx::Error> {
    let functions: Vec<String> = declared.keys().map(|name| (*name).to_owned()).collect();
    let places: Vec<i64> = declared.values().copied().map(i64::from).collect();
    let rows = sqlx::query_file!("sql/stuck_queues.sql", &functions, &places, at_most)
        .fetch_all(connection)
        .await?;
    let stuck = rows.into_iter();
    Ok(stuck
        .map(|row| (row.function, ConcurrencyKey(row.key)))
        .collect())
}

/// Takes at most `at_most` messages whose copies have not come; in the same transaction the caller
/// promises others.
pub async fn take_overdue(tx: &mut PgConnection, at_most: i64) -> Result<Vec<ToWake>, sqlx::Error> {
    let rows = sqlx::query_file_as!(ToWakeRow, "sql/take_overdue.sql", at_most)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(ToWake::from).collect())
}

/// These messages do not wait any more: they are finished or dead. Idempotent by key.
#[instrument(target = TRACE, name = "db.open_message.close", skip_all)]
pub async fn close(tx: &mut PgConnection, keys: &[JobKey]) -> Result<(), sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query!(
        "DELETE FROM nightshift.open_message WHERE key = ANY($1)",
        &keys
    )
    .execute(tx)
    .await?;
    Ok(())
}
