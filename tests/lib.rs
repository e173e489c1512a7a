//! What the integration tests and the benchmark share: the whole product as real processes.

pub mod bench;
pub mod chaos;
pub mod night;
mod probe;
mod stack;

pub use probe::{Usage, children_named, resident_bytes, usage};
pub use stack::{App, Stack, StackOptions, program, user_id};
