//! The one list of this application's functions, in alphabetical order.

use nightshift_handler::{Registry, RegistryError};
use nightshift_time::SharedClock;
use sqlx::PgPool;

/// All functions, running against `pool`.
pub fn registry(pool: PgPool, clock: SharedClock) -> Result<Registry, RegistryError> {
    Registry::new(pool, clock).with_batch(nightshift_notifications::Dispatch)
}
