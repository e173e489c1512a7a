//! The application's shared `PostgreSQL`, and the tables in it that make effects happen exactly
//! once.
//!
//! Everything of ours lives in the schema `nightshift`, whose migrations are compiled in
//! ([`migrate()`]). [`inbox`] remembers which messages are taken care of, [`open_message`] holds those
//! that wait, [`dead_letter`] those that no try can help, and [`outbox`] what is to be sent, [`fan_out`] what is
//! sent when others have ended; all are
//! written in the same transaction as a function's own effect. [`lone_start`] is written before it,
//! and [`run`] is for work that takes longer than a transaction may. [`schedule`] is the ledger of what runs
//! by the clock.

pub mod audit;
pub mod cancel;
pub mod control;
pub mod dead_letter;
pub mod fan_out;
mod fingerprint;
pub mod inbox;
pub mod lone_start;
mod migrate;
pub mod open_message;
pub mod outbox;
mod pool;
mod pooler;
pub mod run;
pub mod schedule;
mod text;

pub use migrate::{MIGRATIONS, MigrateFailed, migrate};
pub use pool::{
    BACKGROUND, BEGIN, Lease, PostgresSettings, in_time, is_conflict, is_lost, is_not_in_order,
    is_timed_out, is_unreachable,
};
pub use pooler::{NotCarried, is_misplaced};
