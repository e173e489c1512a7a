//! Redis: what the platform keeps there, and the clients of it.
//!
//! Nothing in Redis decides what is correct: a server that is away, empty or another one than before
//! costs precision, never a message. [`Cache`] connects when it is first used, takes a quarter of a
//! second per command at most, and connects again by itself. [`limit`] gives out the slots of rate
//! limits. [`board`] shows what was counted in Postgres to many readers.
//!
//! It works on Redis 6.0 and later, on what speaks its protocol, and on clusters of it, which it
//! recognises by itself: every call has its keys in one slot. A user that is to do with little
//! needs the commands `EVAL`, `TIME`, `GET` and `SET` on the keys `nightshift:*`, in a cluster
//! `CLUSTER SLOTS`, and for boards what [`board`] says.

pub mod board;
mod cache;
mod connection;
mod error;
pub mod limit;
mod link;
mod script;
mod settings;

pub use cache::Cache;
pub use error::CacheError;
pub use settings::RedisSettings;
