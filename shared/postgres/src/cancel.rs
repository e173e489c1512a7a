//! The end of what waits or runs, because an operator says so.

use chrono::{DateTime, Utc};
use nightshift_job::JobKey;
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::open_message;
use crate::text::storable;

/// How it stands with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It waits, or is a run that a process is at.
    Open(Open),
    /// A process is calling another system for it.
    Calling {
        /// The function.
        function: String,
    },
    /// Nothing waits under it.
    Gone,
}

/// What waits, or is a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The function that it is for.
    pub function: String,
    /// Why it waits, in a word.
    pub reason: String,
    /// Failed tries so far.
    pub attempt: i32,
    /// The original's id.
    pub message_id: Option<String>,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// When the broker accepted the original.
    pub enqueued: DateTime<Utc>,
    /// The application properties, as JSON text.
    pub properties: String,
    /// The concurrency key of which it has a place.
    pub place: Option<Uuid>,
}

/// How it stands with `key`, which is the transaction's from now on, with its session.
#[instrument(target = TRACE, name = "db.run.look", skip_all)]
pub async fn look(tx: &mut PgConnection, key: JobKey) -> Result<Standing, sqlx::Error> {
    let session = sqlx::query!(
        "SELECT function, session_id AS \"session_id!\" FROM nightshift.open_message
         WHERE key = $1 AND session_id IS NOT NULL",
        key.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(session) = session {
        // Before the row itself, as whoever works on the session does.
        open_message::lock_sessions(tx, &session.function, &[&session.session_id]).await?;
    }
    let row = sqlx::query_file!("sql/lock_to_cancel.sql", key.0)
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else {
        return Ok(Standing::Gone);
    };
    if row.reason == "calling" && !row.is_run {
        return Ok(Standing::Calling {
            function: row.function,
        });
    }
    let has_place = row.reason != "queued";
    Ok(Standing::Open(Open {
        function: row.function,
        reason: row.reason,
        attempt: row.attempt,
        message_id: row.message_id,
        session_id: row.session_id,
        enqueued: row.enqueued_at,
        properties: row.properties,
        place: row.concurrency_key.filter(|_| has_place),
    }))
}

/// Ends `key`, which [`look`] has found open and whose original the broker accepted at `enqueued`: nothing
/// waits any more, the inbox says `why`, and whoever is at the run writes nothing from the commit on.
#[instrument(target = TRACE, name = "db.run.cancel", skip_all)]
pub async fn end(
    tx: &mut PgConnection,
    key: JobKey,
    enqueued: DateTime<Utc>,
    why: &str,
) -> Result<(), sqlx::Error> {
    let day = enqueued.date_naive();
    sqlx::query_file!("sql/cancel.sql", key.0, day, storable(why))
        .execute(tx)
        .await?;
    Ok(())
}
