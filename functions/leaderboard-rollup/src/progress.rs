//! How far a source was counted, and what is new.
//!
//! An event carries the number of the transaction that wrote it. Every transaction below the oldest one
//! under way has ended, so the events of those are all there and will not become more: this is the
//! only order in which nothing is left out. Clocks and serial numbers are given out before the commit and
//! become visible in another order.

use chrono::{DateTime, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, PgConnection};
use tracing::instrument;

use crate::declaration::Source;
use crate::events::History;

/// How many events one count takes, roughly: the more, the fewer times is the score of one user written. Boards
/// share them, so that a transaction ends within seconds.
const SLICE: i64 = 1_000_000;
const SMALLEST_SLICE: i64 = 100_000;

/// What is known of a source; locked until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of this count.
    pub(crate) run: i64,
    /// Everything of earlier transactions was counted. `None`: nothing was.
    pub(crate) watermark: Option<i64>,
    /// Everything that was written before was counted; `None` during the first counts.
    pub(crate) counted_at: Option<DateTime<Utc>>,
    /// The watermark is of another database cluster, whose transaction numbers mean nothing here.
    pub(crate) is_foreign: bool,
    /// Some events came with numbers of another cluster.
    has_foreign: bool,
    cluster: i64,
    /// Every transaction below has ended.
    pub(crate) horizon: i64,
    /// No transaction has this number yet.
    end_of_numbers: i64,
    /// Once everything below is counted, everything is that was written before this instant.
    mark: Option<(i64, DateTime<Utc>)>,
}

impl Progress {
    /// Locks the source, or says that somebody else counts it.
    #[instrument(target = TRACE, name = "db.leaderboard_progress.lock", skip_all)]
    pub(crate) async fn lock(
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!(
            "INSERT INTO nightshift.leaderboard_progress (source) VALUES ($1) ON CONFLICT DO NOTHING",
            source.name,
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query!(
            r#"SELECT run, cluster, watermark::text::bigint AS watermark, counted_at, has_foreign,
                mark::text::bigint AS mark, mark_at
            FROM nightshift.leaderboard_progress WHERE source = $1 FOR UPDATE SKIP LOCKED"#,
            source.name,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        // After the lock: what another count has taken is below.
        let here = sqlx::query!(
            r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
                pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS "end_of_numbers!",
                (SELECT system_identifier FROM pg_control_system()) AS "cluster!""#
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Some(Self {
            run: row.run + 1,
            watermark: row.watermark,
            counted_at: row.counted_at,
            is_foreign: row.cluster.is_some_and(|cluster| cluster != here.cluster),
            has_foreign: row.has_foreign,
            cluster: here.cluster,
            horizon: here.horizon,
            end_of_numbers: here.end_of_numbers,
            mark: row.mark.zip(row.mark_at),
        }))
    }

    /// What is to be kept in mind when events are read.
    #[instrument(target = TRACE, name = "db.leaderboard_history.select", skip_all)]
    pub(crate) async fn history(
        &self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<History, sqlx::Error> {
        let found = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM nightshift.leaderboard_void WHERE source = $1) AS "has_voids!",
                EXISTS (SELECT FROM nightshift.leaderboard_forgotten) AS "has_forgotten!""#,
            source.name,
        )
        .fetch_one(tx)
        .await?;
        Ok(History {
            has_voids: found.has_voids,
            has_forgotten: found.has_forgotten,
            has_foreign: self.has_foreign,
        })
    }

    /// Where this count ends, if each event is added to as many `boards`, and whether there is more.
    pub(crate) async fn end(
        &self,
        tx: &mut PgConnection,
        source: &Source,
        boards: usize,
    ) -> Result<(i64, bool), sqlx::Error> {
        let boards = i64::try_from(boards.max(1)).unwrap_or(i64::MAX);
        let most = (SLICE / boards).max(SMALLEST_SLICE);
        let from = self.watermark.unwrap_or(0);
        let sql = format!(
            "SELECT e.xid::text::bigint FROM {} AS e WHERE e.xid >= '{from}'::xid8 AND e.xid < '{}'::xid8
             ORDER BY e.xid OFFSET {most} LIMIT 1",
            source.relation, self.horizon,
        );
        let next: Option<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_optional(tx)
            .await?;
        Ok(match next {
            None => (self.horizon, false),
            // One transaction has written more than that.
            Some(next) if next == from => (from + 1, true),
            Some(next) => (next, true),
        })
    }

    /// Notes the events that came from another cluster: they count now, and never by their numbers.
    #[instrument(target = TRACE, name = "db.leaderboard_seen.insert", skip_all)]
    pub(crate) async fn take_in_foreign(
        &mut self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<u64, sqlx::Error> {
        let sql = format!(
            "INSERT INTO nightshift.leaderboard_seen (source, event_id)
             SELECT DISTINCT $1, e.event_id::text FROM {} AS e WHERE e.xid >= '{}'::xid8 AND e.event_id IS NOT NULL
             ON CONFLICT DO NOTHING",
            source.relation, self.horizon,
        );
        let noted = sqlx::query(AssertSqlSafe(sql))
            .bind(&source.name)
            .execute(tx)
            .await?
            .rows_affected();
        self.has_foreign |= noted > 0;
        self.watermark = Some(self.horizon);
        self.is_foreign = false;
        Ok(noted)
    }

    /// Whether nothing was counted yet, and there are events whose transactions have not been here.
    pub(crate) async fn begins_with_foreign(
        &self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<bool, sqlx::Error> {
        if self.watermark.is_some() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} AS e WHERE e.xid >= '{}'::xid8)",
            source.relation, self.end_of_numbers,
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(tx).await
    }

    /// Notes that everything below the horizon is counted at `now`. What is held up by a transaction that was
    /// under way at an instant was perhaps written before it.
    pub(crate) fn caught_up(&mut self, now: DateTime<Utc>) {
        if self.mark.is_some_and(|(mark, _)| self.horizon < mark) {
            return;
        }
        if let Some((_, at)) = self.mark.replace((self.end_of_numbers, now)) {
            self.counted_at = Some(at);
        }
    }

    /// Writes that everything below `until` was counted.
    #[instrument(target = TRACE, name = "db.leaderboard_progress.update", skip_all)]
    pub(crate) async fn advance(
        &self,
        tx: &mut PgConnection,
        source: &Source,
        until: i64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE nightshift.leaderboard_progress
            SET run = $2, cluster = $3, watermark = $4::text::xid8, counted_at = $5, has_foreign = $6,
                mark = $7::text::xid8, mark_at = $8
            WHERE source = $1",
            source.name,
            self.run,
            self.cluster,
            until.to_string(),
            self.counted_at,
            self.has_foreign,
            self.mark.map(|(mark, _)| mark.to_string()),
            self.mark.map(|(_, at)| at),
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
