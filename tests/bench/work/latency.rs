//! From the moment a client sends until another connection sees the row, at 200 messages per second.
//!
//! The database notifies a listener of every row after its commit is flushed, so what is measured
//! contains the whole commit and, on top of it, the notification: an upper bound.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use nightshift_bus::Message;
use nightshift_testkit::notification;
use nightshift_tests::{Stack, user_id};
use sqlx::postgres::PgListener;
use sqlx::{Executor, PgPool};
use tokio::time::timeout;

/// Messages per second.
pub(crate) const RATE: u32 = 200;

/// How long the stream lasts.
const SECONDS: u32 = 15;

/// How much of it is not counted, at the beginning.
const WARM_UP_SECONDS: u32 = 3;

/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the titles of the rows of every insert.
const TRIGGER: &str = "
    CREATE FUNCTION nightshift.bench_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('bench', title) FROM inserted WHERE kind = 'bench.pace';
        RETURN NULL;
    END $$;
    CREATE TRIGGER bench_tell AFTER INSERT ON nightshift.notification
        REFERENCING NEW TABLE AS inserted
        FOR EACH STATEMENT EXECUTE FUNCTION nightshift.bench_tell();";

/// What was measured, in milliseconds.
#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Sends at an even pace without waiting for answers; each message's title is its send time.
pub(crate) async fn measure(stack: &Stack, pool: &PgPool) -> anyhow::Result<Latency> {
    pool.execute(TRIGGER).await?;
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("bench").await?;
    let seen = tokio::spawn(collect(listener));
    let (client, sender) = stack.sender().await?;
    let sender = Arc::new(sender);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..RATE * SECONDS {
        pace.tick().await;
        let sender = Arc::clone(&sender);
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
    let mut waits_ms = seen.await??;
    client.close().await;
    waits_ms.sort_by(f64::total_cmp);
    let quantile = |hundredths: usize| waits_ms[(waits_ms.len() - 1) * hundredths / 100];
    Ok(Latency {
        p50_ms: quantile(50),
        p99_ms: quantile(99),
    })
}

/// How long each counted row took, in milliseconds, in the order in which they were seen.
async fn collect(mut listener: PgListener) -> anyhow::Result<Vec<f64>> {
    let expected = (RATE * (SECONDS - WARM_UP_SECONDS)) as usize;
    let deadline = Instant::now() + Duration::from_secs(SECONDS.into()) + PATIENCE;
    let mut waits = Vec::with_capacity(expected);
    while waits.len() < expected {
        let left = deadline.saturating_duration_since(Instant::now());
        let told = timeout(left, listener.recv())
            .await
            .with_context(|| format!("only {} of {expected} rows in time", waits.len()))??;
        let sent: u128 = told.payload().parse()?;
        let micros = u32::try_from(micros_now().saturating_sub(sent))?;
        waits.push(f64::from(micros) / 1000.0);
    }
    ensure!(!waits.is_empty(), "nothing was counted");
    Ok(waits)
}

/// Microseconds since 1970 by this machine's clock.
fn micros_now() -> u128 {
    #[expect(
        clippy::disallowed_methods,
        reason = "two tasks of one process compare it; nothing is decided by it"
    )]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros())
}
