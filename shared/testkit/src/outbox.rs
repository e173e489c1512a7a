//! What functions have promised to send, as a broker would deliver it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use sqlx::PgPool;

use crate::message::message;

/// Takes everything out of the outbox, the first written first. Each message is enqueued when it is
/// due, or at `now`.
///
/// # Panics
/// When the database fails: a test cannot go on then.
pub async fn take_promised(pool: &PgPool, now: DateTime<Utc>) -> Vec<TriggerMessage> {
    type Row = (
        String,
        Option<String>,
        Option<DateTime<Utc>>,
        String,
        Vec<u8>,
    );
    let rows: Result<Vec<Row>, sqlx::Error> = sqlx::query_as(
        "WITH gone AS (DELETE FROM nightshift.outbox RETURNING *)
         SELECT message_id, session_id, due_at, properties::text, body FROM gone ORDER BY id",
    )
    .fetch_all(pool)
    .await;
    let rows = rows.unwrap_or_else(|error| panic!("the outbox cannot be read: {error}"));
    let messages = rows
        .into_iter()
        .map(|(id, session_id, due, properties, body)| {
            let mut promised = message(&id, Bytes::from(body), due.unwrap_or(now)).build();
            promised.session_id = session_id;
            promised.application_properties = serde_json::from_str(&properties).unwrap_or_default();
            promised
        });
    messages.collect()
}
