//! The integration tests of the whole product, in one binary: each module is one concern.
//!
//! They need Postgres, which `make test` starts and names in `NIGHTSHIFT_TEST_POSTGRES`; a test
//! that needs a server of its own (to kill it) starts one itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::similar_names,
    reason = "what a test cannot do without, it may panic for"
)]

mod bad_input;
mod boards;
mod bus;
mod cache;
mod chaos;
mod cli;
mod conformance;
mod contract;
mod crash;
mod faults;
mod host;
mod journal;
mod kill_matrix;
mod layering;
mod leaderboards;
mod night;
mod ops;
mod outage;
mod runtime;
mod rust_conformance;
mod schedule;
mod settings;
mod trace;
mod walking_skeleton;
