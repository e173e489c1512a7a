//! What changes after it was counted: events that others void, and people who are to be forgotten.
//!
//! A row whose column `voids` names another event takes that one back; its own score, if it has one, counts.
//! The users concerned are counted anew in the windows concerned, from their events. In windows that are closed the
//! ranks are restated, and what has changed is written down.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, PgConnection};
use tracing::instrument;
use uuid::Uuid;

use crate::declaration::Source;
use crate::events::{History, LONGEST_ID, Taken, Which};
use crate::progress::Progress;
use crate::scores::{Ask, Score, note_change};
use crate::windows::Window;

/// The events that were voided.
#[derive(Debug, Default)]
pub(crate) struct Corrected {
    count: u64,
    users: Vec<Uuid>,
    instants: Vec<DateTime<Utc>>,
}

impl Corrected {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// These, too.
    pub(crate) fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.users.extend(other.users);
        self.instants.extend(other.instants);
    }

    /// Counts the users of voided events anew, wherever those events lay.
    pub(crate) async fn recount(
        &self,
        tx: &mut PgConnection,
        ask: Ask<'_>,
        progress: &Progress,
        taken: Taken,
    ) -> Result<(), sqlx::Error> {
        let (Some(first), Some(last)) = (self.instants.iter().min(), self.instants.iter().max())
        else {
            return Ok(());
        };
        let concerns = |window: &Window| self.instants.iter().any(|at| window.contains(*at));
        let windows = ask.board.windows(*first, *last).unwrap_or_default();
        let windows: Vec<Window> = windows.into_iter().filter(concerns).collect();
        let kinds: Vec<&str> = windows.iter().map(|window| window.kind.as_str()).collect();
        let labels: Vec<&str> = windows.iter().map(|window| window.label.as_str()).collect();
        let found = sqlx::query!(
            r#"SELECT l.id, l.closed_at IS NOT NULL AS "is_closed!" FROM nightshift.leaderboard_window AS l
            JOIN unnest($2::text[], $3::text[]) AS w (kind, label) USING (kind, label)
            WHERE l.board = $1"#,
            ask.board.id,
            &kinds as &[&str],
            &labels as &[&str],
        )
        .fetch_all(&mut *tx)
        .await?;
        let with = |closed: bool| {
            let matching = found.iter().filter(move |row| row.is_closed == closed);
            matching.map(|row| row.id).collect::<Vec<i32>>()
        };
        let (open, closed) = (with(false), with(true));
        let ask = Ask {
            which: Which::OfUsers(taken),
            users: &self.users,
            ..ask
        };
        sqlx::query!(
            "DELETE FROM nightshift.leaderboard_score
            WHERE board_window = ANY ($1) AND user_id = ANY ($2)",
            &open,
            &self.users,
        )
        .execute(&mut *tx)
        .await?;
        note_change(tx, &open.iter().copied().collect(), progress.run).await?;
        ask.merge(tx, &windows, progress.run, false).await?;
        if !closed.is_empty() {
            let scores = ask.recount(tx, &windows, progress.run).await?;
            let scores = scores.into_iter();
            let scores: Vec<Score> = scores
                .filter(|score| closed.contains(&score.board_window))
                .collect();
            self.restate(tx, ask, &closed, &scores, progress.run)
                .await?;
        }
        Ok(())
    }

    /// Puts `scores` in the place of what stands of these users in closed windows, and ranks anew.
    #[instrument(target = TRACE, name = "db.leaderboard_restatement.insert", skip_all)]
    async fn restate(
        &self,
        tx: &mut PgConnection,
        ask: Ask<'_>,
        windows: &[i32],
        scores: &[Score],
        run: i64,
    ) -> Result<(), sqlx::Error> {
        let before = sqlx::query!(
            "DELETE FROM nightshift.leaderboard_final
            WHERE board_window = ANY ($1) AND user_id = ANY ($2)
            RETURNING board_window, user_id, score, position",
            windows,
            &self.users,
        )
        .fetch_all(&mut *tx)
        .await?;
        let ids: Vec<i32> = scores.iter().map(|score| score.board_window).collect();
        let users: Vec<Uuid> = scores.iter().map(|score| score.user_id).collect();
        let values: Vec<i64> = scores.iter().map(|score| score.score).collect();
        let achieved: Vec<DateTime<Utc>> = scores.iter().map(|score| score.achieved_at).collect();
        let events: Vec<i64> = scores.iter().map(|score| score.events).collect();
        sqlx::query!(
            "INSERT INTO nightshift.leaderboard_final
                (board_window, position, rank, dense_rank, user_id, score, achieved_at, events)
            SELECT w, 0, 0, 0, u, s, a, e
            FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bigint[]) AS f (w, u, s, a, e)",
            &ids,
            &users,
            &values,
            &achieved,
            &events,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query_file!("sql/rank_again.sql", windows, ask.board.is_descending)
            .execute(&mut *tx)
            .await?;
        let ids: Vec<i32> = before.iter().map(|row| row.board_window).collect();
        let users: Vec<Uuid> = before.iter().map(|row| row.user_id).collect();
        let values: Vec<i64> = before.iter().map(|row| row.score).collect();
        let positions: Vec<i64> = before.iter().map(|row| row.position).collect();
        sqlx::query_file!(
            "sql/restate.sql",
            windows,
            &self.users,
            run,
            &ids,
            &users,
            &values,
            &positions,
        )
        .execute(&mut *tx)
        .await?;
        note_change(tx, &windows.iter().copied().collect(), run).await
    }
}

/// Notes which events are voided by those asked for, and were not before.
#[instrument(target = TRACE, name = "db.leaderboard_void.insert", skip_all)]
pub(crate) async fn take(
    tx: &mut PgConnection,
    source: &Source,
    which: Which,
    history: History,
) -> Result<Corrected, sqlx::Error> {
    if !source.shape.has_voids {
        return Ok(Corrected::default());
    }
    let sql = format!(
        "INSERT INTO nightshift.leaderboard_void (source, event_id, by_event)
         SELECT $1, e.voids::text, min(e.event_id::text) FROM {} AS e
         WHERE {} AND e.event_id IS NOT NULL AND octet_length(e.voids::text) <= {LONGEST_ID} GROUP BY e.voids
         ON CONFLICT DO NOTHING RETURNING event_id",
        source.relation,
        which.condition(source, history),
    );
    let voided: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(&source.name)
        .fetch_all(&mut *tx)
        .await?;
    if voided.is_empty() {
        return Ok(Corrected::default());
    }
    let sql = format!(
        "SELECT e.user_id, e.occurred_at FROM {} AS e
         WHERE e.event_id = ANY ($1::text[]::{}[]) AND e.user_id IS NOT NULL
            AND e.occurred_at >= '0001-01-01 00:00:00+00' AND e.occurred_at < '9999-01-01 00:00:00+00'",
        source.relation, source.shape.id_type,
    );
    let victims: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(&voided)
        .fetch_all(tx)
        .await?;
    let (users, instants): (BTreeSet<Uuid>, BTreeSet<DateTime<Utc>>) = victims.into_iter().unzip();
    Ok(Corrected {
        count: u64::try_from(voided.len()).unwrap_or(u64::MAX),
        users: users.into_iter().collect(),
        instants: instants.into_iter().collect(),
    })
}

/// Takes those who are to be forgotten off all boards of the source. Says how many scores went.
#[instrument(target = TRACE, name = "db.leaderboard_score.delete", skip_all)]
pub(crate) async fn forget(
    tx: &mut PgConnection,
    source: &Source,
    progress: &Progress,
) -> Result<usize, sqlx::Error> {
    let gone = sqlx::query_file_scalar!("sql/forget.sql", source.name, progress.counted_at)
        .fetch_all(&mut *tx)
        .await?;
    let windows: BTreeSet<i32> = gone.iter().copied().collect();
    note_change(tx, &windows, progress.run).await?;
    Ok(gone.len())
}
