//! Brings the schema `nightshift` up to this release.

use sqlx::PgConnection;
use sqlx::migrate::Migrator;

/// The migrations of this release.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Why the schema could not be brought up to date; nothing of the failing migration remains, since
/// each runs in a transaction of its own.
#[derive(Debug, thiserror::Error)]
#[error("the migrations of the schema nightshift failed")]
pub struct MigrateFailed(#[from] sqlx::migrate::MigrateError);

/// Applies the migrations that the database does not have yet, and verifies that those it has are
/// unchanged. Several processes may do this at once: an advisory lock lets one go first. Needs a
/// direct connection, not a transaction-mode pooler.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateFailed> {
    Ok(MIGRATIONS.run(connection).await?)
}
