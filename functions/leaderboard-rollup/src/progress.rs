//! How far a source was counted, and what is new. For sources without a column `xid` see [`crate::noted`].
//!
//! An event carries the number of the transaction that wrote it. Every transaction below the oldest one
//! under way has ended, so the events of those are all there and will not become more: this is the
//! only order in which nothing is left out. Clocks and serial numbers are given out before the commit and
//! become visible in another order.

use chrono::{DateTime, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, PgConnection};
use tracing::instrument;

use crate::declaration::{Mode, Source};
use crate::events::{History, Taken};
use crate::noted;

/// How many events one count takes, roughly: the more, the fewer times is the score of one user written. Boards
/// share them, so that a transaction ends within seconds.
const SLICE: i64 = 1_000_000;
const SMALLEST_SLICE: i64 = 100_000;

/// What is known of a source; locked until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of this count.
    pub(crate) run: i64,
    /// Everything of earlier transactions was counted. `None`: nothing was, by their numbers.
    watermark: Option<i64>,
    /// Everything that was recorded before was counted. `None`: nothing was, by time.
    cutoff: Option<DateTime<Utc>>,
    /// Everything that was written before was counted; `None` during the first counts.
    pub(crate) counted_at: Option<DateTime<Utc>>,
    /// The watermark is of another database cluster, whose transaction numbers mean nothing here.
    is_foreign: bool,
    /// Some events came with numbers of another cluster.
    has_foreign: bool,
    cluster: i64,
    /// Every transaction below has ended.
    horizon: i64,
    /// No transaction that began to write before this count has this number, or a later one.
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
            r#"SELECT run, cluster, watermark::text::bigint AS watermark, cutoff, counted_at, has_foreign,
                mark::text::bigint AS mark, mark_at
            FROM nightshift.leaderboard_progress WHERE source = $1 FOR UPDATE SKIP LOCKED"#,
            source.name,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        // After the lock: what another count has taken is below. A snapshot ends with the last transaction that has
        // ended; one under way may have a later number, and an earlier one than ours if it wrote before us.
        let here = sqlx::query!(
            r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
                greatest(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                    pg_current_xact_id()::text::bigint + 1) AS "end_of_numbers!",
                (SELECT system_identifier FROM pg_control_system()) AS "cluster!""#
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Some(Self {
            run: row.run + 1,
            watermark: row.watermark,
            cutoff: row.cutoff,
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

    /// What was counted, as what comes before the next count. `None`: nothing was that could be gone on from.
    pub(crate) fn counted(&self, source: &Source) -> Option<Taken> {
        match source.mode {
            Mode::Xid if !self.is_foreign => self.watermark.map(|watermark| Taken::Xids {
                from: watermark,
                until: watermark,
            }),
            Mode::Overlap(_) if self.watermark.is_none() => Some(Taken::Noted {
                run: self.run,
                cutoff: Some(self.cutoff?),
                between: None,
            }),
            _ => None,
        }
    }

    /// Begins where all there is was counted, if nothing can be gone on from: the source was counted in another
    /// cluster, or in the other mode. Says so; all its boards have to be built anew.
    pub(crate) async fn begin_anew(
        &mut self,
        tx: &mut PgConnection,
        source: &Source,
        now: DateTime<Utc>,
    ) -> Result<bool, sqlx::Error> {
        match source.mode {
            Mode::Xid => {
                let was_by_time = self.watermark.is_none() && self.cutoff.is_some();
                if !(self.is_foreign || was_by_time || self.begins_with_foreign(tx, source).await?)
                {
                    return Ok(false);
                }
                // The notes of what was counted by time are of no use by numbers.
                noted::prune(tx, source, None).await?;
                self.take_in_foreign(tx, source).await?;
            }
            Mode::Overlap(overlap) => {
                if self.watermark.is_none() {
                    return Ok(false);
                }
                self.cutoff = noted::begin(tx, source, overlap, now).await?;
                self.watermark = None;
                self.mark = None;
            }
        }
        tracing::warn!(
            leaderboard.source = source.name,
            leaderboard.mode = source.mode.as_str(),
            "the source was counted in another database cluster, or in the other mode; all its boards are built anew"
        );
        Ok(true)
    }

    /// Takes what is new for this count, if each event is added to as many `boards`, and says whether there is
    /// more.
    pub(crate) async fn take(
        &mut self,
        tx: &mut PgConnection,
        source: &Source,
        now: DateTime<Utc>,
        boards: usize,
    ) -> Result<(Taken, bool), sqlx::Error> {
        let Mode::Overlap(overlap) = source.mode else {
            let from = self.watermark.unwrap_or(0);
            let (until, more) = self.end(tx, source, from, boards).await?;
            self.watermark = Some(until);
            return Ok((Taken::Xids { from, until }, more));
        };
        let noted = noted::note(tx, source, self.cutoff, self.run).await?;
        let taken = Taken::Noted {
            run: self.run,
            cutoff: self.cutoff,
            between: noted.between(),
        };
        self.cutoff = noted.cutoff(self.cutoff, overlap, now);
        Ok((taken, noted.is_full()))
    }

    /// Where a count by numbers ends, and whether there is more.
    async fn end(
        &self,
        tx: &mut PgConnection,
        source: &Source,
        from: i64,
        boards: usize,
    ) -> Result<(i64, bool), sqlx::Error> {
        let boards = i64::try_from(boards.max(1)).unwrap_or(i64::MAX);
        let most = (SLICE / boards).max(SMALLEST_SLICE);
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

    /// Notes the events whose transactions are yet to end, or came from another cluster: they count now,
    /// and never by their numbers.
    #[instrument(target = TRACE, name = "db.leaderboard_seen.insert", skip_all)]
    async fn take_in_foreign(
        &mut self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<(), sqlx::Error> {
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
        self.cutoff = None;
        self.is_foreign = false;
        Ok(())
    }

    /// Whether nothing was counted yet, and there are events whose transactions have not been here: they have
    /// ended and have numbers that are yet to come.
    async fn begins_with_foreign(
        &self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<bool, sqlx::Error> {
        if self.watermark.is_some() {
            return Ok(false);
        }
        // By what this statement itself sees: what has committed since the lock is not foreign.
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} AS e WHERE e.xid >= pg_snapshot_xmax(pg_current_snapshot()))",
            source.relation,
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(tx).await
    }

    /// Notes that everything there is was counted at `now`. By numbers: everything below the horizon, and what is
    /// held up by a transaction that was under way at an instant was perhaps written before it. By time:
    /// what was recorded within the overlap may be yet to come.
    pub(crate) fn caught_up(&mut self, source: &Source, now: DateTime<Utc>) {
        if let Mode::Overlap(overlap) = source.mode {
            self.counted_at = self.counted_at.max(now.checked_sub_signed(overlap));
            return;
        }
        if self.mark.is_some_and(|(mark, _)| self.horizon < mark) {
            return;
        }
        if let Some((_, at)) = self.mark.replace((self.end_of_numbers, now)) {
            self.counted_at = Some(at);
        }
    }

    /// Writes down how far the source was counted.
    #[instrument(target = TRACE, name = "db.leaderboard_progress.update", skip_all)]
    pub(crate) async fn advance(
        &self,
        tx: &mut PgConnection,
        source: &Source,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE nightshift.leaderboard_progress
            SET run = $2, cluster = $3, watermark = $4::text::xid8, counted_at = $5, has_foreign = $6,
                mark = $7::text::xid8, mark_at = $8, cutoff = $9, mode = $10
            WHERE source = $1",
            source.name,
            self.run,
            self.cluster,
            self.watermark.map(|watermark| watermark.to_string()),
            self.counted_at,
            self.has_foreign,
            self.mark.map(|(mark, _)| mark.to_string()),
            self.mark.map(|(_, at)| at),
            self.cutoff,
            source.mode.as_str(),
        )
        .execute(&mut *tx)
        .await?;
        if let Mode::Overlap(_) = source.mode {
            noted::prune(tx, source, self.cutoff).await?;
        }
        Ok(())
    }
}
