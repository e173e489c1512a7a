//! What operators have done, in a chain of hashes.

use serde::Serialize;
use sqlx::PgConnection;

use crate::text::storable;

/// For how many days entries are kept at least.
pub const RETENTION_DAYS: i32 = 90;

/// Who does something, to what, and why.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Who: a name, an object id.
    pub actor: &'a str,
    /// What, such as `function.pause`.
    pub action: &'a str,
    /// To what, such as a function's name.
    pub target: &'a str,
}

/// Appends an entry, as the last statement of the transaction that does what it says. Others that
/// append wait until it commits. Returns its number.
///
/// # Errors
/// When `details` has no JSON form, or the database fails.
pub async fn append(
    tx: &mut PgConnection,
    act: Act<'_>,
    details: &impl Serialize,
) -> Result<i64, sqlx::Error> {
    // `jsonb` takes any text but NUL.
    let details =
        serde_json::to_value(details).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let details = details.to_string().replace("\\u0000", "\u{fffd}");
    sqlx::query_file_scalar!(
        "sql/append_audit.sql",
        storable(act.actor),
        storable(act.action),
        storable(act.target),
        details,
    )
    .fetch_one(tx)
    .await
}

/// Follows the chain from its anchor to its head. The number of the first entry that does not fit
/// what is before it, or `None` if nothing was changed.
pub async fn verify(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/verify_audit.sql")
        .fetch_one(connection)
        .await
}

/// Removes entries that are older than `days`, and returns how many.
pub async fn prune(tx: &mut PgConnection, days: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("sql/prune_audit.sql", days)
        .fetch_one(tx)
        .await
}
