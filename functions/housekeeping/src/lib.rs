//! The job `housekeeping`: what keeps the platform's own tables small, and notices when a schedule has
//! gone silent.
//!
//! Doors: `schedule` is woken each minute, `work` does it.

mod leaderboards;
mod schedule;
mod work;

pub use nightshift_contract::HousekeepingDue;
pub use schedule::Schedule;
pub use work::Work;
