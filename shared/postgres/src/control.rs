//! What operators have stopped, and the rates that they have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nightshift_job::{Rate, RateLimit};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use crate::audit::{self, Act};
use crate::text::storable;

/// For how long what was read is believed: a pause or another rate takes effect after this long at most.
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

/// What operators have said, as last read.
#[derive(Debug, Default)]
pub struct Controls {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    paused: BTreeSet<String>,
    /// By the limits' names.
    rates: BTreeMap<String, Rate>,
}

impl Controls {
    /// Whether `function` is paused. Asks the database, about everything, if what is known is older than two
    /// seconds.
    #[instrument(target = TRACE, name = "db.pause.read", skip_all)]
    pub async fn is_paused(
        &self,
        connection: &mut PgConnection,
        function: &str,
    ) -> Result<bool, sqlx::Error> {
        if let Some(is_paused) = self.known().recall(function) {
            return Ok(is_paused);
        }
        // What is read is at least as new as this instant.
        let read = Instant::now();
        let rows = sqlx::query_file!("sql/controls.sql")
            .fetch_all(connection)
            .await?;
        let mut known = Known {
            read: Some(read),
            ..Known::default()
        };
        for row in rows {
            match rate(row.count, row.per_micros, row.burst) {
                Some(rate) => drop(known.rates.insert(row.name, rate)),
                None => drop(known.paused.insert(row.name)),
            }
        }
        let is_paused = known.paused.contains(function);
        let mut newest = self.known();
        if newest.read < known.read {
            *newest = known;
        }
        Ok(is_paused)
    }

    /// `declared`, with the rate of an operator who has said another one.
    pub fn limit(&self, declared: RateLimit) -> RateLimit {
        match self.known().rates.get(declared.name) {
            Some(rate) => declared.at(*rate),
            None => declared,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn recall(&self, function: &str) -> Option<bool> {
        let read = self.read?;
        (read.elapsed() < FRESH).then(|| self.paused.contains(function))
    }
}

/// The rate in a row of `nightshift.rate_override`, whose constraints keep it within what a rate can be.
pub fn rate(count: Option<i64>, per_micros: Option<i64>, burst: Option<i64>) -> Option<Rate> {
    Some(Rate {
        count: u32::try_from(count?).ok()?,
        per: Duration::from_micros(u64::try_from(per_micros?).ok()?),
        burst: u32::try_from(burst?).ok()?,
    })
}
