//! The job `leaderboard-rollup`: events of the application become leaderboards, right to the last row.
//!
//! Doors: `schedule` is woken each minute, `work` counts each source and shows its boards, `read` is for HTTP. What is declared
//! is read in `declaration`; which windows an instant lies in says `windows`. A `count` takes what is new by
//! `progress`, adds it to `scores` with the statements of `events`, takes `corrections` in and lets `close` write
//! down the ranks of windows whose time is over. `publish` shows what is open, as `page`s and with the `buckets` of those
//! who are beyond it, under the keys of `place`; `read` answers those who look.

mod buckets;
mod close;
mod corrections;
mod count;
mod declaration;
mod events;
mod page;
mod place;
mod progress;
mod publish;
mod read;
mod schedule;
mod scores;
mod windows;
mod work;

pub use nightshift_contract::LeaderboardRollupDue;
pub use read::Read;
pub use schedule::Schedule;
pub use work::{Answer, Call, Work};
