//! Dead letters: what they died of, and what is in them.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header;
use nightshift_job::{BodyHash, JobKey};
use nightshift_postgres::audit::{self, Act};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::ask::{Answer, Ask, json, range, reason};
use crate::page::{self, Page};
use crate::problem::{Kind, Problem};
use crate::runs::{Looked, pattern, place_of};
use crate::trace::trace_id;

/// Dead letters that have died of the same thing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Group {
    /// What they have in common, 16 hexadecimal digits; empty for those of earlier releases.
    fingerprint: String,
    /// Their function.
    function: String,
    /// Why they died, in a word.
    reason: String,
    /// What one of them, the newest, says.
    description: String,
    /// How many there are.
    count: i64,
    /// When the first of them died.
    first: DateTime<Utc>,
    /// When the last of them died.
    last: DateTime<Utc>,
}

/// All groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Groups {
    /// The largest first.
    items: Vec<Group>,
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// The message's key.
    key: String,
    /// Its function.
    function: String,
    /// What it has in common with others that died of the same thing.
    fingerprint: String,
    /// Why it died, in a word.
    reason: String,
    /// Why, with the causes.
    description: String,
    /// Failed tries.
    attempt: i32,
    /// When it died.
    died: DateTime<Utc>,
    /// When the broker accepted it.
    enqueued: DateTime<Utc>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    /// Its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Whether the later messages of its session wait for it.
    holds_session: bool,
    /// The length of its body, in bytes.
    body_bytes: i32,
    /// The trace that its producer was in, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// A dead letter, and what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterInFull {
    #[serde(flatten)]
    letter: DeadLetter,
    /// The body, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value)]
    payload: Option<Box<RawValue>>,
    /// The body in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// The application properties.
    #[schema(value_type = Object)]
    properties: Box<RawValue>,
    /// Whether the function as it is now can decode it.
    decodes: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// What it looks like now; to be said, as `If-Match`, by whoever edits it.
    version: String,
}

/// Which dead letters are wanted.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetters {
    /// Only of this function.
    function: Option<String>,
    /// Only those with this fingerprint.
    fingerprint: Option<String>,
    /// Only those that died of this, in a word.
    reason: Option<String>,
    /// Only those that died at this instant or later.
    from: Option<DateTime<Utc>>,
    /// Only those that died before.
    to: Option<DateTime<Utc>>,
    /// Only those in whose description or message id this text is, in any case.
    #[param(min_length = 1, max_length = 200)]
    text: Option<String>,
    /// How many at a time; 50 if it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// Dead letters by what they died of.
#[utoipa::path(get, path = "/dead-letters/groups", tag = "dead-letters",
    responses((status = 200, body = Groups)))]
pub(crate) async fn groups(ask: &Ask<'_>) -> Answer {
    let mut tx = ask.look().await?;
    let groups = nightshift_postgres::dead_letter::groups(tx.connection()).await?;
    tx.roll_back().await?;
    let items = groups.into_iter().map(|group| Group {
        fingerprint: group.fingerprint,
        function: group.function,
        reason: group.reason,
        description: group.description,
        count: group.count,
        first: group.first,
        last: group.last,
    });
    json(&Groups {
        items: items.collect(),
    })
}

/// Dead letters, the newest first.
#[utoipa::path(get, path = "/dead-letters", tag = "dead-letters", params(DeadLetters),
    responses((status = 200, body = Page<DeadLetter>)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let mut query: DeadLetters = ask.query()?;
    let limit = page::rows(query.limit.take())?;
    let cursor = query.cursor.take();
    let (from, to) = range(query.from, query.to)?;
    let pattern = pattern(query.text.as_deref())?;
    let list = ("dead-letters", &query);
    let (at, key) = place_of(page::read(cursor.as_deref(), &list)?)?;
    let is_filtered = query.reason.is_some() || pattern.is_some();
    let window = page::window(limit, is_filtered);
    let mut tx = ask.look().await?;
    let connection = tx.connection();
    // Three statements, so that each goes by its own index.
    let keys = if let Some(fingerprint) = &query.fingerprint {
        sqlx::query_file_as!(
            Looked,
            "sql/dead_of_group.sql",
            from,
            to,
            at,
            key,
            window,
            query.reason,
            pattern,
            fingerprint,
            query.function
        )
        .fetch_all(connection)
        .await?
    } else if let Some(function) = &query.function {
        sqlx::query_file_as!(
            Looked,
            "sql/dead_of.sql",
            from,
            to,
            at,
            key,
            window,
            query.reason,
            pattern,
            function
        )
        .fetch_all(connection)
        .await?
    } else {
        sqlx::query_file_as!(
            Looked,
            "sql/dead.sql",
            from,
            to,
            at,
            key,
            window,
            query.reason,
            pattern
        )
        .fetch_all(connection)
        .await?
    };
    let page = page::fill(keys, window, limit, &list, Looked::place, |key| {
        key.is_wanted.then_some(key.key)
    })?;
    let mut letters = read(tx.connection(), &page.items).await?;
    tx.roll_back().await?;
    json(&page.map(|key| letters.remove(&key)))
}

async fn read(
    connection: &mut PgConnection,
    keys: &[Uuid],
) -> Result<HashMap<Uuid, DeadLetter>, sqlx::Error> {
    let rows = sqlx::query_file!("sql/dead_rows.sql", keys)
        .fetch_all(connection)
        .await?;
    let letters = rows.into_iter().map(|row| {
        let letter = DeadLetter {
            key: row.key.simple().to_string(),
            function: row.function,
            fingerprint: row.fingerprint,
            reason: row.reason,
            description: row.description,
            attempt: row.attempt,
            died: row.dead_at,
            enqueued: row.enqueued_at,
            message_id: row.message_id,
            session_id: row.session_id,
            holds_session: row.holds_session,
            body_bytes: row.body_bytes,
            trace_id: trace_id(&row.properties),
        };
        (row.key, letter)
    });
    Ok(letters.collect())
}

/// One dead letter, with its payload, and whether it could be decoded now.
#[utoipa::path(get, path = "/dead-letters/{key}", tag = "dead-letters",
    params(("key" = String, Path, description = "Its key, 32 hexadecimal digits", pattern = "^[0-9a-f]{32}$")),
    responses((status = 200, body = DeadLetterInFull)))]
pub(crate) async fn show(ask: &Ask<'_>) -> Answer {
    let key = ask.key(0)?;
    let mut tx = ask.look().await?;
    let letter = full(ask, tx.connection(), key).await;
    tx.roll_back().await?;
    let letter = letter?;
    let version = format!("\"{}\"", letter.version);
    let mut answer = json(&letter)?;
    if let Ok(version) = version.parse() {
        answer.headers_mut().insert(header::ETAG, version);
    }
    Ok(answer)
}

async fn full(
    ask: &Ask<'_>,
    connection: &mut PgConnection,
    key: JobKey,
) -> Result<DeadLetterInFull, Problem> {
    let body = sqlx::query_file!("sql/dead_body.sql", key.0)
        .fetch_optional(&mut *connection)
        .await?;
    let letter = read(connection, &[key.0]).await?.remove(&key.0);
    let (Some(body), Some(letter)) = (body, letter) else {
        return Err(not_dead(ask.parameter(0)));
    };
    let refusal = match ask.app.decode(&letter.function, &body.body) {
        Some(Ok(())) => None,
        Some(Err(refusal)) => Some(format!("{}: {}", refusal.reason, refusal.description)),
        None => Some(format!(
            "this release has no function {:?} that messages call",
            letter.function
        )),
    };
    let text = std::str::from_utf8(&body.body).ok();
    let payload = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let body_base64 = payload
        .is_none()
        .then(|| base64_simd::STANDARD.encode_to_string(&body.body));
    let properties = RawValue::from_string(body.properties).map_err(|error| {
        Problem::new(
            Kind::Internal,
            format!("its properties are not JSON: {error}"),
        )
    })?;
    Ok(DeadLetterInFull {
        letter,
        payload,
        body_base64,
        properties,
        decodes: refusal.is_none(),
        refusal,
        version: body.version,
    })
}

pub(crate) fn not_dead(key: &str) -> Problem {
    Problem::not_found(format!(
        "there is no dead letter {key}: it was sent again, discarded, or was never there"
    ))
}

/// A dead letter's new content.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The new body, which its function must be able to decode.
    #[schema(value_type = serde_json::Value)]
    payload: Value,
    /// The new application properties; they stay as they are if this is absent.
    #[schema(value_type = Option<Object>)]
    properties: Option<Map<String, Value>>,
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: String,
}

/// Gives a dead letter another payload, to be sent again with that.
#[utoipa::path(put, path = "/dead-letters/{key}", tag = "dead-letters",
    params(
        ("key" = String, Path, description = "Its key, 32 hexadecimal digits", pattern = "^[0-9a-f]{32}$"),
        ("If-Match" = String, Header, description = "Its `version`, in double quotes, as it was read")),
    request_body = Edit, responses((status = 200, body = DeadLetterInFull)))]
pub(crate) async fn edit(ask: &Ask<'_>) -> Answer {
    let key = ask.key(0)?;
    let Edit {
        payload,
        properties,
        why,
    } = ask.body()?;
    let why = reason(&why)?;
    let expected = ask.request.headers().get(header::IF_MATCH);
    let expected = expected.and_then(|version| version.to_str().ok());
    let expected = expected.map(|version| version.trim_matches('"'));
    let mut names = properties.iter().flat_map(Map::keys);
    if let Some(name) = names.find(|name| is_ours(name)) {
        let what = format!("properties.{name}: names that begin with ns- are the platform's own");
        return Err(Problem::bad_request(what));
    }
    let Some(expected) = expected else {
        return Err(Problem::bad_request(
            "say in the header If-Match which version is edited: that of the letter as it was read",
        ));
    };
    let body = Bytes::from(payload.to_string());
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let locked = sqlx::query_file!("sql/lock_dead.sql", key.0)
        .fetch_optional(&mut *connection)
        .await?;
    if locked.is_none() {
        tx.roll_back().await?;
        return Err(not_dead(ask.parameter(0)));
    }
    let before = full(ask, connection, key).await?;
    if before.version != expected {
        tx.roll_back().await?;
        let what = "somebody else has changed the letter since it was read; read it again";
        return Err(Problem::new(Kind::Changed, what));
    }
    if let Some(Err(refusal)) = ask.app.decode(&before.letter.function, &body) {
        tx.roll_back().await?;
        return Err(Problem::bad_request(format!(
            "{} would refuse this payload ({}): {}",
            before.letter.function, refusal.reason, refusal.description
        )));
    }
    let text = properties.map(|properties| with_ours(properties, &before.properties));
    let hash = BodyHash::of(&body);
    sqlx::query_file!("sql/edit_dead.sql", key.0, &body[..], hash.0, text)
        .execute(&mut *connection)
        .await?;
    let after = full(ask, connection, key).await?;
    let act = Act {
        actor: &ask.principal.name,
        action: "dead-letter.edit",
        target: &key.to_string(),
    };
    let details = serde_json::json!({
        "why": why,
        "before": { "payload": before.payload, "body_base64": before.body_base64,
            "properties": before.properties },
        "after": { "payload": after.payload, "properties": after.properties },
    });
    audit::append(connection, act, &details).await?;
    tx.commit().await?;
    json(&after)
}

/// Whether a property is the platform's own: what a message carries on, which nobody edits.
fn is_ours(name: &str) -> bool {
    name.starts_with("ns-")
}

/// `properties`, with those of `before` that are the platform's own, as JSON text.
fn with_ours(mut properties: Map<String, Value>, before: &RawValue) -> String {
    let before: Map<String, Value> = serde_json::from_str(before.get()).unwrap_or_default();
    properties.extend(before.into_iter().filter(|(name, _)| is_ours(name)));
    Value::Object(properties).to_string()
}
