//! What Redis shows of a board. It knows the best as many as the board declares, and how the others are
//! spread.

use chrono::{DateTime, Utc};
use nightshift_cache::CacheError;
use nightshift_cache::board::{Board, Boards, Meta, Order};
use nightshift_handler::Registry;
use nightshift_telemetry::causes;
use uuid::Uuid;

use super::ask::{Ask, Of};
use super::postgres::Reader;
use super::problem::Problem;
use crate::buckets::Buckets;
use crate::page::{self, About, Entry, Page, RENDERED, Scored};
use crate::place::Place;

/// The answer, if Redis has all of it. `None`: the database is to be asked.
pub(super) async fn page(
    boards: &Boards,
    database: &Reader,
    app: &Registry,
    ask: &Ask,
) -> Result<Option<Vec<u8>>, Problem> {
    let Ask::Of(place, of) = ask else {
        return Ok(None);
    };
    let Ok(board) = Board::new(place.key()) else {
        return Ok(None);
    };
    let shown = Shown {
        boards,
        board,
        place,
    };
    match of {
        Of::Top(limit) => Ok(shown.top(*limit).await),
        Of::Around { dense: true, .. } => Ok(None),
        Of::Around {
            user, above, below, ..
        } => match shown.around(*user, *above, *below).await {
            Around::Found(body) => Ok(Some(body)),
            Around::Unknown => Ok(None),
            Around::Absent(meta) => {
                let found = database.scores(app, &shown.named(&meta), &[*user]).await?;
                let Some(score) = found.first().copied() else {
                    return Err(not_on_it(*user));
                };
                let only_rank = above + below == 0;
                Ok(if only_rank {
                    shown.estimate(&meta, score).await
                } else {
                    None
                })
            }
        },
        Of::Friends(users) => shown.friends(database, app, users).await,
    }
}

pub(super) fn not_on_it(user: Uuid) -> Problem {
    Problem::not_found(format!("user {user} is not on this board"))
}

/// A board in Redis.
struct Shown<'a> {
    boards: &'a Boards,
    board: Board,
    place: &'a Place,
}

/// Who is around somebody.
enum Around {
    Found(Vec<u8>),
    /// They are not among those whom Redis holds.
    Absent(Meta),
    /// Redis does not have the board, or not all that is asked for.
    Unknown,
}

impl Shown<'_> {
    async fn top(&self, limit: u32) -> Option<Vec<u8>> {
        if limit == RENDERED
            && let Some(body) = told(self.boards.top_rendered(&self.board).await)
        {
            return Some(body);
        }
        let standings = told(self.boards.top(&self.board, limit).await)?;
        let held = u64::try_from(standings.rows.len()).ok()?;
        if held < standings.meta.members.min(u64::from(limit)) {
            return None;
        }
        let entries = page::from_redis(&standings)?;
        Some(self.render(&standings.meta, entries))
    }

    async fn around(&self, user: Uuid, above: u32, below: u32) -> Around {
        let name = user.to_string();
        let around = self.boards.around(&self.board, &name, above, below).await;
        let Some(standings) = told(around) else {
            return Around::Unknown;
        };
        let mine = standings.rows.iter().find(|row| row.member == name);
        let Some(mine) = mine.map(|row| row.ordinal) else {
            return Around::Absent(standings.meta);
        };
        let last = standings.rows.last().map_or(0, |row| row.ordinal);
        // Those below may be beyond what Redis holds.
        if last < standings.meta.members.min(mine + u64::from(below)) {
            return Around::Unknown;
        }
        match page::from_redis(&standings) {
            Some(entries) => Around::Found(self.render(&standings.meta, entries)),
            None => Around::Unknown,
        }
    }

    /// About which rank somebody has whom Redis does not hold.
    async fn estimate(&self, meta: &Meta, found: Scored) -> Option<Vec<u8>> {
        let buckets = told(self.boards.buckets(&self.board).await)?;
        let rank = Buckets::read(&buckets)?.rank(found.score);
        let entry = Entry {
            position: None,
            rank: None,
            dense_rank: None,
            rank_estimate: Some(rank),
            user_id: found.user_id,
            score: found.score,
            achieved_at: found.achieved_at,
        };
        Some(self.render(meta, vec![entry]))
    }

    /// Those of `users` whom Redis holds with the others whom the database knows.
    async fn friends(
        &self,
        database: &Reader,
        app: &Registry,
        users: &[Uuid],
    ) -> Result<Option<Vec<u8>>, Problem> {
        let names: Vec<String> = users.iter().map(Uuid::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(found) = told(self.boards.scores(&self.board, &names).await) else {
            return Ok(None);
        };
        let mut friends = Vec::with_capacity(users.len());
        let mut missing = Vec::new();
        for (user, score) in users.iter().zip(&found.scores) {
            match score {
                Some(score) => friends.push(Scored {
                    user_id: *user,
                    score: score.score,
                    achieved_at: score
                        .achieved_seconds
                        .and_then(|second| DateTime::from_timestamp(second, 0)),
                }),
                None => missing.push(*user),
            }
        }
        if !missing.is_empty() {
            let others = database
                .scores(app, &self.named(&found.meta), &missing)
                .await?;
            let knows_seconds = found.meta.encoding.bits() > 0;
            friends.extend(others.into_iter().map(|other| Scored {
                achieved_at: other.achieved_at.filter(|_| knows_seconds),
                ..other
            }));
        }
        let is_highest_first = found.meta.encoding.order() == Order::HighestFirst;
        friends.sort_by(|a, b| {
            let (scores, ids) = (a.score.cmp(&b.score), a.user_id.cmp(&b.user_id));
            let by_time = a.achieved_at.cmp(&b.achieved_at);
            if is_highest_first {
                scores.reverse().then(by_time).then(ids.reverse())
            } else {
                scores.then(by_time).then(ids)
            }
        });
        Ok(Some(self.render(&found.meta, page::from_the_best(friends))))
    }

    /// The window that Redis shows, by its name: another one may have begun.
    fn named(&self, meta: &Meta) -> Place {
        Place {
            label: Some(meta.window.clone()),
            ..self.place.clone()
        }
    }

    fn render(&self, meta: &Meta, entries: Vec<Entry>) -> Vec<u8> {
        let about = About {
            place: self.place,
            label: Some(&meta.window),
            members: meta.members,
            closed: false,
            as_of: DateTime::<Utc>::from_timestamp_millis(meta.published_ms).unwrap_or_default(),
        };
        Page::new(about, entries).render()
    }
}

/// What Redis has said, if it has. Its absence is told each minute by whoever shows boards there.
fn told<T>(answer: Result<Option<T>, CacheError>) -> Option<T> {
    answer.unwrap_or_else(|error| {
        tracing::debug!(
            error = causes(&error),
            "a leaderboard is read from the database"
        );
        None
    })
}
