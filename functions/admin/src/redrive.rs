//! Many dead letters at once: sent again, taken back, or thrown away.
//!
//! What is asked for is done in transactions of so many letters each, the ones first that died first.
//! A request that takes too long, or is broken off, has done some of them whole and the others not at all:
//! it says how many are left, and asked again it goes on with those. What dies after a request has begun is
//! not meant by it, nor by those that go on with it: they say `until` when.

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

use crate::ask::{Answer, Ask, json, range, reason, storable_time};
use crate::functions::pauses::interval;
use crate::problem::Problem;
use crate::runs::pattern;

/// How many letters one transaction sends again.
const AT_A_TIME: i64 = 2_000;

/// How many letters one transaction takes back or throws away: it may have to wait for each one's session.
const FEW: i64 = 500;

/// How long a request goes on with more of them.
const BUDGET: Duration = Duration::from_secs(8);

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
    /// Of letters that die later nobody has thought yet.
    async fn bound(&mut self, ask: &Ask<'_>) -> Result<DateTime<Utc>, Problem> {
        let mut tx = ask.look().await?;
        let now = sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"")
            .fetch_one(tx.connection())
            .await?;
        tx.roll_back().await?;
        let until = self.filter.to.map_or(now, |to| to.min(now));
        self.filter.to = Some(until);
        Ok(until)
    }

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

    /// What the audit says that something was done to.
    fn target(&self) -> &str {
        self.filter.function.as_deref().unwrap_or("dead-letters")
    }

    async fn count_all(&self, ask: &Ask<'_>) -> Result<Count, Problem> {
        let mut tx = ask.look().await?;
        let count = self.count(tx.connection()).await?;
        tx.roll_back().await?;
        Ok(count)
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
    /// How many that are meant are dead letters still and can be sent again. Asked again, with `until` as the
    /// filter's `to`, the request goes on with them. Absent if they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<i64>,
    /// How many that are meant cannot be sent again: it is not known from which queue they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<i64>,
    /// Letters that died later were not meant.
    until: DateTime<Utc>,
    /// When the last of them is due. Until a letter is sent it can be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DateTime<Utc>>,
    /// What a request that goes on says, so that the rate is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<DateTime<Utc>>,
    /// Why the request did not go on, if something was in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<String>,
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
    let mut wanted = filter.check()?;
    let pause = interval(per_second)?;
    let limit = limit.unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be 1 to {MOST}")));
    }
    if let Some(not_before) = not_before {
        storable_time("not_before", not_before)?;
    }
    let until = wanted.bound(ask).await?;
    if dry_run {
        return preview(ask, &wanted, until, limit).await;
    }
    let mut work = Redriving {
        wanted: &wanted,
        per_second,
        pause,
        redriven: 0,
        due: None,
        not_before,
    };
    let deadline = Instant::now() + BUDGET;
    let mut interrupted = None;
    while work.redriven < limit as usize && Instant::now() < deadline {
        match work.step(ask, limit as usize).await {
            Ok(0) => break,
            // The first letters are sent while the last are still looked for.
            Ok(_) => ask.app.sweep_soon(),
            Err(problem) if work.redriven == 0 => return Err(problem),
            Err(problem) => {
                interrupted = Some(problem.detail);
                break;
            }
        }
    }
    let Redriving {
        redriven,
        due,
        not_before,
        ..
    } = work;
    let count = match wanted.count_all(ask).await {
        Err(problem) if redriven == 0 => return Err(problem),
        count => count.ok(),
    };
    json(&RedriveResult {
        redriven,
        left: count.as_ref().map(|count| count.all - count.stuck),
        stuck: count.as_ref().map(|count| count.stuck),
        until,
        due,
        not_before: not_before.filter(|_| redriven > 0),
        interrupted,
        dry_run,
        preview: Vec::new(),
    })
}

/// A request that sends letters again, batch by batch.
struct Redriving<'a> {
    wanted: &'a Wanted,
    per_second: Option<f64>,
    pause: Duration,
    redriven: usize,
    due: Option<DateTime<Utc>>,
    /// When the next letter is due; now, if there was none.
    not_before: Option<DateTime<Utc>>,
}

impl Redriving<'_> {
    /// One transaction. Returns how many letters it has sent again.
    async fn step(&mut self, ask: &Ask<'_>, limit: usize) -> Result<usize, Problem> {
        let left = i64::try_from(limit - self.redriven).unwrap_or(AT_A_TIME);
        let mut tx = ask.change().await?;
        let connection = tx.connection();
        let keys = self
            .wanted
            .keys(connection, true, AT_A_TIME.min(left))
            .await?;
        let start = self.not_before;
        let risen = dead_letter::redrive(connection, &keys, start, self.pause).await?;
        if risen.is_empty() {
            tx.roll_back().await?;
            return Ok(0);
        }
        let act = Act {
            actor: &ask.principal.name,
            action: "dead-letters.redrive",
            target: self.wanted.target(),
        };
        let details = serde_json::json!({
            "filter": self.wanted.filter,
            "per_second": self.per_second,
            "redriven": risen.len(),
        });
        audit::append(connection, act, &details).await?;
        tx.commit().await?;
        let count = u32::try_from(risen.len()).unwrap_or(u32::MAX);
        let after = |turns: u32| TimeDelta::from_std(self.pause * turns).unwrap_or_default();
        let start = start.unwrap_or_else(|| ask.app.clock().now());
        self.due = Some(start + after(count - 1));
        self.not_before = Some(start + after(count));
        self.redriven += risen.len();
        Ok(risen.len())
    }
}

async fn preview(ask: &Ask<'_>, wanted: &Wanted, until: DateTime<Utc>, limit: u32) -> Answer {
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
        left: Some(all - stuck - would),
        stuck: Some(stuck),
        until,
        due: None,
        not_before: None,
        interrupted: None,
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
    if let Some(function) = &function
        && ask.app.describe(function).is_none()
    {
        return Err(Problem::not_found(format!(
            "there is no function called {function:?}"
        )));
    }
    let function = function.as_deref();
    let deadline = Instant::now() + BUDGET;
    let mut undone = 0;
    while Instant::now() < deadline {
        match undo_some(ask, function, why).await {
            Ok(0) => break,
            Ok(count) => undone += count,
            Err(problem) if undone == 0 => return Err(problem),
            // Asked again, it goes on.
            Err(_) => break,
        }
    }
    json(&UndoResult { undone })
}

async fn undo_some(ask: &Ask<'_>, function: Option<&str>, why: &str) -> Result<usize, Problem> {
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let (count, promised) = ask.app.undo(connection, function, FEW).await?;
    if count == 0 {
        tx.roll_back().await?;
        return Ok(0);
    }
    let act = Act {
        actor: &ask.principal.name,
        action: "dead-letters.undo",
        target: function.unwrap_or("dead-letters"),
    };
    let details = serde_json::json!({ "why": why, "undone": count });
    audit::append(connection, act, &details).await?;
    tx.commit().await?;
    ask.app.flush(promised);
    Ok(count)
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
    /// How many that are meant are still there. Asked again, with `until` as the filter's `to`, the request
    /// goes on with them. Absent if they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<i64>,
    /// Letters that died later were not meant.
    until: DateTime<Utc>,
    /// Why the request did not go on, if something was in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<String>,
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
    let mut wanted = filter.check()?;
    let why = reason(&why)?;
    let until = wanted.bound(ask).await?;
    let deadline = Instant::now() + BUDGET;
    let (mut discarded, mut interrupted) = (0, None);
    while !dry_run && Instant::now() < deadline {
        match discard_some(ask, &wanted, why).await {
            Ok(0) => break,
            Ok(count) => discarded += count,
            Err(problem) if discarded == 0 => return Err(problem),
            Err(problem) => {
                interrupted = Some(problem.detail);
                break;
            }
        }
    }
    let left = match wanted.count_all(ask).await {
        Err(problem) if discarded == 0 => return Err(problem),
        count => count.ok().map(|count| count.all),
    };
    let (discarded, left) = if dry_run {
        (
            left.and_then(|left| usize::try_from(left).ok())
                .unwrap_or(0),
            Some(0),
        )
    } else {
        (discarded, left)
    };
    json(&DiscardResult {
        discarded,
        left,
        until,
        interrupted,
        dry_run,
    })
}

async fn discard_some(ask: &Ask<'_>, wanted: &Wanted, why: &str) -> Result<usize, Problem> {
    let mut tx = ask.change().await?;
    let connection = tx.connection();
    let keys = wanted.keys(connection, false, FEW).await?;
    if keys.is_empty() {
        tx.roll_back().await?;
        return Ok(0);
    }
    let actor = &ask.principal.name;
    let said = format!("discarded by {actor}: {why}");
    let promised = ask.app.discard(connection, &keys, &said).await?;
    let act = Act {
        actor,
        action: "dead-letters.discard",
        target: wanted.target(),
    };
    let all = keys.iter().map(ToString::to_string);
    let details = serde_json::json!({
        "why": why,
        "filter": wanted.filter,
        "discarded": keys.len(),
        "keys": all.collect::<Vec<_>>(),
    });
    audit::append(connection, act, &details).await?;
    tx.commit().await?;
    ask.app.flush(promised);
    Ok(keys.len())
}
