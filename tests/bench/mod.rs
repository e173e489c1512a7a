//! What the benchmark and the handler that it measures share.

mod function;

pub use function::{Batch, EFFECT, Limited, Order, SCHEMA, Single, TELL, Teller};
