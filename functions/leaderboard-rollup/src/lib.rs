//! The job `leaderboard-rollup`: events of the application become leaderboards, right to the last row.
//!
//! Doors: `schedule` is woken each minute, `work` counts each source and shows its boards. What is declared
//! is read in `declaration`; which windows an instant lies in says `windows`. A `count` takes what is new by
//! `progress`, adds it to `scores` with the statements of `events`, takes `corrections` in and lets `close` write
//! down the ranks of windows whose time is over. `publish` shows what is open.

mod close;
mod corrections;
mod count;
mod declaration;
mod events;
mod progress;
mod publish;
mod schedule;
mod scores;
mod windows;
mod work;

pub use nightshift_contract::LeaderboardRollupDue;
pub use schedule::Schedule;
pub use work::{Answer, Call, Work};
