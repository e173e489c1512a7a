//! The one list of this application's functions, in alphabetical order.

pub use nightshift_admin::{Access, Api, Settings};
use nightshift_cache::board::Boards;
use nightshift_handler::{Registry, RegistryError};

/// Adds all functions to the `empty` list. `access` says who may use the admin API,
/// `settings` what the process has read, and `boards` where leaderboards are shown.
pub fn registry(
    empty: Registry,
    access: Access,
    settings: Settings,
    boards: Option<Boards>,
) -> Result<Registry, RegistryError> {
    let pool = empty.pool().clone();
    empty
        .with_http(Api::new(access, settings))?
        .with_schedule(nightshift_housekeeping::Schedule)?
        .with_batch(nightshift_housekeeping::Work)?
        .with_http(nightshift_leaderboard_rollup::Read::new(boards.clone()))?
        .with_schedule(nightshift_leaderboard_rollup::Schedule)?
        .with_schedule(nightshift_leaderboard_rollup::Verify)?
        .with_external(nightshift_leaderboard_rollup::Work::new(pool, boards))?
        .with_batch(nightshift_notifications::Dispatch)
}
