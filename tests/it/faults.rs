//! Faults around the real processes, each with the end state that `docs/GUARANTEES.md` states.

mod broker_away;
mod postgres_away;
mod strict_host;

use std::time::Duration;

/// How long a fault lasts: as long as is stated in the long form of the tests, and less in every run.
fn lasting(stated: Duration, sample: Duration) -> Duration {
    let is_long = std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some();
    if is_long { stated } else { sample }
}
