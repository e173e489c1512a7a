//! A broker that takes nothing for an hour, while what was promised to it waits in the outbox.

use std::time::{Duration, Instant};

use nightshift_testkit::{TestDatabase, notification};
use nightshift_tests::{App, Stack, StackOptions, user_id};
use sqlx::PgPool;

use crate::walking_skeleton::until;

/// A queue that nobody receives from, so that it can be seen in which order messages came to it.
const WATCHED: &str = "watched";

/// What one commit has promised to the watched queue, and to the notifications.
const PROMISES: i64 = 100;

/// How often it is looked for what can be sent, after a while.
const PERIOD: Duration = Duration::from_millis(50);

/// Promises messages in one commit, whose sender is gone.
async fn promise(pool: &PgPool) {
    sqlx::query(
        "INSERT INTO nightshift.outbox (id, queue, message_id, properties, body, next_try_at)
         SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
            CASE WHEN n % 2 = 0 THEN 'watched' ELSE 'notifications' END, format('m%s', n), '{}', $1, now()
         FROM generate_series(1, 2 * $2) AS n",
    )
    .bind(notification(&user_id(1), "promised").into_bytes())
    .bind(PROMISES)
    .execute(pool)
    .await
    .unwrap();
}

/// The least and the most tries, and how many seconds the next one is away at most.
async fn tries(pool: &PgPool) -> (i32, i32, f64) {
    sqlx::query_as(
        "SELECT min(tries), max(tries),
            extract(epoch FROM max(next_try_at) - clock_timestamp())::float8
         FROM nightshift.outbox WHERE queue <> 'housekeeping'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// As if the longest pause between two tries had passed.
async fn five_minutes_pass(pool: &PgPool) {
    sqlx::query("UPDATE nightshift.outbox SET next_try_at = next_try_at - interval '5 minutes'")
        .execute(pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn rule_10_what_cannot_be_sent_for_an_hour_is_tried_rarely_and_leaves_once_and_in_order() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let app = App {
        queues: &["notifications", WATCHED],
        ..App::of_checkout()
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    let pool = database.pool();
    stack.kill_broker().unwrap();
    promise(pool).await;
    stack.start_host().unwrap();
    let hour = super::lasting(Duration::from_hours(1), Duration::from_mins(15));
    for tried in 1..=i32::try_from(hour.as_secs() / 300).unwrap() {
        let deadline = Instant::now() + Duration::from_secs(30);
        let (least, most, away) = loop {
            let found = tries(pool).await;
            if found.0 >= tried {
                break found;
            }
            assert!(Instant::now() < deadline, "{found:?}, waited for {tried}");
            tokio::time::sleep(PERIOD).await;
        };
        assert_eq!(
            (least, most),
            (tried, tried),
            "each is tried once in a pause"
        );
        assert!(away <= 300.0, "the next try is in {away} s");
        five_minutes_pass(pool).await;
    }
    stack.restart_broker().await.unwrap();
    until(pool, "SELECT count(*) FROM nightshift.outbox", 0).await;
    until(
        pool,
        "SELECT count(*) FROM nightshift.notification",
        PROMISES,
    )
    .await;
    let (client, _sender) = stack.sender().await.unwrap();
    let came = client.peek_messages(WATCHED, 0, 1_000).await.unwrap();
    let came = came.into_iter().map(|m| m.message.message_id.unwrap());
    let promised = (1..=PROMISES).map(|n| format!("m{}", 2 * n));
    assert_eq!(came.collect::<Vec<_>>(), promised.collect::<Vec<_>>());
    client.close().await;
    stack.stop().unwrap();
    database.remove().await;
}
