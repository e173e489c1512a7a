//! Counting once more what was counted: to see whether scores are what the events come to, and to put them right.
//!
//! Closed windows stand, so only scores of open ones are looked at; events that came too late for a window are
//! none of these.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use crate::corrections;
use crate::count::{AHEAD, span};
use crate::declaration::{Board, Mode, Source};
use crate::events::{History, Taken, Which};
use crate::progress::Progress;
use crate::scores::Ask;
use crate::windows::Window;

/// How long a rejected event can be looked at.
const REJECTED: TimeDelta = TimeDelta::days(90);

/// How far a board is off.
#[derive(Debug)]
pub(crate) struct Drift {
    pub(crate) board: String,
    /// How many scores of open windows are not what the events come to.
    pub(crate) scores: i64,
}

/// A source whose progress is locked, and what was counted of it.
struct Again<'a> {
    source: &'a Source,
    progress: Progress,
    /// Those that hold what they are declared to.
    boards: Vec<Board>,
    counted: Taken,
    history: History,
    /// The first and the last event that counts.
    span: (DateTime<Utc>, DateTime<Utc>),
    latest: DateTime<Utc>,
}

/// Writes down how many scores of each board's open windows are not what the events come to that were
/// counted. `None`: somebody else counts.
pub(crate) async fn verify(
    tx: &mut PgConnection,
    source: &Source,
    now: DateTime<Utc>,
) -> Result<Option<Vec<Drift>>, sqlx::Error> {
    let Some(progress) = Progress::lock(tx, source).await? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    let Some(again) = Again::of(tx, source, progress, now).await? else {
        return Ok(Some(found));
    };
    for board in &again.boards {
        let (ask, windows, over) = again.of_board(board);
        let scores = ask.drift(tx, &windows, over, again.progress.run).await?;
        note(tx, board, scores, now).await?;
        found.push(Drift {
            board: board.name.clone(),
            scores,
        });
    }
    Ok(Some(found))
}

/// Puts what the events come to that were counted in the place of the scores of open windows. Says whether nobody
/// else counts.
pub(crate) async fn rebuild(
    tx: &mut PgConnection,
    source: &Source,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let Some(progress) = Progress::lock(tx, source).await? else {
        return Ok(false);
    };
    let Some(again) = Again::of(tx, source, progress, now).await? else {
        return Ok(true);
    };
    let run = again.progress.run;
    for board in &again.boards {
        let (ask, windows, over) = again.of_board(board);
        sqlx::query_file!("sql/clear_open.sql", board.id, run, over)
            .execute(&mut *tx)
            .await?;
        ask.merge(tx, &windows, run, false).await?;
    }
    Ok(true)
}

/// Removes rejected events that nobody will look at any more.
#[instrument(target = TRACE, name = "db.leaderboard_rejected.delete", skip_all)]
pub(crate) async fn prune_rejected(
    tx: &mut PgConnection,
    source: &Source,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM nightshift.leaderboard_rejected WHERE source = $1 AND rejected_at < $2",
        source.name,
        now - REJECTED,
    )
    .execute(tx)
    .await?;
    Ok(())
}

impl<'a> Again<'a> {
    /// What there is to be counted once more. `None`: nothing, or nothing that the next count will not build anew.
    async fn of(
        tx: &mut PgConnection,
        source: &'a Source,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(counted) = progress.counted(source) else {
            return Ok(None);
        };
        let (mut boards, _problems) = crate::declaration::boards(tx, source).await?;
        boards.retain(Board::is_built);
        let mut history = progress.history(tx, source).await?;
        if let Mode::Overlap(_) = source.mode {
            // What has become visible later than the overlap may take others back, too.
            let late = corrections::take(tx, source, Which::Before(counted), history).await?;
            history.has_voids |= late.count() > 0;
        }
        // Somebody may become it between two statements.
        history.has_forgotten = true;
        let latest = now + AHEAD;
        let span = span(tx, source, Which::Before(counted), history, latest).await?;
        Ok(Some(Self {
            source,
            progress,
            boards,
            counted,
            history,
            span: (span.first.unwrap_or(now), span.last.unwrap_or(now)),
            latest,
        }))
    }

    /// What to ask for, the windows that are open, and the instant after which those end.
    fn of_board<'b>(&'b self, board: &'b Board) -> (Ask<'b>, Vec<Window>, Option<DateTime<Utc>>) {
        let over = self.progress.counted_at;
        let over = over.and_then(|counted| counted.checked_sub_signed(board.grace));
        let (first, last) = self.span;
        let mut windows = board.windows(first, last).unwrap_or_default();
        windows.retain(|window| over.is_none_or(|over| window.ends > over));
        let which = Which::Before(self.counted);
        let ask = Ask::of(self.source, board, which, self.history, self.latest);
        (ask, windows, over)
    }
}

#[instrument(target = TRACE, name = "db.leaderboard_built.update", skip_all)]
async fn note(
    tx: &mut PgConnection,
    board: &Board,
    drift: i64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE nightshift.leaderboard_built SET verified_at = $2, drift = $3 WHERE board = $1",
        board.id,
        now,
        drift,
    )
    .execute(tx)
    .await?;
    Ok(())
}
