//! What comes of messages that no try can process, and of their neighbours: the handler's own code
//! against a real database, called as the host calls it.

use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_functions::{Access, Settings, registry};
use nightshift_handler::{Call, InvocationFailed, Outbox, Registry};
use nightshift_testkit::{TestDatabase, USER, message, notification};
use nightshift_time::{SharedClock, TestClock};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const FUNCTION: &str = "notifications-dispatch";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

async fn start() -> (TestDatabase, Registry) {
    let database = TestDatabase::create().await;
    let pool = database.pool().clone();
    let clock: SharedClock = Arc::new(TestClock::new(now()));
    let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
    let registry = registry(
        Registry::new(pool, outbox, clock),
        Access::closed(),
        Settings::default(),
        None,
    )
    .unwrap();
    (database, registry)
}

async fn deliver(registry: &Registry, messages: &[TriggerMessage]) -> Result<(), InvocationFailed> {
    nightshift_testkit::deliver(registry, FUNCTION, messages, now()).await
}

async fn titles(database: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar("SELECT title FROM nightshift.notification ORDER BY title")
        .fetch_all(database.pool())
        .await
        .unwrap()
}

async fn dead(database: &TestDatabase) -> Vec<(String, String)> {
    sqlx::query_as("SELECT reason, description FROM nightshift.dead_letter ORDER BY reason")
        .fetch_all(database.pool())
        .await
        .unwrap()
}

async fn done(database: &TestDatabase) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM nightshift.inbox
         WHERE key NOT IN (SELECT key FROM nightshift.dead_letter)",
    )
    .fetch_one(database.pool())
    .await
    .unwrap()
}

fn good(title: &str) -> TriggerMessage {
    message(title, notification(USER, title), now()).build()
}

/// Delivers `bad` between two good messages, twice, and returns the one dead letter.
async fn dies_alone(bad: TriggerMessage) -> (String, String) {
    let (database, registry) = start().await;
    let batch = [good("before"), bad, good("later")];
    deliver(&registry, &batch).await.unwrap();
    deliver(&registry, &batch).await.unwrap();
    assert_eq!(
        titles(&database).await,
        ["before", "later"],
        "the neighbours succeed, once"
    );
    assert_eq!(done(&database).await, 2, "a dead message is not done");
    let mut letters = dead(&database).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    database.remove().await;
    letters.remove(0)
}

fn with(from: &str, to: &str) -> Vec<u8> {
    let body = notification(USER, "bad");
    assert!(body.contains(from), "{body}");
    body.replace(from, to).into_bytes()
}

macro_rules! dies {
    ($($name:ident: $body:expr => $reason:literal, $description:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (reason, description) = dies_alone(message("bad", $body, now()).build()).await;
            assert_eq!(reason, $reason);
            assert!(description.contains($description), "{description}");
        }
    )*};
}

dies! {
    a_body_that_is_not_json: "hello" => "not-json", "the body is not JSON: expected value at line 1";
    a_body_that_is_not_utf8: b"{\"a\":\"\xff\"}".to_vec() => "not-utf8", "byte 6 does not belong";
    an_empty_message: "" => "empty-body", "send a JSON object";
    an_unknown_user: notification("00000000-0000-4000-8000-00000000dead", "x") => "unknown-user", "there is no user 00000000-0000-4000-8000-00000000dead";
    a_body_above_the_limit: notification(USER, &"x".repeat(262_144)) => "body-too-large", "more than the limit of 262144";
    a_wrong_field_type: with("\"bad\"", "[1]") => "invalid-property", "title: invalid type: sequence, expected a string";
    an_unknown_schema_version: with("\"schema_version\":1", "\"schema_version\":99") => "unknown-schema-version", "schema version 99 is not known; this release reads 1 to 1";
    a_property_named_message_id: with("\"kind\"", "\"MessageId\":\"other\",\"kind\"") => "reserved-name", "\"MessageId\"";
    a_nul_character_in_a_text: with("bad", "a\\u0000b") => "invalid-property", "title: contains the NUL character";
}

#[tokio::test]
async fn a_nul_character_in_an_id_or_a_property_does_not_hinder_the_dead_letter() {
    let bad = message("i\0d", "hello", now())
        .with_property("p", "a\0b")
        .build();
    assert_eq!(dies_alone(bad).await.0, "not-json");
}

#[tokio::test]
async fn a_valid_body_of_250_kb_is_processed() {
    let (database, registry) = start().await;
    let body = notification(USER, "big").replace("Your creature was liked", &"x".repeat(250_000));
    deliver(&registry, &[message("m", body, now()).build()])
        .await
        .unwrap();
    assert_eq!(titles(&database).await, ["big"]);
    database.remove().await;
}

#[tokio::test]
async fn a_hundred_bad_ones_do_not_slow_a_batch_down_to_one_by_one_nor_lose_a_neighbour() {
    let (database, registry) = start().await;
    let batch: Vec<TriggerMessage> = (0..200)
        .map(|n| {
            if n % 2 == 0 {
                good(&format!("{n:03}"))
            } else {
                message(&format!("{n}"), "?", now()).build()
            }
        })
        .collect();
    deliver(&registry, &batch).await.unwrap();
    assert_eq!(titles(&database).await.len(), 100);
    assert_eq!(dead(&database).await.len(), 100);
    let commits: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM nightshift.inbox")
            .fetch_one(database.pool())
            .await
            .unwrap();
    assert_eq!(commits, 1, "one commit for the whole batch");
    database.remove().await;
}

#[tokio::test]
async fn one_id_gives_one_row_within_a_batch_and_over_batches_and_midnight() {
    let (database, registry) = start().await;
    deliver(&registry, &[good("same"), good("same")])
        .await
        .unwrap();
    deliver(&registry, &[good("same")]).await.unwrap();
    let tomorrow = now().checked_add_days(Days::new(1)).unwrap();
    let again = message("same", notification(USER, "same"), tomorrow).build();
    deliver(&registry, &[again]).await.unwrap();
    assert_eq!(titles(&database).await, ["same"]);
    database.remove().await;
}

#[tokio::test]
async fn an_id_with_another_body_is_dead_in_one_batch_and_in_two() {
    let (database, registry) = start().await;
    let other = message("one", notification(USER, "other"), now()).build();
    let third = message("one", notification(USER, "third"), now()).build();
    deliver(&registry, &[good("one"), other.clone()])
        .await
        .unwrap();
    deliver(&registry, &[other, third]).await.unwrap();
    assert_eq!(titles(&database).await, ["one"]);
    let reasons: Vec<String> = dead(&database)
        .await
        .into_iter()
        .map(|letter| letter.0)
        .collect();
    assert_eq!(reasons, ["id-reused", "id-reused"]);
    database.remove().await;
}

#[tokio::test]
async fn messages_without_an_id_are_told_apart_by_their_place_in_the_queue() {
    let (database, registry) = start().await;
    let place = |n| {
        message("", notification(USER, "t"), now())
            .without_id(n)
            .build()
    };
    deliver(&registry, &[place(1), place(2)]).await.unwrap();
    deliver(&registry, &[place(2), place(3)]).await.unwrap();
    assert_eq!(titles(&database).await.len(), 3);
    database.remove().await;
}

#[tokio::test]
async fn a_message_older_than_the_inbox_remembers_is_not_run() {
    let (database, registry) = start().await;
    let old = now().checked_sub_days(Days::new(20)).unwrap();
    deliver(
        &registry,
        &[
            message("old", notification(USER, "old"), old).build(),
            good("new"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(titles(&database).await, ["new"]);
    assert_eq!(dead(&database).await[0].0, "out-of-retention");
    database.remove().await;
}

#[tokio::test]
async fn an_invocation_that_is_no_invocation_fails_and_names_the_member() {
    let (database, registry) = start().await;
    let call = Call::new(
        "test".to_owned(),
        Duration::from_secs(1),
        None,
        now(),
        CancellationToken::new(),
    );
    for (body, expected) in [
        ("", "the invocation cannot be read"),
        (
            "{\"Data\":{},\"Metadata\":{}}",
            "the invocation cannot be read",
        ),
    ] {
        let error = registry
            .invoke(FUNCTION, body.as_bytes(), &call)
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(registry.invoke("nobody", b"{}", &call).await.is_none());
    database.remove().await;
}
