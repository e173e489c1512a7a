//! Which messages are taken care of.
//!
//! A claim *is* the outcome: the row commits only together with the effect, or with the row that
//! says that the message waits ([`crate::open_message`]) or is dead ([`crate::dead_letter`]), so
//! there is nothing to clean up after a crash. It stays whatever becomes of the message. Two
//! transactions that claim the same key meet at the primary key: the second waits for the first (at
//! most the lock time-out) and then sees that the message is taken care of.
//!
//! Promised: a redelivery is recognised as long as its partition exists; a message that a producer
//! sends twice with one id is recognised for 24 hours, which is why the days before and after are
//! looked at too.
//! Not promised: two such messages on either side of midnight (UTC) that are processed at the same
//! instant.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Days, NaiveDate, Utc};
use nightshift_job::{BodyHash, JobKey};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

use crate::text::storable;

/// For how many days after its enqueueing a message may be run. Longer than any queue's time to
/// live plus the longest delay; the partitions of these days exist.
pub const RETENTION_DAYS: u64 = 14;

/// How far a broker's clock may be ahead of ours, in days.
const CLOCK_SKEW_DAYS: u64 = 1;

/// Opens a transaction for claims: a message that is being processed elsewhere is waited for
/// briefly, never for long, and a statement that hangs is ended.
pub const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '20s'";

/// The statement of [`claim`], for whoever compares with it.
pub const CLAIM: &str = include_str!("../sql/claim.sql");

/// A message to be claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The identity of the work.
    pub key: JobKey,
    /// The hash of the message's body.
    pub body_hash: BodyHash,
    /// When the broker accepted it.
    pub enqueued: DateTime<Utc>,
}

impl Claim {
    /// The day of its partition.
    pub fn day(&self) -> NaiveDate {
        self.enqueued.date_naive()
    }
}

/// What a claim found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The message is ours to run; it is taken care of when the transaction commits.
    Ours,
    /// The same message was taken care of earlier: it is completed or skipped, waits or is dead.
    Finished,
    /// A message with the same id but another body was taken care of earlier.
    IdReused,
    /// Somebody else held the message and gave it up while we looked.
    Busy,
}

/// Makes sure that the partitions of `day` and of the next one exist. Runs before a transaction, so that
/// the locks it takes do not last as long as the effects.
pub async fn ensure_partitions(
    connection: &mut PgConnection,
    day: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT nightshift.ensure_inbox_partitions($1)", day)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a claim failed because the partition of its day is not there (yet). `SQLSTATE` 23514, which a
/// violated check is, too.
pub fn is_without_partition(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.is_check_violation() && error.table() == Some("inbox"))
}

/// What became of partitions that hold nothing of use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldPartitions {
    /// How many were dropped.
    pub dropped: i32,
    /// How many are left, because the inbox was too busy or they were more than were asked for.
    pub remaining: i32,
}

/// Drops at most `most` partitions with days whose messages are not run any more, the oldest first.
pub async fn drop_old_partitions(
    tx: &mut PgConnection,
    most: i32,
) -> Result<OldPartitions, sqlx::Error> {
    let days = i32::try_from(RETENTION_DAYS + CLOCK_SKEW_DAYS).unwrap_or(i32::MAX);
    sqlx::query_as!(
        OldPartitions,
        r#"SELECT dropped AS "dropped!", remaining AS "remaining!"
           FROM nightshift.drop_inbox_partitions((nightshift.now() AT TIME ZONE 'UTC')::date - $1::integer, $2::integer)"#,
        days,
        most,
    )
    .fetch_one(tx)
    .await
}

/// Whether a message that was enqueued at `enqueued` may still (or already) be run.
pub fn is_within_retention(enqueued: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let (day, today) = (enqueued.date_naive(), now.date_naive());
    today
        .checked_sub_days(Days::new(RETENTION_DAYS))
        .is_none_or(|oldest| day >= oldest)
        && today
            .checked_add_days(Days::new(CLOCK_SKEW_DAYS))
            .is_none_or(|newest| day <= newest)
}

/// Claims `claims`, whose keys must differ, for `function`, and says for each what it found.
/// For each day in `claims`, which is mostly one, one round trip when all are new, two otherwise.
#[instrument(target = TRACE, name = "db.inbox.claim", skip_all)]
pub async fn claim(
    tx: &mut PgConnection,
    function: &str,
    claims: &[Claim],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let days: BTreeSet<NaiveDate> = claims.iter().map(Claim::day).collect();
    let mut found = HashMap::with_capacity(claims.len());
    for day in days {
        let of_day = claims.iter().filter(|claim| claim.day() == day);
        let of_day: Vec<&Claim> = of_day.collect();
        claim_of_day(tx, function, day, &of_day, &mut found).await?;
    }
    let found = |claim: &Claim| found.get(&claim.key.0).copied();
    Ok(claims
        .iter()
        .map(|claim| found(claim).unwrap_or(Claimed::Busy))
        .collect())
}

async fn claim_of_day(
    tx: &mut PgConnection,
    function: &str,
    day: NaiveDate,
    claims: &[&Claim],
    found: &mut HashMap<Uuid, Claimed>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<Uuid> = claims.iter().map(|claim| claim.key.0).collect();
    let hashes: Vec<Uuid> = claims.iter().map(|claim| claim.body_hash.0).collect();
    let ours = sqlx::query_file_scalar!("sql/claim.sql", &keys, day, &hashes, function)
        .fetch_all(&mut *tx)
        .await?;
    if ours.len() == claims.len() {
        found.extend(claims.iter().map(|claim| (claim.key.0, Claimed::Ours)));
        return Ok(());
    }
    found.extend(ours.into_iter().map(|key| (key, Claimed::Ours)));
    let rest = claims
        .iter()
        .filter(|claim| !found.contains_key(&claim.key.0));
    let (keys, hashes): (Vec<Uuid>, Vec<Uuid>) =
        rest.map(|claim| (claim.key.0, claim.body_hash.0)).unzip();
    let states = sqlx::query_file!("sql/read_claimed.sql", &keys, day, &hashes)
        .fetch_all(tx)
        .await?;
    for state in states {
        let claimed = if state.same_body {
            Claimed::Finished
        } else {
            Claimed::IdReused
        };
        found.insert(state.key, claimed);
    }
    Ok(())
}

/// Notes that messages were skipped, and why. Idempotent by key.
#[instrument(target = TRACE, name = "db.inbox.note_skipped", skip_all)]
pub async fn note_skipped(
    tx: &mut PgConnection,
    skipped: &[(Claim, &str)],
) -> Result<(), sqlx::Error> {
    let keys: Vec<Uuid> = skipped.iter().map(|(claim, _)| claim.key.0).collect();
    let days: Vec<NaiveDate> = skipped.iter().map(|(claim, _)| claim.day()).collect();
    let why: Vec<String> = skipped.iter().map(|(_, why)| storable(why)).collect();
    sqlx::query_file!("sql/note_skipped.sql", &keys, &days, &why)
        .execute(tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_counts_whole_days_and_forgives_a_fast_clock() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T00:00:01Z")
            .unwrap()
            .with_timezone(&Utc);
        let days = |days: i64| now + chrono::Duration::days(days);
        assert!(is_within_retention(now, now));
        assert!(is_within_retention(days(-14), now));
        assert!(!is_within_retention(days(-15), now));
        assert!(is_within_retention(days(1), now));
        assert!(!is_within_retention(days(2), now));
    }
}
