//! Messages that wait.
//!
//! The row carries the work. What the broker holds, scheduled for the same instant, is a copy: an
//! alarm clock. Each copy has a number, and only the newest one runs, so that one that was sent
//! twice, or comes late, changes nothing.

use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, JobKey};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::text::storable;

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// For another try after a failed one.
    Retry,
    /// Because its function wants it later.
    Snooze,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Snooze => "snooze",
        }
    }
}

/// A message that is to wait.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// The identity of the work.
    pub key: JobKey,
    /// The function that it is for.
    pub function: &'a str,
    /// The queue that its copies go to.
    pub queue: &'a str,
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
    /// The producer's application properties, as JSON text.
    pub properties: &'a str,
    /// The body, as it came.
    pub body: &'a [u8],
    /// The body's hash.
    pub body_hash: BodyHash,
}

/// What is known of a waiting message whose copy has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The number of the copy that may run.
    pub r#gen: i32,
    /// Failed tries so far.
    pub attempt: i32,
    /// The original's id.
    pub message_id: Option<String>,
    /// The original's number in its queue.
    pub sequence_number: i64,
}

/// Locks those of `keys` that wait, for the rest of the transaction.
pub async fn lock(
    tx: &mut PgConnection,
    keys: &[JobKey],
) -> Result<Vec<(JobKey, Opened)>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let rows = sqlx::query_file!("sql/lock_waiting.sql", &keys)
        .fetch_all(tx)
        .await?;
    let opened = rows.into_iter().map(|row| {
        let opened = Opened {
            r#gen: row.r#gen,
            attempt: row.attempt,
            message_id: row.message_id,
            sequence_number: row.sequence_number,
        };
        (JobKey(row.key), opened)
    });
    Ok(opened.collect())
}

/// Makes a message wait, or wait on, and returns the number of the copy that will wake it.
pub async fn wait(tx: &mut PgConnection, waiting: &Waiting<'_>) -> Result<i32, sqlx::Error> {
    sqlx::query_file_scalar!(
        "sql/wait.sql",
        waiting.key.0,
        waiting.function,
        waiting.queue,
        waiting.gen_at_least,
        waiting.attempt,
        waiting.reason.name(),
        waiting.due,
        waiting.last_error.map(storable),
        waiting.message_id.map(storable),
        waiting.session_id.map(storable),
        waiting.sequence_number,
        waiting.enqueued,
        waiting.properties,
        waiting.body,
        waiting.body_hash.0,
    )
    .fetch_one(tx)
    .await
}

/// A message whose copy has not come, for which another one is to be sent.
#[derive(Debug, Clone)]
pub struct Overdue {
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
    /// How many copies with this number were sent after the first, this one included.
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

/// Takes at most `at_most` messages whose copies have not come; in the same transaction the caller
/// promises others.
pub async fn take_overdue(
    tx: &mut PgConnection,
    at_most: i64,
) -> Result<Vec<Overdue>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/take_overdue.sql", at_most)
        .fetch_all(tx)
        .await?;
    let overdue = rows.into_iter().map(|row| Overdue {
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
    });
    Ok(overdue.collect())
}

/// These messages do not wait any more: they are finished or dead. Idempotent by key.
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
