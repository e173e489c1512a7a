//! What operators have done, in a chain of hashes.

use nightshift_telemetry::trace::TRACE;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use tracing::instrument;

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
#[instrument(target = TRACE, name = "db.audit.append", skip_all)]
pub async fn append(
    tx: &mut PgConnection,
    act: Act<'_>,
    details: &impl Serialize,
) -> Result<i64, sqlx::Error> {
    let details =
        serde_json::to_value(details).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let details = storable_json(details).to_string();
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

/// `value` without NUL, which is all that `jsonb` does not take.
fn storable_json(value: Value) -> Value {
    let text = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => items.into_iter().map(storable_json).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            members
                .map(|(name, value)| (text(name), storable_json(value)))
                .collect()
        }
        other => other,
    }
}

/// Follows the chain from its anchor to its head. The number of the first entry that does not fit
/// what is before it, or `None` if nothing was changed.
#[instrument(target = TRACE, name = "db.audit.verify", skip_all)]
pub async fn verify(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/verify_audit.sql")
        .fetch_one(connection)
        .await
}

/// Removes entries that are older than `days`, and returns how many.
#[instrument(target = TRACE, name = "db.audit.prune", skip_all)]
pub async fn prune(tx: &mut PgConnection, days: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_file_scalar!("sql/prune_audit.sql", days)
        .fetch_one(tx)
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_nul_is_replaced() {
        let value = json!({"a\0": ["\0", "\\u0000", {"b": 1}]});
        let stored = json!({"a\u{fffd}": ["\u{fffd}", "\\u0000", {"b": 1}]});
        assert_eq!(storable_json(value), stored);
    }
}
