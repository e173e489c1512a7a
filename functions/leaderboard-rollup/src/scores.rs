//! From events to scores: the windows that they lie in, and one statement for each board.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use nightshift_telemetry::trace::TRACE;
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use tracing::instrument;
use uuid::Uuid;

use crate::declaration::{Board, Source};
use crate::events::{self, History, Which};
use crate::windows::Window;

/// With more slices than this it is looked at first which of them have events.
const FEW_SLICES: i32 = 64;

/// A score that has changed.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[expect(clippy::struct_field_names, reason = "the column's name")]
pub(crate) struct Score {
    pub(crate) board_window: i32,
    pub(crate) user_id: Uuid,
    pub(crate) score: i64,
    pub(crate) achieved_at: DateTime<Utc>,
    pub(crate) events: i64,
}

/// Which events of which board are to be added up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) source: &'a Source,
    pub(crate) board: &'a Board,
    pub(crate) which: Which,
    pub(crate) history: History,
    /// Events after it are of the future, and count for nothing.
    pub(crate) latest: DateTime<Utc>,
    /// Of these users only, for [`Which::OfUsers`].
    pub(crate) users: &'a [Uuid],
}

/// Time, cut where a window begins or ends, and which pieces make which window.
struct Slices {
    bounds: Vec<DateTime<Utc>>,
    /// The first slice and the one after the last, for each window.
    of_window: Vec<(i32, i32)>,
}

impl Slices {
    fn of(windows: &[Window]) -> Self {
        let bounds = windows
            .iter()
            .flat_map(|window| [window.starts, window.ends]);
        let bounds: Vec<_> = bounds.collect::<BTreeSet<_>>().into_iter().collect();
        // `width_bucket` counts the bounds that are not later: the slice from the first bound on is 1.
        let slice = |at: DateTime<Utc>| {
            let number = bounds.partition_point(|bound| *bound < at) + 1;
            i32::try_from(number).unwrap_or(i32::MAX)
        };
        let of_window = windows
            .iter()
            .map(|window| (slice(window.starts), slice(window.ends)))
            .collect();
        Self { bounds, of_window }
    }
}

/// Which slice and group belongs to which window, column by column.
#[derive(Default)]
struct Map {
    slices: Vec<i32>,
    groups: Vec<String>,
    windows: Vec<i32>,
}

impl<'a> Ask<'a> {
    /// These events of a board, whoever's they are.
    pub(crate) const fn of(
        source: &'a Source,
        board: &'a Board,
        which: Which,
        history: History,
        latest: DateTime<Utc>,
    ) -> Self {
        Self {
            source,
            board,
            which,
            history,
            latest,
            users: &[],
        }
    }
}

impl Ask<'_> {
    /// Adds what the events come to to the scores of `windows`, and says which scores have changed: all
    /// of them, or none when only the windows are asked for.
    #[instrument(target = TRACE, name = "db.leaderboard_score.merge", skip_all)]
    pub(crate) async fn merge(
        self,
        tx: &mut PgConnection,
        windows: &[Window],
        run: i64,
        wants_scores: bool,
    ) -> Result<Changed, sqlx::Error> {
        let mut changed = Changed::default();
        for group in self.doors() {
            let map = self.map(tx, windows, group, run, false).await?;
            if map.slices.is_empty() {
                continue;
            }
            let totals = events::totals(self.source, self.board, group, self.which, self.history);
            let columns = "board_window, user_id, score, achieved_at, events, last_event";
            let returned = if wants_scores {
                "s.board_window, s.user_id, s.score, s.achieved_at, s.events"
            } else {
                "s.board_window"
            };
            let write = format!(
                "WITH written AS (
                    INSERT INTO nightshift.leaderboard_score AS s ({columns})
                    SELECT {columns} FROM ({totals}) AS t ORDER BY board_window, user_id
                    ON CONFLICT (board_window, user_id) DO UPDATE SET {}
                    RETURNING {returned})",
                events::merge(self.source, self.board),
            );
            if wants_scores {
                let sql = format!("{write} SELECT * FROM written");
                let rows: Vec<Score> = self.bind(sql, windows, &map).fetch_all(&mut *tx).await?;
                changed
                    .windows
                    .extend(rows.iter().map(|row| row.board_window));
                changed.scores.extend(rows);
            } else {
                let sql = format!(
                    "{write} SELECT board_window, '00000000-0000-0000-0000-000000000000'::uuid AS user_id,
                        0::bigint AS score, now() AS achieved_at, count(*) AS events FROM written GROUP BY board_window"
                );
                let rows: Vec<Score> = self.bind(sql, windows, &map).fetch_all(&mut *tx).await?;
                changed
                    .windows
                    .extend(rows.iter().map(|row| row.board_window));
            }
        }
        note_change(tx, &changed.windows, run).await?;
        Ok(changed)
    }

    /// What the events come to, without writing anything.
    #[instrument(target = TRACE, name = "db.leaderboard_score.recount", skip_all)]
    pub(crate) async fn recount(
        self,
        tx: &mut PgConnection,
        windows: &[Window],
        run: i64,
    ) -> Result<Vec<Score>, sqlx::Error> {
        let mut found = Vec::new();
        for group in self.doors() {
            let map = self.map(tx, windows, group, run, true).await?;
            let totals = events::totals(self.source, self.board, group, self.which, self.history);
            found.extend(self.bind(totals, windows, &map).fetch_all(&mut *tx).await?);
        }
        Ok(found)
    }

    /// How many scores of open windows that end after `over` are not what the events come to. `windows` are
    /// those that have to be there.
    #[instrument(target = TRACE, name = "db.leaderboard_score.verify", skip_all)]
    pub(crate) async fn drift(
        self,
        tx: &mut PgConnection,
        windows: &[Window],
        over: Option<DateTime<Utc>>,
        run: i64,
    ) -> Result<i64, sqlx::Error> {
        let mut drift = 0;
        for group in self.doors() {
            let map = self.map(tx, windows, group, run, false).await?;
            let totals = events::totals(self.source, self.board, group, self.which, self.history);
            let sql = format!(
                "SELECT 0 AS board_window, '00000000-0000-0000-0000-000000000000'::uuid AS user_id, 0::bigint AS score,
                    now() AS achieved_at, count(*) AS events
                FROM ({totals}) AS t FULL JOIN (
                    SELECT s.* FROM nightshift.leaderboard_score AS s
                    JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
                    WHERE w.board = {} AND w.group_name = {} AND w.closed_at IS NULL AND w.ends_at > {}
                        -- The next count takes them off.
                        AND NOT EXISTS (SELECT FROM nightshift.leaderboard_forgotten AS f WHERE f.user_id = s.user_id)
                ) AS s USING (board_window, user_id)
                WHERE (t.score, t.achieved_at, t.events) IS DISTINCT FROM (s.score, s.achieved_at, s.events)",
                self.board.id,
                events::literal(group.unwrap_or_default()),
                events::instant(over),
            );
            let found: Score = self.bind(sql, windows, &map).fetch_one(&mut *tx).await?;
            drift += found.events;
        }
        Ok(drift)
    }

    /// Everybody, and each column that the board groups by.
    fn doors(&self) -> Vec<Option<&str>> {
        let groups = self.board.groups.iter().map(|group| Some(group.as_str()));
        std::iter::once(None).chain(groups).collect()
    }

    fn bind<'q>(
        &self,
        sql: String,
        windows: &[Window],
        map: &'q Map,
    ) -> sqlx::query::QueryAs<'q, sqlx::Postgres, Score, sqlx::postgres::PgArguments> {
        let query = sqlx::query_as(AssertSqlSafe(sql))
            .bind(self.latest)
            .bind(Slices::of(windows).bounds)
            .bind(&map.slices)
            .bind(&map.groups)
            .bind(&map.windows)
            .bind(self.board.selector.clone());
        match self.which {
            Which::OfUsers(_) => query.bind(self.users.to_vec()),
            Which::New(_) | Which::Before(_) => query,
        }
    }

    /// Which slice and group belongs to which window. Windows that are not there are made.
    async fn map(
        &self,
        tx: &mut PgConnection,
        windows: &[Window],
        group: Option<&str>,
        run: i64,
        with_closed: bool,
    ) -> Result<Map, sqlx::Error> {
        let slices = Slices::of(windows);
        let mut in_slice: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        match i32::try_from(slices.bounds.len()) {
            // Few: it does not matter if there is nothing in some of them.
            Ok(last @ ..FEW_SLICES) if group.is_none() => {
                in_slice.extend((1..last).map(|slice| (slice, vec![String::new()])));
            }
            _ => {
                let sql = events::groups(self.source, self.board, group, self.which, self.history);
                let mut query = sqlx::query_as(AssertSqlSafe(sql))
                    .bind(self.latest)
                    .bind(&slices.bounds)
                    .bind(Vec::<i32>::new())
                    .bind(Vec::<String>::new())
                    .bind(Vec::<i32>::new())
                    .bind(&self.board.selector);
                if let Which::OfUsers(_) = self.which {
                    query = query.bind(self.users);
                }
                let found: Vec<(i32, String)> = query.fetch_all(&mut *tx).await?;
                for (slice, value) in found {
                    in_slice.entry(slice).or_default().push(value);
                }
            }
        }
        let mut wanted = Wanted::default();
        let mut pieces = Vec::new();
        for (window, (first, end)) in windows.iter().zip(&slices.of_window) {
            for (&slice, values) in in_slice.range(*first..*end) {
                for value in values {
                    wanted.add(window, value);
                    pieces.push((slice, value, (window.kind.as_str(), window.label.as_str())));
                }
            }
        }
        let ids = wanted
            .ids(tx, self.board, group.unwrap_or_default(), run, with_closed)
            .await?;
        let mut map = Map::default();
        for (slice, value, (kind, label)) in pieces {
            let key = (kind.to_owned(), label.to_owned(), value.clone());
            let Some(id) = ids.get(&key) else {
                continue;
            };
            map.slices.push(slice);
            map.groups.push(value.clone());
            map.windows.push(*id);
        }
        Ok(map)
    }
}

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) windows: BTreeSet<i32>,
    pub(crate) scores: Vec<Score>,
}

/// Windows that there have to be, column by column.
#[derive(Default)]
struct Wanted {
    known: BTreeSet<(&'static str, String, String)>,
    kinds: Vec<&'static str>,
    labels: Vec<String>,
    values: Vec<String>,
    starts: Vec<DateTime<Utc>>,
    ends: Vec<DateTime<Utc>>,
}

impl Wanted {
    fn add(&mut self, window: &Window, value: &str) {
        let kind = window.kind.as_str();
        if !self
            .known
            .insert((kind, window.label.clone(), value.to_owned()))
        {
            return;
        }
        self.kinds.push(kind);
        self.labels.push(window.label.clone());
        self.values.push(value.to_owned());
        self.starts.push(window.starts);
        self.ends.push(window.ends);
    }

    /// The numbers of the windows by kind, label and value; closed ones only if they are wanted.
    async fn ids(
        &self,
        tx: &mut PgConnection,
        board: &Board,
        group: &str,
        run: i64,
        with_closed: bool,
    ) -> Result<BTreeMap<(String, String, String), i32>, sqlx::Error> {
        let rows = sqlx::query_file!(
            "sql/windows.sql",
            board.id,
            group,
            run,
            &self.kinds as &[&str],
            &self.labels,
            &self.values,
            &self.starts,
            &self.ends,
            with_closed,
        )
        .fetch_all(tx)
        .await?;
        let ids = rows
            .into_iter()
            .map(|row| ((row.kind, row.label, row.group_value), row.id));
        Ok(ids.collect())
    }
}

/// Makes the current windows of a board, so that what is shown of it is theirs from their first instant on.
pub(crate) async fn open(
    tx: &mut PgConnection,
    board: &Board,
    now: DateTime<Utc>,
    run: i64,
) -> Result<(), sqlx::Error> {
    let mut wanted = Wanted::default();
    let windows = board.windows(now, now).unwrap_or_default();
    for window in &windows {
        wanted.add(window, "");
    }
    wanted.ids(tx, board, "", run, false).await?;
    // What becomes the current window takes the place of the one before, whatever was counted in it until now.
    sqlx::query!(
        "UPDATE nightshift.leaderboard_window
        SET is_current = NOT is_current, changed_run = $3, published_run = NULL
        WHERE board = $1 AND closed_at IS NULL AND is_current <> (starts_at <= $2 AND $2 < ends_at)",
        board.id,
        now,
        run,
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[instrument(target = TRACE, name = "db.leaderboard_window.update", skip_all)]
pub(crate) async fn note_change(
    tx: &mut PgConnection,
    windows: &BTreeSet<i32>,
    run: i64,
) -> Result<(), sqlx::Error> {
    let windows: Vec<i32> = windows.iter().copied().collect();
    sqlx::query!(
        "UPDATE nightshift.leaderboard_window SET changed_run = $2,
            -- What was never shown cannot be gone on from.
            published_run = CASE WHEN published_run = changed_run THEN published_run END
        WHERE id = ANY ($1) AND changed_run <> $2",
        &windows,
        run,
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::windows::{Kind, all_time, between};

    #[test]
    fn every_instant_is_in_the_slices_of_its_windows_and_of_no_others() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (from, until) = (at("2026-10-24T00:00:00Z"), at("2026-11-02T00:00:00Z"));
        let mut windows = vec![all_time()];
        for kind in [Kind::Daily, Kind::Weekly, Kind::Monthly] {
            for zone in [Tz::UTC, chrono_tz::Europe::Berlin] {
                windows.extend(between(kind, zone, from, until).unwrap());
            }
        }
        let slices = Slices::of(&windows);
        let mut instant = from;
        while instant < until {
            let slice = slices
                .bounds
                .iter()
                .filter(|bound| **bound <= instant)
                .count();
            for (window, (first, end)) in windows.iter().zip(&slices.of_window) {
                let is_in = (*first..*end).contains(&i32::try_from(slice).unwrap());
                assert_eq!(is_in, window.contains(instant), "{window:?} {instant}");
            }
            instant += chrono::TimeDelta::minutes(30);
        }
    }
}
