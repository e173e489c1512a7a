//! Rate limits.

use nightshift_job::WhenAway;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};

/// A rate limit, which the code declares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limit {
    /// Its name: functions that name the same one share it.
    name: String,
    /// How many tries it lets through in `per_seconds`.
    count: u32,
    /// In which time, in seconds.
    per_seconds: f64,
    /// How many it lets through at once after a time without any.
    burst: u32,
    /// What it means while Redis is away: `open`, messages run without it, or `closed`, they wait.
    when_away: String,
    /// The functions that name it.
    functions: Vec<String>,
}

/// All limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    /// By name.
    items: Vec<Limit>,
}

/// The rate limits, and which functions keep to them.
#[utoipa::path(get, path = "/limits", tag = "limits", responses((status = 200, body = Limits)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let items = ask.app.rate_limits().map(|(limit, functions)| Limit {
        name: limit.name.to_owned(),
        count: limit.count,
        per_seconds: limit.per.as_secs_f64(),
        burst: limit.burst,
        when_away: match limit.when_away {
            WhenAway::Open => "open".to_owned(),
            WhenAway::Closed => "closed".to_owned(),
        },
        functions: functions.into_iter().map(str::to_owned).collect(),
    });
    json(&Limits {
        items: items.collect(),
    })
}
