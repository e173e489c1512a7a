//! Processes that die in the middle: nothing lost, nothing twice.

use std::time::Duration;

use nightshift_bus::Message;
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_testkit::{TestDatabase, notification};
use nightshift_tests::{Stack, StackOptions, user_id};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::walking_skeleton::until;

pub(crate) const ROWS: &str = "SELECT count(*) FROM nightshift.notification";

async fn fill(stack: &Stack, count: usize) {
    let (client, sender) = stack.sender().await.unwrap();
    let messages = (0..count)
        .map(|n| {
            let body = notification(&user_id(1 + n % 200), &format!("n{n:05}"));
            Message::new(body).with_message_id(format!("m{n:05}"))
        })
        .collect();
    sender.send_messages(messages).await.unwrap();
    client.close().await;
}

async fn at_least(pool: &PgPool, rows: i64) {
    loop {
        let found: i64 = sqlx::query_scalar(ROWS).fetch_one(pool).await.unwrap();
        if found >= rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Every message once, none dead, and the queue is empty: nothing is redelivered for ever.
pub(crate) async fn exactly(pool: &PgPool, count: i64) {
    until(pool, ROWS, count).await;
    let titles: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT title) FROM nightshift.notification")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(titles, count);
    until(
        pool,
        "SELECT count(*) FROM nightshift.inbox WHERE function = 'notifications-dispatch'",
        count,
    )
    .await;
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.open_message", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.outbox", 0).await;
}

fn sigkill(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn the_handler_killed_in_the_middle_of_ten_thousand_messages() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare(options).await.unwrap();
    fill(&stack, 10_000).await;
    stack.start_host().unwrap();
    at_least(database.pool(), 500).await;
    let first = stack.handler_pid(None).await.unwrap();
    sigkill(first);
    let second = stack.handler_pid(Some(first)).await.unwrap();
    assert_ne!(first, second);
    exactly(database.pool(), 10_000).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn the_host_killed_in_the_middle_of_ten_thousand_messages() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 5,
    };
    let mut stack = Stack::prepare(options).await.unwrap();
    fill(&stack, 10_000).await;
    stack.start_host().unwrap();
    at_least(database.pool(), 500).await;
    stack.kill_host().unwrap();
    stack.start_host().unwrap();
    exactly(database.pool(), 10_000).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn three_hosts_killed_in_turn_in_the_middle_of_ten_thousand_messages() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 5,
    };
    let stack = Stack::prepare(options).await.unwrap();
    fill(&stack, 10_000).await;
    let start = || stack.start_another_host().unwrap();
    let mut hosts = [start(), start(), start()];
    for (kill, rows) in [1_000, 2_500, 4_000, 5_500, 7_000, 8_500]
        .into_iter()
        .enumerate()
    {
        at_least(database.pool(), rows).await;
        let host = &mut hosts[kill % 3];
        host.kill().unwrap();
        host.wait().unwrap();
        *host = start();
    }
    exactly(database.pool(), 10_000).await;
    for host in &mut hosts {
        host.kill().unwrap();
        host.wait().unwrap();
    }
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn postgres_killed_and_away_for_twenty_seconds_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let options = PostgresOptions {
        data_dir: folder.path().join("data"),
        durable: true,
        port: None,
    };
    let mut postgres = Postgres::start(options).await.unwrap();
    let pool = PgPoolOptions::new().connect_lazy(&postgres.url()).unwrap();
    let options = StackOptions {
        postgres_url: postgres.url(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare(options).await.unwrap();
    fill(&stack, 10_000).await;
    stack.start_host().unwrap();
    at_least(&pool, 500).await;
    postgres.kill();
    tokio::time::sleep(Duration::from_secs(20)).await;
    postgres.restart().await.unwrap();
    exactly(&pool, 10_000).await;
    stack.stop().unwrap();
    pool.close().await;
    postgres.stop().await;
}
