//! Connections through a real `PgBouncer` in transaction mode: each transaction may go to another server
//! connection, of which there are fewer than a handler's connections.

use std::time::Instant;

use nightshift_bus::Message;
use nightshift_cli::servers::{PgBouncer, PgBouncerOptions};
use nightshift_postgres::{MigrateFailed, PostgresSettings, migrate};
use nightshift_tests::chaos::{Run, start_postgres};
use nightshift_tests::{App, Stack, StackOptions, user_id};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgPool};
use tempfile::TempDir;

use super::processes::FLAKY;
use super::*;
use crate::walking_skeleton::until;

/// How many statements it carries for each server connection, where it does: fewer than we have, so that
/// it must prepare some again.
const CARRIED: u32 = 20;

/// How long anything may take until it counts as broken.
const PATIENCE: Duration = Duration::from_mins(1);

async fn start_pooler(postgres_url: &str, max_prepared_statements: u32) -> (TempDir, PgBouncer) {
    let folder = tempfile::tempdir().unwrap();
    let options = PgBouncerOptions {
        postgres_url: postgres_url.to_owned(),
        folder: folder.path().to_owned(),
        pool_size: 2,
        max_prepared_statements,
    };
    let pooler = PgBouncer::start(options).await;
    (folder, pooler.unwrap_or_else(|error| panic!("{error}")))
}

async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    let count = sqlx::query_scalar(statement).fetch_one(pool).await;
    count.unwrap()
}

/// Waits until there are `more` effects than now.
async fn go_on(pool: &PgPool, more: i64) {
    const EFFECTS: &str = "SELECT count(*) FROM chaos.effect";
    let enough = count(pool, EFFECTS).await + more;
    let deadline = Instant::now() + PATIENCE;
    while count(pool, EFFECTS).await < enough {
        assert!(Instant::now() < deadline, "nothing goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn rule_13_behind_a_pooler_that_dies_nothing_is_lost_or_doubled() {
    const NAME: &str = "pooled";
    let folder = tempfile::tempdir().unwrap();
    let mut postgres = start_postgres(folder.path()).await.unwrap();
    let (_folder, mut pooler) = start_pooler(&postgres.url_of(NAME), CARRIED).await;
    let settings = vec![(PostgresSettings::URL, pooler.url().into())];
    let mut run = Run::start_with(NAME, &mut postgres, 2, settings)
        .await
        .unwrap();
    for _ in 0..3 {
        go_on(run.pool(), 100).await;
        pooler.kill();
        pooler.restart(CARRIED).await.unwrap();
    }
    go_on(run.pool(), 100).await;
    let servers = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nightshift'";
    assert!((1..=2).contains(&count(run.pool(), servers).await));
    let report = run.settle().await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.waits > 0, "nothing has waited: {report}");
    run.stop().await.unwrap();
    pooler.stop().await;
    postgres.stop().await;
}

#[tokio::test]
async fn rule_13_messages_wait_for_a_pooler_that_carries_no_statements() {
    const COUNT: i64 = 300;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    pool.execute(FLAKY).await.unwrap();
    let (_folder, mut pooler) = start_pooler(database.url(), 0).await;
    let app = App {
        environment: vec![(PostgresSettings::URL, pooler.url().into())],
        ..App::of_checkout()
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 10,
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    send(&stack, COUNT).await;
    stack.start_host().unwrap();
    said(&stack, "max_prepared_statements above 0").await;
    let touched = "SELECT (SELECT count(*) FROM nightshift.inbox)
        + (SELECT count(*) FROM nightshift.open_message) + (SELECT count(*) FROM nightshift.dead_letter)";
    assert_eq!(count(pool, touched).await, 0);
    pooler.restart(CARRIED).await.unwrap();
    until(pool, "SELECT count(*) FROM nightshift.notification", COUNT).await;
    until(pool, "SELECT count(*) FROM nightshift.open_message", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.outbox", 0).await;
    let dead = "SELECT format('%s %s', message_id, attempt) FROM nightshift.dead_letter";
    let dead: Vec<String> = sqlx::query_scalar(dead).fetch_all(pool).await.unwrap();
    assert_eq!(dead, ["no json 0"]);
    // Together, alone, and its first copy failed; the second copy succeeded.
    assert_eq!(count(pool, "SELECT last_value FROM tries").await, 4);
    // The first full minute.
    let done = "SELECT count(*) FROM nightshift.schedule_tick
        WHERE state = 'done' AND function = 'housekeeping-schedule'";
    until(pool, done, 1).await;
    stack.stop().unwrap();
    pooler.stop().await;
    database.remove().await;
}

/// Sends `count` good messages, one of which fails at first, and a bad one.
async fn send(stack: &Stack, count: i64) {
    let (client, sender) = stack.sender().await.unwrap();
    let titles = (1..count).map(|n| format!("n{n}"));
    let good = titles
        .chain(["flaky".to_owned()])
        .map(|title| Message::new(notification(&user_id(1), &title)).with_message_id(title));
    let bad = Message::new("{").with_message_id("no json");
    sender
        .send_messages(good.chain([bad]).collect())
        .await
        .unwrap();
    client.close().await;
}

/// Waits until the log has `text`.
async fn said(stack: &Stack, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(stack.log()).unwrap();
        if log.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{text} is not in\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn rule_13_a_statement_that_a_pooler_has_lost_costs_no_try() {
    let world = World::new(&[("a", &[Step::LoseStatementOnce])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    assert_eq!(world.waiting().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_13_a_statement_that_a_function_has_not_prepared_is_its_own_failure() {
    let world = World::new(&[("a", &[Step::ExecuteMissing])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.waiting().await, ["a retry 1 1"]);
    world.database.remove().await;
}

/// By these names a pooler that does not carry them is recognised.
#[tokio::test]
async fn rule_13_our_client_names_its_statements_as_expected() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sqlx\\_s\\_%'";
    let count: i64 = sqlx::query_scalar(names)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(count, 1);
    drop(connection);
    database.remove().await;
}

#[tokio::test]
async fn rule_13_migrations_are_not_applied_through_a_pooler() {
    let database = TestDatabase::create().await;
    let (_folder, pooler) = start_pooler(database.url(), CARRIED).await;
    let options: PgConnectOptions = pooler.url().parse().unwrap();
    let options = options.extra_float_digits(None);
    let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let refused = migrate(&mut connection).await;
    assert!(matches!(refused, Err(MigrateFailed::Pooled)), "{refused:?}");
    connection.close().await.unwrap();
    pooler.stop().await;
    database.remove().await;
}
