//! Showing windows in Redis, which nothing depends on: what is missing there is put back by the next tick.
//!
//! A window is shown under `leaderboard:<board>[:<column>:<value>]:<kind>:<label>`, and the current one of
//! its kind also without the label. What has changed goes there as it is when all of the window is there;
//! otherwise the best of it, as many as the board declares, are put together beside what readers see and
//! take its place at once.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::{Stream, StreamExt};
use nightshift_cache::CacheError;
use nightshift_cache::board::{
    Board, Boards, Changed, Changes, Encoding, Expiry, Extras, Meta, Order, OutOfRange,
    Publication, Published, Rows, Run, Touched,
};
use nightshift_postgres::Lease;
use nightshift_telemetry::trace::TRACE;
use sqlx::{Connection, PgConnection, PgPool};
use tracing::instrument;
use uuid::Uuid;

use crate::buckets::Buckets;
use crate::declaration::Source;
use crate::page::{self, About, Page, RENDERED, Scored};
use crate::place::Place;
use crate::scores::Score;
use crate::windows::{self, Kind};

/// How long a board outlives the last tick: three of them.
const EXPIRY: Expiry = Expiry {
    board: Duration::from_mins(3),
    top: Duration::from_mins(1),
};

/// How long Redis may take for one command.
const DEADLINE: Duration = Duration::from_secs(5);

/// An open window, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Show {
    pub(crate) id: i32,
    board: String,
    is_descending: bool,
    top: i32,
    kind: Kind,
    label: String,
    group_name: String,
    group_value: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    changed_run: i64,
    published_run: Option<i64>,
}

/// Why a window cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    #[error("the scores cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a score cannot be shown")]
    Score(#[from] OutOfRange),
    #[error("Redis takes no board with this name")]
    Name,
}

/// What is shown of a window: the count that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) id: i32,
    pub(crate) run: i64,
}

/// The open windows of a source, the current ones first.
#[instrument(target = TRACE, name = "db.leaderboard_window.select", skip_all)]
pub(crate) async fn open(
    tx: &mut PgConnection,
    source: &Source,
    now: DateTime<Utc>,
) -> Result<Vec<Show>, sqlx::Error> {
    sqlx::query_file_as!(Show, "sql/open_windows.sql", source.name, now)
        .fetch_all(tx)
        .await
}

/// Notes which count of its windows Redis shows.
#[instrument(target = TRACE, name = "db.leaderboard_window.published", skip_all)]
pub(crate) async fn note(tx: &mut PgConnection, shown: &[Shown]) -> Result<(), sqlx::Error> {
    let ids: Vec<i32> = shown.iter().map(|shown| shown.id).collect();
    let runs: Vec<i64> = shown.iter().map(|shown| shown.run).collect();
    sqlx::query!(
        "UPDATE nightshift.leaderboard_window AS w SET published_run = s.run
        FROM unnest($1::int[], $2::bigint[]) AS s (id, run)
        WHERE w.id = s.id AND s.run > coalesce(w.published_run, -1)
            -- Who counts just now has locked some. Those are shown once more than they have to be.
            AND w.id IN (SELECT id FROM nightshift.leaderboard_window WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED)",
        &ids,
        &runs,
    )
    .execute(tx)
    .await?;
    Ok(())
}

impl Show {
    /// The places where it is to be seen at `now`.
    pub(crate) fn places(&self, now: DateTime<Utc>) -> Vec<Place> {
        let current = self.place(None);
        let mut places = Vec::new();
        if current.kind != Kind::AllTime {
            places.push(self.place(Some(self.label.clone())));
        }
        if self.starts_at <= now && now < self.ends_at {
            places.push(current);
        }
        places
    }

    fn place(&self, label: Option<String>) -> Place {
        let group = (self.group_name.clone(), self.group_value.clone());
        Place {
            board: self.board.clone(),
            group: Some(group).filter(|(name, _)| !name.is_empty()),
            kind: self.kind,
            label,
        }
    }

    /// Whether what it holds now came with the count `run`.
    pub(crate) fn is_changed_by(&self, run: i64) -> bool {
        self.changed_run == run
    }

    fn order(&self) -> Order {
        if self.is_descending {
            Order::HighestFirst
        } else {
            Order::LowestFirst
        }
    }

    /// Of equal scores the one that was reached first is the better one, where the window is short enough to
    /// say that beside the score.
    fn encodings(&self) -> Vec<Encoding> {
        let bits = windows::bits_of_seconds(self.starts_at, self.ends_at);
        let exact = bits.and_then(|bits| {
            Encoding::earliest_first(self.order(), bits, self.starts_at.timestamp()).ok()
        });
        let exact = exact.into_iter();
        exact.chain([Encoding::plain(self.order())]).collect()
    }

    /// The best as readers get them.
    async fn render(
        &self,
        tx: &mut PgConnection,
        encoding: Encoding,
        members: i64,
        now: DateTime<Utc>,
    ) -> Result<Vec<u8>, sqlx::Error> {
        let rows = sqlx::query_file_as!(
            Best,
            "sql/best.sql",
            self.id,
            self.is_descending,
            i64::from(RENDERED),
            encoding.bits() > 0,
        )
        .fetch_all(tx)
        .await?;
        let rows = rows.into_iter().map(Scored::from);
        let about = About {
            place: &self.place(None),
            label: Some(&self.label),
            members: u64::try_from(members).unwrap_or_default(),
            closed: false,
            as_of: now,
        };
        Ok(Page::new(about, page::from_the_best(rows)).render())
    }

    /// Shows it under all its keys. Says what it shows.
    pub(crate) async fn show(
        &self,
        boards: &Boards,
        pool: &PgPool,
        changed: Option<&[Score]>,
        now: DateTime<Utc>,
    ) -> Result<Shown, ShowError> {
        let mut run = self.changed_run;
        for place in self.places(now) {
            let board = Board::new(place.key()).map_err(|_| ShowError::Name)?;
            let current = Run(self.changed_run);
            if self.published_run == Some(self.changed_run)
                && boards.touch(&board, current, EXPIRY, DEADLINE).await? == Touched::Renewed
            {
                continue;
            }
            if let (Some(changed), Some(previous)) = (changed, self.published_run)
                && previous < self.changed_run
                && self
                    .show_changes(boards, pool, &board, changed, previous, now)
                    .await?
            {
                continue;
            }
            run = run.min(self.show_all(boards, pool, &board, now).await?);
        }
        Ok(Shown { id: self.id, run })
    }

    /// Shows what has changed, if Redis holds all the rest as it was.
    async fn show_changes(
        &self,
        boards: &Boards,
        pool: &PgPool,
        board: &Board,
        changed: &[Score],
        previous: i64,
        now: DateTime<Utc>,
    ) -> Result<bool, ShowError> {
        let Some((meta, held)) = boards.shown(board).await? else {
            return Ok(false);
        };
        // Of a board that was cut off a change may be of somebody who is worse than others who are missing.
        if held < meta.members {
            return Ok(false);
        }
        let mine: Vec<&Score> = changed
            .iter()
            .filter(|score| score.board_window == self.id)
            .collect();
        if meta.run != Run(previous) || meta.window != self.label || mine.len() > Changes::MOST {
            return Ok(false);
        }
        let mut lease = Lease::take(pool).await?;
        let mut tx = lease.connection().begin().await?;
        let state = self.state(&mut tx, i64::from(self.top) + 1).await?;
        let Some(state) = state.filter(|state| {
            state.changed_run == self.changed_run && state.members <= i64::from(self.top)
        }) else {
            tx.rollback().await?;
            lease.end();
            return Ok(false);
        };
        let top = self
            .render(&mut tx, meta.encoding, state.members, now)
            .await?;
        tx.rollback().await?;
        lease.end();
        let mut told = Changes::default();
        for score in mine {
            let Ok(composite) = meta
                .encoding
                .encode(score.score, score.achieved_at.timestamp())
            else {
                return Ok(false);
            };
            told.set(&score.user_id.to_string(), composite);
        }
        let meta = Meta {
            run: Run(self.changed_run),
            members: u64::try_from(state.members).unwrap_or_default(),
            published_ms: now.timestamp_millis(),
            ..meta
        };
        let publication = Publication {
            board,
            meta: &meta,
            extras: Extras {
                top: Some(&top),
                buckets: None,
            },
            expiry: EXPIRY,
        };
        let answer = boards
            .publish_changes(publication, Run(previous), &told, None, DEADLINE)
            .await?;
        Ok(matches!(answer, Changed::Published { .. }))
    }

    /// Puts the best of the window in the place of what is shown. Says of which count they are.
    async fn show_all(
        &self,
        boards: &Boards,
        pool: &PgPool,
        board: &Board,
        now: DateTime<Utc>,
    ) -> Result<i64, ShowError> {
        let mut last = None;
        for encoding in self.encodings() {
            match self.show_all_as(boards, pool, board, encoding, now).await {
                Err(ShowError::Score(error)) => last = Some(error),
                told => return told,
            }
        }
        Err(last.map_or(ShowError::Name, ShowError::Score))
    }

    async fn show_all_as(
        &self,
        boards: &Boards,
        pool: &PgPool,
        board: &Board,
        encoding: Encoding,
        now: DateTime<Utc>,
    ) -> Result<i64, ShowError> {
        let mut lease = Lease::take(pool).await?;
        let mut tx = lease.connection().begin().await?;
        let state = self.state(&mut tx, i64::MAX).await?;
        let Some(state) = state else {
            return Ok(self.changed_run);
        };
        let meta = Meta {
            run: Run(state.changed_run),
            window: self.label.clone(),
            encoding,
            members: u64::try_from(state.members).unwrap_or_default(),
            published_ms: now.timestamp_millis(),
        };
        let top = self.render(&mut tx, encoding, state.members, now).await?;
        let mut buckets = None;
        if state.members > i64::from(self.top) {
            let found = Buckets::of(&mut tx, self.id, self.is_descending, state.members).await?;
            buckets = Some(found.render());
        }
        let publication = Publication {
            board,
            meta: &meta,
            extras: Extras {
                top: Some(&top),
                buckets: buckets.as_deref(),
            },
            expiry: EXPIRY,
        };
        let rows = sqlx::query_file_as!(
            Best,
            "sql/best.sql",
            self.id,
            self.is_descending,
            i64::from(self.top),
            encoding.bits() > 0,
        )
        .fetch(&mut *tx);
        let told = boards
            .publish_all(publication, chunks(rows, encoding), DEADLINE)
            .await?;
        if let Published::Stale { current } = told {
            tracing::info!(
                leaderboard.key = board.key(),
                leaderboard.run = state.changed_run,
                leaderboard.shown = current.0,
                "a later count is shown already"
            );
        }
        tx.rollback().await?;
        lease.end();
        Ok(state.changed_run)
    }

    /// Of which count the window is and how many are on it, who are counted up to `most`. What is read in the
    /// same transaction is of that count, too. `None`: its board was declared anew meanwhile.
    async fn state(&self, tx: &mut PgConnection, most: i64) -> Result<Option<State>, sqlx::Error> {
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *tx)
            .await?;
        sqlx::query_as!(
            State,
            r#"SELECT w.changed_run, (SELECT count(*) FROM (
                SELECT FROM nightshift.leaderboard_score AS s WHERE s.board_window = w.id LIMIT $2
            ) AS s) AS "members!"
            FROM nightshift.leaderboard_window AS w WHERE w.id = $1"#,
            self.id,
            most,
        )
        .fetch_optional(tx)
        .await
    }
}

/// What there is to show.
struct State {
    changed_run: i64,
    members: i64,
}

/// A row of the best.
struct Best {
    user_id: Uuid,
    score: i64,
    achieved_at: DateTime<Utc>,
}

impl From<Best> for Scored {
    fn from(best: Best) -> Self {
        Self {
            user_id: best.user_id,
            score: best.score,
            achieved_at: Some(best.achieved_at.trunc_subsecs(0)),
        }
    }
}

fn chunks(
    rows: impl Stream<Item = Result<Best, sqlx::Error>>,
    encoding: Encoding,
) -> impl Stream<Item = Result<Rows, ShowError>> {
    rows.chunks(Rows::CHUNK).then(move |chunk| async move {
        let mut rows = Rows::for_chunk();
        let mut name = Uuid::encode_buffer();
        for best in chunk {
            let best = best?;
            let composite = encoding.encode(best.score, best.achieved_at.timestamp())?;
            rows.push(best.user_id.hyphenated().encode_lower(&mut name), composite);
        }
        Ok(rows)
    })
}
