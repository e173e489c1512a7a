//! A part of a board as readers get it: the publisher renders the best of each window, the read API
//! everything else.

use chrono::{DateTime, Utc};
use nightshift_cache::board::Standings;
use serde::Serialize;
use uuid::Uuid;

use crate::place::Place;

/// How many of the best are rendered when a board is published, which is also how many readers get who do not say.
pub(crate) const RENDERED: u32 = 100;

/// A part of a board.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    board: &'a str,
    window: &'static str,
    /// `None`: nothing was counted in it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Group<'a>>,
    /// How many are on the board.
    members: u64,
    /// Its ranks stand.
    closed: bool,
    /// When it was published, or read from the database.
    as_of: DateTime<Utc>,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Group<'a> {
    column: &'a str,
    value: &'a str,
}

/// Somebody on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// 1, 2, 3, 4: nobody else has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    /// 1, 2, 2, 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<u64>,
    /// 1, 2, 2, 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dense_rank: Option<u64>,
    /// About which rank it is, where nobody has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rank_estimate: Option<u64>,
    pub(crate) user_id: Uuid,
    pub(crate) score: i64,
    /// When the score was reached, to the second, if the board knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) achieved_at: Option<DateTime<Utc>>,
}

/// What a page says besides its entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) place: &'a Place,
    pub(crate) label: Option<&'a str>,
    pub(crate) members: u64,
    pub(crate) closed: bool,
    pub(crate) as_of: DateTime<Utc>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(about: About<'a>, entries: Vec<Entry>) -> Self {
        Self {
            board: &about.place.board,
            window: about.place.kind.as_str(),
            label: about.label,
            group: about
                .place
                .group
                .as_ref()
                .map(|(column, value)| Group { column, value }),
            members: about.members,
            closed: about.closed,
            as_of: about.as_of,
            entries,
        }
    }

    pub(crate) fn render(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Of whom is known which score they have and when they reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scored {
    pub(crate) user_id: Uuid,
    pub(crate) score: i64,
    pub(crate) achieved_at: Option<DateTime<Utc>>,
}

/// All entries of a list that begins with the best: those of a board, or those of some friends.
pub(crate) fn from_the_best(rows: impl IntoIterator<Item = Scored>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut rank, mut dense_rank) = (0, 0);
    for (position, row) in (1..).zip(rows) {
        if entries.last().is_none_or(|last| last.score != row.score) {
            rank = position;
            dense_rank += 1;
        }
        entries.push(Entry {
            position: Some(position),
            rank: Some(rank),
            dense_rank: Some(dense_rank),
            rank_estimate: None,
            user_id: row.user_id,
            score: row.score,
            achieved_at: row.achieved_at,
        });
    }
    entries
}

/// The entries that Redis has shown. `None`: it holds what is no user.
pub(crate) fn from_redis(standings: &Standings) -> Option<Vec<Entry>> {
    let mut dense_rank = standings
        .rows
        .first()
        .filter(|first| first.ordinal == 1)
        .map(|_| 0);
    let mut last = None;
    let mut entries = Vec::with_capacity(standings.rows.len());
    for row in &standings.rows {
        if last != Some(row.rank) {
            dense_rank = dense_rank.map(|dense| dense + 1);
            last = Some(row.rank);
        }
        entries.push(Entry {
            position: Some(row.ordinal),
            rank: Some(row.rank),
            dense_rank,
            rank_estimate: None,
            user_id: row.member.parse().ok()?,
            score: row.score.score,
            achieved_at: row
                .score
                .achieved_seconds
                .and_then(|second| DateTime::from_timestamp(second, 0)),
        });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_share_their_ranks() {
        let scores = [9, 7, 7, 5].map(|score| Scored {
            user_id: Uuid::from_u128(1),
            score,
            achieved_at: None,
        });
        let entries = from_the_best(scores);
        let ranks: Vec<_> = entries
            .iter()
            .map(|entry| (entry.position, entry.rank, entry.dense_rank))
            .collect();
        let expected = [(1, 1, 1), (2, 2, 2), (3, 2, 2), (4, 4, 3)];
        assert_eq!(
            ranks,
            expected.map(|(position, rank, dense)| (Some(position), Some(rank), Some(dense)))
        );
    }
}
