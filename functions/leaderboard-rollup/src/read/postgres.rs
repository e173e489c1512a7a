//! What the database says of a board: all of it, closed windows and exact ranks included.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use nightshift_handler::Registry;
use nightshift_postgres::{Lease, in_time};
use nightshift_telemetry::trace::TRACE;
use serde::Serialize;
use sqlx::{Executor, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::instrument;
use uuid::Uuid;

use super::ask::{Ask, Of};
use super::problem::Problem;
use super::redis::not_on_it;
use crate::page::{self, About, Entry, Page, Scored};
use crate::place::Place;
use crate::windows::{self, Kind};

/// How many transactions of this process may be about readers' questions: the work of functions needs the
/// connections more.
const TURNS: usize = 3;

/// How long an answer may take, a wait for a turn and a connection included.
const PATIENCE: Duration = Duration::from_secs(10);

const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '5s'";

/// Reads from the database, not too much at once.
#[derive(Debug)]
pub(super) struct Reader {
    turns: Semaphore,
    /// For what ranks a whole board, one at a time, so that it leaves turns to the others.
    ranking: Semaphore,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(TURNS),
            ranking: Semaphore::new(1),
        }
    }
}

/// The answer, or why there is none although the database has said all that was asked.
type Found<T> = Result<Result<T, Problem>, sqlx::Error>;

/// The window that is asked for.
struct Window {
    /// `None`: nothing was counted in it.
    id: Option<i32>,
    label: Option<String>,
    is_descending: bool,
    /// Since when its ranks stand.
    closed_at: Option<DateTime<Utc>>,
    /// Of equal scores the one of an earlier second comes first.
    by_second: bool,
}

/// Somebody and where they stand.
struct Row {
    user_id: Uuid,
    score: i64,
    achieved_at: DateTime<Utc>,
    position: i64,
    rank: i64,
    dense_rank: i64,
}

impl Reader {
    /// The answer.
    pub(super) async fn page(&self, app: &Registry, ask: &Ask) -> Result<Vec<u8>, Problem> {
        let now = app.clock().now();
        let _ranking = match ask {
            Ask::Of(_, Of::Around { .. }) => {
                let turn = timeout(PATIENCE, self.ranking.acquire()).await;
                let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                Some(turn.map_err(|_elapsed| timed_out())?)
            }
            _ => None,
        };
        let answer = self.look(app, async |tx: &mut PgConnection| match ask {
            Ask::Boards => boards(tx).await,
            Ask::Windows { .. } => windows(tx, ask).await,
            Ask::Of(place, of) => part(tx, place, of, now).await,
        });
        answer.await
    }

    /// The scores of those of `users` who are on the board, the best first.
    pub(super) async fn scores(
        &self,
        app: &Registry,
        place: &Place,
        users: &[Uuid],
    ) -> Result<Vec<Scored>, Problem> {
        let now = app.clock().now();
        let answer = self.look(app, async |tx: &mut PgConnection| {
            let window = match find(tx, place, now).await? {
                Ok(window) => window,
                Err(problem) => return Ok(Err(problem)),
            };
            Ok(Ok(some(tx, &window, users).await?))
        });
        answer.await
    }

    async fn look<T>(
        &self,
        app: &Registry,
        read: impl AsyncFnOnce(&mut PgConnection) -> Found<T>,
    ) -> Result<T, Problem> {
        let answer = async {
            let turn = self.turns.acquire().await;
            let _turn = turn.map_err(|_closed| sqlx::Error::PoolClosed)?;
            let mut lease = Lease::take(app.pool()).await?;
            let tx = lease.connection();
            tx.execute(BEGIN).await?;
            let found = read(tx).await?;
            tx.execute("ROLLBACK").await?;
            lease.end();
            Ok::<_, sqlx::Error>(found)
        };
        in_time(PATIENCE, answer).await?
    }
}

#[derive(Debug, Serialize)]
struct Boards {
    boards: Vec<Declared>,
}

#[derive(Debug, Serialize)]
struct Declared {
    name: String,
    aggregation: String,
    direction: String,
    windows: Vec<String>,
    zone: String,
    top: i32,
    groups: Vec<String>,
}

#[instrument(target = TRACE, name = "db.leaderboard.list", skip_all)]
async fn boards(tx: &mut PgConnection) -> Found<Vec<u8>> {
    let boards = sqlx::query_file_as!(Declared, "sql/read_boards.sql")
        .fetch_all(tx)
        .await?;
    Ok(Ok(json(&Boards { boards })))
}

#[derive(Debug, Serialize)]
struct Windows<'a> {
    board: &'a str,
    windows: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    #[serde(rename = "window", serialize_with = "word")]
    kind: Kind,
    label: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn word<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

#[instrument(target = TRACE, name = "db.leaderboard_window.list", skip_all)]
async fn windows(tx: &mut PgConnection, ask: &Ask) -> Found<Vec<u8>> {
    let Ask::Windows {
        board,
        group,
        kind,
        before,
        limit,
    } = ask
    else {
        return Ok(Ok(Vec::new()));
    };
    let known = sqlx::query_scalar!(
        r#"SELECT true AS "known!" FROM nightshift.leaderboard WHERE name = $1 AND enabled"#,
        board,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if known.is_none() {
        return Ok(Err(no_board(board)));
    }
    let (column, value) = group.clone().unwrap_or_default();
    let windows = sqlx::query_file_as!(
        Listed,
        "sql/read_windows.sql",
        board,
        kind.map(Kind::as_str),
        column,
        value,
        *before,
        i64::from(*limit),
    )
    .fetch_all(tx)
    .await?;
    Ok(Ok(json(&Windows { board, windows })))
}

fn no_board(name: &str) -> Problem {
    Problem::not_found(format!("there is no board {name:?}"))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The window of `place`, if its board has such.
#[instrument(target = TRACE, name = "db.leaderboard_window.find", skip_all)]
async fn find(tx: &mut PgConnection, place: &Place, now: DateTime<Utc>) -> Found<Window> {
    let kind = place.kind.as_str();
    let (column, value) = place.group.clone().unwrap_or_default();
    let row = sqlx::query_file!(
        "sql/read_window.sql",
        place.board,
        kind,
        column,
        value,
        place.label,
        now,
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else {
        return Ok(Err(no_board(&place.board)));
    };
    let board = &place.board;
    if !row.has_kind {
        let what = format!("board {board} has no {kind} windows");
        return Ok(Err(Problem::not_found(what)));
    }
    if !row.has_group {
        let what = format!("board {board} is not grouped by {column}");
        return Ok(Err(Problem::not_found(what)));
    }
    if let (None, Some(label)) = (row.id, &place.label) {
        let what = format!("board {board} has no {kind} window {label}");
        return Ok(Err(Problem::not_found(what)));
    }
    let bounds = row.starts_at.zip(row.ends_at);
    Ok(Ok(Window {
        id: row.id,
        label: row.label,
        is_descending: row.is_descending,
        closed_at: row.closed_at,
        by_second: bounds
            .is_some_and(|(starts, ends)| windows::bits_of_seconds(starts, ends).is_some()),
    }))
}

/// What is asked for of a window.
async fn part(tx: &mut PgConnection, place: &Place, of: &Of, now: DateTime<Utc>) -> Found<Vec<u8>> {
    let window = match find(tx, place, now).await? {
        Ok(window) => window,
        Err(problem) => return Ok(Err(problem)),
    };
    let entries = match of {
        Of::Top(limit) => window.top(tx, *limit).await?,
        Of::Around {
            user, above, below, ..
        } => {
            let entries = window.around(tx, *user, *above, *below).await?;
            if entries.is_empty() {
                return Ok(Err(not_on_it(*user)));
            }
            entries
        }
        Of::Friends(users) => page::from_the_best(some(tx, &window, users).await?),
    };
    let about = About {
        place,
        label: window.label.as_deref(),
        members: window.members(tx).await?,
        closed: window.closed_at.is_some(),
        as_of: window.closed_at.unwrap_or(now),
    };
    Ok(Ok(Page::new(about, entries).render()))
}

/// The scores of `users` who are on it, the best first.
#[instrument(target = TRACE, name = "db.leaderboard_score.some", skip_all)]
async fn some(
    tx: &mut PgConnection,
    window: &Window,
    users: &[Uuid],
) -> Result<Vec<Scored>, sqlx::Error> {
    let rows = sqlx::query_file!(
        "sql/read_some.sql",
        window.id,
        window.is_descending,
        users,
        window.by_second,
    )
    .fetch_all(tx)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| Scored {
            user_id: row.user_id,
            score: row.score,
            achieved_at: Some(row.achieved_at.trunc_subsecs(0)),
        })
        .collect())
}

impl Window {
    #[instrument(target = TRACE, name = "db.leaderboard_score.top", skip_all)]
    async fn top(&self, tx: &mut PgConnection, limit: u32) -> Result<Vec<Entry>, sqlx::Error> {
        if self.closed_at.is_some() {
            let until = Some(i64::from(limit));
            let rows = sqlx::query_file_as!(
                Row,
                "sql/read_final.sql",
                self.id,
                Some(1),
                until,
                Uuid::nil(),
                0,
                0
            )
            .fetch_all(tx)
            .await?;
            return Ok(rows.into_iter().map(Entry::from).collect());
        }
        let rows = sqlx::query_file!(
            "sql/best.sql",
            self.id,
            self.is_descending,
            i64::from(limit),
            self.by_second,
        )
        .fetch_all(tx)
        .await?;
        let rows = rows.into_iter().map(|row| Scored {
            user_id: row.user_id,
            score: row.score,
            achieved_at: Some(row.achieved_at.trunc_subsecs(0)),
        });
        Ok(page::from_the_best(rows))
    }

    #[instrument(target = TRACE, name = "db.leaderboard_score.around", skip_all)]
    async fn around(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
        above: u32,
        below: u32,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let (above, below) = (i64::from(above), i64::from(below));
        let rows = if self.closed_at.is_some() {
            sqlx::query_file_as!(
                Row,
                "sql/read_final.sql",
                self.id,
                None::<i64>,
                None::<i64>,
                user,
                above,
                below
            )
            .fetch_all(tx)
            .await?
        } else {
            sqlx::query_file_as!(
                Row,
                "sql/read_open.sql",
                self.id,
                self.is_descending,
                user,
                above,
                below,
                self.by_second,
            )
            .fetch_all(tx)
            .await?
        };
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// How many are on it; of a closed window, how many places it has: who was forgotten has left one.
    #[instrument(target = TRACE, name = "db.leaderboard_score.count", skip_all)]
    async fn members(&self, tx: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let members = if self.closed_at.is_some() {
            sqlx::query_scalar!(
                r#"SELECT coalesce(max(position), 0) AS "members!" FROM nightshift.leaderboard_final WHERE board_window = $1"#,
                self.id,
            )
            .fetch_one(tx)
            .await?
        } else {
            sqlx::query_scalar!(
                r#"SELECT count(*) AS "members!" FROM nightshift.leaderboard_score WHERE board_window = $1"#,
                self.id,
            )
            .fetch_one(tx)
            .await?
        };
        Ok(u64::try_from(members).unwrap_or_default())
    }
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let place = |number: i64| u64::try_from(number).ok();
        Self {
            position: place(row.position),
            rank: place(row.rank),
            dense_rank: place(row.dense_rank),
            rank_estimate: None,
            user_id: row.user_id,
            score: row.score,
            achieved_at: Some(row.achieved_at.trunc_subsecs(0)),
        }
    }
}
