//! What functions have promised to send, as a broker would deliver it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

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

/// Takes the messages that wait and whose copy should have come, and returns another copy of each,
/// enqueued at `now`, as the sweeper sends them.
///
/// # Panics
/// When the database fails: a test cannot go on then.
pub async fn take_overdue(pool: &PgPool, now: DateTime<Utc>) -> Vec<TriggerMessage> {
    type Row = (Uuid, i32, i32, Option<String>, DateTime<Utc>, Vec<u8>);
    let rows: Result<Vec<Row>, sqlx::Error> = sqlx::query_as(
        "UPDATE nightshift.open_message
         SET rescues = rescues + 1, rescue_at = clock_timestamp() + interval '2 minutes'
         WHERE rescue_at <= clock_timestamp()
         RETURNING key, gen, attempt, session_id, enqueued_at, body",
    )
    .fetch_all(pool)
    .await;
    let rows = rows.unwrap_or_else(|error| panic!("the waiting messages cannot be read: {error}"));
    let messages = rows
        .into_iter()
        .map(|(key, r#gen, attempt, session_id, enqueued, body)| {
            let key = key.simple().to_string();
            let mut copy = message(&format!("ns:{key}:{gen}:1"), body, now)
                .with_property("ns-origin", key)
                .with_property("ns-gen", json!(r#gen))
                .with_property("ns-attempt", json!(attempt))
                .with_property("ns-enqueued", enqueued.to_rfc3339())
                .build();
            copy.session_id = session_id;
            copy
        });
    messages.collect()
}
