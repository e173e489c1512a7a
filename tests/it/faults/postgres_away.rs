//! A database that is away for longer than an invocation is held, while messages arrive.

use std::time::{Duration, Instant};

use nightshift_bus::{Message, Sender, ServiceBusClient};
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_testkit::notification;
use nightshift_tests::{Stack, StackOptions, user_id};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;

use super::lasting;
use crate::crash::{ROWS, exactly};
use crate::walking_skeleton::until;

/// How long a message stays locked: an invocation is held for a second less, so that the sample of an
/// outage is a few of them, too.
const LOCK_SECONDS: u64 = 4;

/// How often a message arrives.
const PERIOD: Duration = Duration::from_millis(50);

/// A stack with a Postgres of its own, to which messages go one by one.
struct World {
    _folder: TempDir,
    postgres: Postgres,
    pool: PgPool,
    stack: Stack,
    sender: (ServiceBusClient, Sender),
    sent: i64,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = PostgresOptions {
            data_dir: folder.path().join("data"),
            durable: true,
            port: None,
        };
        let postgres = Postgres::start(options).await.unwrap();
        let pool = PgPoolOptions::new().connect_lazy(&postgres.url()).unwrap();
        let options = StackOptions {
            postgres_url: postgres.url(),
            lock_seconds: LOCK_SECONDS,
        };
        let mut stack = Stack::prepare(options).await.unwrap();
        stack.start_host().unwrap();
        let sender = stack.sender().await.unwrap();
        let mut world = Self {
            _folder: folder,
            postgres,
            pool,
            stack,
            sender,
            sent: 0,
        };
        world.send_for(Duration::from_millis(500)).await;
        until(&world.pool, ROWS, world.sent).await;
        world
    }

    async fn send_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let title = format!("n{:05}", self.sent);
            let message = Message::new(notification(&user_id(1), &title)).with_message_id(title);
            self.sender.1.send_message(message).await.unwrap();
            self.sent += 1;
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Every message once, none dead, no failure counted; and the invocations were given back.
    async fn end(mut self) {
        self.send_for(Duration::from_millis(500)).await;
        exactly(&self.pool, self.sent).await;
        let log = std::fs::read_to_string(self.stack.log()).unwrap();
        let given_back = log.matches("the database could not be used for").count();
        assert!(given_back > 0, "no invocation was held for too long: {log}");
        assert!(!log.contains("is tried again"), "a try was counted: {log}");
        let dead_letters = "notifications/$DeadLetterQueue";
        let dead = self.sender.0.peek_messages(dead_letters, 0, 1).await;
        assert!(dead.unwrap().is_empty());
        self.sender.0.close().await;
        self.stack.stop().unwrap();
        self.pool.close().await;
        self.postgres.stop().await;
    }
}

#[tokio::test]
async fn rule_4_while_postgres_is_stopped_for_a_minute_messages_wait_and_no_try_is_counted() {
    let mut world = World::start().await;
    world.postgres.kill();
    let away = lasting(Duration::from_mins(1), Duration::from_secs(8));
    world.send_for(away).await;
    world.postgres.restart().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn rule_4_after_a_failover_that_cuts_connections_and_is_read_only_at_first_nothing_is_missing()
 {
    let mut world = World::start().await;
    let mut operator = PgConnection::connect(&world.postgres.url()).await.unwrap();
    for statement in [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            AND backend_type = 'client backend'",
    ] {
        operator.execute(statement).await.unwrap();
    }
    let read_only = lasting(Duration::from_secs(30), Duration::from_secs(8));
    world.send_for(read_only).await;
    let rows: i64 = sqlx::query_scalar(ROWS)
        .fetch_one(&mut operator)
        .await
        .unwrap();
    assert!(rows < world.sent, "something was written: {rows}");
    for statement in [
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    ] {
        operator.execute(statement).await.unwrap();
    }
    operator.close().await.unwrap();
    world.end().await;
}
