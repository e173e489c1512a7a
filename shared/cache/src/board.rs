//! Boards: sorted sets that are shown to many and published as a whole.
//!
//! A board is published from Postgres, which alone decides what is on it. Whoever reads sees one
//! publication or the next one, never an empty board or a half one, and never an older one after a newer
//! one. If Redis is away or has lost the board, reading says that it is not there, and the caller answers
//! from Postgres.
//!
//! # Keys
//!
//! The board has the name that readers know, such as `leaderboard:global:weekly`: a sorted set, which does
//! not exist while the board is empty. Beside it are
//!
//! | key | what |
//! |---|---|
//! | `{leaderboard:global:weekly}:meta` | a hash: what the board says about itself, and how many are in Redis |
//! | `{leaderboard:global:weekly}:top` | the best, rendered, if the publisher has done that |
//! | `{leaderboard:global:weekly}:buckets` | what else the publisher knows, such as how many have which scores |
//! | `{leaderboard:global:weekly}:tmp:<run>:<number>` | a publication that is being written, by one who has drawn the number |
//!
//! A cluster puts a key where its part in braces belongs, and a key without braces where all of it does.
//! So the companions, which have the whole name of the board in braces, are in its slot, although that
//! name has none; and a script may change them together.
//!
//! # Publishing
//!
//! A full publication ([`Boards::publish_all`]) is written to the temporary key, each thousand members
//! together with an expiry, and shown by one script: it compares the run with the one that is shown, looks
//! whether all that was written is there, and renames. What ends in between leaves a key that expires. A
//! small one ([`Boards::publish_changes`]) is one script, which changes what it knows to be the run before;
//! if that is not there, the caller publishes all. Without changes [`Boards::touch`] says whether the board
//! is still there, and lets it live longer.
//!
//! The first command by which a script writes is one that a server without memory refuses, so that such
//! a server keeps what it shows.
//!
//! # What the server must have
//!
//! Redis 6.0 and what speaks its protocol: no command here is newer, so that nothing is tried out. A user
//! that is to do with little needs `EVALSHA`, `EVAL`, `PING`, `MULTI`, `EXEC`, `GET`, `UNLINK`,
//! `SET`, `RENAME`, `PEXPIRE`, `HGET`, `HSET`, `HGETALL`, `HINCRBY`, `ZADD`, `ZREM`, `ZREMRANGEBYRANK`,
//! `ZCARD`, `ZCOUNT`, `ZSCORE`, `ZRANK`, `ZREVRANK`, `ZRANGE` and `ZREVRANGE` on the boards' keys and on
//! those that begin with a brace; in a cluster `CLUSTER SLOTS` too.

mod encoding;
mod meta;
mod publish;
mod read;
mod rows;

use std::time::Duration;

pub use encoding::{Better, Composite, Encoding, Order, OutOfRange, Score};
pub use meta::{Meta, Run};
pub use publish::{Changed, Extras, Publication, Published, Touched};
pub use read::{Scores, Standing, Standings};
pub use rows::{Changes, Rows};

use crate::RedisSettings;
use crate::link::Link;
use crate::script::Call;

/// All boards of a Redis, on a connection of their own, so that what is written at length keeps nobody
/// waiting who has a quarter of a second. Clones share it.
#[derive(Clone)]
pub struct Boards(Link);

impl std::fmt::Debug for Boards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Boards").finish_non_exhaustive()
    }
}

impl Boards {
    /// The boards in the Redis of `settings`, to which it connects when it is first used.
    pub fn connect_lazy(settings: RedisSettings) -> Self {
        Self(Link::new(settings))
    }
}

/// The name of a board.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Board {
    live: String,
    meta: String,
    top: String,
    buckets: String,
}

/// Why a text is no name of a board.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the key of a board: it is empty, or has a brace, which a cluster reads as the part that says where a key belongs"
)]
pub struct BadKey(String);

impl Board {
    /// The board whose sorted set is `key`.
    ///
    /// # Errors
    /// When `key` is empty or has a brace.
    pub fn new(key: impl Into<String>) -> Result<Self, BadKey> {
        let live: String = key.into();
        if live.is_empty() || live.contains(['{', '}']) {
            return Err(BadKey(live));
        }
        Ok(Self {
            meta: format!("{{{live}}}:meta"),
            top: format!("{{{live}}}:top"),
            buckets: format!("{{{live}}}:buckets"),
            live,
        })
    }

    /// The key of the sorted set.
    pub fn key(&self) -> &str {
        &self.live
    }

    /// The key that a publication is written to, which nobody else has.
    fn temporary(&self, run: Run, number: u64) -> String {
        format!("{{{}}}:tmp:{run}:{number:x}", self.live)
    }

    /// The keys that stay, in the order in which all scripts have them.
    fn keys(&self) -> [&str; 4] {
        [&self.live, &self.meta, &self.top, &self.buckets]
    }

    /// A call of the script `text` for this board.
    fn call(&self, text: &'static str) -> Call {
        Call::new(text, &self.keys())
    }
}

/// How long a board lives if nobody publishes or touches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The board and its buckets.
    pub board: Duration,
    /// Its best, rendered.
    pub top: Duration,
}

/// Milliseconds as Redis wants them: at least one, since none means at once.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis())
        .unwrap_or(i64::MAX / 2)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_carry_the_whole_name_in_braces() {
        let board = Board::new("leaderboard:global:weekly").unwrap();
        assert_eq!(board.key(), "leaderboard:global:weekly");
        let companions = [
            "{leaderboard:global:weekly}:meta",
            "{leaderboard:global:weekly}:top",
            "{leaderboard:global:weekly}:buckets",
        ];
        assert_eq!(board.keys()[1..], companions);
        let temporary = board.temporary(Run(7), 255);
        assert_eq!(temporary, "{leaderboard:global:weekly}:tmp:7:ff");
    }

    #[test]
    fn a_name_with_a_brace_is_refused() {
        for key in ["", "leaderboard:{global}", "a}b"] {
            let refused = Board::new(key).unwrap_err().to_string();
            assert!(refused.contains(&format!("{key:?}")), "{refused}");
        }
    }
}
