//! From the moment a client sends to the commit of the row, at 200 messages per second.

use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use nightshift_bus::Message;
use nightshift_testkit::notification;
use nightshift_tests::{Stack, user_id};
use sqlx::PgPool;

/// Messages per second.
pub(crate) const RATE: u32 = 200;

/// How long the stream lasts.
const SECONDS: u32 = 15;

/// How much of it is not counted, at the beginning.
const WARM_UP_SECONDS: u32 = 3;

/// What was measured, in milliseconds.
#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Sends at an even pace without waiting for answers; each message's title is its send time.
pub(crate) async fn measure(stack: &Stack, pool: &PgPool) -> anyhow::Result<Latency> {
    let (client, sender) = stack.sender().await?;
    let sender = std::sync::Arc::new(sender);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..RATE * SECONDS {
        pace.tick().await;
        let sender = std::sync::Arc::clone(&sender);
        let kind = if n < RATE * WARM_UP_SECONDS {
            "bench.warm"
        } else {
            "bench.pace"
        };
        sends.spawn(async move {
            let user = user_id(1 + n as usize % 200);
            let body =
                notification(&user, &micros_now().to_string()).replace("creature.liked", kind);
            sender
                .send_message(Message::new(body).with_message_id(format!("pace-{n}")))
                .await
        });
    }
    while let Some(sent) = sends.join_next().await {
        sent??;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.close().await;
    let (count, p50_ms, p99_ms): (i64, f64, f64) = sqlx::query_as(
        "WITH row AS (
             SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000
                    - title::numeric / 1000 AS ms
             FROM nightshift.notification WHERE kind = 'bench.pace')
         SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms::float8),
                percentile_cont(0.99) WITHIN GROUP (ORDER BY ms::float8)
         FROM row",
    )
    .fetch_one(pool)
    .await
    .context("no rows")?;
    let expected = i64::from(RATE * (SECONDS - WARM_UP_SECONDS));
    ensure!(count == expected, "{count} rows instead of {expected}");
    Ok(Latency { p50_ms, p99_ms })
}

/// Microseconds since 1970 by the clock that the database uses too.
fn micros_now() -> u128 {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the database's own clock"
    )]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros())
}
