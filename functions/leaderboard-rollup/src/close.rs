//! Closing windows: their ranks are written down, and stand.

use chrono::{DateTime, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use crate::declaration::Board;

/// How many windows of a board one count closes: after the first count of a long history there are many.
const AT_A_TIME: i64 = 64;

/// Closes the board's windows whose grace is over. Says how many.
#[instrument(target = TRACE, name = "db.leaderboard_final.insert", skip_all)]
pub(crate) async fn overdue(
    tx: &mut PgConnection,
    board: &Board,
    now: DateTime<Utc>,
    run: i64,
) -> Result<u64, sqlx::Error> {
    let over = now
        .checked_sub_signed(board.grace)
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    let due = sqlx::query_scalar!(
        "SELECT id FROM nightshift.leaderboard_window
        WHERE board = $1 AND closed_at IS NULL AND ends_at <= $2 ORDER BY ends_at LIMIT $3",
        board.id,
        over,
        AT_A_TIME,
    )
    .fetch_all(&mut *tx)
    .await?;
    if due.is_empty() {
        return Ok(0);
    }
    sqlx::query_file!("sql/close.sql", &due, board.is_descending, now, run)
        .execute(tx)
        .await?;
    Ok(u64::try_from(due.len()).unwrap_or(u64::MAX))
}
