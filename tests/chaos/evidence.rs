//! Reads what has become of the orders.

use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, Utc};
use nightshift_bus::ServiceBusClient;
use nightshift_job::JobKey;
use sqlx::PgPool;
use uuid::Uuid;

use super::checker::{Dead, Evidence, Wait};
use super::function::Try;
use super::order::{Order, QUEUE};

/// How many messages of a queue are looked at.
pub(super) const PEEK: usize = 100;

/// How far the messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    effects: i64,
    waits: i64,
    promised: i64,
    /// Of the promised ones, those that nobody may try to send yet, but later.
    put_off: i64,
    queued: usize,
    /// The least number in the queue, which rises while others are behind.
    first: i64,
}

impl Progress {
    /// Reads it.
    pub(super) async fn read(pool: &PgPool, client: &ServiceBusClient) -> anyhow::Result<Self> {
        let (effects, waits, promised, put_off) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM chaos.effect),
                    (SELECT count(*) FROM nightshift.open_message),
                    (SELECT count(*) FROM nightshift.outbox),
                    (SELECT count(*) FROM nightshift.outbox
                     WHERE next_try_at > clock_timestamp() AND next_try_at < 'infinity')",
        )
        .fetch_one(pool)
        .await?;
        let queued = client.peek_messages(QUEUE, 0, PEEK).await?;
        Ok(Self {
            effects,
            waits,
            promised,
            put_off,
            queued: queued.len(),
            first: queued.first().map_or(0, |message| message.sequence_number),
        })
    }

    /// Whether something is going to happen, although nothing does now.
    pub(super) fn is_put_off(self) -> bool {
        self.put_off > 0
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_over(self) -> bool {
        self.waits == 0 && self.promised == 0 && self.queued == 0
    }
}

impl Evidence {
    /// Everything about `orders`.
    pub(super) async fn gather(
        orders: &[Order],
        pool: &PgPool,
        client: &ServiceBusClient,
        tries: &Path,
    ) -> anyhow::Result<Self> {
        let tries = std::fs::read_to_string(tries).context("the file of tries")?;
        let effects: Vec<(String, i32)> = sqlx::query_as("SELECT id, attempt FROM chaos.effect")
            .fetch_all(pool)
            .await?;
        let effects = effects.into_iter();
        Ok(Self {
            orders: orders.to_vec(),
            effects: effects
                .map(|(id, attempt)| (id, attempt.cast_unsigned()))
                .collect(),
            tries: Try::all(&tries),
            waits: waits(pool).await?,
            claims: keys(pool, "SELECT key FROM nightshift.inbox").await?,
            dead: dead(pool).await?,
            open: keys(pool, "SELECT key FROM nightshift.open_message").await?,
            left: left(pool, client).await?,
        })
    }
}

async fn keys(pool: &PgPool, sql: &'static str) -> Result<Vec<JobKey>, sqlx::Error> {
    let keys: Vec<Uuid> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    Ok(keys.into_iter().map(JobKey).collect())
}

async fn dead(pool: &PgPool) -> Result<Vec<Dead>, sqlx::Error> {
    let rows: Vec<(String, Uuid, String)> = sqlx::query_as(
        "SELECT convert_from(body, 'UTF8')::json ->> 'id', key, reason FROM nightshift.dead_letter",
    )
    .fetch_all(pool)
    .await?;
    let dead = rows.into_iter();
    let dead = dead.map(|(id, key, reason)| Dead {
        id,
        key: JobKey(key),
        reason,
    });
    Ok(dead.collect())
}

async fn waits(pool: &PgPool) -> Result<Vec<Wait>, sqlx::Error> {
    type Row = (Uuid, i32, bool, DateTime<Utc>, DateTime<Utc>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT key, attempt, reason = 'snooze', due_at, written_at FROM chaos.wait",
    )
    .fetch_all(pool)
    .await?;
    let waits = rows.into_iter();
    let waits = waits.map(|(key, attempt, is_snooze, due, written)| Wait {
        key: JobKey(key),
        attempt: attempt.cast_unsigned(),
        is_snooze,
        due,
        written,
    });
    Ok(waits.collect())
}

/// What is in the outbox, marked as started, in the queue, and among the broker's own dead letters.
async fn left(pool: &PgPool, client: &ServiceBusClient) -> anyhow::Result<Vec<String>> {
    let promised =
        "SELECT format('in the outbox: %s to %s', message_id, queue) FROM nightshift.outbox";
    let mut left: Vec<String> = sqlx::query_scalar(promised).fetch_all(pool).await?;
    let started = "SELECT format('a lone start of %s', key) FROM nightshift.lone_start";
    let started: Vec<String> = sqlx::query_scalar(started).fetch_all(pool).await?;
    left.extend(started);
    for entity in [QUEUE.to_owned(), format!("{QUEUE}/$DeadLetterQueue")] {
        for message in client.peek_messages(&entity, 0, PEEK).await? {
            let id = message.message.message_id.unwrap_or_default();
            left.push(format!("in {entity}: {id}"));
        }
    }
    Ok(left)
}
