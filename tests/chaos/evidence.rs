//! Reads what has become of the orders.

use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, Utc};
use nightshift_bus::ServiceBusClient;
use nightshift_job::JobKey;
use sqlx::PgPool;
use uuid::Uuid;

use super::checker::{Dead, Evidence, Ordered, Shapes, Wait};
use super::function::Try;
use super::order::{FUNCTION, IN_SESSIONS, QUEUES};

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
    /// Ticks that have not ended, and schedules that have not come to the end of their clock yet.
    ticking: i64,
    queued: usize,
    /// The least number in each queue, which rises while others are behind; all together.
    first: i64,
}

impl Progress {
    /// Reads it.
    pub(super) async fn read(pool: &PgPool, client: &ServiceBusClient) -> anyhow::Result<Self> {
        let (effects, waits, promised, put_off, ticking) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM chaos.effect) + (SELECT count(*) FROM chaos.step)
                    + (SELECT count(*) FROM chaos.in_session),
                    (SELECT count(*) FROM nightshift.open_message),
                    (SELECT count(*) FROM nightshift.outbox),
                    (SELECT count(*) FROM nightshift.outbox
                     WHERE next_try_at > clock_timestamp() AND next_try_at < 'infinity')
                    + (SELECT count(*) FROM nightshift.open_message
                       WHERE reason = 'calling' AND rescue_at > clock_timestamp()
                         AND rescue_at < 'infinity'),
                    (SELECT count(*) FROM nightshift.schedule_tick
                     WHERE state IN ('enqueued', 'buffered'))
                    + (SELECT count(*) FROM nightshift.schedule WHERE NOT EXISTS (
                        SELECT FROM nightshift.schedule_tick AS tick
                        WHERE tick.function = schedule.function AND tick.due_at > paused_at))",
        )
        .fetch_one(pool)
        .await?;
        let (mut queued, mut first) = (0, 0);
        for queue in QUEUES.iter().chain([&IN_SESSIONS]) {
            let messages = client.peek_messages(queue, 0, PEEK).await?;
            queued += messages.len();
            first += messages
                .first()
                .map_or(0, |message| message.sequence_number);
        }
        Ok(Self {
            effects,
            waits,
            promised,
            put_off,
            ticking,
            queued,
            first,
        })
    }

    /// Whether something is going to happen, although nothing does now.
    pub(super) fn is_put_off(self) -> bool {
        self.put_off > 0
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_over(self) -> bool {
        self.waits == 0 && self.promised == 0 && self.ticking == 0 && self.queued == 0
    }
}

impl Evidence {
    /// Everything about what was `ordered`.
    pub(super) async fn gather(
        ordered: Ordered,
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
            ordered,
            effects: effects
                .map(|(id, attempt)| (id, attempt.cast_unsigned()))
                .collect(),
            tries: Try::all(&tries),
            waits: waits(pool).await?,
            claims: keys(pool, "SELECT key FROM nightshift.inbox WHERE function = $1").await?,
            dead: dead(pool).await?,
            open: keys(
                pool,
                "SELECT key FROM nightshift.open_message WHERE function = $1",
            )
            .await?,
            shapes: shapes(pool).await?,
            left: left(pool, client).await?,
        })
    }
}

async fn keys(pool: &PgPool, sql: &'static str) -> Result<Vec<JobKey>, sqlx::Error> {
    let keys = sqlx::query_scalar(sql).bind(FUNCTION);
    let keys: Vec<Uuid> = keys.fetch_all(pool).await?;
    Ok(keys.into_iter().map(JobKey).collect())
}

async fn dead(pool: &PgPool) -> Result<Vec<Dead>, sqlx::Error> {
    let rows: Vec<(String, Uuid, String)> = sqlx::query_as(
        "SELECT convert_from(body, 'UTF8')::json ->> 'id', key, reason FROM nightshift.dead_letter
         WHERE function = $1",
    )
    .bind(FUNCTION)
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

/// What calls, runs and ticks have come to.
async fn shapes(pool: &PgPool) -> Result<Shapes, sqlx::Error> {
    let texts = async |sql: &'static str| {
        let texts: Result<Vec<String>, sqlx::Error> = sqlx::query_scalar(sql).fetch_all(pool).await;
        texts
    };
    let (steps, dead, ticks) = tokio::try_join!(
        sqlx::query_as("SELECT id, step, epoch FROM chaos.step ORDER BY n").fetch_all(pool),
        sqlx::query_as(
            "SELECT coalesce(body ->> 'id', body ->> 'due'), reason
             FROM (SELECT convert_from(body, 'UTF8')::json AS body, reason
                   FROM nightshift.dead_letter WHERE function <> $1) AS dead",
        )
        .bind(FUNCTION)
        .fetch_all(pool),
        sqlx::query_as("SELECT due_at, state FROM nightshift.schedule_tick ORDER BY due_at")
            .fetch_all(pool),
    )?;
    Ok(Shapes {
        acted: texts("SELECT id FROM chaos.acted").await?,
        in_session: texts("SELECT id FROM chaos.in_session ORDER BY n").await?,
        answers: texts("SELECT id FROM chaos.answer").await?,
        asked: texts("SELECT id FROM chaos.answer WHERE is_asked")
            .await?
            .len(),
        steps,
        ticks,
        ticked: sqlx::query_scalar("SELECT due_at FROM chaos.ticked")
            .fetch_all(pool)
            .await?,
        dead,
    })
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

/// What is in the outbox, marked as started, waiting in another shape, in the queues, and among the broker's own dead letters.
async fn left(pool: &PgPool, client: &ServiceBusClient) -> anyhow::Result<Vec<String>> {
    let promised =
        "SELECT format('in the outbox: %s to %s', message_id, queue) FROM nightshift.outbox";
    let mut left: Vec<String> = sqlx::query_scalar(promised).fetch_all(pool).await?;
    let started = "SELECT format('a lone start of %s', key) FROM nightshift.lone_start";
    let started: Vec<String> = sqlx::query_scalar(started).fetch_all(pool).await?;
    left.extend(started);
    let waiting = "SELECT format('%s waits: %s', key, reason) FROM nightshift.open_message
        WHERE function <> $1";
    let waiting = sqlx::query_scalar(waiting).bind(FUNCTION);
    let waiting: Vec<String> = waiting.fetch_all(pool).await?;
    left.extend(waiting);
    let all = || QUEUES.iter().chain([&IN_SESSIONS]);
    let dead_letters = all().map(|queue| format!("{queue}/$DeadLetterQueue"));
    for entity in all().map(|queue| (*queue).to_owned()).chain(dead_letters) {
        for message in client.peek_messages(&entity, 0, PEEK).await? {
            let id = message.message.message_id.unwrap_or_default();
            left.push(format!("in {entity}: {id}"));
        }
    }
    Ok(left)
}
