//! Messages that were sent together, and the one that is sent when all of them have ended.

use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::outbox::Promised;

/// How many children of one parent have ended in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The parent.
    pub parent: Uuid,
    /// All that have ended.
    pub ended: i32,
    /// Those of them that are dead.
    pub failed: i32,
}

/// The last child of a parent has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The message to send.
    pub finish: Promised,
    /// How many children are dead.
    pub failed: i32,
}

/// Opens the fan-out `id` with `children`, at least one; `finish` is sent when the last has ended.
#[instrument(target = TRACE, name = "db.fan_out.open", skip_all)]
pub async fn open(
    tx: &mut PgConnection,
    id: Uuid,
    children: i32,
    finish: &Promised,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "sql/open_fan_out.sql",
        id,
        children,
        finish.queue,
        finish.message_id,
        finish.session_id,
        finish.properties,
        &*finish.body,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts children that have ended, whose parents must differ. Each child's own claim makes that it is
/// counted once.
#[instrument(target = TRACE, name = "db.fan_out.end", skip_all)]
pub async fn end(tx: &mut PgConnection, ended: &[Ended]) -> Result<Vec<Finished>, sqlx::Error> {
    let parents: Vec<Uuid> = ended.iter().map(|ended| ended.parent).collect();
    let counts: Vec<i32> = ended.iter().map(|ended| ended.ended).collect();
    let failed: Vec<i32> = ended.iter().map(|ended| ended.failed).collect();
    let rows = sqlx::query_file!("sql/end_children.sql", &parents, &counts, &failed)
        .fetch_all(&mut *tx)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    sqlx::query!("DELETE FROM nightshift.fan_out WHERE id = ANY($1)", &ids)
        .execute(tx)
        .await?;
    let finished = rows.into_iter().map(|row| Finished {
        finish: Promised {
            id: row.id,
            queue: row.queue,
            message_id: row.message_id,
            session_id: row.session_id,
            due: None,
            properties: row.properties,
            body: row.body.into(),
            wakes: None,
        },
        failed: row.failed,
    });
    Ok(finished.collect())
}
