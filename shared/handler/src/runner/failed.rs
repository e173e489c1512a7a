//! Why a transaction did not commit, and what a function's own failure says.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use nightshift_job::JobError;
use nightshift_postgres::inbox::is_without_partition;
use nightshift_postgres::{
    NotCarried, is_conflict, is_lost, is_misplaced, is_not_in_order, is_unreachable,
};
use nightshift_telemetry::causes;
use tokio::time::timeout;

use crate::fate::Failure;
use crate::work::OutOfOrder;

/// Why a transaction did not commit, or not all of its members are settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptFailed {
    /// The database cannot be used for anything: not reachable, or not as this release expects it.
    /// No message is at fault.
    #[error("{0}")]
    Away(String),
    /// The inbox has no room for a day that a message was enqueued on.
    #[error("{0}")]
    NoPartition(String),
    #[error("{}", causes(.0))]
    Database(sqlx::Error),
    /// Another transaction was in the function's way.
    #[error("{0}")]
    Conflict(JobError),
    /// The function failed.
    #[error("{}", .0.error)]
    Function(Failure),
    /// The function was not done in time, and may have left a statement in the middle.
    #[error("{}", .0.error)]
    TooSlow(Failure),
    #[error("a message is put off before which another one of its session ended")]
    OutOfOrder,
    #[error("the message is being processed elsewhere")]
    Busy,
    #[error("the others have taken all the time")]
    NoTime,
}

impl From<sqlx::Error> for AttemptFailed {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) || is_not_in_order(&error) {
            Self::Away(told(&error))
        } else {
            Self::Database(error)
        }
    }
}

impl From<OutOfOrder> for AttemptFailed {
    fn from(OutOfOrder: OutOfOrder) -> Self {
        Self::OutOfOrder
    }
}

/// What the failure of a statement of the platform's own says: another transaction was in the way,
/// or the database is not in order (gone, not migrated, without a day's partition, a password or
/// privilege withdrawn).
pub(super) fn platform_failed(error: sqlx::Error) -> AttemptFailed {
    if is_conflict(&error) {
        AttemptFailed::Database(error)
    } else if is_without_partition(&error) {
        AttemptFailed::NoPartition(told(&error))
    } else {
        AttemptFailed::Away(told(&error))
    }
}

/// What is said about a database that is away or not in order.
pub(super) fn told(error: &sqlx::Error) -> String {
    advised(causes(error), error)
}

/// `text`, which says `error`, with what can be done about a pooler that loses statements.
fn advised(text: String, error: &sqlx::Error) -> String {
    let advice = NotCarried.to_string();
    if is_misplaced(error) && !text.contains(&advice) {
        format!("{text}; {advice}")
    } else {
        text
    }
}

/// What it means that a lock of a concurrency key was not to be had: the message waits, and that is no try.
pub(super) fn in_the_way(error: sqlx::Error) -> AttemptFailed {
    if is_conflict(&error) {
        AttemptFailed::Conflict(error.into())
    } else {
        platform_failed(error)
    }
}

/// Lets a function run no longer than `limit`, and turns a panic into a failure.
pub(super) async fn guard<T>(
    limit: Duration,
    run: impl Future<Output = Result<T, JobError>>,
) -> Result<T, AttemptFailed> {
    match timeout(limit, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(function_failed(error)),
        Ok(Err(panic)) => Err(AttemptFailed::Function(Failure::passing(panicked(
            panic.as_ref(),
        )))),
        Err(_elapsed) => Err(AttemptFailed::TooSlow(Failure::passing(too_slow(limit)))),
    }
}

/// As [`guard`], for a call: after a panic or an end of its time nobody knows whether the other side
/// has acted.
pub(super) async fn guard_call<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, JobError>>,
) -> Result<T, Failure> {
    let unknown = |error| Failure {
        is_unknown: true,
        ..Failure::passing(error)
    };
    match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(Failure {
            // What a database that is away takes down with it is not the message's fault.
            counts: !error.database_error().is_some_and(is_away),
            ..failure_of(&error)
        }),
        Ok(Err(panic)) => Err(unknown(panicked(panic.as_ref()))),
        Err(_elapsed) => Err(unknown(too_slow(limit))),
    }
}

/// What a function's error says. One that goes back to a database that went away, or to another
/// transaction that was in the way, is not the message's fault and costs it no try.
fn function_failed(error: JobError) -> AttemptFailed {
    match error.database_error() {
        Some(cause) if is_lost(cause) => AttemptFailed::Away(advised(error.to_string(), cause)),
        Some(cause) if is_conflict(cause) => AttemptFailed::Conflict(error),
        _ => AttemptFailed::Function(failure_of(&error)),
    }
}

fn is_away(error: &sqlx::Error) -> bool {
    is_lost(error) || matches!(error, sqlx::Error::PoolTimedOut)
}

fn failure_of(error: &JobError) -> Failure {
    Failure {
        disposition: error.disposition().clone(),
        is_unknown: error.is_unknown(),
        ..Failure::passing(error.to_string())
    }
}

fn too_slow(limit: Duration) -> String {
    format!(
        "the function was not done after {:.1} s",
        limit.as_secs_f64()
    )
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("the function panicked: {text}")
}
