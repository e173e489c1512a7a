//! Messages that may have killed their process.
//!
//! A message whose deliveries end without an outcome is run by itself, and that it is started is
//! committed before. A process that dies of it cannot take the mark back.

use nightshift_job::JobKey;
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

/// Marks that `process` starts a message, and returns how many processes have done so. A process that
/// starts it again is alive, so it is counted once.
#[instrument(target = TRACE, name = "db.lone_start.mark", skip_all)]
pub async fn mark(
    connection: &mut PgConnection,
    function: &str,
    key: JobKey,
    process: Uuid,
) -> Result<i32, sqlx::Error> {
    sqlx::query_file_scalar!("sql/mark_lone_start.sql", key.0, function, process)
        .fetch_one(connection)
        .await
}

/// Which of `keys` have been started before, by whomever.
#[instrument(target = TRACE, name = "db.lone_start.read", skip_all)]
pub async fn marked(
    connection: &mut PgConnection,
    keys: &[JobKey],
) -> Result<Vec<(JobKey, i32)>, sqlx::Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let rows = sqlx::query!(
        "SELECT key, starts FROM nightshift.lone_start WHERE key = ANY($1)",
        &keys
    )
    .fetch_all(connection)
    .await?;
    let marked = rows.into_iter().map(|row| (JobKey(row.key), row.starts));
    Ok(marked.collect())
}

/// The process has survived the message. Idempotent by key.
#[instrument(target = TRACE, name = "db.lone_start.unmark", skip_all)]
pub async fn unmark(connection: &mut PgConnection, key: JobKey) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM nightshift.lone_start WHERE key = $1", key.0)
        .execute(connection)
        .await?;
    Ok(())
}
