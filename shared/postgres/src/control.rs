//! What operators have stopped.

use nightshift_telemetry::trace::TRACE;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::instrument;

use sqlx::PgConnection;

use crate::audit::{self, Act};
use crate::text::storable;

/// For how long what was read is believed: a pause takes effect after this long at most.
const FRESH: Duration = Duration::from_secs(2);

/// Pauses `function`: within two seconds its messages are no longer run but wait, in the order of
/// their arrival, and the queue does not grow. `false`: it was paused before. That `actor` did it
/// stands in the audit.
#[instrument(target = TRACE, name = "db.pause.set", skip_all)]
pub async fn pause(
    tx: &mut PgConnection,
    function: &str,
    actor: &str,
    why: &str,
) -> Result<bool, sqlx::Error> {
    let paused = sqlx::query!(
        "INSERT INTO nightshift.control (function, paused_by, why) VALUES ($1, $2, $3)
         ON CONFLICT (function) DO NOTHING",
        function,
        storable(actor),
        storable(why),
    )
    .execute(&mut *tx)
    .await?;
    let act = Act {
        actor,
        action: "function.pause",
        target: function,
    };
    audit::append(tx, act, &why).await?;
    Ok(paused.rows_affected() == 1)
}

/// Ends the pause of `function`. What waits comes back in the order of its arrival, each message
/// `interval` after the one before. Returns how many there are. What a process that has not heard of it
/// yet puts aside is woken by [`wake_stragglers`]. That `actor` did it stands in the audit.
#[instrument(target = TRACE, name = "db.pause.end", skip_all)]
pub async fn resume(
    tx: &mut PgConnection,
    function: &str,
    interval: Duration,
    actor: &str,
) -> Result<u64, sqlx::Error> {
    let woken = sqlx::query_file!("sql/resume.sql", function, interval.as_secs_f64())
        .execute(&mut *tx)
        .await?;
    let act = Act {
        actor,
        action: "function.resume",
        target: function,
    };
    audit::append(tx, act, &woken.rows_affected()).await?;
    Ok(woken.rows_affected())
}

/// Wakes at most `at_most` messages that wait for the end of a pause that has ended.
pub async fn wake_stragglers(
    connection: &mut PgConnection,
    at_most: i64,
) -> Result<u64, sqlx::Error> {
    let woken = sqlx::query_file!("sql/wake_stragglers.sql", at_most)
        .execute(connection)
        .await?;
    Ok(woken.rows_affected())
}

/// Which functions are paused, as last read.
#[derive(Debug, Default)]
pub struct Pauses {
    known: Mutex<Option<(Instant, BTreeSet<String>)>>,
}

impl Pauses {
    /// Whether `function` is paused. Asks the database if what is known is older than two seconds.
    #[instrument(target = TRACE, name = "db.pause.read", skip_all)]
    pub async fn is_paused(
        &self,
        connection: &mut PgConnection,
        function: &str,
    ) -> Result<bool, sqlx::Error> {
        if let Some(is_paused) = self.recall(function) {
            return Ok(is_paused);
        }
        let paused = sqlx::query_scalar!("SELECT function FROM nightshift.control")
            .fetch_all(connection)
            .await?;
        let paused: BTreeSet<String> = paused.into_iter().collect();
        let is_paused = paused.contains(function);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), paused));
        Ok(is_paused)
    }

    fn recall(&self, function: &str) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, paused) = known.as_ref()?;
        (read.elapsed() < FRESH).then(|| paused.contains(function))
    }
}
