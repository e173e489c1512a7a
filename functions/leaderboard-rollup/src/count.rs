//! One count of a source: what is new becomes scores, windows whose time is over are closed.
//!
//! All of it is one transaction, which also moves the watermark: an event counts once or, after a crash,
//! not yet.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use tracing::instrument;

use crate::close;
use crate::corrections;
use crate::declaration::{BadDeclaration, Board, Source};
use crate::events::{self, History, LONGEST_ID, Taken, Which};
use crate::progress::Progress;
use crate::scores::{self, Ask, Score};

/// How far ahead of ours the clocks of those who write events may be.
pub(crate) const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How many rejected events one count writes down.
const REJECTED: i64 = 100;

/// With more new events than this it is not looked at which scores have changed: boards are shown anew.
const FEW: i64 = 5_000;

/// What one count came to.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Its number, which fences what is shown.
    pub(crate) run: i64,
    pub(crate) events: i64,
    /// Events that count for nothing, by reason.
    pub(crate) rejected: BTreeMap<String, i64>,
    /// Events that came too late for a window of a board.
    pub(crate) late: i64,
    pub(crate) voided: u64,
    /// Boards that were counted from the first event on.
    pub(crate) built: Vec<String>,
    pub(crate) closed: u64,
    pub(crate) problems: Vec<BadDeclaration>,
    /// There is more than one count takes.
    pub(crate) more: bool,
    /// All scores that have changed, if they are few.
    pub(crate) changed: Option<Vec<Score>>,
}

/// What the new events are, all boards together.
#[derive(Debug, FromRow)]
pub(crate) struct Span {
    /// Those that do not count included.
    all_events: i64,
    events: i64,
    pub(crate) first: Option<DateTime<Utc>>,
    pub(crate) last: Option<DateTime<Utc>>,
}

/// Counts what is new in `source`. `None`: somebody else does.
pub(crate) async fn count(
    tx: &mut PgConnection,
    source: &Source,
    now: DateTime<Utc>,
) -> Result<Option<Counted>, sqlx::Error> {
    let Some(mut progress) = Progress::lock(tx, source).await? else {
        return Ok(None);
    };
    let (boards, problems) = crate::declaration::boards(tx, source).await?;
    let mut counted = Counted {
        run: progress.run,
        problems,
        ..Counted::default()
    };
    let ids: Vec<i32> = boards.iter().map(|board| board.id).collect();
    // What is not counted now will have missed it.
    sqlx::query!(
        "DELETE FROM nightshift.leaderboard_built AS t USING nightshift.leaderboard AS b
        WHERE b.id = t.board AND b.source = $1 AND b.id <> ALL ($2)",
        source.name,
        &ids,
    )
    .execute(&mut *tx)
    .await?;
    let latest = now + AHEAD;
    let begins_anew = progress.begin_anew(tx, source, now).await?;
    let each = boards.iter().map(|board| 1 + board.groups.len()).sum();
    let (taken, more) = progress.take(tx, source, now, each).await?;
    counted.more = more;
    let mut history = progress.history(tx, source).await?;
    let which = Which::New(taken);
    let mut corrected = corrections::take(tx, source, which, history).await?;
    if begins_anew || boards.iter().any(|board| !board.is_built()) {
        // What was not counted as new before may void others, too.
        let before = Which::Before(taken);
        corrected.extend(corrections::take(tx, source, before, history).await?);
    }
    counted.voided = corrected.count();
    history.has_voids |= counted.voided > 0;
    let span = span(tx, source, which, history, latest).await?;
    counted.events = span.events;
    counted.rejected = reject(tx, source, &boards, taken, history, latest, &span).await?;
    let wants_scores = span.events <= FEW && counted.voided == 0;
    let mut changed = Vec::new();
    for board in &boards {
        let ask = Ask::of(source, board, which, history, latest);
        if begins_anew || !board.is_built() {
            build(tx, ask, taken, progress.run).await?;
            counted.built.push(board.name.clone());
        }
        if let (Some(first), Some(last)) = (span.first, span.last) {
            let windows = board.windows(first, last).unwrap_or_default();
            let (in_time, late): (Vec<_>, Vec<_>) = windows.into_iter().partition(|window| {
                progress
                    .counted_at
                    .is_none_or(|counted| board.closes_at(window) > counted)
            });
            if let Some(end) = late.iter().map(|window| window.ends).max() {
                counted.late += count_before(tx, ask, end).await?;
            }
            let merged = ask.merge(tx, &in_time, progress.run, wants_scores).await?;
            changed.extend(merged.scores);
        }
        corrected.recount(tx, ask, &progress, taken).await?;
    }
    let is_whole = wants_scores && counted.built.is_empty();
    counted.changed = is_whole.then_some(changed);
    if corrections::forget(tx, source, &progress).await? > 0 {
        counted.changed = None;
    }
    if !more {
        progress.caught_up(source, now);
        for board in &boards {
            scores::open(tx, board, now, progress.run).await?;
            if let Some(counted_at) = progress.counted_at {
                counted.closed += close::overdue(tx, board, counted_at, progress.run).await?;
            }
        }
    }
    progress.advance(tx, source).await?;
    Ok(Some(counted))
}

/// Counts a board from the first event up to those that were `taken`; what it held before is gone.
async fn build(
    tx: &mut PgConnection,
    ask: Ask<'_>,
    taken: Taken,
    run: i64,
) -> Result<(), sqlx::Error> {
    let board = ask.board;
    sqlx::query_file!("sql/clear_board.sql", board.id, board.definition)
        .execute(&mut *tx)
        .await?;
    let ask = Ask {
        which: Which::Before(taken),
        ..ask
    };
    let span = span(tx, ask.source, ask.which, ask.history, ask.latest).await?;
    if let (Some(first), Some(last)) = (span.first, span.last) {
        let windows = board.windows(first, last).unwrap_or_default();
        ask.merge(tx, &windows, run, false).await?;
    }
    Ok(())
}

/// The valid events among those asked for: how many, the first and the last.
#[instrument(target = TRACE, name = "db.leaderboard_event.span", skip_all)]
pub(crate) async fn span(
    tx: &mut PgConnection,
    source: &Source,
    which: Which,
    history: History,
    latest: DateTime<Utc>,
) -> Result<Span, sqlx::Error> {
    let valid = events::is_valid(&source.shape);
    let sql = format!(
        "SELECT count(*) AS all_events, count(*) FILTER (WHERE {valid}) AS events,
            min(e.occurred_at) FILTER (WHERE {valid}) AS first, max(e.occurred_at) FILTER (WHERE {valid}) AS last
         FROM {} AS e WHERE {}",
        source.relation,
        which.condition(source, history),
    );
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(latest)
        .fetch_one(tx)
        .await
}

/// How many of the board's new events are older than `end`.
async fn count_before(
    tx: &mut PgConnection,
    ask: Ask<'_>,
    end: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let selected = match ask.board.selector {
        Some(_) => "e.board::text = $3",
        None => "$3::text IS NULL",
    };
    let sql = format!(
        "SELECT count(*) FROM {} AS e WHERE {} AND {} AND e.occurred_at < $2 AND {selected}",
        ask.source.relation,
        ask.which.condition(ask.source, ask.history),
        events::is_valid(&ask.source.shape),
    );
    sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(ask.latest)
        .bind(end)
        .bind(&ask.board.selector)
        .fetch_one(tx)
        .await
}

/// Writes down which events count for nothing, the first of them, and says how many there are by reason. Those that
/// are from ahead count for nothing later either: as if they had taken themselves back.
#[instrument(target = TRACE, name = "db.leaderboard_rejected.insert", skip_all)]
async fn reject(
    tx: &mut PgConnection,
    source: &Source,
    boards: &[Board],
    taken: Taken,
    history: History,
    latest: DateTime<Utc>,
    span: &Span,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    // An event without a board is on those that take all events.
    let takes_all = boards.iter().any(|board| board.selector.is_none());
    let knows_all = takes_all || !source.shape.has_board;
    if knows_all && span.events == span.all_events {
        return Ok(BTreeMap::new());
    }
    let unknown = if knows_all {
        "WHEN $4::text[] IS NULL THEN NULL"
    } else {
        "WHEN e.board IS NULL OR e.board::text <> ALL ($4::text[]) THEN 'unknown-board'"
    };
    let valid = events::is_valid(&source.shape);
    let why = events::why_invalid(&source.shape);
    let detail = if source.shape.has_board {
        "e.board::text"
    } else {
        "NULL::text"
    };
    let sql = format!(
        "WITH rejected AS MATERIALIZED (
            SELECT e.event_id::text AS event_id, r.reason,
                left(concat_ws(' ', {detail}, 'score ' || e.score::text, 'at ' || e.occurred_at::text), 500) AS detail
            FROM {} AS e, LATERAL (
                SELECT CASE WHEN ({valid}) THEN CASE {unknown} END ELSE {why} END AS reason) AS r
            WHERE {} AND r.reason IS NOT NULL
        ), written AS (
            INSERT INTO nightshift.leaderboard_rejected (source, event_id, reason, detail)
            SELECT $2, coalesce(event_id, ''), reason, detail FROM rejected LIMIT $3
        ), ahead AS (
            INSERT INTO nightshift.leaderboard_void (source, event_id, by_event)
            SELECT DISTINCT $2, event_id, event_id FROM rejected
            WHERE reason = 'future' AND octet_length(event_id) <= {LONGEST_ID} ON CONFLICT DO NOTHING)
        SELECT reason, count(*) FROM rejected GROUP BY reason",
        source.relation,
        Which::New(taken).condition(source, history),
    );
    let selectors: Vec<&str> = boards
        .iter()
        .filter_map(|board| board.selector.as_deref())
        .collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(latest)
        .bind(&source.name)
        .bind(REJECTED)
        .bind(selectors)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().collect())
}
