//! A database that is there but not in order: messages wait for it and none is used up.

use std::time::Duration;

use chrono::NaiveDate;
use nightshift_bus::Message;

use nightshift_postgres::Lease;
use nightshift_postgres::inbox::ensure_partitions;
use nightshift_testkit::{TestDatabase, notification};
use nightshift_tests::{Stack, StackOptions, user_id};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::walking_skeleton::until;

const ROWS: &str = "SELECT count(*) FROM nightshift.notification";

async fn prepare(lock_seconds: u64) -> (TestDatabase, Stack) {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds,
    };
    let stack = Stack::prepare(options).await.unwrap();
    (database, stack)
}

async fn rename_schema(pool: &PgPool, from: &str, to: &str) {
    let statement = format!("ALTER SCHEMA {from} RENAME TO {to}");
    pool.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
}

async fn send(stack: &Stack, ids: std::ops::Range<usize>) {
    let (client, sender) = stack.sender().await.unwrap();
    let messages = ids
        .map(|n| {
            let body = notification(&user_id(1 + n), &format!("n{n}"));
            Message::new(body).with_message_id(format!("m{n}"))
        })
        .collect();
    sender.send_messages(messages).await.unwrap();
    client.close().await;
}

async fn logged(stack: &Stack, text: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !std::fs::read_to_string(stack.log()).unwrap().contains(text) {
        assert!(std::time::Instant::now() < deadline, "not logged: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_schema_that_is_not_there_yet_is_waited_for() {
    let (database, mut stack) = prepare(60).await;
    let pool = database.pool();
    rename_schema(pool, "nightshift", "elsewhere").await;
    send(&stack, 0..20).await;
    stack.start_host().unwrap();
    logged(&stack, "database cannot be used").await;
    rename_schema(pool, "elsewhere", "nightshift").await;
    until(pool, ROWS, 20).await;
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 0).await;
    stack.stop().unwrap();
    database.remove().await;
}

/// An invocation that is held beyond its messages' locks would be processed twice at once.
#[tokio::test]
async fn messages_are_given_back_before_their_locks_end() {
    let (database, mut stack) = prepare(3).await;
    let pool = database.pool();
    rename_schema(pool, "nightshift", "elsewhere").await;
    send(&stack, 0..1).await;
    stack.start_host().unwrap();
    let held = "the database could not be used for ";
    logged(&stack, held).await;
    let log = std::fs::read_to_string(stack.log()).unwrap();
    let (_, rest) = log.split_once(held).unwrap();
    let (seconds, _) = rest.split_once(" s").unwrap();
    assert!(seconds.parse::<f64>().unwrap() <= 2.0, "{seconds}");
    assert!(!log.contains("come again when their lock ends"), "{log}");
    rename_schema(pool, "elsewhere", "nightshift").await;
    until(pool, ROWS, 1).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn a_database_restored_without_todays_partition_gets_one() {
    let (database, mut stack) = prepare(60).await;
    let pool = database.pool();
    stack.start_host().unwrap();
    send(&stack, 0..1).await;
    until(pool, ROWS, 1).await;
    drop_partitions(pool).await;
    send(&stack, 1..20).await;
    until(pool, ROWS, 20).await;
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 0).await;
    stack.stop().unwrap();
    database.remove().await;
}

async fn drop_partitions(pool: &PgPool) {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'nightshift.inbox'::regclass",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(names.len(), 2, "today's and tomorrow's");
    for name in names {
        pool.execute(sqlx::AssertSqlSafe(format!("DROP TABLE {name}")))
            .await
            .unwrap();
    }
}

/// A dump holds its locks for hours, also at midnight.
#[tokio::test]
async fn a_partition_appears_while_a_dump_and_claims_go_on() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    nightshift_postgres::migrate(&mut connection).await.unwrap();
    let mut dump = PgConnection::connect(database.url()).await.unwrap();
    dump.execute("BEGIN; LOCK TABLE nightshift.inbox IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let mut claims = PgConnection::connect(database.url()).await.unwrap();
    claims
        .execute("BEGIN; LOCK TABLE nightshift.inbox IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let day = NaiveDate::from_ymd_opt(2027, 1, 15).unwrap();
    ensure_partitions(&mut connection, day).await.unwrap();
    drop(connection);
    dump.close().await.unwrap();
    claims.close().await.unwrap();
    database.remove().await;
}

#[tokio::test]
async fn a_connection_dropped_in_the_middle_is_closed_and_one_that_ended_is_kept() {
    let database = TestDatabase::create().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(database.url())
        .await
        .unwrap();
    let mut pids = Vec::new();
    for ends in [true, true, false, true] {
        let mut lease = Lease::take(&pool).await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(lease.connection())
            .await
            .unwrap();
        pids.push(pid);
        if ends {
            lease.end();
        }
    }
    assert_eq!(pids[0], pids[1]);
    assert_eq!(pids[1], pids[2]);
    assert_ne!(pids[2], pids[3]);
    pool.close().await;
    database.remove().await;
}
