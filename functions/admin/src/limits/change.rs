//! Changes of limits. Each is one row that counts instead of the code until it is taken back, written in one
//! transaction with its entry in the audit.

use std::time::Duration;

use nightshift_handler::{Places, Trigger};
use nightshift_job::{LONGEST_SPAN, Rate, RateLimit};
use nightshift_postgres::audit::{self, Act};
use nightshift_settings::did_you_mean;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};

use super::{Numbers, Said};
use crate::ask::{Answer, Ask, Tx, json, reason};
use crate::functions::{named, waiting};
use crate::problem::Problem;

/// A burst may be so many times the count of its rate.
const MOST_BURST: u32 = 100;

/// The most places that a concurrency key may have: more is no limit.
const MOST_PLACES: u32 = 10_000;

/// Another rate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRate {
    /// How many tries are let through in `per_seconds`.
    #[schema(minimum = 1)]
    count: u32,
    /// In which time, in seconds: a microsecond to thirty days.
    #[schema(minimum = 0.000_001, maximum = 2_592_000)]
    per_seconds: f64,
    /// How many are let through at once after a time without any: at most a hundred times `count`, or as many
    /// as the code says. What the code says if it is absent.
    #[schema(minimum = 1)]
    burst: Option<u32>,
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// Another number of places.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPlaces {
    /// How many messages of one concurrency key are at work at a time.
    #[schema(minimum = 1, maximum = 10_000)]
    places: u32,
    /// Why, for the audit.
    #[schema(min_length = 1, max_length = 1000)]
    why: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// How a change is taken back.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reset {
    /// Why, for the audit.
    #[param(min_length = 1, max_length = 1000)]
    why: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What came of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitChange<T> {
    /// The rate limit, or the function.
    name: String,
    /// What counted before; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<T>,
    /// What counts from now on, in two seconds at most; absent if nothing does, because the code says nothing
    /// of it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<T>,
    /// Whether something has changed, or would.
    changed: bool,
    /// Whether it was only said what would happen.
    dry_run: bool,
    /// How many messages wait because of this limit. Those of a rate run at the slots that they have, whatever
    /// the rate is now; those that wait for a place get it as soon as there is one. 10000 of a function stands
    /// for that many or more.
    waiting: i64,
}

/// A change that is to be written into the audit.
struct Change<'a, T> {
    action: &'a str,
    name: &'a str,
    before: Option<T>,
    after: Option<T>,
    why: Option<&'a str>,
    /// Whether there is one.
    is_new: bool,
    waiting: i64,
    dry_run: bool,
}

impl<T: Serialize> Change<'_, T> {
    /// Ends the transaction that makes the change, and says what came of it.
    async fn end(self, ask: &Ask<'_>, mut tx: Tx<'_>) -> Answer {
        let act = Act {
            actor: &ask.principal.name,
            action: self.action,
            target: self.name,
        };
        let details =
            serde_json::json!({ "before": self.before, "after": self.after, "why": self.why });
        audit::append(tx.connection(), act, &details).await?;
        tx.finish(self.dry_run).await?;
        self.said()
    }

    fn said(self) -> Answer {
        json(&LimitChange {
            name: self.name.to_owned(),
            before: self.before,
            after: self.after,
            changed: self.is_new,
            dry_run: self.dry_run,
            waiting: self.waiting,
        })
    }
}

/// Gives a rate limit another rate, for all functions that name it, wherever they run, within two seconds.
/// Messages that have a slot already keep it.
#[utoipa::path(put, path = "/limits/rates/{name}", tag = "limits",
    params(("name" = String, Path, description = "Its name")),
    request_body = SetRate, responses((status = 200, body = LimitChange<Numbers>)))]
pub(crate) async fn set_rate(ask: &Ask<'_>) -> Answer {
    let (limit, functions) = declared_rate(ask)?;
    let wanted: SetRate = ask.body()?;
    let rate = wanted.rate(&limit, &functions)?;
    let why = wanted.why.as_deref().map(reason).transpose()?;
    let mut tx = ask.change().await?;
    let said = said_alone(tx.connection()).await?.rates.remove(limit.name);
    let said = said.map(|(rate, _)| rate);
    let per_micros = i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX);
    sqlx::query_file!(
        "sql/set_rate.sql",
        limit.name,
        i64::from(rate.count),
        per_micros,
        i64::from(rate.burst),
        ask.principal.name,
        why
    )
    .execute(tx.connection())
    .await?;
    let change = Change {
        action: "rate.set",
        name: limit.name,
        before: Some(Numbers::from(said.unwrap_or(limit.rate()))),
        after: Some(Numbers::from(rate)),
        why,
        is_new: said != Some(rate),
        waiting: all_waiting(tx.connection(), &functions, &["limited", "closed"]).await?,
        dry_run: wanted.dry_run,
    };
    change.end(ask, tx).await
}

/// Gives a rate limit back the rate that the code says.
#[utoipa::path(delete, path = "/limits/rates/{name}", tag = "limits",
    params(("name" = String, Path, description = "Its name"), Reset),
    responses((status = 200, body = LimitChange<Numbers>)))]
pub(crate) async fn reset_rate(ask: &Ask<'_>) -> Answer {
    let name = ask.parameter(0);
    let Reset { why, dry_run } = ask.query()?;
    let why = why.as_deref().map(reason).transpose()?;
    let declared = declared_rate(ask);
    let mut tx = ask.change().await?;
    let said = said_alone(tx.connection()).await?.rates.remove(name);
    let is_new = said.is_some();
    let (after, functions) = match declared {
        Ok((limit, functions)) => (Some(limit.rate()), functions),
        Err(_) if is_new => (None, Vec::new()),
        Err(unknown) => return Err(unknown),
    };
    let change = Change {
        action: "rate.reset",
        name,
        before: said.map(|(rate, _)| rate).or(after).map(Numbers::from),
        after: after.map(Numbers::from),
        why,
        is_new,
        waiting: all_waiting(tx.connection(), &functions, &["limited", "closed"]).await?,
        dry_run,
    };
    if !is_new {
        tx.roll_back().await?;
        return change.said();
    }
    sqlx::query!("DELETE FROM nightshift.rate_override WHERE name = $1", name)
        .execute(tx.connection())
        .await?;
    change.end(ask, tx).await
}

/// Lets another number of messages of one concurrency key be at work at a time, from now on. If there are more
/// places, those that wait get them; if there are fewer, nobody gets one until enough have ended.
#[utoipa::path(put, path = "/limits/places/{function}", tag = "limits",
    params(("function" = String, Path, description = "The function, an external or long one")),
    request_body = SetPlaces, responses((status = 200, body = LimitChange<u32>)))]
pub(crate) async fn set_places(ask: &Ask<'_>) -> Answer {
    let (function, declared) = declared_places(ask)?;
    let SetPlaces {
        places,
        why,
        dry_run,
    } = ask.body()?;
    if !(1..=MOST_PLACES).contains(&places) {
        return Err(Problem::bad_request(format!(
            "places is {places}; it must be 1 to {MOST_PLACES}. To let nothing of {function} be at work, pause it"
        )));
    }
    let why = why.as_deref().map(reason).transpose()?;
    let mut tx = ask.change().await?;
    let said = said_alone(tx.connection()).await?.places.remove(function);
    let said = said.map(|(places, _)| places);
    sqlx::query_file!(
        "sql/set_places.sql",
        function,
        i64::from(places),
        ask.principal.name,
        why
    )
    .execute(tx.connection())
    .await?;
    let change = Change {
        action: "places.set",
        name: function,
        before: Some(said.unwrap_or(declared)),
        after: Some(places),
        why,
        is_new: said != Some(places),
        waiting: all_waiting(tx.connection(), &[function], &["queued"]).await?,
        dry_run,
    };
    let answer = change.end(ask, tx).await?;
    // Whoever waits for a place need not wait for the next round.
    ask.app.sweep_soon();
    Ok(answer)
}

/// Gives a function back as many places of each concurrency key as the code says.
#[utoipa::path(delete, path = "/limits/places/{function}", tag = "limits",
    params(("function" = String, Path, description = "The function"), Reset),
    responses((status = 200, body = LimitChange<u32>)))]
pub(crate) async fn reset_places(ask: &Ask<'_>) -> Answer {
    let function = ask.parameter(0);
    let Reset { why, dry_run } = ask.query()?;
    let why = why.as_deref().map(reason).transpose()?;
    let declared = declared_places(ask);
    let mut tx = ask.change().await?;
    let said = said_alone(tx.connection()).await?.places.remove(function);
    let is_new = said.is_some();
    let after = match declared {
        Ok((_, places)) => Some(places),
        Err(_) if is_new => None,
        Err(unknown) => return Err(unknown),
    };
    let change = Change {
        action: "places.reset",
        name: function,
        before: said.map(|(places, _)| places).or(after),
        after,
        why,
        is_new,
        waiting: all_waiting(tx.connection(), &[function], &["queued"]).await?,
        dry_run,
    };
    if !is_new {
        tx.roll_back().await?;
        return change.said();
    }
    sqlx::query!(
        "DELETE FROM nightshift.places_override WHERE function = $1",
        function
    )
    .execute(tx.connection())
    .await?;
    let answer = change.end(ask, tx).await?;
    ask.app.sweep_soon();
    Ok(answer)
}

/// What operators have said. Until the transaction ends nobody else says something: what was there before is
/// what the audit says.
async fn said_alone(connection: &mut PgConnection) -> Result<Said, sqlx::Error> {
    sqlx::query!("SELECT seq FROM nightshift.audit_head FOR UPDATE")
        .fetch_one(&mut *connection)
        .await?;
    Said::read(connection).await
}

/// How many messages of `functions` wait for one of `reasons`.
async fn all_waiting(
    connection: &mut PgConnection,
    functions: &[&str],
    reasons: &[&str],
) -> Result<i64, sqlx::Error> {
    let mut all = 0;
    for function in functions {
        let waiting = waiting(connection, function).await?;
        let of_reasons = reasons.iter().filter_map(|reason| waiting.get(*reason));
        all += of_reasons.sum::<i64>();
    }
    Ok(all)
}

/// The rate limit that the path names, and the functions that keep to it.
fn declared_rate(ask: &Ask<'_>) -> Result<(RateLimit, Vec<&'static str>), Problem> {
    let name = ask.parameter(0);
    let mut limits = ask.app.rate_limits();
    limits
        .find(|(limit, _)| limit.name == name)
        .ok_or_else(|| unknown(name, ask.app.rate_limits().map(|(limit, _)| limit.name)))
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let known: Vec<&str> = known.collect();
    let near = did_you_mean(name, known.iter().copied());
    let hint = match known.as_slice() {
        _ if !near.is_empty() => near,
        [] => "; no function has one".to_owned(),
        all => format!("; there are {}", all.join(", ")),
    };
    Problem::not_found(format!("there is no rate limit called {name:?}{hint}"))
}

/// The function that the path names, and how many places each of its concurrency keys has.
fn declared_places<'a>(ask: &'a Ask<'_>) -> Result<(&'a str, u32), Problem> {
    let described = named(ask)?;
    let name = described.name;
    let why = match described.trigger {
        Trigger::Messages {
            places: Places::Declared(places),
            ..
        } => return Ok((name, places)),
        Trigger::Messages {
            places: Places::NoKey,
            ..
        } => format!(
            "the messages of {name} have no concurrency key (CONCURRENCY_KEY), so that there are no places to be limited"
        ),
        Trigger::Messages {
            places: Places::InCommit,
            ..
        } => format!(
            "{name} does its work in the transaction of the claim, one message of a concurrency key at a time; only external and long functions can have more places"
        ),
        Trigger::Clock(_) | Trigger::Requests { .. } => {
            format!("{name} is not called by messages, so that there are no places to be limited")
        }
    };
    Err(Problem::conflict(why))
}

impl SetRate {
    /// The rate that is wanted of `limit`, to which `functions` keep, if it is one.
    fn rate(&self, limit: &RateLimit, functions: &[&str]) -> Result<Rate, Problem> {
        let Self {
            count, per_seconds, ..
        } = *self;
        if count == 0 {
            return Err(Problem::bad_request(format!(
                "count is 0; it must be at least 1. To let nothing through, pause {}",
                functions.join(", ")
            )));
        }
        let per = Duration::try_from_secs_f64(per_seconds).ok();
        let micros = per.map(|per| u64::try_from(per.as_micros()).unwrap_or(u64::MAX));
        let per = micros.map(Duration::from_micros);
        let per = per.filter(|per| !per.is_zero() && *per <= LONGEST_SPAN);
        let per = per.ok_or_else(|| {
            let most = LONGEST_SPAN.as_secs();
            Problem::bad_request(format!(
                "per_seconds is {per_seconds:?}; it must be 0.000001 to {most}, thirty days"
            ))
        })?;
        let most = count.saturating_mul(MOST_BURST).max(limit.burst);
        let burst = self.burst.unwrap_or(limit.burst);
        if !(1..=most).contains(&burst) {
            return Err(Problem::bad_request(format!(
                "burst is {burst}; with a count of {count} it must be 1 to {most}"
            )));
        }
        let rate = Rate { count, per, burst };
        limit.at(rate).check().map_err(|error| {
            Problem::bad_request(format!(
                "{count} in {per_seconds:?} seconds with a burst of {burst} cannot be kept to: {error}"
            ))
        })?;
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use nightshift_job::WhenAway;

    use super::*;

    const MAILS: RateLimit = RateLimit {
        name: "mails",
        count: 10,
        per: Duration::from_secs(1),
        burst: 5,
        when_away: WhenAway::Open,
    };

    fn rate(count: u32, per_seconds: f64, burst: Option<u32>) -> Result<Rate, String> {
        let wanted = SetRate {
            count,
            per_seconds,
            burst,
            why: None,
            dry_run: false,
        };
        let rate = wanted.rate(&MAILS, &["mails-work", "texts-work"]);
        rate.map_err(|problem| problem.detail)
    }

    #[test]
    fn a_rate_without_a_burst_has_that_of_the_code() {
        let expected = |count, micros, burst| {
            Ok(Rate {
                count,
                per: Duration::from_micros(micros),
                burst,
            })
        };
        assert_eq!(rate(100, 1.0, None), expected(100, 1_000_000, 5));
        assert_eq!(rate(1, 0.000_001, Some(1)), expected(1, 1, 1));
        assert_eq!(rate(1, 60.0, Some(100)), expected(1, 60_000_000, 100));
        assert_eq!(
            rate(1, 2_592_000.0, Some(1)),
            expected(1, 2_592_000_000_000, 1)
        );
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_it_may_be() {
        for (count, per_seconds, burst, why) in [
            (
                0,
                1.0,
                None,
                "count is 0; it must be at least 1. To let nothing through, pause mails-work, texts-work",
            ),
            (
                1,
                0.0,
                None,
                "per_seconds is 0.0; it must be 0.000001 to 2592000, thirty days",
            ),
            (
                1,
                -1.0,
                None,
                "per_seconds is -1.0; it must be 0.000001 to 2592000, thirty days",
            ),
            (
                1,
                f64::INFINITY,
                None,
                "per_seconds is inf; it must be 0.000001 to 2592000, thirty days",
            ),
            (
                1,
                2_592_000.5,
                None,
                "per_seconds is 2592000.5; it must be 0.000001 to 2592000, thirty days",
            ),
            (
                10,
                1.0,
                Some(0),
                "burst is 0; with a count of 10 it must be 1 to 1000",
            ),
            (
                10,
                1.0,
                Some(1_001),
                "burst is 1001; with a count of 10 it must be 1 to 1000",
            ),
            (
                u32::MAX,
                1.0,
                None,
                "4294967295 in 1.0 seconds with a burst of 5 cannot be kept to: it has more than a million slots per second, for which there is no telling them apart",
            ),
            (
                1,
                2_592_000.0,
                None,
                "1 in 2592000.0 seconds with a burst of 5 cannot be kept to: its slots, or those of a whole burst, are more than thirty days apart",
            ),
        ] {
            assert_eq!(rate(count, per_seconds, burst), Err(why.to_owned()));
        }
    }
}
