//! Typed settings from the environment, with every problem reported at once.
//!
//! A process reads all its settings before it opens a socket. A [`Reader`] hands out typed values
//! and writes down what is missing, malformed or unknown; [`Reader::finish`] then returns all of
//! it as one [`Problems`] table, and the process exits with [`EXIT_CODE`]. Secrets are
//! [`SecretString`]s: neither a table nor a log line ever shows one.

mod lookup;
mod problems;
mod reader;
mod source;
mod suggestion;

pub use lookup::{Lookup, key};
pub use problems::{Problem, Problems};
pub use reader::{Reader, Used};
pub use secrecy::{ExposeSecret, SecretString};
pub use source::{Environment, MapSource, Source};
pub use suggestion::did_you_mean;

/// The exit code of a process whose settings are wrong: `EX_USAGE` of BSD's `sysexits.h`, as
/// other service supervisors expect it.
pub const EXIT_CODE: u8 = 64;

/// Names that start with this belong to Nightshift; one that no reader knows is a problem.
pub const PREFIX: &str = "NIGHTSHIFT_";
