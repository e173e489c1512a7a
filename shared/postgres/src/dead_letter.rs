//! Messages that no further try would help.
//!
//! Writing one must not fail for the very reason the message is dead, so no value is converted:
//! the body stays bytes, and texts lose only the NUL character and what is beyond their length.

use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, JobKey, Refusal};
use sqlx::PgConnection;

use crate::text::storable;

/// A message on its way to the dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// The identity of the work.
    pub key: JobKey,
    /// The function that refused it.
    pub function: &'a str,
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
}

/// Stores `letter`, unless its key is dead already.
pub async fn bury(tx: &mut PgConnection, letter: &DeadLetter<'_>) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "sql/bury.sql",
        letter.key.0,
        letter.function,
        letter.refusal.reason,
        storable(&letter.refusal.description),
        letter.message_id.map(storable),
        letter.session_id.map(storable),
        letter.sequence_number,
        i32::try_from(letter.delivery_count).unwrap_or(i32::MAX),
        letter.enqueued,
        letter.properties,
        letter.body,
        letter.body_hash.0,
        letter.attempt,
        letter.r#gen,
    )
    .execute(tx)
    .await?;
    Ok(())
}
