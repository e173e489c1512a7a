//! The whole path, all of it real: a client sends, a row appears. Broker, host and handler are the
//! processes that a user runs, Postgres is a real server.

use std::process::Command;
use std::time::{Duration, Instant};

use nightshift_bus::Message;
use nightshift_settings::{Environment, Source};
use nightshift_testkit::{TestDatabase, notification};
use nightshift_tests::{Stack, StackOptions, user_id};
use sqlx::PgPool;

async fn start(database: &TestDatabase) -> Stack {
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    Stack::prepare(options).await.unwrap()
}

/// Waits until `sql` gives `expected`.
pub(crate) async fn until(pool: &PgPool, sql: &'static str, expected: i64) {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        // A server that is away for a while is part of some tests.
        let found: Result<i64, sqlx::Error> = sqlx::query_scalar(sql).fetch_one(pool).await;
        if matches!(found, Ok(found) if found == expected) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{sql}: {found:?} instead of {expected}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_message_becomes_a_notification_and_the_stack_stops_cleanly() {
    let database = TestDatabase::create().await;
    let mut stack = start(&database).await;
    stack.start_host().unwrap();
    let (client, sender) = stack.sender().await.unwrap();
    let body = notification(&user_id(7), "Hello");
    sender
        .send_message(Message::new(body).with_message_id("hello-1"))
        .await
        .unwrap();
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.notification",
        1,
    )
    .await;
    let handler = stack.handler_pid(None).await.unwrap();
    client.close().await;
    assert_eq!(stack.stop().unwrap(), Some(0));
    assert_eq!(
        nightshift_tests::usage(handler),
        None,
        "the handler went with the host"
    );
    database.remove().await;
}

#[tokio::test]
async fn what_is_waiting_comes_as_few_commits() {
    let database = TestDatabase::create().await;
    let mut stack = start(&database).await;
    let (client, sender) = stack.sender().await.unwrap();
    let messages = (0..1000)
        .map(|n| {
            Message::new(notification(&user_id(1 + n % 200), "t")).with_message_id(format!("m{n}"))
        })
        .collect();
    sender.send_messages(messages).await.unwrap();
    stack.start_host().unwrap();
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.notification",
        1000,
    )
    .await;
    let commits: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM nightshift.notification")
            .fetch_one(database.pool())
            .await
            .unwrap();
    assert!(commits <= 50, "{commits} commits for 1000 waiting messages");
    client.close().await;
    stack.stop().unwrap();
    database.remove().await;
}

/// The script of the README's "send one yourself".
const SCRIPT: &str = r#"
import sys
from azure.servicebus import ServiceBusClient, ServiceBusMessage
with ServiceBusClient.from_connection_string(sys.argv[1]) as client:
    with client.get_queue_sender("notifications") as sender:
        sender.send_messages(ServiceBusMessage(sys.argv[2], message_id="from-python-1"))
"#;

#[tokio::test]
async fn microsofts_python_sdk_sends_and_the_same_id_twice_gives_one_row() {
    let database = TestDatabase::create().await;
    let mut stack = start(&database).await;
    stack.start_host().unwrap();
    let packages = Environment.get("NIGHTSHIFT_TEST_PYTHONPATH").expect(
        "NIGHTSHIFT_TEST_PYTHONPATH names the folder with azure-servicebus: run `make test`",
    );
    let body = notification(&user_id(3), "From Python");
    for _ in 0..2 {
        let output = Command::new("python3")
            .args(["-c", SCRIPT, stack.connection_string(), &body])
            .env("PYTHONPATH", &packages)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let (client, sender) = stack.sender().await.unwrap();
    sender
        .send_message(Message::new(notification(&user_id(3), "last")).with_message_id("last"))
        .await
        .unwrap();
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.notification WHERE title = 'last'",
        1,
    )
    .await;
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.notification",
        2,
    )
    .await;
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.dead_letter",
        0,
    )
    .await;
    client.close().await;
    stack.stop().unwrap();
    database.remove().await;
}
