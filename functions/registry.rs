//! The one list of this application's functions, in alphabetical order.

pub use nightshift_admin::Access;
use nightshift_admin::Api;
use nightshift_handler::{Registry, RegistryError};

/// Adds all functions to the `empty` list. `access` says who may use the admin API.
pub fn registry(empty: Registry, access: Access) -> Result<Registry, RegistryError> {
    empty
        .with_http(Api::new(access))?
        .with_schedule(nightshift_housekeeping::Schedule)?
        .with_batch(nightshift_housekeeping::Work)?
        .with_batch(nightshift_notifications::Dispatch)
}
