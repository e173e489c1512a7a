//! What operators have done, and whether anybody has changed the record of it.

use chrono::{DateTime, Utc};
use nightshift_postgres::audit;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::ask::{Answer, Ask, json, range};
use crate::page::{self, Page, Place};
use crate::problem::Problem;

/// Something that an operator has done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Its number, one more than that of the entry before.
    seq: i64,
    /// When.
    at: DateTime<Utc>,
    /// Who.
    actor: String,
    /// What, such as `dead-letters.redrive`.
    action: String,
    /// To what, such as a function's name.
    target: String,
    /// Why, how much, and what was there before and after, as far as it applies.
    #[schema(value_type = Object)]
    details: Box<RawValue>,
    /// The hash of the entry and of the one before it, 64 hexadecimal digits.
    hash: String,
}

/// Which entries are wanted.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Entries {
    /// Only what this one has done.
    actor: Option<String>,
    /// Only what was done so.
    #[param(example = "function.pause")]
    action: Option<String>,
    /// Only what was done to this.
    target: Option<String>,
    /// Only what was done at this instant or later.
    from: Option<DateTime<Utc>>,
    /// Only what was done before.
    to: Option<DateTime<Utc>>,
    /// How many at a time; 50 if it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// What operators have done, the newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Entries),
    responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut query: Entries = ask.query()?;
    let limit = page::rows(query.limit.take())?;
    let cursor = query.cursor.take();
    let (from, to) = range(query.from, query.to)?;
    let list = ("audit", &query);
    let place = page::read(cursor.as_deref(), &list)?;
    let before = place.map(|place| place.id.parse()).transpose();
    let before: Option<i64> =
        before.map_err(|_| Problem::bad_request("cursor is none that this API has given out"))?;
    let is_filtered = query.actor.is_some()
        || query.action.is_some()
        || query.target.is_some()
        || from.is_some()
        || to.is_some();
    let window = page::window(limit, is_filtered);
    let mut tx = ask.look().await?;
    let rows = sqlx::query_file!(
        "sql/audit.sql",
        before,
        window,
        query.actor,
        query.action,
        query.target,
        from,
        to
    )
    .fetch_all(tx.connection())
    .await?;
    tx.roll_back().await?;
    let page = page::fill(
        rows,
        window,
        limit,
        &list,
        |row| Place {
            at: row.at,
            id: row.seq.to_string(),
        },
        |row| {
            let details = RawValue::from_string(row.details?).ok()?;
            Some(Entry {
                seq: row.seq,
                at: row.at,
                actor: row.actor,
                action: row.action,
                target: row.target,
                details,
                hash: row.hash,
            })
        },
    )?;
    json(&page)
}

/// Whether the chain of hashes holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether every entry follows from the one before it, up to the newest.
    intact: bool,
    /// The number of the first entry that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
    /// The number of the newest entry that retention has removed.
    from: i64,
    /// The number of the newest entry.
    to: i64,
    /// The newest entry's hash, to be compared with one that was kept elsewhere; 64 hexadecimal digits.
    head: String,
}

/// Follows the chain of hashes through all entries: what was changed or taken out shows.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", responses((status = 200, body = Verdict)))]
pub(crate) async fn verify(ask: &Ask<'_>) -> Answer {
    let mut tx = ask.look().await?;
    let broken_at = audit::verify(tx.connection()).await?;
    let head = sqlx::query!(
        "SELECT anchor_seq, seq, encode(hash, 'hex') AS \"hash!\" FROM nightshift.audit_head"
    )
    .fetch_one(tx.connection())
    .await?;
    tx.roll_back().await?;
    json(&Verdict {
        intact: broken_at.is_none(),
        broken_at,
        from: head.anchor_seq,
        to: head.seq,
        head: head.hash,
    })
}
