//! Scores that made-up users reach, as the sample application would write them.

use anyhow::Context;
use rand::Rng;
use sqlx::postgres::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};

use super::round::user;

/// How many of the sample users play: few enough that the same ones meet again at the top.
const PLAYERS: u32 = 40;

/// Where the players are from.
const COUNTRIES: [&str; 5] = ["BR", "DE", "FR", "JP", "US"];

/// One event of `app.score_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    user: u32,
    board: &'static str,
    score: i64,
}

impl Event {
    /// Somebody wins points, mostly, or is liked, or ends a race.
    pub(super) fn random(random: &mut impl Rng) -> Self {
        let (board, score) = match random.random_range(0..10) {
            0..7 => ("points", random.random_range(1..=25) * 10),
            7..9 => ("likes", 1),
            _ => ("races", random.random_range(61_000..=119_000)),
        };
        Self {
            user: random.random_range(1..=PLAYERS),
            board,
            score,
        }
    }

    fn country(&self) -> &'static str {
        COUNTRIES[usize::try_from(self.user).unwrap_or(0) % COUNTRIES.len()]
    }
}

/// What was added, in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Added {
    /// The transaction's number.
    pub(super) xid: i64,
    /// The database's time.
    pub(super) at: DateTime<Utc>,
}

/// Adds `scores`, of which there is at least one.
pub(super) async fn add(database: &mut PgConnection, scores: &[Event]) -> anyhow::Result<Added> {
    let users: Vec<String> = scores.iter().map(|score| user(score.user)).collect();
    let boards: Vec<&str> = scores.iter().map(|score| score.board).collect();
    let points: Vec<i64> = scores.iter().map(|score| score.score).collect();
    let countries: Vec<&str> = scores.iter().map(Event::country).collect();
    let added = sqlx::query_as::<_, (i64, DateTime<Utc>)>(
        "insert into app.score_event (user_id, board, score, country) \
         select s.user_id::uuid, s.board, s.score, s.country \
         from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) \
              as s (user_id, board, score, country) \
         returning xid::text::bigint, occurred_at",
    )
    .bind(users)
    .bind(boards)
    .bind(points)
    .bind(countries)
    .fetch_all(database)
    .await
    .context("cannot add sample scores to app.score_event")?;
    let (xid, at) = added
        .last()
        .context("app.score_event has not kept the sample scores")?;
    Ok(Added { xid: *xid, at: *at })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn scores_are_of_sample_users_and_for_the_boards_that_are_declared() {
        let declared = include_str!("../../sample/leaderboards.sql");
        let mut random = StdRng::seed_from_u64(1);
        let scores: Vec<Event> = (0..1_000).map(|_| Event::random(&mut random)).collect();
        let boards: BTreeSet<&str> = scores.iter().map(|score| score.board).collect();
        assert_eq!(boards, ["likes", "points", "races"].into());
        for board in boards {
            let selects = format!("'scores', '{board}', ");
            assert!(declared.contains(&selects), "nothing {selects}");
        }
        assert!(
            scores
                .iter()
                .all(|score| score.score > 0 && (1..=PLAYERS).contains(&score.user))
        );
    }
}
