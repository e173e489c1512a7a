//! What the transactions do that work on the messages of ticks.

use std::collections::HashMap;

use nightshift_job::{REPLACED, TickId};
use sqlx::PgConnection;

use super::ledger::{Row, now, release_next};
use crate::outbox::Promised;
use crate::text::storable;

/// Why a tick's message is not run that comes when the tick has ended.
const ENDED: &str = "its tick has ended already";

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

/// Why those of `ticks` are not to be run that are over: another message of the same tick has ended it,
/// or a later tick has taken its place. Until the transaction ends nobody else runs one of them.
pub async fn over(
    tx: &mut PgConnection,
    ticks: &[TickId],
) -> Result<HashMap<String, &'static str>, sqlx::Error> {
    let ids: Vec<&str> = ticks.iter().map(TickId::as_str).collect();
    sqlx::query_file!("sql/lock_ticks.sql", &ids as &[&str])
        .execute(&mut *tx)
        .await?;
    let over = sqlx::query!(
        r#"SELECT id, state = 'cancelled' AS "is_cancelled!" FROM nightshift.schedule_tick
           WHERE id = ANY($1) AND state IN ('done', 'skipped', 'cancelled')"#,
        &ids as &[&str]
    )
    .fetch_all(tx)
    .await?;
    let why = |is_cancelled| if is_cancelled { REPLACED } else { ENDED };
    let over = over.into_iter().map(|row| (row.id, why(row.is_cancelled)));
    Ok(over.collect())
}
