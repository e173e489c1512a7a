//! The same rules with the real processes: broker, host and handler.

use std::net::{Ipv4Addr, SocketAddr};

use nightshift_bus::{Message, ReceiverOptions};
use nightshift_postgres::control;
use nightshift_tests::{App, Stack, StackOptions, user_id};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::walking_skeleton::until;

const ROWS: &str = "SELECT count(*) FROM nightshift.notification";

/// Lets the first three inserts of the title `flaky` fail. A sequence is not rolled back.
pub(super) const FLAKY: &str = "
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.title = 'flaky' AND nextval('tries') <= 3 THEN RAISE 'not yet'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail BEFORE INSERT ON nightshift.notification FOR EACH ROW EXECUTE FUNCTION fail()";

async fn prepare() -> (TestDatabase, Stack) {
    let database = TestDatabase::create().await;
    let stack = stack_on(&database).await;
    (database, stack)
}

async fn stack_on(database: &TestDatabase) -> Stack {
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    Stack::prepare(options).await.unwrap()
}

async fn nothing_waits(pool: &PgPool) {
    until(pool, "SELECT count(*) FROM nightshift.open_message", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.outbox", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 0).await;
}

#[tokio::test]
async fn rule_3_a_passing_failure_is_tried_again_through_the_broker() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    pool.execute(FLAKY).await.unwrap();
    let (client, sender) = stack.sender().await.unwrap();
    let titles = ["good 1", "flaky", "good 2"];
    let messages =
        titles.map(|title| Message::new(notification(&user_id(1), title)).with_message_id(title));
    sender.send_messages(messages.into()).await.unwrap();
    client.close().await;
    stack.start_host().unwrap();
    until(pool, ROWS, 3).await;
    nothing_waits(pool).await;
    // Together, alone, and its first copy failed; the second copy succeeded.
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(tries, 4);
    stack.stop().unwrap();
    database.remove().await;
}

/// The page of the host with what it and its handler count.
pub(crate) async fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_becomes_of_messages_is_counted_on_the_hosts_page() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let app = App {
        environment: vec![("NIGHTSHIFT_HOST_LISTEN", address.to_string().into())],
        ..App::of_checkout()
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    pool.execute(FLAKY).await.unwrap();
    let (client, sender) = stack.sender().await.unwrap();
    let bodies = ["good", "flaky"].map(|title| notification(&user_id(1), title));
    let [good, flaky] = bodies.map(Message::new);
    let stranger = Message::new(notification(&Uuid::nil().to_string(), "nobody"));
    let messages = vec![good, flaky, stranger];
    sender.send_messages(messages).await.unwrap();
    client.close().await;
    stack.start_host().unwrap();
    until(pool, ROWS, 2).await;
    let outcome = |outcome, count| {
        let labels = format!("function=\"notifications-dispatch\",outcome=\"{outcome}\"");
        format!("\nnightshift_messages_total{{{labels}}} {count}\n")
    };
    let lines = [
        outcome("done", 2),
        outcome("dead", 1),
        outcome("retry", 2),
        // Perhaps also that of a tick.
        "\nnightshift_outbox_sent_total{by=\"flush\"} ".to_owned(),
        "\nnightshift_host_handler_ready 1\n".to_owned(),
    ];
    let page = metrics(address).await;
    for line in lines {
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    assert!(
        page.contains(
            "\nnightshift_transaction_seconds_count{function=\"notifications-dispatch\"}"
        )
    );
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_10_what_a_dead_committer_has_promised_is_sent_by_the_next_handler() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    sqlx::query(
        "INSERT INTO nightshift.outbox (id, queue, message_id, properties, body, next_try_at)
         SELECT gen_random_uuid(), 'notifications', format('m%s', n), '{}', $1, now()
         FROM generate_series(1, 500) AS n",
    )
    .bind(notification(&user_id(1), "promised").into_bytes())
    .execute(pool)
    .await
    .unwrap();
    stack.start_host().unwrap();
    until(pool, ROWS, 500).await;
    nothing_waits(pool).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_3_a_message_whose_copy_was_lost_is_rescued() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    pool.execute(FLAKY).await.unwrap();
    let (client, sender) = stack.sender().await.unwrap();
    let flaky = Message::new(notification(&user_id(1), "flaky")).with_message_id("flaky");
    sender.send_message(flaky).await.unwrap();
    client.close().await;
    stack.start_host().unwrap();
    until(pool, "SELECT count(*) FROM nightshift.open_message", 1).await;
    stack.stop().unwrap();
    // Stopping has flushed; the broker, which keeps its messages in memory, loses the copy.
    let mut stack = stack_on(&database).await;
    pool.execute("DELETE FROM nightshift.outbox").await.unwrap();
    pool.execute("UPDATE nightshift.open_message SET rescue_at = now()")
        .await
        .unwrap();
    stack.start_host().unwrap();
    until(pool, ROWS, 1).await;
    nothing_waits(pool).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_9_who_waits_for_a_place_that_nobody_has_is_woken_by_any_handler() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    sqlx::query(
        "INSERT INTO nightshift.open_message
            (key, function, queue, gen, attempt, reason, due_at, rescue_at, sequence_number,
             enqueued_at, properties, body, body_hash, concurrency_key)
         SELECT gen_random_uuid(), 'notifications-dispatch', 'notifications', 1, 0, 'queued', now(),
            'infinity', n, now(), '{}', $1, gen_random_uuid(), $2
         FROM generate_series(1, 3) AS n",
    )
    .bind(notification(&user_id(1), "queued").into_bytes())
    .bind(Uuid::from_u128(1))
    .execute(pool)
    .await
    .unwrap();
    stack.start_host().unwrap();
    // The handler wakes the first, and the end of each the next.
    until(pool, ROWS, 3).await;
    nothing_waits(pool).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_10_what_the_broker_cannot_take_stays_and_says_why() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    sqlx::query(
        "INSERT INTO nightshift.outbox (id, queue, message_id, properties, body, next_try_at)
         VALUES (gen_random_uuid(), 'nowhere', 'a', '{}', 'x', now()),
                (gen_random_uuid(), 'notifications', 'b', '{}', $1, now())",
    )
    .bind(notification(&user_id(1), "promised").into_bytes())
    .execute(pool)
    .await
    .unwrap();
    stack.start_host().unwrap();
    until(pool, ROWS, 1).await;
    until(pool, "SELECT count(*) FROM nightshift.outbox", 1).await;
    let said =
        "SELECT count(*) FROM nightshift.outbox WHERE last_error LIKE '%no entity `nowhere`%'
        AND tries >= 1";
    until(pool, said, 1).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_10_what_the_broker_refuses_for_good_is_a_dead_letter_and_so_is_what_waits_for_it() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    sqlx::query(
        "WITH waits AS (
            INSERT INTO nightshift.open_message
                (key, function, queue, gen, attempt, reason, due_at, rescue_at, sequence_number,
                 enqueued_at, properties, body, body_hash)
            VALUES (gen_random_uuid(), 'notifications-dispatch', 'notifications', 3, 2, 'retry',
                    now(), now() + interval '1 hour', 7, now(), '{}', 'the body', gen_random_uuid())
            RETURNING key)
         INSERT INTO nightshift.outbox (id, queue, message_id, properties, body, next_try_at, wakes)
         SELECT gen_random_uuid(), 'notifications', format('ns:%s:3', replace(key::text, '-', '')), '{}',
            repeat('x', 2000000)::bytea, now(), key
         FROM waits",
    )
    .execute(pool)
    .await
    .unwrap();
    stack.start_host().unwrap();
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 1).await;
    let dead: String = sqlx::query_scalar(
        "SELECT format('%s %s %s %s %s', function, queue, reason, attempt, encode(body, 'escape'))
         FROM nightshift.dead_letter WHERE description LIKE 'the message is too large%'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(
        dead,
        "notifications-dispatch notifications cannot-be-sent 2 the body"
    );
    until(pool, "SELECT count(*) FROM nightshift.open_message", 0).await;
    until(pool, "SELECT count(*) FROM nightshift.outbox", 0).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_10_whoever_waits_for_the_end_of_what_the_broker_refuses_is_told() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    sqlx::query(
        "WITH parent AS (
            INSERT INTO nightshift.fan_out (id, open, queue, message_id, properties, body)
            VALUES (gen_random_uuid(), 1, 'notifications', 'finish', '{}', $1)
            RETURNING id),
         schedule AS (
            INSERT INTO nightshift.schedule (function, queue, definition, release, cursor_at)
            VALUES ('gone', 'notifications', '{}', now(), now())),
         tick AS (
            INSERT INTO nightshift.schedule_tick
                (id, function, kind, due_at, last_at, revision, state, run_at, written_at)
            VALUES ('ns-tick:gone:2026-11-22T00:00:00Z', 'gone', 'tick', now(), now(), 1, 'enqueued',
                    now(), now()))
         INSERT INTO nightshift.outbox (id, queue, message_id, properties, body, next_try_at)
         SELECT gen_random_uuid(), 'notifications', message_id, properties,
            repeat('x', 2000000)::bytea, now()
         FROM (SELECT 'part', json_build_object('ns-parent', id) FROM parent
               UNION ALL SELECT 'ns-tick:gone:2026-11-22T00:00:00Z', '{}') AS refused (message_id, properties)",
    )
    .bind(notification(&user_id(1), "finish").into_bytes())
    .execute(pool)
    .await
    .unwrap();
    stack.start_host().unwrap();
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 2).await;
    until(pool, "SELECT count(*) FROM nightshift.schedule_tick WHERE id LIKE 'ns-tick:gone:%' AND state = 'failed'", 1).await;
    until(pool, ROWS, 1).await;
    until(pool, "SELECT count(*) FROM nightshift.fan_out", 0).await;
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_5_what_the_broker_has_given_up_is_taken_back() {
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    let (client, sender) = stack.sender().await.unwrap();
    let titles = ["done", "too often", "refused by a tool"];
    let messages =
        titles.map(|title| Message::new(notification(&user_id(1), title)).with_message_id(title));
    sender.send_messages(messages.into()).await.unwrap();
    // Somebody receives them and does what the service does after too many deliveries.
    let receiver = client
        .create_receiver("notifications", ReceiverOptions::default())
        .await
        .unwrap();
    for (title, reason) in [
        ("done", "MaxDeliveryCountExceeded"),
        ("too often", "MaxDeliveryCountExceeded"),
        ("refused by a tool", "Unwanted"),
    ] {
        let wait = Duration::from_secs(10);
        let received = receiver.receive_messages(1, wait).await.unwrap();
        assert_eq!(received[0].message.message_id.as_deref(), Some(title));
        receiver
            .dead_letter_message(&received[0], reason, "it says")
            .await
            .unwrap();
    }
    receiver.close().await;
    // The first was done in one of its deliveries, whose answer was lost.
    let again = Message::new(notification(&user_id(1), "done")).with_message_id("done");
    sender.send_message(again).await.unwrap();
    client.close().await;
    stack.start_host().unwrap();
    until(pool, ROWS, 2).await;
    until(pool, "SELECT count(*) FROM nightshift.dead_letter", 1).await;
    until(pool, "SELECT count(*) FROM nightshift.open_message", 0).await;
    let dead: String = sqlx::query_scalar(
        "SELECT format('%s %s: %s', message_id, reason, description) FROM nightshift.dead_letter",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(
        dead,
        "refused by a tool given-up-by-broker: the broker has given the message up after 1 deliveries: Unwanted: it says"
    );
    stack.stop().unwrap();
    database.remove().await;
}

#[tokio::test]
async fn rule_9_a_function_is_paused_and_resumed_while_messages_come() {
    const COUNT: i64 = 3_000;
    let (database, mut stack) = prepare().await;
    let pool = database.pool();
    let (client, sender) = stack.sender().await.unwrap();
    let send = async |from: i64, to: i64| {
        let messages = (from..to).map(|n| {
            let title = format!("n{n:06}");
            Message::new(notification(&user_id(1), &title)).with_message_id(title)
        });
        sender.send_messages(messages.collect()).await.unwrap();
    };
    stack.start_host().unwrap();
    send(0, COUNT / 3).await;
    until(pool, ROWS, COUNT / 3).await;
    let mut connection = pool.acquire().await.unwrap();
    let function = "notifications-dispatch";
    control::pause(&mut connection, function, "an operator", "a test")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    send(COUNT / 3, 2 * COUNT / 3).await;
    until(
        pool,
        "SELECT count(*) FROM nightshift.open_message WHERE reason = 'paused'",
        COUNT / 3,
    )
    .await;
    let woken = control::resume(&mut connection, function, Duration::ZERO, "an operator").await;
    assert_eq!(woken.unwrap(), u64::try_from(COUNT / 3).unwrap());
    drop(connection);
    // Some of these meet a handler that has not heard of it.
    send(2 * COUNT / 3, COUNT).await;
    client.close().await;
    until(pool, ROWS, COUNT).await;
    nothing_waits(pool).await;
    stack.stop().unwrap();
    database.remove().await;
}

/// Lets one message in fifty fail in its first tries, whoever makes them.
const ONE_IN_FIFTY: &str = "
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.title LIKE '%00' AND nextval('tries') <= 120 THEN RAISE 'not yet'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail BEFORE INSERT ON nightshift.notification FOR EACH ROW EXECUTE FUNCTION fail()";

#[tokio::test]
async fn rule_3_handler_and_host_killed_while_messages_fail_and_wait() {
    const COUNT: i64 = 2_000;
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 5,
    };
    let mut stack = Stack::prepare(options).await.unwrap();
    let pool = database.pool();
    pool.execute(ONE_IN_FIFTY).await.unwrap();
    let (client, sender) = stack.sender().await.unwrap();
    let messages = (0..COUNT).map(|n| {
        let title = format!("n{:06}", n * 2);
        Message::new(notification(&user_id(1), &title)).with_message_id(title)
    });
    sender.send_messages(messages.collect()).await.unwrap();
    client.close().await;
    stack.start_host().unwrap();
    let mut handler = None;
    for round in 0..6 {
        let pid = stack.handler_pid(handler).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300 + 250 * round)).await;
        if round % 3 == 2 {
            stack.kill_host().unwrap();
            stack.start_host().unwrap();
        } else {
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        }
        handler = Some(pid);
    }
    until(pool, ROWS, COUNT).await;
    nothing_waits(pool).await;
    let titles = "SELECT count(DISTINCT title) FROM nightshift.notification";
    until(pool, titles, COUNT).await;
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries")
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(tries > 120, "{tries}: too few have failed");
    stack.stop().unwrap();
    database.remove().await;
}
