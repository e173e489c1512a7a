//! The job `leaderboard-rollup`: events of the application become leaderboards, right to the last row.
//!
//! Doors: `schedule` is woken each minute, `verify` each night, `work` counts each source and shows its boards, `read` is
//! for HTTP. What is declared is read in `declaration`; which windows an instant lies in says `windows`. A `count`
//! takes what is new by `progress`, or by what is `noted`, adds it to `scores` with the statements of `events`, takes
//! `corrections` in and lets `close` write down the ranks of windows whose time is over. `again` counts once more what
//! was counted. `publish` shows what is open, as `page`s and with the `buckets` of those who are beyond it, under the
//! keys of `place`.

mod again;
mod buckets;
mod close;
mod corrections;
mod count;
mod declaration;
mod events;
mod noted;
mod page;
mod place;
mod progress;
mod publish;
mod read;
mod schedule;
mod scores;
mod verify;
mod windows;
mod work;

pub use nightshift_contract::LeaderboardRollupDue;
pub use read::Read;
pub use schedule::Schedule;
pub use verify::Verify;
pub use work::{Answer, Call, Work};
