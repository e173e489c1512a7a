//! What the benchmark and the handler that it measures share.

mod function;

pub use function::{Batch, EFFECT, Order, SCHEMA, Single, TELL, Teller};
