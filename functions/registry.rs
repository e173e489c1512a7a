//! The one list of this application's functions, in alphabetical order.

use nightshift_handler::{Outbox, Registry, RegistryError};
use nightshift_time::SharedClock;
use sqlx::PgPool;

/// All functions, running against `pool` and sending by `outbox`.
pub fn registry(
    pool: PgPool,
    outbox: Outbox,
    clock: SharedClock,
) -> Result<Registry, RegistryError> {
    Registry::new(pool, outbox, clock)
        .with_schedule(nightshift_housekeeping::Schedule)?
        .with_batch(nightshift_housekeeping::Work)?
        .with_batch(nightshift_notifications::Dispatch)
}
