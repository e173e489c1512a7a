//! Brings the schema `nightshift` up to this release.

use sqlx::PgConnection;
use sqlx::migrate::Migrator;

use crate::pooler::is_direct;

/// The migrations of this release.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Why the schema could not be brought up to date; nothing of the failing migration remains, since
/// each runs in a transaction of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateFailed {
    /// The lock that lets one process go first is a session's, of which a pooler knows nothing.
    #[error(
        "the migrations of the schema nightshift need a connection to the database's own port, not to a connection pooler's"
    )]
    Pooled,
    /// The database failed.
    #[error("the migrations of the schema nightshift failed")]
    Database(#[from] sqlx::Error),
    /// A migration failed, or differs from what was applied.
    #[error("the migrations of the schema nightshift failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// Applies the migrations that the database does not have yet, and verifies that those it has are
/// unchanged. Several processes may do this at once: an advisory lock lets one go first.
///
/// # Errors
/// [`MigrateFailed::Pooled`] when there is a connection pooler in between, or the database fails.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateFailed> {
    if !is_direct(connection).await? {
        return Err(MigrateFailed::Pooled);
    }
    Ok(MIGRATIONS.run(connection).await?)
}
