//! What the transactions do that work on the messages of ticks.

use std::collections::HashMap;

use nightshift_job::{REPLACED, TickId};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use super::ledger::{Row, now, release_next};
use crate::outbox::Promised;
use crate::text::storable;

/// How the work for a tick ended in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Done,
    /// There was nothing to do, for the reason given.
    Skipped(String),
    /// Its message is a dead letter, for the reason given.
    Failed(String),
    /// An operator has ended it, for the reason given.
    CalledOff(String),
    /// It has not: other messages do it, the last of which carries the tick on.
    Split,
}

impl Ended {
    /// Whether the schedule has done what it is for. `None`: that cannot be said, because the work goes on,
    /// or somebody did not want it.
    pub fn is_well(&self) -> Option<bool> {
        match self {
            Self::Done | Self::Skipped(_) => Some(true),
            Self::Failed(_) => Some(false),
            Self::CalledOff(_) | Self::Split => None,
        }
    }
}

/// What the end of a tick's work has come to.
#[derive(Debug, Default)]
pub struct Finished {
    /// Whether the tick has ended with it: not if it had before.
    pub has_ended: bool,
    /// The message of the tick that has waited for it and goes next, which the caller promises.
    pub next: Option<Promised>,
}

/// The work of `tick` ends with this transaction. Idempotent; a message that is nobody's tick changes
/// nothing.
#[instrument(target = TRACE, name = "db.tick.finish", skip_all)]
pub async fn finish(
    tx: &mut PgConnection,
    tick: &TickId,
    ended: &Ended,
) -> Result<Finished, sqlx::Error> {
    let Some(row) = Row::lock(tx, tick.function()).await? else {
        return Ok(Finished::default());
    };
    let (state, why) = match ended {
        Ended::Done => ("done", None),
        Ended::Skipped(why) | Ended::CalledOff(why) => ("skipped", Some(storable(why))),
        Ended::Failed(why) => ("failed", Some(storable(why))),
        Ended::Split => {
            // Its first message is not to be sent again.
            sqlx::query!(
                "UPDATE nightshift.schedule_tick SET resend_at = NULL WHERE id = $1",
                tick.as_str()
            )
            .execute(tx)
            .await?;
            return Ok(Finished::default());
        }
    };
    let is_well = ended.is_well() == Some(true);
    let finished = sqlx::query_file!("sql/finish_tick.sql", tick.as_str(), state, why, is_well)
        .fetch_one(&mut *tx)
        .await?;
    let now = now(tx).await?;
    Ok(Finished {
        has_ended: finished.ended > 0,
        next: release_next(tx, tick.function(), &row, now).await?,
    })
}

/// Why the message of a tick may be too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A later tick has taken its place.
    Cancelled,
    /// Another message has ended it.
    Ended,
    /// Its work is split: only what carries it on may end it.
    Split,
}

impl Over {
    /// The reason, for a person.
    pub fn why(self) -> &'static str {
        match self {
            Self::Cancelled => REPLACED,
            Self::Ended => "its tick has ended already",
            Self::Split => "the work of its tick is split already",
        }
    }
}

/// Those of `ticks` that wait for no message any more, or not for the first one. Until the transaction
/// ends nobody else runs one of them.
#[instrument(target = TRACE, name = "db.tick.read_over", skip_all)]
pub async fn over(
    tx: &mut PgConnection,
    ticks: &[TickId],
) -> Result<HashMap<String, Over>, sqlx::Error> {
    let ids: Vec<&str> = ticks.iter().map(TickId::as_str).collect();
    sqlx::query_file!("sql/lock_ticks.sql", &ids as &[&str])
        .execute(&mut *tx)
        .await?;
    let over = sqlx::query!(
        "SELECT id, state FROM nightshift.schedule_tick
         WHERE id = ANY($1)
           AND (state IN ('done', 'skipped', 'cancelled') OR state = 'enqueued' AND resend_at IS NULL)",
        &ids as &[&str]
    )
    .fetch_all(tx)
    .await?;
    let over = over.into_iter().map(|row| {
        let over = match row.state.as_str() {
            "cancelled" => Over::Cancelled,
            "enqueued" => Over::Split,
            _ => Over::Ended,
        };
        (row.id, over)
    });
    Ok(over.collect())
}
