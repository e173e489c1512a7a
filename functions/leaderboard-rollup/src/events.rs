//! The statements over a source. They are put together here because the application names the relation;
//! everything else of them is bound.
//!
//! All of them begin with `fresh`: the valid events of a board among those that are asked for, each once,
//! with the *slice* they lie in. Slices are what the bounds of all windows cut time into, so that an
//! event's windows are found with one binary search (`width_bucket`) whatever calendar they are of.

use chrono::{DateTime, Utc};

use crate::declaration::{Aggregation, Board, Shape, Source};

/// What a score may be at most, up or down: Redis keeps it as a float, which has 53 bits for it.
pub(crate) const MOST: i64 = 1 << 53;

/// What totals may be at most. Beyond it they stay where they are.
const MOST_TOTAL: i64 = (1 << 62) - 1;

/// The longest id that can be noted, in bytes: what an index takes.
pub(crate) const LONGEST_ID: usize = 1024;

/// The longest value of a column that boards are grouped by, in bytes. Longer ones have no board.
const LONGEST_GROUP: usize = 256;

/// Which events are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// Those that a count takes.
    New(Taken),
    /// Those that were counted before it.
    Before(Taken),
    /// Those that were counted before it or by it, of the users in `$7`.
    OfUsers(Taken),
}

/// The events that one count takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taken {
    /// Those of transactions from the first number up to and without the second. What was counted before is all of earlier
    /// transactions.
    Xids { from: i64, until: i64 },
    /// Those that the count has noted with its number, recorded from the first to the last of `between`. What was
    /// counted before is what was recorded before the cut-off, and what is noted with smaller numbers.
    Noted {
        run: i64,
        cutoff: Option<DateTime<Utc>>,
        between: Option<(DateTime<Utc>, DateTime<Utc>)>,
    },
}

/// What is known of the source's history.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct History {
    /// Events have been voided.
    pub(crate) has_voids: bool,
    /// Users are to be forgotten.
    pub(crate) has_forgotten: bool,
    /// Events came from another cluster, with transaction numbers that mean nothing.
    pub(crate) has_foreign: bool,
}

impl Which {
    /// The condition on the source's row `e`.
    pub(crate) fn condition(self, source: &Source, history: History) -> String {
        let seen = |by: &str| {
            format!(
                "EXISTS (SELECT FROM nightshift.leaderboard_seen AS n WHERE n.source = {} AND n.event_id = e.event_id::text{by})",
                literal(&source.name),
            )
        };
        let earlier = |until: i64| {
            let earlier = format!("e.xid < '{until}'::xid8");
            if history.has_foreign {
                format!("({earlier} OR {})", seen(""))
            } else {
                earlier
            }
        };
        let recorded = |cutoff, by: &str| {
            let cutoff = instant(cutoff);
            format!("(e.recorded_at < {cutoff} OR {})", seen(by))
        };
        match self {
            Self::New(Taken::Xids { from, until }) => {
                let range = format!("e.xid >= '{from}'::xid8 AND e.xid < '{until}'::xid8");
                if history.has_foreign {
                    format!("{range} AND NOT {}", seen(""))
                } else {
                    range
                }
            }
            Self::New(Taken::Noted { between: None, .. }) => "false".to_owned(),
            Self::New(Taken::Noted {
                run,
                between: Some((first, last)),
                ..
            }) => format!(
                "e.recorded_at BETWEEN {} AND {} AND {}",
                instant(Some(first)),
                instant(Some(last)),
                seen(&format!(" AND n.run = {run}")),
            ),
            Self::Before(Taken::Xids { from, .. }) => earlier(from),
            Self::Before(Taken::Noted { run, cutoff, .. }) => {
                recorded(cutoff, &format!(" AND n.run < {run}"))
            }
            Self::OfUsers(taken) => {
                let counted = match taken {
                    Taken::Xids { until, .. } => earlier(until),
                    Taken::Noted { cutoff, .. } => recorded(cutoff, ""),
                };
                format!("{counted} AND e.user_id = ANY ($7::uuid[])")
            }
        }
    }
}

/// An instant as SQL writes it; without one, before all others.
pub(crate) fn instant(at: Option<DateTime<Utc>>) -> String {
    let at = at.map_or_else(|| "-infinity".to_owned(), |at| at.to_rfc3339());
    format!("'{at}'::timestamptz")
}

/// A text as SQL quotes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether the score of `e` counts, and its time. `$1` is the last instant that is no future.
pub(crate) fn is_valid(shape: &Shape) -> String {
    let score = if shape.is_fractional {
        // As they are: a float has fewer digits as numeric.
        format!("e.score = trunc(e.score) AND e.score BETWEEN -{MOST} AND {MOST}")
    } else {
        format!("e.score::bigint BETWEEN -{MOST}::bigint AND {MOST}::bigint")
    };
    format!(
        "e.event_id IS NOT NULL AND e.user_id IS NOT NULL AND {score} AND e.occurred_at <= $1::timestamptz AND e.occurred_at >= '0001-01-01 00:00:00+00'"
    )
}

/// Why an event that is not valid is not, as SQL. `NULL`: it only voids another one.
pub(crate) fn why_invalid(shape: &Shape) -> String {
    let only_voids = if shape.has_voids {
        "WHEN e.score IS NULL AND e.voids IS NOT NULL THEN NULL"
    } else {
        ""
    };
    let fraction = if shape.is_fractional {
        "WHEN e.score::numeric = 'NaN' THEN 'score-not-a-number'
         WHEN e.score <> trunc(e.score) THEN 'score-not-whole'"
    } else {
        ""
    };
    format!(
        "CASE WHEN e.event_id IS NULL THEN 'no-id' {only_voids} WHEN e.user_id IS NULL THEN 'no-user' WHEN e.score IS NULL THEN 'no-score' {fraction}
         WHEN e.occurred_at IS NULL THEN 'no-time' WHEN e.occurred_at > $1::timestamptz THEN 'future'
         WHEN e.occurred_at < '0001-01-01 00:00:00+00' THEN 'time-out-of-range' ELSE 'score-out-of-range' END"
    )
}

/// The events of `board` that count, as a CTE: `grp, user_id, score, occurred_at, slice`, and `event_id` where
/// it matters which event comes first.
///
/// `$1` is the last instant that is no future, `$2` the bounds of the slices, `$6` the board's selector.
fn fresh(
    source: &Source,
    board: &Board,
    group: Option<&str>,
    which: Which,
    history: History,
) -> String {
    let shape = &source.shape;
    let mut conditions = vec![which.condition(source, history), is_valid(shape)];
    conditions.push(match board.selector {
        Some(_) => "e.board::text = $6::text".to_owned(),
        None => "$6::text IS NULL".to_owned(),
    });
    let grp = group.map_or_else(
        || "''".to_owned(),
        |group| format!("e.{}::text", identifier(group)),
    );
    if group.is_some() {
        conditions.push(format!("octet_length({grp}) BETWEEN 1 AND {LONGEST_GROUP}"));
    }
    let name = literal(&source.name);
    if history.has_voids {
        conditions.push(format!(
            "NOT EXISTS (SELECT FROM nightshift.leaderboard_void AS v WHERE v.source = {name} AND v.event_id = e.event_id::text)"
        ));
    }
    if history.has_forgotten {
        conditions.push(
            "NOT EXISTS (SELECT FROM nightshift.leaderboard_forgotten AS f WHERE f.user_id = e.user_id)"
                .to_owned(),
        );
    }
    if !shape.has_unique_ids {
        // Of rows with one id the first counts; rows that were written at once are told apart by what they say.
        let (written, _) = source.mode.column();
        conditions.push(format!(
            "NOT EXISTS (SELECT FROM {} AS o WHERE o.event_id = e.event_id
                AND (o.{written}, o.occurred_at, o.user_id, o.score) < (e.{written}, e.occurred_at, e.user_id, e.score))",
            source.relation
        ));
    }
    let score = match board.aggregation {
        Aggregation::Count => "1::bigint",
        _ => "e.score::bigint",
    };
    let distinct = if shape.has_unique_ids {
        ""
    } else {
        "DISTINCT ON (e.event_id)"
    };
    let (fence, event_id) = if board.aggregation.is_added() {
        ("", "")
    } else {
        (
            "MATERIALIZED",
            "e.event_id::text COLLATE \"C\" AS event_id,",
        )
    };
    format!(
        "fresh AS {fence} (
            SELECT {distinct} {grp} AS grp, e.user_id, {score} AS score, e.occurred_at, {event_id}
                width_bucket(e.occurred_at, $2::timestamptz[]) AS slice
            FROM {} AS e WHERE {})",
        source.relation,
        conditions.join("\n AND "),
    )
}

/// Which groups lie in which slices: `slice, grp`. Binds `$1`, `$2` and `$6`.
pub(crate) fn groups(
    source: &Source,
    board: &Board,
    group: Option<&str>,
    which: Which,
    history: History,
) -> String {
    let fresh = fresh(source, board, group, which, history);
    format!("WITH {fresh} SELECT DISTINCT slice, grp FROM fresh")
}

/// The scores that the events come to: `board_window, user_id, score, achieved_at, events, last_event`.
/// `$3`, `$4` and `$5` say which slices and groups belong to which windows.
pub(crate) fn totals(
    source: &Source,
    board: &Board,
    group: Option<&str>,
    which: Which,
    history: History,
) -> String {
    let fresh = fresh(source, board, group, which, history);
    let map = "JOIN unnest($3::int[], $4::text[], $5::int[]) AS m (slice, grp, board_window) USING (slice, grp)";
    if board.aggregation.is_added() {
        // Windows that the same pieces of time with events make have the same sums: those of new events mostly are
        // of one day, week and month. What is added up for the first of such windows is so for all of them.
        return format!(
            "WITH {fresh}, level AS MATERIALIZED (
                SELECT slice, grp, user_id, least(greatest(sum(score), -{MOST_TOTAL}), {MOST_TOTAL})::bigint AS score,
                    max(occurred_at) AS achieved_at, count(*) AS events
                FROM fresh GROUP BY slice, grp, user_id
            ), made AS MATERIALIZED (
                SELECT board_window, min(board_window) OVER (PARTITION BY grp, slices) AS first_window, grp, slices
                FROM (SELECT m.board_window, grp, array_agg(slice ORDER BY slice) AS slices
                    FROM (SELECT DISTINCT slice, grp FROM level) AS l {map} GROUP BY m.board_window, grp) AS w
            ), total AS (
                SELECT f.first_window, l.user_id,
                    least(greatest(sum(l.score), -{MOST_TOTAL}), {MOST_TOTAL})::bigint AS score,
                    max(l.achieved_at) AS achieved_at, sum(l.events)::bigint AS events
                FROM (SELECT first_window, grp, unnest(slices) AS slice FROM made
                    WHERE board_window = first_window) AS f
                JOIN level AS l USING (slice, grp) GROUP BY f.first_window, l.user_id)
            SELECT w.board_window, t.user_id, t.score, t.achieved_at, t.events, NULL::text AS last_event
            FROM total AS t JOIN made AS w USING (first_window)"
        );
    }
    let order = first_is_it(source, board);
    format!(
        "WITH {fresh}, level AS MATERIALIZED (
            SELECT DISTINCT ON (slice, grp, user_id) slice, grp, user_id, score, occurred_at, event_id,
                count(*) OVER (PARTITION BY slice, grp, user_id) AS events
            FROM fresh ORDER BY slice, grp, user_id, {order})
        SELECT DISTINCT ON (m.board_window, l.user_id) m.board_window, l.user_id, l.score,
            l.occurred_at AS achieved_at,
            (sum(l.events) OVER (PARTITION BY m.board_window, l.user_id))::bigint AS events,
            l.event_id AS last_event
        FROM level AS l {map} ORDER BY m.board_window, l.user_id, {order}"
    )
}

/// An event's id as ids are ordered: numbers by what they are worth, all others by their letters.
fn ordered(source: &Source, id: &str) -> String {
    match source.shape.id_type.as_str() {
        "bigint" | "integer" => format!("{id}::bigint"),
        _ => format!("{id} COLLATE \"C\""),
    }
}

/// The order in which the event that is the score comes first.
fn first_is_it(source: &Source, board: &Board) -> String {
    let id = ordered(source, "event_id");
    match (board.aggregation, board.is_descending) {
        (Aggregation::Last, _) => format!("occurred_at DESC, {id} DESC"),
        (Aggregation::Best, true) | (Aggregation::Worst, false) => {
            format!("score DESC, occurred_at, {id}")
        }
        _ => format!("score, occurred_at, {id}"),
    }
}

/// What becomes of a score that more events have come to. `s` is the one that is there.
pub(crate) fn merge(source: &Source, board: &Board) -> String {
    if board.aggregation.is_added() {
        return format!(
            "score = least(greatest(s.score + excluded.score, -{MOST_TOTAL}), {MOST_TOTAL}),
            achieved_at = greatest(s.achieved_at, excluded.achieved_at), events = s.events + excluded.events"
        );
    }
    let (new, old) = (
        ordered(source, "excluded.last_event"),
        ordered(source, "s.last_event"),
    );
    let wins = match (board.aggregation, board.is_descending) {
        (Aggregation::Last, _) => {
            format!("(excluded.achieved_at, {new}) > (s.achieved_at, {old})")
        }
        (Aggregation::Best, true) | (Aggregation::Worst, false) => format!(
            "(-excluded.score, excluded.achieved_at, {new}) < (-s.score, s.achieved_at, {old})"
        ),
        _ => format!(
            "(excluded.score, excluded.achieved_at, {new}) < (s.score, s.achieved_at, {old})"
        ),
    };
    let pick = |column: &str| {
        format!("{column} = CASE WHEN {wins} THEN excluded.{column} ELSE s.{column} END")
    };
    format!(
        "{}, {}, {}, events = s.events + excluded.events",
        pick("score"),
        pick("achieved_at"),
        pick("last_event")
    )
}
