//! Where those stand whom Redis does not hold: of a board with more members than that, some scores and how
//! many are better than each.

use nightshift_telemetry::trace::TRACE;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tracing::instrument;

/// How many pieces a board is cut into: an estimate is off by less than one of 256.
const PIECES: i64 = 256;

/// Scores at equal distances along a board, the best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    is_descending: bool,
    members: u64,
    /// The first score of each piece, and how many members are before it.
    firsts: Vec<(i64, u64)>,
}

impl Buckets {
    /// Those of an open window, which has `members`.
    #[instrument(target = TRACE, name = "db.leaderboard_score.buckets", skip_all)]
    pub(crate) async fn of(
        tx: &mut PgConnection,
        window: i32,
        is_descending: bool,
        members: i64,
    ) -> Result<Self, sqlx::Error> {
        let step = (members / PIECES).max(1);
        let rows = sqlx::query_file!("sql/buckets.sql", window, is_descending, step)
            .fetch_all(tx)
            .await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let firsts = rows.iter().map(|row| (row.score, count(row.before)));
        Ok(Self {
            is_descending,
            members: count(members),
            firsts: firsts.collect(),
        })
    }

    pub(crate) fn render(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What [`Self::render`] has written; `None` if it was another release's.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// About which rank a score has, from 1 on: between two scores ranks are spread evenly.
    pub(crate) fn rank(&self, score: i64) -> u64 {
        let worth = |score: i64| {
            let score = i128::from(score);
            if self.is_descending { -score } else { score }
        };
        let better = self
            .firsts
            .partition_point(|(first, _)| worth(*first) < worth(score));
        // Equal scores share the rank of the first of them.
        let Some((first, before)) = better.checked_sub(1).and_then(|n| self.firsts.get(n)) else {
            return 1;
        };
        let (last, end) = self
            .firsts
            .get(better)
            .copied()
            .unwrap_or((score, self.members));
        let span = worth(last) - worth(*first);
        let part = worth(score) - worth(*first);
        let within = i128::from(end - before) * part / span.max(1);
        let rank = before + u64::try_from(within).unwrap_or_default() + 1;
        rank.min(self.members.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(scores: &[i64], is_descending: bool, step: usize) -> Buckets {
        let firsts = scores.iter().enumerate().step_by(step);
        Buckets {
            is_descending,
            members: scores.len() as u64,
            firsts: firsts
                .map(|(before, score)| (*score, before as u64))
                .collect(),
        }
    }

    #[test]
    fn ranks_are_those_of_the_board_within_one_piece() {
        for is_descending in [true, false] {
            let sign = if is_descending { -1 } else { 1 };
            let mut scores: Vec<i64> = (0..10_000).map(|n: i64| n * n % 7_919).collect();
            scores.sort_by_key(|score| sign * score);
            let buckets = buckets(&scores, is_descending, 50);
            for score in 0..7_919 {
                let better = scores.partition_point(|other| sign * other < sign * score);
                let (estimate, rank) = (buckets.rank(score), better as u64 + 1);
                assert!(
                    estimate.abs_diff(rank) <= 50,
                    "{score}: {estimate} and not {rank}"
                );
            }
            assert_eq!(buckets.rank(-sign * i64::MAX), 1);
            assert_eq!(buckets.rank(sign * i64::MAX), 10_000);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let buckets = buckets(&[9, 7, 5], true, 1);
        assert_eq!(Buckets::read(&buckets.render()), Some(buckets));
        assert_eq!(Buckets::read(b"[]"), None);
    }
}
