//! Messages that a committed transaction has promised to send.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_job::{JobKey, Refusal};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::fingerprint::fingerprint;
use crate::open_message;
use crate::text::storable;

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promised {
    /// Names the row; by time of writing.
    pub id: Uuid,
    /// Where it goes.
    pub queue: String,
    /// The same in every try, so that its receiver recognises a second one.
    pub message_id: String,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// It is not delivered before.
    pub due: Option<DateTime<Utc>>,
    /// The application properties, as the text of a JSON object.
    pub properties: String,
    /// The body.
    pub body: Bytes,
    /// The message that waits for it, if it is a copy.
    pub wakes: Option<JobKey>,
}

/// Promises `messages`: they are sent if the transaction commits.
#[instrument(target = TRACE, name = "db.outbox.promise", skip_all)]
pub async fn promise(tx: &mut PgConnection, messages: &[Promised]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
    let queues: Vec<&str> = messages.iter().map(|m| m.queue.as_str()).collect();
    let message_ids: Vec<&str> = messages.iter().map(|m| m.message_id.as_str()).collect();
    let session = |message: &Promised| message.session_id.as_deref().map(storable);
    let sessions: Vec<Option<String>> = messages.iter().map(session).collect();
    let dues: Vec<Option<DateTime<Utc>>> = messages.iter().map(|message| message.due).collect();
    let properties: Vec<&str> = messages.iter().map(|m| m.properties.as_str()).collect();
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    let wakes: Vec<Option<Uuid>> = messages.iter().map(|m| m.wakes.map(|key| key.0)).collect();
    sqlx::query_file!(
        "sql/promise.sql",
        &ids,
        &queues as &[&str],
        &message_ids as &[&str],
        &sessions as &[Option<String>],
        &dues as &[Option<DateTime<Utc>>],
        &properties as &[&str],
        &bodies as &[&[u8]],
        &wakes as &[Option<Uuid>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes at most `at_most` messages that nobody has sent in time, in the order in which they were promised;
/// they are the caller's until their next try is due.
pub async fn take(
    connection: &mut PgConnection,
    at_most: i64,
) -> Result<Vec<Promised>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/take_outbox.sql", at_most)
        .fetch_all(connection)
        .await?;
    let promised = rows.into_iter().map(|row| Promised {
        id: row.id,
        queue: row.queue,
        message_id: row.message_id,
        session_id: row.session_id,
        due: row.due_at,
        properties: row.properties,
        body: row.body.into(),
        wakes: row.wakes.map(JobKey),
    });
    let mut promised: Vec<Promised> = promised.collect();
    promised.sort_unstable_by_key(|promised| promised.id);
    Ok(promised)
}

/// The broker has these messages; whatever waits for one is not rescued before that has had time to
/// come. Idempotent by id.
pub async fn forget(connection: &mut PgConnection, sent: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/forget_sent.sql", sent)
        .execute(connection)
        .await?;
    Ok(())
}

/// A promised message that is a dead letter now, or what waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// Its key among the dead letters.
    pub key: Uuid,
    /// Its id, or that of the original.
    pub message_id: Option<String>,
    /// Its application properties, as JSON text.
    pub properties: String,
}

/// Makes a dead letter of a message that the broker refuses for what it is, or of what waits for it.
/// `None` if that does not wait any more.
pub async fn bury(
    tx: &mut PgConnection,
    id: Uuid,
    refusal: &Refusal,
) -> Result<Option<Buried>, sqlx::Error> {
    let session = sqlx::query_file!("sql/session_of_promised.sql", id)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(session) = session {
        // Nobody parks a message behind this one in the meantime.
        open_message::lock_sessions(tx, &session.function, &[&session.session_id]).await?;
    }
    let description = storable(&refusal.description);
    let fingerprint = fingerprint("", refusal.reason, &description);
    sqlx::query_file_as!(
        Buried,
        "sql/bury_promised.sql",
        id,
        refusal.reason,
        description,
        fingerprint
    )
    .fetch_optional(tx)
    .await
}

/// Notes why a message could not be sent. Idempotent by id.
pub async fn note_failure(
    connection: &mut PgConnection,
    id: Uuid,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE nightshift.outbox SET last_error = $2 WHERE id = $1",
        id,
        storable(error),
    )
    .execute(connection)
    .await?;
    Ok(())
}
