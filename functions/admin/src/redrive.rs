//! Many dead letters at once: sent again, taken back, or thrown away.
//!
//! What is asked for is done in transactions of some thousand letters each, the ones first that died first.
//! A request that takes too long, or is broken off, has done some of them whole and the others not at all:
//! it says how many are left, and asked again it goes on with those.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::JobKey;
use nightshift_postgres::audit::{self, Act};
use nightshift_postgres::dead_letter;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ask::{Answer, Ask, json, range, reason};
use crate::functions::interval;
use crate::problem::Problem;
use crate::runs::pattern;

/// How many letters one transaction changes.
const AT_A_TIME: i64 = 5_000;

/// How long a request goes on with more of them.
const BUDGET: Duration = Duration::from_secs(12);

/// The most letters that one request changes.
const MOST: u32 = 1_000_000;

/// How many letters are decoded to say what would become of them.
const MOST_DECODED: i64 = 2_000;

/// The most letters that can be named by their keys.
const MOST_KEYS: usize = 1_000;

/// Which letters are meant: those that fit everything that is said. Something must be.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only of this function.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// Only those of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// Only those that died of this, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Only those that died at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<DateTime<Utc>>,
    /// Only those that died before.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<DateTime<Utc>>,
    /// Only those in whose description or message id this text is, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    text: Option<String>,
    /// Only those with these keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    keys: Option<Vec<Uuid>>,
    /// All of them, if nothing else is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
}

/// A filter that has been checked.
struct Wanted {
    filter: Filter,
    pattern: Option<String>,
}

/// How many letters are meant.
struct Count {
    all: i64,
    /// Those of them that cannot be sent again.
    stuck: i64,
}

impl Filter {
    fn check(self) -> Result<Wanted, Problem> {
        range(self.from, self.to)?;
        let texts = [&self.function, &self.fingerprint, &self.reason, &self.text];
        if texts
            .iter()
            .any(|text| text.as_ref().is_some_and(|text| text.contains('\0')))
        {
            return Err(Problem::bad_request("filter: has a NUL character"));
        }
        let says_something = texts.iter().any(|text| text.is_some())
            || self.from.is_some()
            || self.to.is_some()
            || self.keys.is_some();
        if !says_something && !self.all {
            return Err(Problem::bad_request(
                "filter: says nothing; if all letters are meant, say \"all\": true",
            ));
        }
        let keys = self.keys.as_ref().map_or(1, Vec::len);
        if !(1..=MOST_KEYS).contains(&keys) {
            let what = format!("filter: keys must be 1 to {MOST_KEYS}");
            return Err(Problem::bad_request(what));
        }
        Ok(Wanted {
            pattern: pattern(self.text.as_deref())?,
            filter: self,
        })
    }
}

impl Wanted {
    /// The keys of the first letters that are meant, at most `most`, and only of those that can be sent again
    /// if they `must_rise`.
    async fn keys(
        &self,
        connection: &mut PgConnection,
        must_rise: bool,
        most: i64,
    ) -> Result<Vec<JobKey>, sqlx::Error> {
        let filter = &self.filter;
        let keys = sqlx::query_file_scalar!(
            "sql/dead_to_redrive.sql",
            filter.function,
            filter.fingerprint,
            filter.reason,
            filter.from,
            filter.to,
            self.pattern,
            filter.keys.as_deref(),
            most,
            must_rise
        )
        .fetch_all(connection)
        .await?;
        Ok(keys.into_iter().map(JobKey).collect())
    }

    async fn count(&self, connection: &mut PgConnection) -> Result<Count, sqlx::Error> {
        let filter = &self.filter;
        sqlx::query_file_as!(
            Count,
            "sql/count_to_redrive.sql",
            filter.function,
            filter.fingerprint,
            filter.reason,
            filter.from,
            filter.to,
            self.pattern,
            filter.keys.as_deref(),
        )
        .fetch_one(connection)
        .await
    }
}

/// What is to be sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redrive {
    /// Which letters.
    filter: Filter,
    /// How many per second; all at once if it is absent.
    #[schema(minimum = 0.0001, maximum = 10000)]
    per_second: Option<f64>,
    /// Not before this instant: what a request that is not the first says, so that the rate is kept.
    not_before: Option<DateTime<Utc>>,
    /// At most so many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit: Option<u32>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedriveResult {
    /// How many letters were sent again, or would be.
    redriven: usize,
    /// How many that are meant are dead letters still and can be sent again. Asked again, the request goes on
    /// with them.
    left: i64,
    /// How many that are meant cannot be sent again: it is not known from which queue they came.
    stuck: i64,
    /// When the last of them is due. Until a letter is sent it can be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DateTime<Utc>>,
    /// Whether it was only said what would happen.
    dry_run: bool,
    /// What the functions as they are now would say of the first of them; of a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    preview: Vec<Preview>,
}

/// What a function would say of letters that died of the same thing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Preview {
    /// What they have in common.
    fingerprint: String,
    /// Their function.
    function: String,
    /// Why they died, in a word.
    reason: String,
    /// How many were decoded for this.
    looked_at: usize,
    /// How many of those the function can decode now.
    decodes: usize,
    /// What it says of the first that it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// Sends dead letters again, as many per second as is said. Each is tried as if it had never failed.
#[utoipa::path(post, path = "/dead-letters/redrive", tag = "dead-letters",
    request_body = Redrive, responses((status = 200, body = RedriveResult)))]
pub(crate) async fn redrive(ask: &Ask<'_>) -> Answer {
    let Redrive {
        filter,
        per_second,
        not_before,
        limit,
        dry_run,
    } = ask.body()?;
    let wanted = filter.check()?;
    let pause = interval(per_second)?;
    let limit = limit.unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be 1 to {MOST}")));
    }
    if let Some(not_before) = not_before {
        crate::ask::storable_time("not_before", not_before)?;
    }
    if dry_run {
        return preview(ask, &wanted, limit).await;
    }
    let deadline = Instant::now() + BUDGET;
    let mut due = not_before;
    let mut redriven = 0_usize;
    let most = limit as usize;
    while redriven < most && Instant::now() < deadline {
        let batch = AT_A_TIME.min(i64::try_from(most - redriven).unwrap_or(AT_A_TIME));
        let mut tx = ask.change().await?;
        let connection = tx.connection();
        let keys = wanted.keys(connection, true, batch).await?;
        if keys.is_empty() {
            tx.roll_back().await?;
            break;
        }
        let risen = dead_letter::redrive(connection, &keys, due, pause).await?;
        let act = Act {
            actor: &ask.principal.name,
            action: "dead-letters.redrive",
            target: wanted.filter.function.as_deref().unwrap_or("dead-letters"),
        };
        let details = serde_json::json!({
            "filter": wanted.filter,
            "per_second": per_second,
            "redriven": risen.len(),
            "first": risen.first().map(ToString::to_string),
            "last": risen.last().map(ToString::to_string),
        });
        if risen.is_empty() {
            tx.roll_back().await?;
            break;
        }
        audit::append(connection, act, &details).await?;
        tx.commit().await?;
        let count = u32::try_from(risen.len()).unwrap_or(u32::MAX);
        redriven += risen.len();
        let taken = TimeDelta::from_std(pause * count).unwrap_or_default();
        due = Some(due.unwrap_or_else(|| ask.app.clock().now()) + taken);
    }
    ask.app.sweep_soon();
    let mut tx = ask.look().await?;
    let Count { all, stuck } = wanted.count(tx.connection()).await?;
    tx.roll_back().await?;
    json(&RedriveResult {
        redriven,
        left: all - stuck,
        stuck,
        due: due.filter(|_| redriven > 0),
        dry_run,
        preview: Vec::new(),
    })
}

async fn preview(ask: &Ask<'_>, wanted: &Wanted, limit: u32) -> Answer {
    // The letters are locked, and let go again.
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let Count { all, stuck } = wanted.count(connection).await?;
    let keys = wanted
        .keys(connection, true, MOST_DECODED.min(i64::from(limit)))
        .await?;
    let keys: Vec<Uuid> = keys.into_iter().map(|key| key.0).collect();
    let rows = sqlx::query_file!("sql/dead_bodies.sql", &keys)
        .fetch_all(connection)
        .await?;
    tx.roll_back().await?;
    let mut groups: BTreeMap<(String, String, String), Preview> = BTreeMap::new();
    for row in rows {
        let refusal = match ask.app.decode(&row.function, &row.body) {
            Some(decoded) => decoded
                .err()
                .map(|refusal| format!("{}: {}", refusal.reason, refusal.description)),
            None => Some("this release has no such function that messages call".to_owned()),
        };
        let group = (row.fingerprint, row.function, row.reason);
        let preview = groups
            .entry(group)
            .or_insert_with_key(|(fingerprint, function, reason)| Preview {
                fingerprint: fingerprint.clone(),
                function: function.clone(),
                reason: reason.clone(),
                looked_at: 0,
                decodes: 0,
                refusal: None,
            });
        preview.looked_at += 1;
        preview.decodes += usize::from(refusal.is_none());
        preview.refusal = preview.refusal.take().or(refusal);
    }
    let would = (all - stuck).min(i64::from(limit));
    json(&RedriveResult {
        redriven: usize::try_from(would).unwrap_or(0),
        left: all - stuck - would,
        stuck,
        due: None,
        dry_run: true,
        preview: groups.into_values().collect(),
    })
}

/// What is to be taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Undo {
    /// Only of this function.
    function: Option<String>,
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: String,
}

/// What was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UndoResult {
    /// How many letters are dead again.
    undone: usize,
}

/// Takes back what was to be sent again and has not been: a rate leaves time for that.
#[utoipa::path(post, path = "/dead-letters/undo", tag = "dead-letters",
    request_body = Undo, responses((status = 200, body = UndoResult)))]
pub(crate) async fn undo(ask: &Ask<'_>) -> Answer {
    let Undo { function, why } = ask.body()?;
    let why = reason(&why)?;
    let deadline = Instant::now() + BUDGET;
    let mut undone = 0;
    while Instant::now() < deadline {
        let mut tx = ask.change().await?;
        let connection = tx.connection();
        let (count, promised) = ask
            .app
            .undo(connection, function.as_deref(), AT_A_TIME)
            .await?;
        if count == 0 {
            tx.roll_back().await?;
            break;
        }
        let act = Act {
            actor: &ask.principal.name,
            action: "dead-letters.undo",
            target: function.as_deref().unwrap_or("dead-letters"),
        };
        let details = serde_json::json!({ "why": why, "undone": count });
        audit::append(connection, act, &details).await?;
        tx.commit().await?;
        ask.app.flush(promised);
        undone += count;
    }
    json(&UndoResult { undone })
}

/// What is to be thrown away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Discard {
    /// Which letters.
    filter: Filter,
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: String,
    /// Only say how many that would be.
    #[serde(default)]
    dry_run: bool,
}

/// What was thrown away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiscardResult {
    /// How many letters are gone, or would be.
    discarded: usize,
    /// How many that are meant are still there. Asked again, the request goes on with them.
    left: i64,
    /// Whether it was only said what would happen.
    dry_run: bool,
}

/// Throws dead letters away for good. Sessions that wait for one of them go on.
#[utoipa::path(post, path = "/dead-letters/discard", tag = "dead-letters",
    request_body = Discard, responses((status = 200, body = DiscardResult)))]
pub(crate) async fn discard(ask: &Ask<'_>) -> Answer {
    let Discard {
        filter,
        why,
        dry_run,
    } = ask.body()?;
    let wanted = filter.check()?;
    let why = reason(&why)?;
    let deadline = Instant::now() + BUDGET;
    let mut discarded = 0;
    while !dry_run && Instant::now() < deadline {
        let mut tx = ask.change().await?;
        let connection = tx.connection();
        let keys = wanted.keys(connection, false, AT_A_TIME).await?;
        if keys.is_empty() {
            tx.roll_back().await?;
            break;
        }
        let promised = ask.app.discard(connection, &keys).await?;
        let act = Act {
            actor: &ask.principal.name,
            action: "dead-letters.discard",
            target: wanted.filter.function.as_deref().unwrap_or("dead-letters"),
        };
        let first = keys.iter().take(MOST_KEYS).map(ToString::to_string);
        let details = serde_json::json!({
            "why": why,
            "filter": wanted.filter,
            "discarded": keys.len(),
            "keys": first.collect::<Vec<_>>(),
        });
        audit::append(connection, act, &details).await?;
        tx.commit().await?;
        ask.app.flush(promised);
        discarded += keys.len();
    }
    let mut tx = ask.look().await?;
    let left = wanted.count(tx.connection()).await?.all;
    tx.roll_back().await?;
    let (discarded, left) = if dry_run {
        (usize::try_from(left).unwrap_or(0), 0)
    } else {
        (discarded, left)
    };
    json(&DiscardResult {
        discarded,
        left,
        dry_run,
    })
}
