//! Time and identity, passed in rather than read from the world.
//!
//! Everything that asks "what time is it?" or "give me a new id" takes a [`Clock`] or [`Ids`], so
//! weeks of retries, lock expiries and schedules can be tested in milliseconds. `clippy.toml`
//! forbids the global functions everywhere but here.

mod clock;
mod ids;

pub use clock::{Clock, SharedClock, SystemClock, TestClock};
pub use ids::Ids;
