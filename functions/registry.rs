//! The one list of this application's functions, in alphabetical order.

use nightshift_handler::{Registry, RegistryError};

/// Adds all functions to the `empty` list.
pub fn registry(empty: Registry) -> Result<Registry, RegistryError> {
    empty
        .with_schedule(nightshift_housekeeping::Schedule)?
        .with_batch(nightshift_housekeeping::Work)?
        .with_batch(nightshift_notifications::Dispatch)
}
