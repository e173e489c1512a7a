//! Messages that no further try would help.
//!
//! Writing one must not fail for the very reason the message is dead, so no value is converted:
//! the body stays bytes, and texts lose only the NUL character and what is beyond their length.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, JobKey, Refusal};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::fingerprint::fingerprint;
use crate::text::storable;

/// A message on its way to the dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// The identity of the work.
    pub key: JobKey,
    /// The function that refused it.
    pub function: &'a str,
    /// Where it came from.
    pub queue: &'a str,
    /// Why.
    pub refusal: &'a Refusal,
    /// The producer's id.
    pub message_id: Option<&'a str>,
    /// The session the message belongs to.
    pub session_id: Option<&'a str>,
    /// The broker's number.
    pub sequence_number: i64,
    /// Which delivery this was, from 1.
    pub delivery_count: u32,
    /// When the broker accepted it.
    pub enqueued: DateTime<Utc>,
    /// The producer's application properties, as JSON text.
    pub properties: String,
    /// The body, as it came.
    pub body: &'a [u8],
    /// The body's hash.
    pub body_hash: BodyHash,
    /// Failed tries so far.
    pub attempt: i32,
    /// The number of the copy that died; 0 for an original.
    pub r#gen: i32,
    /// Whether the later messages of its session wait for it.
    pub holds_session: bool,
    /// The last call for it, if nobody knows how that ended.
    pub call: Option<Uuid>,
}

/// Stores `letters`; one whose key is dead already stays as it is.
#[instrument(target = TRACE, name = "db.dead_letter.bury", skip_all)]
pub async fn bury(tx: &mut PgConnection, letters: &[DeadLetter<'_>]) -> Result<(), sqlx::Error> {
    let all = letters.iter();
    let keys: Vec<Uuid> = all.clone().map(|letter| letter.key.0).collect();
    let functions: Vec<&str> = all.clone().map(|letter| letter.function).collect();
    let queues: Vec<&str> = all.clone().map(|letter| letter.queue).collect();
    let reasons: Vec<&str> = all.clone().map(|letter| letter.refusal.reason).collect();
    let descriptions: Vec<String> = all
        .clone()
        .map(|letter| storable(&letter.refusal.description))
        .collect();
    let message_ids: Vec<Option<String>> = all
        .clone()
        .map(|letter| letter.message_id.map(storable))
        .collect();
    let sessions: Vec<Option<String>> = all
        .clone()
        .map(|letter| letter.session_id.map(storable))
        .collect();
    let numbers: Vec<i64> = all.clone().map(|letter| letter.sequence_number).collect();
    let deliveries: Vec<i32> = all
        .clone()
        .map(|letter| i32::try_from(letter.delivery_count).unwrap_or(i32::MAX))
        .collect();
    let enqueued: Vec<DateTime<Utc>> = all.clone().map(|letter| letter.enqueued).collect();
    let properties: Vec<&str> = all
        .clone()
        .map(|letter| letter.properties.as_str())
        .collect();
    let bodies: Vec<&[u8]> = all.clone().map(|letter| letter.body).collect();
    let hashes: Vec<Uuid> = all.clone().map(|letter| letter.body_hash.0).collect();
    let attempts: Vec<i32> = all.clone().map(|letter| letter.attempt).collect();
    let gens: Vec<i32> = all.clone().map(|letter| letter.r#gen).collect();
    let holds: Vec<bool> = all.clone().map(|letter| letter.holds_session).collect();
    let calls: Vec<Option<Uuid>> = all.clone().map(|letter| letter.call).collect();
    let fingerprints: Vec<String> = all
        .map(
            |DeadLetter {
                 function, refusal, ..
             }| { fingerprint(function, refusal.reason, &refusal.description) },
        )
        .collect();
    sqlx::query_file!(
        "sql/bury.sql",
        &keys,
        &functions as &[&str],
        &queues as &[&str],
        &reasons as &[&str],
        &descriptions,
        &message_ids as &[Option<String>],
        &sessions as &[Option<String>],
        &numbers,
        &deliveries,
        &enqueued,
        &properties as &[&str],
        &bodies as &[&[u8]],
        &hashes,
        &attempts,
        &gens,
        &holds,
        &fingerprints,
        &calls as &[Option<Uuid>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes dead messages wait again, each for a copy that the next sweep sends once it is due: the
/// first at `start`, or now, and each later one `pause` after the one before. Returns those that were dead;
/// one that is redriven twice is tried once. A letter that says not from which queue it came stays. The
/// caller writes the audit.
#[instrument(target = TRACE, name = "db.dead_letter.redrive", skip_all)]
pub async fn redrive(
    tx: &mut PgConnection,
    keys: &[JobKey],
    start: Option<DateTime<Utc>>,
    pause: Duration,
) -> Result<Vec<JobKey>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let seconds = pause.as_secs_f64();
    let risen = sqlx::query_file_scalar!("sql/redrive.sql", &keys, seconds, start)
        .fetch_all(tx)
        .await?;
    Ok(risen.into_iter().map(JobKey).collect())
}

/// A session of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionOf {
    /// The function.
    pub function: String,
    /// The session.
    pub session_id: String,
}

/// The sessions that wait for some of the letters with `keys`.
#[instrument(target = TRACE, name = "db.dead_letter.find_held_sessions", skip_all)]
pub async fn held_sessions(
    connection: &mut PgConnection,
    keys: &[JobKey],
) -> Result<Vec<SessionOf>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query_as!(
        SessionOf,
        "SELECT DISTINCT function, session_id AS \"session_id!\" FROM nightshift.dead_letter
         WHERE key = ANY($1) AND holds_session AND session_id IS NOT NULL",
        &keys,
    )
    .fetch_all(connection)
    .await
}

/// Throws letters away; the inbox says `why`. Idempotent by key.
#[instrument(target = TRACE, name = "db.dead_letter.discard", skip_all)]
pub async fn discard(tx: &mut PgConnection, keys: &[JobKey], why: &str) -> Result<(), sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query_file!("sql/discard.sql", &keys, storable(why))
        .execute(tx)
        .await?;
    Ok(())
}

/// A redriven message of which no copy was sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risen {
    /// Its key.
    pub key: JobKey,
    /// Its function.
    pub function: String,
    /// Its session.
    pub session_id: Option<String>,
}

/// At most `most` redriven messages, of `function` or of all, of which no copy was sent yet.
#[instrument(target = TRACE, name = "db.dead_letter.find_risen", skip_all)]
pub async fn risen(
    connection: &mut PgConnection,
    function: Option<&str>,
    most: i64,
) -> Result<Vec<Risen>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/risen.sql", function, most)
        .fetch_all(connection)
        .await?;
    let risen = rows.into_iter().map(|row| Risen {
        key: JobKey(row.key),
        function: row.function,
        session_id: row.session_id,
    });
    Ok(risen.collect())
}

/// Makes dead letters again of redriven messages of which no copy was sent yet. Returns how many.
#[instrument(target = TRACE, name = "db.dead_letter.undo_redrive", skip_all)]
pub async fn undo_redrive(tx: &mut PgConnection, keys: &[JobKey]) -> Result<u64, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let undone = sqlx::query_file!("sql/undo_redrive.sql", &keys)
        .execute(tx)
        .await?;
    Ok(undone.rows_affected())
}

/// Gives a letter other application properties, as JSON text. Idempotent by key.
#[instrument(target = TRACE, name = "db.dead_letter.set_properties", skip_all)]
pub async fn set_properties(
    tx: &mut PgConnection,
    key: JobKey,
    properties: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE nightshift.dead_letter SET properties = $2::text::json WHERE key = $1",
        key.0,
        properties,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Dead letters that have died of the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common, 16 hexadecimal digits.
    pub fingerprint: String,
    /// The function that refused them.
    pub function: String,
    /// Why, in a word.
    pub reason: String,
    /// The newest one's description.
    pub description: String,
    /// How many there are.
    pub count: i64,
    /// When the first of them died.
    pub first: DateTime<Utc>,
    /// When the last of them died.
    pub last: DateTime<Utc>,
}

/// The dead letters by what they died of, the largest group first.
#[instrument(target = TRACE, name = "db.dead_letter.group", skip_all)]
pub async fn groups(connection: &mut PgConnection) -> Result<Vec<Group>, sqlx::Error> {
    sqlx::query_file_as!(Group, "sql/dead_letter_groups.sql")
        .fetch_all(connection)
        .await
}
