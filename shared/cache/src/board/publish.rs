//! Writing boards.

use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, future};
use nightshift_telemetry::trace::TRACE;
use redis::Cmd;
use tracing::instrument;

use super::encoding::Order;
use super::meta::{Meta, Run};
use super::rows::{Changes, Rows};
use super::{Board, Boards, Expiry, millis};
use crate::CacheError;
use crate::link::Session;
use crate::script::Call;

/// How long what was written for a publication stays if nothing more comes: longer than the pause until the
/// next thousand members.
const TEMPORARY: Duration = Duration::from_mins(1);

/// How many chunks are on their way at once: enough that the server never waits for the next one, and all
/// that a publication holds in memory.
const IN_FLIGHT: usize = 4;

const BEGIN: &str = concat!(include_str!("published.lua"), include_str!("begin.lua"));
const SWAP: &str = concat!(
    include_str!("published.lua"),
    include_str!("describe.lua"),
    include_str!("swap.lua")
);
const CHANGE: &str = concat!(
    include_str!("published.lua"),
    include_str!("describe.lua"),
    include_str!("change.lua")
);
const TOUCH: &str = concat!(include_str!("published.lua"), include_str!("touch.lua"));
const FORGET: &str = concat!(include_str!("published.lua"), include_str!("forget.lua"));

/// What is published besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Where.
    pub board: &'a Board,
    /// What the board says about itself from then on.
    pub meta: &'a Meta,
    /// What else is kept beside it.
    pub extras: Extras<'a>,
    /// How long all of it lives.
    pub expiry: Expiry,
}

/// What a publisher may keep beside a board. What is `None` is removed, since it would be that of another
/// run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The best as readers get them, such as JSON.
    pub top: Option<&'a [u8]>,
    /// What the publisher knows of all members, in a form of its own.
    pub buckets: Option<&'a [u8]>,
}

/// How a full publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is what readers see.
    Published {
        /// How many members are in Redis.
        size: u64,
    },
    /// A newer run is shown, and still is.
    Stale {
        /// The newer run.
        current: Run,
    },
}

/// How a publication of changes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// They are what readers see, or were already: the same run changes nothing twice.
    Published {
        /// How many members are in Redis.
        size: u64,
    },
    /// A newer run is shown, and still is.
    Stale {
        /// The newer run.
        current: Run,
    },
    /// What is shown is not what the changes begin from: another run, none, or one that has lost members.
    /// Nothing has changed; publish all.
    Mismatch,
    /// There are more than [`Changes::MOST`]. Nothing was sent; publish all.
    TooMany,
}

/// What a board was like when it was to live longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// It lives longer.
    Renewed,
    /// It is not there as it was published: Redis has lost it, or a part of it. Publish all.
    Missing,
    /// Another run is shown, whose expiry is left as it was.
    Other {
        /// That run.
        current: Run,
    },
}

impl Boards {
    /// Publishes a board: shows exactly `rows`, which come in any order, best in chunks of
    /// [`Rows::CHUNK`], each member once. They are asked for as they can be sent. Each command may take
    /// `deadline`; how long `rows` take is the caller's own, a minute between two chunks at most.
    ///
    /// Where the compiler says of a task that publishes that some closure "is not general enough", `rows`
    /// borrow something, and have to be `boxed()`.
    ///
    /// Publishing the same run again is fine, also at the same time by two.
    ///
    /// # Errors
    /// Those of `rows` and of Redis. Readers see what they saw before, or all of this; a
    /// [`CacheError::Unreachable`] or [`CacheError::TooSlow`] at the end leaves open which.
    #[instrument(target = TRACE, name = "cache.publish", skip_all)]
    pub async fn publish_all<E: From<CacheError>>(
        &self,
        publication: Publication<'_>,
        rows: impl Stream<Item = Result<Rows, E>>,
        deadline: Duration,
    ) -> Result<Published, E> {
        let Publication { board, meta, .. } = publication;
        let session = self.0.session(deadline).await?;
        let temporary = board.temporary(meta.run, rand::random());
        let [live, companion, top, buckets] = board.keys();
        let keys = [live, companion, top, buckets, &temporary];
        let begin = board.call(BEGIN).arg(meta.run.0);
        if let Some(newer) = begin.run(&session).await? {
            let current = Run(newer);
            return Ok(Published::Stale { current });
        }
        let shown = async {
            let written = write(&session, &temporary, rows).await?;
            let swap = publication.describe(Call::new(SWAP, &keys), written);
            let (end, number): (String, i64) = swap.run(&session).await?;
            Ok(match end.as_str() {
                "published" => Published::Published {
                    size: count(number),
                },
                "stale" => Published::Stale {
                    current: Run(number),
                },
                _ => Err(CacheError::Disturbed {
                    key: temporary.clone(),
                    written,
                    found: count(number),
                })?,
            })
        };
        let shown = shown.await;
        if shown.is_err() {
            // It would go by itself, but a server without memory needs it now.
            session.try_briefly(&unlink(&[&temporary])).await;
        }
        shown
    }

    /// Publishes what has changed since the run `previous`, all of it at once, and keeps the best `keep` of
    /// what is there then, or all. It may take `deadline`.
    ///
    /// # Errors
    /// Those of Redis. Readers see what they saw before, or all of this.
    #[instrument(target = TRACE, name = "cache.publish_changes", skip_all)]
    pub async fn publish_changes(
        &self,
        publication: Publication<'_>,
        previous: Run,
        changes: &Changes,
        keep: Option<usize>,
        deadline: Duration,
    ) -> Result<Changed, CacheError> {
        if changes.len() > Changes::MOST {
            return Ok(Changed::TooMany);
        }
        let session = self.0.session(deadline).await?;
        let order = publication.meta.encoding.order();
        let mut change = publication
            .describe(publication.board.call(CHANGE), previous.0)
            .arg(keep.unwrap_or(0))
            .arg(i32::from(order == Order::HighestFirst))
            .arg(2 * changes.set.len());
        changes.set.write_all(change.command());
        for member in &changes.removed {
            change.command().arg(member);
        }
        let (end, number): (String, i64) = change.run(&session).await?;
        Ok(match end.as_str() {
            "published" => Changed::Published {
                size: count(number),
            },
            "stale" => Changed::Stale {
                current: Run(number),
            },
            _ => Changed::Mismatch,
        })
    }

    /// Lets a board live on that has not changed since `run` has published it, and says whether it is
    /// there. It takes no memory, so that it works on a server that has none left. It may take `deadline`.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn touch(
        &self,
        board: &Board,
        run: Run,
        expiry: Expiry,
        deadline: Duration,
    ) -> Result<Touched, CacheError> {
        let session = self.0.session(deadline).await?;
        let touch = board
            .call(TOUCH)
            .arg(run.0)
            .arg(millis(expiry.board))
            .arg(millis(expiry.top));
        let (end, number): (String, i64) = touch.run(&session).await?;
        Ok(match end.as_str() {
            "renewed" => Touched::Renewed,
            "other" => Touched::Other {
                current: Run(number),
            },
            _ => Touched::Missing,
        })
    }

    /// Takes `member` off `board`, and with it the rendered best, which may show it; says whether it was
    /// there. What is just being published may bring it back: remove it in Postgres first, and publish
    /// once more.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn forget_member(
        &self,
        board: &Board,
        member: &str,
        deadline: Duration,
    ) -> Result<bool, CacheError> {
        let session = self.0.session(deadline).await?;
        board.call(FORGET).arg(member).run(&session).await
    }

    /// Removes `boards` and what is beside them, one after the other, each within `deadline`. Nothing is
    /// left that would keep an older run from being published.
    ///
    /// # Errors
    /// Those of Redis. Those before the one that failed are removed.
    pub async fn remove(&self, boards: &[Board], deadline: Duration) -> Result<(), CacheError> {
        let session = self.0.session(deadline).await?;
        for board in boards {
            let _removed: i64 = session.query(&unlink(&board.keys())).await?;
        }
        Ok(())
    }
}

impl Publication<'_> {
    /// Adds to `call` what full publications and changes have in common; `before` is the run before or
    /// what was written.
    fn describe(self, call: Call, before: impl redis::ToRedisArgs) -> Call {
        let Extras { top, buckets } = self.extras;
        let mut call = call
            .arg(self.meta.run.0)
            .arg(before)
            .arg(millis(self.expiry.board))
            .arg(millis(self.expiry.top));
        for extra in [top, buckets] {
            call = call.arg(i32::from(extra.is_some()));
            call = call.arg(extra.unwrap_or_default());
        }
        for (name, value) in self.meta.fields() {
            call = call.arg(name).arg(value);
        }
        call
    }
}

/// Writes `rows` to `key`, and returns how many members are new there.
async fn write<E: From<CacheError>>(
    session: &Session,
    key: &str,
    rows: impl Stream<Item = Result<Rows, E>>,
) -> Result<u64, E> {
    let chunks = rows.map(|chunk| async move { Ok(write_chunk(session, key, &chunk?).await?) });
    let written = chunks.buffer_unordered(IN_FLIGHT);
    written
        .try_fold(0, |sum, written| future::ok(sum + written))
        .await
}

/// Adds a chunk. Each command is in a transaction with the expiry, so that nothing stays whenever the
/// connection breaks, and whether or not the key was there.
async fn write_chunk(session: &Session, key: &str, chunk: &Rows) -> Result<u64, CacheError> {
    let mut sum = 0;
    for command in chunk.commands(key) {
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(key).arg(millis(TEMPORARY));
        let mut both = redis::Pipeline::with_capacity(2);
        both.atomic().add_command(command).add_command(expire);
        let (written, _): (u64, i64) = session.pipe(&both).await?;
        sum += written;
    }
    Ok(sum)
}

fn unlink(keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("UNLINK");
    command.arg(keys);
    command
}

/// A number of members, which the server does not say is negative.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
