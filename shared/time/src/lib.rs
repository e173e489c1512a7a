//! Time and identity, passed in rather than read from the world.
//!
//! Everything that asks "what time is it?" or "give me a new id" takes a [`Clock`] or [`Ids`], so
//! weeks of retries, lock expiries and schedules can be tested in milliseconds. `clippy.toml`
//! forbids the global functions everywhere but here. [`ncrontab`] turns a timer's schedule into
//! instants.

mod clock;
mod ids;
pub mod ncrontab;

pub use clock::{Clock, SharedClock, SystemClock, TestClock};
pub use ids::Ids;
