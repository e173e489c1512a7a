//! Messages that no further try would help.
//!
//! Writing one must not fail for the very reason the message is dead, so no value is converted:
//! the body stays bytes, and texts lose only the NUL character and what is beyond their length.

use chrono::{DateTime, Utc};
use nightshift_job::{BodyHash, JobKey, Refusal};
use sqlx::PgConnection;

/// The longest text that is stored in one column, in characters; a service's own limit for a
/// dead-letter description is the same.
const MAX_CHARS: usize = 4096;

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
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn storable(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .take(MAX_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_what_cannot_be_stored() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"ü".repeat(5000)).chars().count(), MAX_CHARS);
    }
}
