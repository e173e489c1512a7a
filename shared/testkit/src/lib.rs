//! What a test of a function needs: a database of its own, messages, and a [`Workbench`] on which it is
//! run, its retries included.
//!
//! Tests run against a real server, named by [`SERVER`]; `make test` starts one. A server that is
//! missing fails a test with a sentence, it never skips it.

mod database;
mod message;
mod outbox;
mod workbench;

pub use database::{SERVER, TestDatabase};
pub use message::{MessageBuilder, USER, message, notification};
pub use outbox::{Sent, take_overdue, take_promised, take_sent};
pub use workbench::{Dead, Waiting, Workbench, deliver};
