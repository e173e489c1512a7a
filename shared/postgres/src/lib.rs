//! The application's shared `PostgreSQL`, and the tables in it that make effects happen exactly
//! once.
//!
//! Everything of ours lives in the schema `nightshift`, whose migrations are compiled in
//! ([`migrate()`]). [`inbox`] remembers which messages are done, [`dead_letter`] keeps those that no
//! try can help; both are written in the same transaction as a function's own effect.

pub mod dead_letter;
pub mod inbox;
mod migrate;
mod pool;

pub use migrate::{MIGRATIONS, MigrateFailed, migrate};
pub use pool::{Lease, PostgresSettings, is_conflict, is_unreachable};
