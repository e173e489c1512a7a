//! What the transactions do that work on the messages of ticks.

use std::collections::HashSet;

use nightshift_job::TickId;
use sqlx::PgConnection;

use super::ledger::{Row, now, release_next};
use crate::outbox::Promised;
use crate::text::storable;

/// How the work for a tick ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Done,
    /// There was nothing to do, for the reason given.
    Skipped(String),
    /// Its message is a dead letter, for the reason given.
    Failed(String),
}

/// The work of `tick` ends with this transaction. Returns the message of the tick that has waited for
/// it and goes next, which the caller promises. Idempotent; a message that is nobody's tick changes
/// nothing.
pub async fn finish(
    tx: &mut PgConnection,
    tick: &TickId,
    ended: &Ended,
) -> Result<Option<Promised>, sqlx::Error> {
    let Some(row) = Row::lock(tx, tick.function()).await? else {
        return Ok(None);
    };
    let (state, why) = match ended {
        Ended::Done => ("done", None),
        Ended::Skipped(why) => ("skipped", Some(storable(why))),
        Ended::Failed(why) => ("failed", Some(storable(why))),
    };
    sqlx::query_file!("sql/finish_tick.sql", tick.as_str(), state, why)
        .execute(&mut *tx)
        .await?;
    let now = now(tx).await?;
    release_next(tx, tick.function(), &row, now).await
}

/// Those of `ticks` whose place a later tick has taken: they are not to be run.
pub async fn cancelled(
    tx: &mut PgConnection,
    ticks: &[TickId],
) -> Result<HashSet<String>, sqlx::Error> {
    let ids: Vec<&str> = ticks.iter().map(TickId::as_str).collect();
    let cancelled = sqlx::query_scalar!(
        "SELECT id FROM nightshift.schedule_tick WHERE id = ANY($1) AND state = 'cancelled'",
        &ids as &[&str]
    )
    .fetch_all(tx)
    .await?;
    Ok(cancelled.into_iter().collect())
}
