//! Whether what the platform needs is there.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nightshift_postgres::schedule;
use nightshift_telemetry::causes;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};
use crate::problem::Problem;

/// How long something may take to show that it is there.
const PATIENCE: Duration = Duration::from_secs(4);

/// Something that the platform needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Part {
    /// `database`, `redis` or `broker`.
    name: &'static str,
    /// Whether it answers.
    is_well: bool,
    /// How long the answer took, in milliseconds.
    took_ms: f64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A schedule that nobody has looked at although it was due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Silent {
    /// Its function.
    function: String,
    /// When it was due; absent if the schedule cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DateTime<Utc>>,
}

/// How the platform is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Whether everything answers and no schedule is silent.
    is_well: bool,
    /// What the platform needs.
    parts: Vec<Part>,
    /// Schedules that have gone silent; unknown, and none, while the database is away.
    silent: Vec<Silent>,
}

async fn look<T>(
    name: &'static str,
    looking: impl Future<Output = Result<T, String>>,
) -> (Part, Option<T>) {
    let began = Instant::now();
    let looked = timeout(PATIENCE, looking).await;
    let looked = looked.unwrap_or_else(|_elapsed| Err(format!("no answer within {PATIENCE:?}")));
    let took_ms = began.elapsed().as_secs_f64() * 1000.0;
    let (found, error) = match looked {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error)),
    };
    let part = Part {
        name,
        is_well: error.is_none(),
        took_ms,
        error,
    };
    (part, found)
}

/// Whether the database, Redis and the broker answer, and whether schedules are looked at. It says so with
/// status 200 in any case.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn show(ask: &Ask<'_>) -> Answer {
    let database = Box::pin(look("database", async {
        let silent = async {
            let mut tx = ask.look().await?;
            let silent = schedule::silent(tx.connection()).await?;
            tx.roll_back().await?;
            Ok(silent)
        };
        silent.await.map_err(|problem: Problem| problem.detail)
    }));
    let redis = Box::pin(look("redis", ask.app.check_cache()));
    let broker = Box::pin(look("broker", async {
        let broker = ask.app.broker().await;
        broker.map(drop).map_err(|error| causes(&error))
    }));
    let ((database, silent), (redis, _), (broker, _)) =
        futures_util::future::join3(database, redis, broker).await;
    let silent = silent.unwrap_or_default().into_iter().map(|silent| Silent {
        function: silent.function,
        due: silent.due,
    });
    let silent: Vec<Silent> = silent.collect();
    let parts = vec![database, redis, broker];
    json(&Health {
        is_well: silent.is_empty() && parts.iter().all(|part| part.is_well),
        parts,
        silent,
    })
}
