//! Limits: how often functions try something, and how many messages of one concurrency key are at work at a
//! time. What the code says of both can be changed here, for all processes, until it is taken back.

pub(crate) mod change;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nightshift_handler::{Places, Trigger};
use nightshift_job::{Rate, WhenAway};
use nightshift_postgres::control;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};
use crate::problem::{Kind, Problem};

/// How often something may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Numbers {
    /// How many tries are let through in `per_seconds`.
    count: u32,
    /// In which time, in seconds.
    per_seconds: f64,
    /// How many are let through at once after a time without any.
    burst: u32,
}

impl From<Rate> for Numbers {
    fn from(rate: Rate) -> Self {
        Self {
            count: rate.count,
            per_seconds: rate.per.as_secs_f64(),
            burst: rate.burst,
        }
    }
}

/// Who has changed a limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitChanged {
    /// When.
    at: DateTime<Utc>,
    /// Who.
    by: String,
    /// Why, if they have said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A rate limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RateLimit {
    /// Its name: functions that name the same one share it.
    name: String,
    /// What the code says; absent if it says nothing of it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<Numbers>,
    /// What counts; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Numbers>,
    /// Who has changed it, if it is not what the code says.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<LimitChanged>,
    /// What it means while Redis is away: `open`, messages run without it, or `closed`, they wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    when_away: Option<String>,
    /// The functions that name it.
    functions: Vec<String>,
}

/// How many messages of one concurrency key a function works on at a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlacesLimit {
    /// The function.
    function: String,
    /// What the code says; absent if its messages have no such keys any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<u32>,
    /// What counts; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<u32>,
    /// Who has changed it, if it is not what the code says.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<LimitChanged>,
}

/// All limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    /// Rate limits, by name.
    rates: Vec<RateLimit>,
    /// Places of concurrency keys, by function: those of external and long functions, which have any.
    places: Vec<PlacesLimit>,
    /// Why it is not known what operators have changed: then only what the code says is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What operators have said.
#[derive(Debug, Default)]
struct Said {
    /// By the limits' names.
    rates: BTreeMap<String, (Rate, LimitChanged)>,
    /// By function.
    places: BTreeMap<String, (u32, LimitChanged)>,
}

impl Said {
    async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rates = sqlx::query_file!("sql/rate_overrides.sql")
            .fetch_all(&mut *connection)
            .await?;
        let rates = rates.into_iter().filter_map(|row| {
            let rate = control::rate(Some(row.count), Some(row.per_micros), Some(row.burst))?;
            let (at, by, why) = (row.at, row.by, row.why);
            Some((row.name, (rate, LimitChanged { at, by, why })))
        });
        let places = sqlx::query_file!("sql/places_overrides.sql")
            .fetch_all(connection)
            .await?;
        let places = places.into_iter().filter_map(|row| {
            let (at, by, why) = (row.at, row.by, row.why);
            let places = u32::try_from(row.places).ok()?;
            Some((row.function, (places, LimitChanged { at, by, why })))
        });
        Ok(Self {
            rates: rates.collect(),
            places: places.collect(),
        })
    }
}

/// All limits: what the code says of them, what operators say instead, and who keeps to them.
#[utoipa::path(get, path = "/limits", tag = "limits", responses((status = 200, body = Limits)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let (said, error) = match read(ask).await {
        Ok(said) => (Some(said), None),
        // What the code says is worth an answer.
        Err(problem) if problem.kind == Kind::Unavailable => (None, Some(problem.detail)),
        Err(problem) => return Err(problem),
    };
    let is_known = said.is_some();
    let Said { rates, places } = said.unwrap_or_default();
    json(&Limits {
        rates: all_rates(ask, rates, is_known),
        places: all_places(ask, places, is_known),
        error,
    })
}

async fn read(ask: &Ask<'_>) -> Result<Said, Problem> {
    let mut tx = ask.look().await?;
    let said = Said::read(tx.connection()).await?;
    tx.roll_back().await?;
    Ok(said)
}

fn all_rates(
    ask: &Ask<'_>,
    mut said: BTreeMap<String, (Rate, LimitChanged)>,
    is_known: bool,
) -> Vec<RateLimit> {
    let mut all: Vec<RateLimit> = Vec::new();
    for (limit, functions) in ask.app.rate_limits() {
        let said = said.remove(limit.name);
        let now = said.as_ref().map_or(limit.rate(), |(rate, _)| *rate);
        let when_away = match limit.when_away {
            WhenAway::Open => "open",
            WhenAway::Closed => "closed",
        };
        all.push(RateLimit {
            name: limit.name.to_owned(),
            declared: Some(limit.rate().into()),
            now: is_known.then(|| now.into()),
            changed: said.map(|(_, changed)| changed),
            when_away: Some(when_away.to_owned()),
            functions: functions.into_iter().map(str::to_owned).collect(),
        });
    }
    // What is left is of no use any more, and can be taken back.
    all.extend(said.into_iter().map(|(name, (rate, changed))| RateLimit {
        name,
        declared: None,
        now: Some(rate.into()),
        changed: Some(changed),
        when_away: None,
        functions: Vec::new(),
    }));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn all_places(
    ask: &Ask<'_>,
    mut said: BTreeMap<String, (u32, LimitChanged)>,
    is_known: bool,
) -> Vec<PlacesLimit> {
    let mut all: Vec<PlacesLimit> = Vec::new();
    for function in ask.app.described() {
        let Trigger::Messages {
            places: Places::Declared(declared),
            ..
        } = function.trigger
        else {
            continue;
        };
        let said = said.remove(function.name);
        let now = said.as_ref().map_or(declared, |(places, _)| *places);
        all.push(PlacesLimit {
            function: function.name.to_owned(),
            declared: Some(declared),
            now: is_known.then_some(now),
            changed: said.map(|(_, changed)| changed),
        });
    }
    all.extend(
        said.into_iter()
            .map(|(function, (places, changed))| PlacesLimit {
                function,
                declared: None,
                now: Some(places),
                changed: Some(changed),
            }),
    );
    all.sort_by(|one, other| one.function.cmp(&other.function));
    all
}
