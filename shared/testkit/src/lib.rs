//! What a test of a function needs: a database of its own, messages, and one call to make.
//!
//! Tests run against a real server, named by [`SERVER`]; `make test` starts one. A server that is
//! missing fails a test with a sentence, it never skips it.

mod database;
mod message;
mod outbox;

pub use database::{SERVER, TestDatabase};
pub use message::{MessageBuilder, USER, message, notification};
pub use outbox::{take_overdue, take_promised};
