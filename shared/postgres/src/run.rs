//! Long work: a run that one process is at, that others can see, and that another process takes over
//! when the first is gone.
//!
//! A run has an epoch, which each start counts up. A process that was taken for dead and is not still
//! has the old one, and nothing that it writes commits: every transaction of a run begins with
//! [`Run::begin`]. What a run does elsewhere (names of blobs, scripts) carries [`Run::epoch`].

use std::future::Future;
use std::time::Duration;

use nightshift_job::{Classify, Cx, Disposition, Item, JobError, JobKey, KeyOf, Outcome, Policy};
use nightshift_telemetry::trace::TRACE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tracing::instrument;

use crate::pool::{BEGIN, Lease, in_time};
use crate::pooler;

/// How long telling progress may take: it waits for whoever has the run's row, such as a transaction of
/// the function itself.
const PROGRESS: Duration = Duration::from_secs(20);

/// A function that works for longer than a transaction may last: a restore, an export. It writes in
/// transactions of its own, each with [`Run::begin`], and goes on where it was with [`Run::saved`].
///
/// It is killed at any instant and started again: what it does between two transactions happens at
/// least once. A run that takes longer than [`Policy::timeout`] ends each slice in time with
/// [`Outcome::Continue`].
pub trait LongFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// How it is run; [`Policy::timeout`] is how long one slice may take.
    const POLICY: Policy;

    /// How long a run is its process's after a sign of life, of which a process gives three in that time.
    /// So long a run stands still whose process is gone; and should the database be away for longer,
    /// another process may take over a run whose own is alive. At least three seconds.
    const LEASE: Duration = Duration::from_secs(30);

    /// The body of its messages.
    type Input: nightshift_contract::Payload;

    /// Of messages with one key only [`Policy::concurrency`] at a time are run, on all machines; the
    /// others wait, in the order of their arrival. A run keeps its place from slice to slice.
    const CONCURRENCY_KEY: Option<KeyOf<Self::Input>> = None;

    /// Works on `item` and says how it, or this slice of it, ended.
    fn run(
        &self,
        item: &Item<Self::Input>,
        run: &Run,
        cx: &Cx,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

/// A run, in the hands of the process that started it last.
#[derive(Debug)]
pub struct Run {
    pool: PgPool,
    key: JobKey,
    lease: Duration,
    epoch: i32,
    saved: Option<String>,
}

/// Why a run does not go on in this process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Another process has taken it over, or it has ended.
    #[error("the run is not this process's any more: its epoch {epoch} is over")]
    TakenOver {
        /// The epoch of this process.
        epoch: i32,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// What was saved cannot be read, or is not to be written, as JSON.
    #[error("what the run has saved is not what it expects")]
    Saved(#[from] serde_json::Error),
}

impl Classify for RunError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::TakenOver { .. } => Disposition::Retry,
            Self::Database(error) => error.disposition(),
            Self::Saved(_) => Disposition::DeadLetter("saved-state"),
        }
    }
}

/// What a start has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    epoch: i32,
    saved: Option<String>,
}

/// Starts the run of `key`, or takes it over. Every write of whoever had it before fails from the
/// commit on.
#[instrument(target = TRACE, name = "db.run.start", skip_all)]
pub async fn start(
    tx: &mut PgConnection,
    key: JobKey,
    function: &str,
) -> Result<Started, sqlx::Error> {
    let row = sqlx::query_file!("sql/start_run.sql", key.0, function)
        .fetch_one(tx)
        .await?;
    Ok(Started {
        epoch: row.epoch,
        saved: row.saved,
    })
}

impl Run {
    /// The run that was `started` for `key`, and is this process's for `lease` after each sign of life.
    pub fn new(pool: PgPool, key: JobKey, lease: Duration, started: Started) -> Self {
        Self {
            pool,
            key,
            lease,
            epoch: started.epoch,
            saved: started.saved,
        }
    }

    /// Whose run it is.
    pub fn key(&self) -> JobKey {
        self.key
    }

    /// Which start this is, from 1. It belongs into the names of whatever a run makes elsewhere.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What the last process has saved.
    ///
    /// # Errors
    /// When it is no `T`.
    pub fn saved<T: DeserializeOwned>(&self) -> Result<Option<T>, RunError> {
        let saved = self.saved.as_deref();
        Ok(saved.map(serde_json::from_str).transpose()?)
    }

    /// A transaction that commits only if the run is still this process's, and in which no statement takes
    /// longer than 20 seconds, unless it says so itself (`SET LOCAL statement_timeout`).
    ///
    /// # Errors
    /// [`RunError::TakenOver`] when it is not.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, RunError> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        pooler::check(&mut tx).await?;
        self.guard(&mut tx, None, None, None).await?;
        Ok(tx)
    }

    /// Saves, with the rest of `tx`, where a take-over goes on.
    ///
    /// # Errors
    /// [`RunError::TakenOver`] when the run is somebody else's.
    #[instrument(target = TRACE, name = "db.run.save", skip_all)]
    pub async fn save(
        &self,
        tx: &mut PgConnection,
        state: &impl Serialize,
    ) -> Result<(), RunError> {
        let state = serde_json::to_string(state)?;
        self.guard(tx, Some(state), None, None).await
    }

    /// Says how far it is, to people who look. Not while a transaction of this run is open, for whose end
    /// it would wait.
    ///
    /// # Errors
    /// [`RunError::TakenOver`] when the run is somebody else's.
    #[instrument(target = TRACE, name = "db.run.progress", skip_all)]
    pub async fn progress(&self, progress: &impl Serialize) -> Result<(), RunError> {
        let progress = serde_json::to_string(progress)?;
        in_time(PROGRESS, async {
            let mut lease = Lease::take(&self.pool).await?;
            self.guard(lease.connection(), None, Some(progress), None)
                .await?;
            lease.end();
            Ok(())
        })
        .await
    }

    /// Says, with the rest of `tx`, what came of it.
    ///
    /// # Errors
    /// [`RunError::TakenOver`] when the run is somebody else's.
    #[instrument(target = TRACE, name = "db.run.report", skip_all)]
    pub async fn report(
        &self,
        tx: &mut PgConnection,
        report: &impl Serialize,
    ) -> Result<(), RunError> {
        let report = serde_json::to_string(report)?;
        self.guard(tx, None, None, Some(report)).await
    }

    async fn guard(
        &self,
        tx: &mut PgConnection,
        saved: Option<String>,
        progress: Option<String>,
        report: Option<String>,
    ) -> Result<(), RunError> {
        let row = sqlx::query_file_scalar!(
            "sql/guard_run.sql",
            self.key.0,
            self.epoch,
            saved,
            progress,
            report
        )
        .fetch_optional(tx)
        .await?;
        let epoch = self.epoch;
        row.map(|_| ()).ok_or(RunError::TakenOver { epoch })
    }

    /// Gives a sign of life: the lease begins anew.
    ///
    /// # Errors
    /// [`RunError::TakenOver`] when the run is somebody else's.
    pub async fn beat(&self) -> Result<(), RunError> {
        let seconds = self.lease.as_secs_f64();
        let mut lease = Lease::take(&self.pool).await?;
        let row = sqlx::query_file_scalar!("sql/beat_run.sql", self.key.0, self.epoch, seconds)
            .fetch_optional(lease.connection())
            .await?;
        lease.end();
        let epoch = self.epoch;
        row.map(|_| ()).ok_or(RunError::TakenOver { epoch })
    }
}

/// Ends the run, if it is still the one with `epoch`.
#[instrument(target = TRACE, name = "db.run.end", skip_all)]
pub async fn end(tx: &mut PgConnection, key: JobKey, epoch: i32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE nightshift.run SET ended_at = clock_timestamp()
         WHERE key = $1 AND epoch = $2 AND ended_at IS NULL",
        key.0,
        epoch,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes runs, and what is left of messages and of split work, that nothing has changed for `days`.
/// Returns how many rows that were.
#[instrument(target = TRACE, name = "db.run.forget_old", skip_all)]
pub async fn forget_old(tx: &mut PgConnection, days: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("sql/forget_old.sql", days)
        .fetch_one(tx)
        .await
}
