//! What Redis holds, read by the test's own means, and whether it is what Postgres says.

use std::collections::{BTreeSet, HashMap};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, RedisResult};

use super::*;

/// A key of the test's that lives as long as what the server holds: without it, the server was emptied.
const GENERATION: &str = "test:generation";

/// A board at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// What is written in [`GENERATION`].
    pub(super) generation: Option<String>,
    /// The fields of its companion; none if it is not there.
    pub(super) meta: HashMap<String, String>,
    /// The members as Redis orders them, the best first, each with its score.
    pub(super) rows: Vec<(Uuid, i64)>,
}

impl View {
    /// A number among the fields; 0 if it is not there.
    pub(super) fn number(&self, field: &str) -> i64 {
        let value = self.meta.get(field);
        value.map_or(0, |value| value.parse().unwrap())
    }
}

/// What Redis answers: the generation, the fields, and the members with their numbers.
type Answer = (
    Option<String>,
    HashMap<String, String>,
    Vec<(String, String)>,
);

/// Reads the board `key`, all at one instant.
pub(super) async fn view(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<View> {
    let mut all = redis::pipe();
    all.atomic()
        .get(GENERATION)
        .hgetall(format!("{{{key}}}:meta"))
        .zrange_withscores(key, 0, -1);
    let (generation, meta, pairs): Answer = all.query_async(connection).await?;
    let mut view = View {
        generation,
        meta,
        rows: Vec::new(),
    };
    let bits = view.number("bits");
    let row = |(member, number): (String, String)| {
        let number: i64 = number.parse().unwrap();
        (member.parse().unwrap(), number >> bits)
    };
    view.rows = pairs.into_iter().map(row).collect();
    if view.meta.get("order").map(String::as_str) == Some("highest") {
        view.rows.reverse();
    }
    Ok(view)
}

/// Notes that the server holds something from now on.
pub(super) async fn begin_generation(
    connection: &mut MultiplexedConnection,
    name: &str,
) -> RedisResult<()> {
    connection.set_nx(GENERATION, name).await
}

/// An open window, and its scores in the order of their positions.
#[derive(sqlx::FromRow)]
struct Open {
    board: String,
    is_descending: bool,
    kind: String,
    label: String,
    group_name: String,
    group_value: String,
    is_current: bool,
    changed_run: i64,
    users: Vec<Uuid>,
    scores: Vec<i64>,
    seconds: Vec<i64>,
}

impl Open {
    /// The keys under which it is to be shown.
    fn keys(&self) -> Vec<String> {
        let mut key = format!("leaderboard:{}", self.board);
        if !self.group_name.is_empty() {
            let (name, value) = (percent(&self.group_name), percent(&self.group_value));
            key = format!("{key}:{name}:{value}");
        }
        let mut keys = Vec::new();
        if self.kind != "all-time" {
            keys.push(format!("{key}:{}:{}", self.kind, self.label));
        }
        if self.is_current {
            keys.push(format!("{key}:{}", self.kind));
        }
        keys
    }

    /// Its users and scores, the best first; of equal scores the one that was reached in an earlier second, if
    /// the board can say so, then by the bytes of the ids as Redis orders them.
    fn rows(&self, has_seconds: bool) -> Vec<(Uuid, i64)> {
        let columns = self.users.iter().zip(&self.scores).zip(&self.seconds);
        let mut rows: Vec<(Uuid, i64, i64)> = columns
            .map(|((user, score), second)| (*user, *score, if has_seconds { *second } else { 0 }))
            .collect();
        rows.sort_by(|a, b| {
            let (by_score, by_user) = (a.1.cmp(&b.1), a.0.cmp(&b.0));
            if self.is_descending {
                let earlier = a.2.cmp(&b.2);
                by_score.reverse().then(earlier).then(by_user.reverse())
            } else {
                by_score.then(a.2.cmp(&b.2)).then(by_user)
            }
        });
        rows.into_iter()
            .map(|(user, score, _)| (user, score))
            .collect()
    }
}

/// As a piece of a key.
fn percent(text: &str) -> String {
    let mut out = text.replace('%', "%25");
    for mark in [':', '{', '}'] {
        out = out.replace(mark, &format!("%{:02X}", u32::from(mark)));
    }
    out
}

/// Compares all open windows of the database with Redis, to the last row. Says how many keys and rows.
///
/// # Panics
/// When they differ, or two windows would have one key.
pub(super) async fn shown_is_counted(
    pool: &PgPool,
    connection: &mut MultiplexedConnection,
    now: DateTime<Utc>,
) -> (usize, usize) {
    let open: Vec<Open> = sqlx::query_as(
        "SELECT b.name AS board, b.direction = 'descending' AS is_descending, w.kind, w.label, w.group_name, w.group_value,
            w.starts_at <= $1 AND $1 < w.ends_at AS is_current, w.changed_run,
            coalesce(array_agg(s.user_id) FILTER (WHERE s.user_id IS NOT NULL), '{}') AS users,
            coalesce(array_agg(s.score) FILTER (WHERE s.user_id IS NOT NULL), '{}') AS scores,
            coalesce(array_agg(floor(extract(epoch FROM s.achieved_at))::bigint) FILTER (WHERE s.user_id IS NOT NULL), '{}') AS seconds
        FROM nightshift.leaderboard_window AS w
        JOIN nightshift.leaderboard AS b ON b.id = w.board
        LEFT JOIN nightshift.leaderboard_score AS s ON s.board_window = w.id
        WHERE w.closed_at IS NULL AND w.ends_at > $1 - b.grace GROUP BY w.id, b.id",
    )
    .bind(now)
    .fetch_all(pool)
    .await
    .unwrap();
    let (mut keys, mut rows) = (BTreeSet::new(), 0);
    for window in &open {
        for key in window.keys() {
            let view = view(connection, &key).await.unwrap();
            let counted = window.rows(view.number("bits") > 0);
            assert_eq!(
                view.rows, counted,
                "{key}, of the run {:?}, which the count {} has changed",
                view.meta, window.changed_run
            );
            assert_eq!(view.meta.get("window"), Some(&window.label), "{key}");
            assert_eq!(view.number("run"), window.changed_run, "{key}");
            rows += counted.len();
            assert!(keys.insert(key.clone()), "{key} is the key of two windows");
        }
    }
    (keys.len(), rows)
}
