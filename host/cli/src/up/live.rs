//! What goes on while the stack stays up: sample users play, and the board is said again when it has moved.
//!
//! Nothing here ends the stack: that a server does not answer is said once, and it is asked again.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{MissedTickBehavior, interval};

use super::leaderboard::{Leaderboard, Shown};
use super::scores::{self, Event};
use crate::servers::Progress;

/// What is said in the screen about how the sample users play ([`plays`]).
pub(super) const PACE: &str =
    "a score a second for half an hour, then one a minute for the rest of a day";

/// Seconds, since the stack is up.
const MINUTE: u64 = 60;
const QUICK: u64 = 30 * MINUTE;
const END: u64 = 24 * 60 * MINUTE;

/// How often it is looked whether the board has moved, in seconds.
const LOOK: u64 = 5;

/// Whether somebody reaches a score in this second: a stack that is left running for long does not fill the disk.
fn plays(second: u64) -> bool {
    second < QUICK || (second < END && second.is_multiple_of(MINUTE))
}

/// The stack's sample users, and the board on which they are.
#[derive(Debug)]
pub(super) struct Live {
    postgres: String,
    shown: Shown,
    /// What was said last.
    last: Option<Leaderboard>,
    database: Option<PgConnection>,
    /// Whether something has failed since the board was seen; it was said then.
    is_failing: bool,
}

impl Live {
    /// Goes on after `last`, in the database at `postgres`.
    pub(super) fn new(postgres: String, shown: Shown, last: Option<Leaderboard>) -> Self {
        Self {
            postgres,
            shown,
            last,
            database: None,
            is_failing: false,
        }
    }

    /// Goes on until it is dropped.
    pub(super) async fn go_on(mut self, progress: &Progress) -> Infallible {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = 0;
        loop {
            ticks.tick().await;
            if let Err(error) = self.go(second, progress).await {
                self.database = None;
                if !self.is_failing {
                    progress.say("board", &format!("{error:#}; it is tried again"));
                }
                self.is_failing = true;
            }
            second += 1;
        }
    }

    /// What is to be done in this second.
    async fn go(&mut self, second: u64, progress: &Progress) -> anyhow::Result<()> {
        if second == END {
            progress.say("board", "the sample users have played for a day and stop");
        }
        let (plays, looks) = (plays(second), second.is_multiple_of(LOOK));
        if !plays && !looks {
            return Ok(());
        }
        let database = match &mut self.database {
            Some(database) => database,
            none => {
                let connected = PgConnection::connect(&self.postgres).await;
                none.insert(connected.context("cannot connect to the database")?)
            }
        };
        if plays {
            let score = Event::random(&mut rand::rng());
            scores::add(database, &[score]).await?;
        }
        if looks && let Some(board) = self.shown.best(database).await? {
            if self
                .last
                .as_ref()
                .is_none_or(|last| last.best != board.best)
            {
                progress.say("board", &board.title());
                progress.print(board.lines(&" ".repeat(10), self.last.as_ref()).trim_end());
            }
            self.last = Some(board);
        }
        if looks {
            self.is_failing = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_is_left_running_adds_some_three_thousand_scores() {
        assert!((0..1_800).all(plays));
        assert!(!plays(1_801) && plays(1_860));
        let scores = (0..30 * END).filter(|second| plays(*second)).count();
        assert_eq!(scores, 1_800 + (24 * 60 - 30));
    }
}
