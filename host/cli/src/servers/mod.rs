//! Private servers for development and tests: found on this machine or fetched, run, and stopped.
//!
//! Nothing is installed and nothing runs as a service: programs that are missing are unpacked
//! into the checkout's own folder, servers listen on free loopback ports, keep their files in
//! that folder, and end with the command that started them, even if it is killed.

mod account;
mod azurite;
mod error;
mod fetch;
mod find;
mod hex;
mod home;
mod orphans;
mod pgbouncer;
mod ports;
mod postgres;
mod process;
mod process_table;
mod progress;
mod redis;
mod roster;
mod supervisor;

pub use account::Account;
pub use azurite::{Azurite, BlobPlace};
pub use error::{ServerError, Unavailable};
pub use fetch::npm::packages as node_packages;
pub use fetch::python::packages as python_packages;
pub use home::{FOLDER, Home, checkout_above, try_lock};
pub use pgbouncer::{PgBouncer, PgBouncerOptions};
pub use postgres::{Postgres, PostgresOptions, Programs};
pub use process::{Launch, ServerProcess};
pub use progress::Progress;
pub use redis::{Redis, RedisCluster, RedisVersion};
pub use roster::Stop;
pub use supervisor::{Supervisor, WATCHDOG_COMMAND, watch};

pub(crate) use fetch::remove;
pub(crate) use fetch::tool::Tool;
pub(crate) use ports::{loopback, on_free_port};
pub(crate) use process::tail;
pub(crate) use process_table::{
    as_pid, descendants, is_alive, program as process_name, resident_kib, send, start_time,
};
pub(crate) use supervisor::end_leftovers;
