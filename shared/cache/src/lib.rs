//! Redis: what the platform keeps there, and the one client of it.
//!
//! Nothing in Redis decides what is correct: a server that is away, empty or another one than before
//! costs precision, never a message. [`Cache`] connects when it is first used, takes a quarter of a
//! second per command at most, and connects again by itself. [`limit`] gives out the slots of rate
//! limits.
//!
//! It works on Redis 6.0 and later, and on what speaks its protocol. A user that is to do with little
//! needs the commands `EVAL`, `TIME`, `GET` and `SET` on the keys `nightshift:*`.

mod cache;
mod error;
pub mod limit;
mod settings;

pub use cache::Cache;
pub use error::CacheError;
pub use settings::RedisSettings;
