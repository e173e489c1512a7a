//! The one list of this application's functions, in alphabetical order.

pub use nightshift_admin::{Access, Api, Settings};
use nightshift_handler::{Registry, RegistryError};

/// Adds all functions to the `empty` list. `access` says who may use the admin API, and
/// `settings` what the process has read.
pub fn registry(
    empty: Registry,
    access: Access,
    settings: Settings,
) -> Result<Registry, RegistryError> {
    empty
        .with_http(Api::new(access, settings))?
        .with_schedule(nightshift_housekeeping::Schedule)?
        .with_batch(nightshift_housekeeping::Work)?
        .with_batch(nightshift_notifications::Dispatch)
}
