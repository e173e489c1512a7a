//! The job `sample-job`: how many messages have died since the day before.
//!
//! Doors: `schedule` is woken by the clock, `work` does it.

mod schedule;
mod work;

pub use nightshift_contract::SampleJobDue;
pub use schedule::Schedule;
pub use work::Work;
