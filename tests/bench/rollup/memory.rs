//! How much memory the handler needs at most while it counts and shows.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use nightshift_bus::Message;
use nightshift_cache::RedisSettings;
use nightshift_tests::{App, Stack, StackOptions, resident_bytes, usage};
use nightshift_time::{Clock, SystemClock};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;
use uuid::Uuid;

use super::{MANY, SCHEMA, USERS, declare, due, end_of_numbers, fill, index, is_counted, server};
use crate::process::mebibytes;
use crate::report::{Bar, Section};

const NAME: &str = "shown";

/// Where Redis is.
const REDIS: &str = "NIGHTSHIFT_TEST_REDIS";

/// How long until everything is shown.
const PATIENCE: Duration = Duration::from_mins(4);

pub(super) async fn measure(section: &mut Section) -> anyhow::Result<()> {
    let (_folder, postgres) = server().await?;
    let options = StackOptions {
        postgres_url: postgres.url(),
        lock_seconds: 60,
    };
    let redis = env::var_os(REDIS).context(REDIS)?;
    let app = App {
        environment: vec![(RedisSettings::URL, redis.clone())],
        ..App::of_checkout()
    };
    let mut stack = Stack::prepare_app(options, app).await?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(&postgres.url())
        .await?;
    pool.execute(SCHEMA).await?;
    declare(&pool, NAME, USERS).await?;
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    index(&mut connection, NAME).await?;
    let now = SystemClock.now();
    let times = (now - TimeDelta::days(3), now);
    fill(&mut connection, NAME, (MANY, 100), times).await?;
    connection.close().await?;
    let until = end_of_numbers(&pool).await?;
    stack.start_host()?;
    let handler = stack.handler_pid(None).await?;
    let (client, sender) = stack.sender_to("leaderboard-rollup").await?;
    let before = resident_bytes(handler).context("the handler is gone")?;
    let body = serde_json::to_vec(&due(NAME, SystemClock.now()))?;
    let message = Message::new(body).with_message_id(Uuid::new_v4().to_string());
    sender.send_messages(vec![message]).await?;
    until_shown(&pool, until).await?;
    let members = members(&redis.to_string_lossy()).await?;
    let people: i64 = sqlx::query_scalar("SELECT count(DISTINCT user_id) FROM bench.shown")
        .fetch_one(&pool)
        .await?;
    ensure!(members == people, "Redis shows {members} of {people}");
    let peak = usage(handler)
        .context("the handler is gone")?
        .peak_resident_bytes;
    client.close().await;
    stack.stop()?;
    pool.close().await;
    postgres.stop().await;
    let label = "of the handler before it counts";
    section.tell("before_mib", mebibytes(before), "MiB", label);
    let label = format!("at most, while it counts {MANY} events and shows boards of {members}");
    let bar = Bar::AtMost(40.0);
    section.hold("peak_mib", mebibytes(peak), "MiB", label, bar);
    Ok(())
}

/// Waits until all is counted, and Redis shows all windows with scores as they are now.
async fn until_shown(pool: &PgPool, until: i64) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting: Option<i64> = sqlx::query_scalar(
            "SELECT count(*) FILTER (WHERE published_run IS DISTINCT FROM changed_run) FROM nightshift.leaderboard_window
            HAVING count(*) > 0",
        )
        .fetch_optional(pool)
        .await?;
        if waiting == Some(0) && is_counted(pool, NAME, until).await? {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "it is not shown in time");
        sleep(Duration::from_millis(200)).await;
    }
}

/// How many members the largest board has.
async fn members(redis: &str) -> anyhow::Result<i64> {
    let client = redis::Client::open(redis)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut card = redis::cmd("ZCARD");
    Ok(card
        .arg(format!("leaderboard:{NAME}:all-time"))
        .query_async(&mut connection)
        .await?)
}
