//! Reading boards.

use std::collections::HashMap;

use nightshift_telemetry::trace::TRACE;
use redis::FromRedisValue;
use tracing::instrument;

use super::encoding::{Composite, Score};
use super::meta::{self, Meta};
use super::{Board, Boards};
use crate::CacheError;

const TOP: &str = concat!(
    include_str!("published.lua"),
    include_str!("read.lua"),
    include_str!("top.lua")
);
const AROUND: &str = concat!(
    include_str!("published.lua"),
    include_str!("read.lua"),
    include_str!("around.lua")
);
const SCORES: &str = concat!(
    include_str!("published.lua"),
    include_str!("read.lua"),
    include_str!("scores.lua")
);
const META: &str = concat!(
    include_str!("published.lua"),
    "return is_whole() and redis.call('HGETALL', meta)"
);

/// The fields of the companion.
type Fields = HashMap<String, String>;

/// Members with their numbers, as Redis writes them.
type Pairs = Vec<(String, String)>;

/// A member and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its place, from 1 on, which nobody else has.
    pub ordinal: u64,
    /// One more than how many have a better score: what equal scores share (1, 2, 2, 4).
    pub rank: u64,
    /// The member.
    pub member: String,
    /// Its score.
    pub score: Score,
}

/// A part of a board, and what the board says about itself; both of the same publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standings {
    /// What the board says about itself.
    pub meta: Meta,
    /// The members, the best first.
    pub rows: Vec<Standing>,
}

/// The scores of some members, and what the board says about itself; both of the same publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scores {
    /// What the board says about itself.
    pub meta: Meta,
    /// The scores in the order in which they were asked for; `None` for who is not on the board.
    pub scores: Vec<Option<Score>>,
}

/// What is read is one command, which takes a quarter of a second at most. `None` says that the board is
/// not there as it was published; Postgres knows it.
impl Boards {
    /// What `board` says about itself.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn meta(&self, board: &Board) -> Result<Option<Meta>, CacheError> {
        let shown = self.shown(board).await?;
        Ok(shown.map(|(meta, _)| meta))
    }

    /// What `board` says about itself, and how many members of it are in Redis.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn shown(&self, board: &Board) -> Result<Option<(Meta, u64)>, CacheError> {
        let answer: Option<Fields> = board.call(META).ask(&self.0).await?;
        let shown = answer.map(|fields| Ok((Meta::read(&fields)?, meta::size(&fields)?)));
        shown.transpose()
    }

    /// The best `count`.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn top(&self, board: &Board, count: u32) -> Result<Option<Standings>, CacheError> {
        let answer: Option<(Fields, Pairs)> = board.call(TOP).arg(count).ask(&self.0).await?;
        let standings = answer.map(|(fields, pairs)| standings(&fields, 0, 0, pairs));
        standings.transpose()
    }

    /// The best as the publisher has rendered them.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn top_rendered(&self, board: &Board) -> Result<Option<Vec<u8>>, CacheError> {
        self.get(&board.top).await
    }

    /// What the publisher knows of all members.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn buckets(&self, board: &Board) -> Result<Option<Vec<u8>>, CacheError> {
        self.get(&board.buckets).await
    }

    /// `member`, up to `above` better ones and up to `below` worse ones; none if it is not on the board.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn around(
        &self,
        board: &Board,
        member: &str,
        above: u32,
        below: u32,
    ) -> Result<Option<Standings>, CacheError> {
        let around = board.call(AROUND).arg(member).arg(above).arg(below);
        let answer: Option<(Fields, u64, u64, Pairs)> = around.ask(&self.0).await?;
        let standings =
            answer.map(|(fields, before, better, pairs)| standings(&fields, before, better, pairs));
        standings.transpose()
    }

    /// Where `member` stands; no row if it is not on the board.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn rank(&self, board: &Board, member: &str) -> Result<Option<Standings>, CacheError> {
        self.around(board, member, 0, 0).await
    }

    /// The scores of `members`.
    ///
    /// # Errors
    /// Those of Redis.
    #[instrument(target = TRACE, name = "cache.board", skip_all)]
    pub async fn scores(
        &self,
        board: &Board,
        members: &[&str],
    ) -> Result<Option<Scores>, CacheError> {
        let scores = board.call(SCORES).arg(members);
        let answer: Option<(Fields, Vec<Option<String>>)> = scores.ask(&self.0).await?;
        let Some((fields, numbers)) = answer else {
            return Ok(None);
        };
        let meta = Meta::read(&fields)?;
        let scores = numbers.into_iter().map(|number| {
            let score = |number: String| score(&meta, &number);
            number.map(score).transpose()
        });
        let scores = scores.collect::<Result<_, _>>()?;
        Ok(Some(Scores { meta, scores }))
    }

    async fn get<T: FromRedisValue>(&self, key: &str) -> Result<T, CacheError> {
        let mut get = redis::cmd("GET");
        get.arg(key);
        self.0.query(&get).await
    }
}

fn score(meta: &Meta, number: &str) -> Result<Score, CacheError> {
    let composite = Composite::read(number);
    let composite = composite.ok_or_else(|| CacheError::unreadable(format!("{number:?}")))?;
    Ok(meta.encoding.decode(composite))
}

/// The members in `pairs`: `before` are before the first of them, `better` have a better score than it.
fn standings(
    fields: &Fields,
    before: u64,
    better: u64,
    pairs: Pairs,
) -> Result<Standings, CacheError> {
    let meta = Meta::read(fields)?;
    let mut rows: Vec<Standing> = Vec::with_capacity(pairs.len());
    for (ordinal, (member, number)) in (before + 1..).zip(pairs) {
        let score = score(&meta, &number)?;
        let rank = match rows.last() {
            None => better + 1,
            Some(last) if last.score.score == score.score => last.rank,
            Some(_) => ordinal,
        };
        rows.push(Standing {
            ordinal,
            rank,
            member,
            score,
        });
    }
    Ok(Standings { meta, rows })
}
