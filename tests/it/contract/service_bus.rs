//! Messages: how a body is bound, and what the metadata say.

use std::time::Duration;

use bytes::Bytes;
use nightshift_bus::Message;
use serde_json::{Value, json};

use super::wire::{Seen, answer};
use super::world::{WORK, World, ok, queue, stats, until};
use crate::bus::malformed::send_raw;

const MANY: &str = r#", "cardinality": "many", "dataType": "binary""#;

/// The request for `messages`, which are sent and called at a known instant.
async fn request(trigger: &str, messages: Vec<Message>) -> Seen {
    let world = World::standing_still(WORK, &queue(trigger), vec![ok()]).await;
    world.send_messages(messages).await;
    let host = world.start().await;
    let seen = world.wire.call(1).await;
    world.drained().await;
    host.stop().await;
    assert_eq!(world.wire.calls().len(), 1);
    seen
}

/// The value of the binding for a message with these bytes.
async fn bound(trigger: &str, body: &'static [u8]) -> Value {
    let message = Message::new(Bytes::from_static(body));
    request(trigger, vec![message]).await.document()["Data"]["order"].clone()
}

/// A message with everything that a sender can say.
fn full(id: &str) -> Message {
    Message::new("{}")
        .with_message_id(id)
        .with_session_id("s")
        .with_correlation_id("c")
        .with_content_type("application/json")
        .with_subject("j")
        .with_to("t")
        .with_reply_to("r")
        .with_reply_to_session_id("rs")
        .with_partition_key("s")
        .with_time_to_live(Duration::from_hours(1))
        .with_property("kind", "welcome")
}

/// The names that the extension gives a message's properties, but those that are absent unless the
/// message was dead-lettered or sent through another entity.
const NAMES: [&str; 20] = [
    "ApplicationProperties",
    "ContentType",
    "CorrelationId",
    "DeliveryCount",
    "EnqueuedTime",
    "EnqueuedTimeUtc",
    "ExpiresAt",
    "ExpiresAtUtc",
    "Label",
    "LockToken",
    "MessageId",
    "PartitionKey",
    "ReplyTo",
    "ReplyToSessionId",
    "SequenceNumber",
    "SessionId",
    "Subject",
    "To",
    "UserProperties",
    "sys",
];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_data_type_a_body_is_bound_as_a_string() {
    assert_eq!(bound("", b"{\"a\":1}").await, r#""{\"a\":1}""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_data_type_string_a_body_is_bound_as_one() {
    assert_eq!(bound(r#", "dataType": "string""#, b"hi").await, "\"hi\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_data_type_binary_a_body_is_base64() {
    assert_eq!(bound(r#", "dataType": "binary""#, b"hi").await, "aGk=");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_read_as_utf_8() {
    assert_eq!(bound("", "h\u{e9}".as_bytes()).await, "\"h\u{e9}\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_utf_8_is_tried_as_dot_nets_binary_xml() {
    let body = b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/\x99\x05hello";
    assert_eq!(bound("", body).await, "\"hello\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_is_decoded_lossily() {
    assert_eq!(bound("", b"a\xffb").await, "\"a\u{fffd}b\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amqp_value_that_is_a_string_is_bound() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    send_raw(world.broker.local_addr(), &[b"\x00\x53\x77\xa1\x02hi"]).await;
    let host = world.start().await;
    let seen = world.wire.call(1).await;
    assert_eq!(seen.document()["Data"]["order"], "\"hi\"");
    world.drained().await;
    host.stop().await;
}

/// The message's ten deliveries are used up, and the handler never sees it.
async fn fails_before_the_handler(message: &[u8]) {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    send_raw(world.broker.local_addr(), &[message]).await;
    let host = world.start().await;
    until("a dead letter", || world.counts().dead_letter == 1).await;
    until("ten failures", || stats(&host, WORK).failures == 10).await;
    assert!(world.wire.calls().is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_amqp_value_fails_the_invocation_before_the_handler_is_called() {
    fails_before_the_handler(b"\x00\x53\x77\x54\x07").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amqp_sequence_fails_the_invocation_before_the_handler_is_called() {
    fails_before_the_handler(b"\x00\x53\x76\x45").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_have_the_names_of_the_extension() {
    let document = request("", vec![full("m1")]).await.document();
    let metadata = document["Metadata"].as_object().unwrap();
    let names: Vec<&String> = metadata.keys().collect();
    assert_eq!(names, NAMES);
    for (name, value) in [
        ("MessageId", "m1"),
        ("SessionId", "s"),
        ("CorrelationId", "c"),
        ("ContentType", "application/json"),
        ("Subject", "j"),
        ("To", "t"),
        ("ReplyTo", "r"),
        ("ReplyToSessionId", "rs"),
        ("PartitionKey", "s"),
    ] {
        assert_eq!(metadata[name], format!("\"{value}\""), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subject_and_label_are_the_same() {
    let document = request("", vec![full("m1")]).await.document();
    assert_eq!(document["Metadata"]["Label"], "\"j\"");
    assert_eq!(document["Metadata"]["Subject"], "\"j\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enqueued_time_has_an_offset_and_its_utc_form_none() {
    let document = request("", vec![full("m1")]).await.document();
    let metadata = &document["Metadata"];
    assert_eq!(metadata["EnqueuedTime"], "2026-11-20T17:09:00+00:00");
    assert_eq!(metadata["EnqueuedTimeUtc"], "2026-11-20T17:09:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_follows_from_the_time_to_live() {
    let document = request("", vec![full("m1")]).await.document();
    let metadata = &document["Metadata"];
    assert_eq!(metadata["ExpiresAt"], "2026-11-20T18:09:00+00:00");
    assert_eq!(metadata["ExpiresAtUtc"], "2026-11-20T18:09:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_to_live_the_expiry_is_in_the_year_9999() {
    let document = request("", vec![Message::new("")]).await.document();
    let metadata = &document["Metadata"];
    assert_eq!(metadata["ExpiresAt"], "9999-12-31T23:59:59+00:00");
    assert_eq!(metadata["ExpiresAtUtc"], "9999-12-31T23:59:59");
}

#[tokio::test(flavor = "multi_thread")]
async fn application_and_user_properties_are_the_same_object() {
    let document = request("", vec![full("m1")]).await.document();
    let metadata = &document["Metadata"];
    assert_eq!(
        metadata["ApplicationProperties"],
        json!({"kind": "welcome"})
    );
    assert_eq!(
        metadata["UserProperties"],
        metadata["ApplicationProperties"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delivery_count_grows_with_each_failure() {
    let failed = answer("500 No", &[], "");
    let world = World::new(WORK, &queue(""), vec![failed, ok()]).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let counts: Vec<Value> = world
        .wire
        .calls()
        .iter()
        .map(|call| call.document()["Metadata"]["DeliveryCount"].clone())
        .collect();
    assert_eq!(counts, ["1", "2"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_extension_does_not_tell_is_not_there() {
    let document = request("", vec![full("m1")]).await.document();
    for name in [
        "EnqueuedSequenceNumber",
        "ScheduledEnqueueTime",
        "State",
        "DeadLetterReason",
        "LockedUntil",
    ] {
        assert_eq!(document["Metadata"].get(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_a_batch_are_a_json_array_in_a_string() {
    let messages = ["a", "b"].map(Message::new).to_vec();
    let seen = request(MANY, messages).await;
    assert!(
        seen.body()
            .starts_with(r#"{"Data":{"order":"[\"YQ==\",\"Yg==\"]"},"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_data_type_string_the_elements_of_a_batch_are_strings() {
    let trigger = r#", "cardinality": "many", "dataType": "string""#;
    assert_eq!(bound(trigger, b"{\"a\": 1}").await, r#"["{\"a\": 1}"]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_data_type_the_elements_of_a_batch_are_their_documents() {
    let trigger = r#", "cardinality": "many""#;
    assert_eq!(bound(trigger, b"{\"a\": [1, 2]}").await, r#"[{"a":[1,2]}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_data_type_a_body_that_is_no_json_fails_its_whole_batch() {
    let trigger = queue(r#", "cardinality": "many""#);
    let world = World::new(WORK, &trigger, vec![ok()]).await;
    world.send(&["1", "plain"]).await;
    let host = world.start().await;
    until("both to be dead letters", || {
        world.counts().dead_letter == 2
    })
    .await;
    assert!(world.wire.calls().is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_a_batch_have_the_same_names_with_array_behind() {
    let document = request(MANY, vec![full("m1"), full("m2")]).await.document();
    let metadata = document["Metadata"].as_object().unwrap();
    for name in NAMES.iter().filter(|name| **name != "sys") {
        let value = metadata[&format!("{name}Array")].as_str().unwrap();
        let column: Vec<Value> = serde_json::from_str(value).unwrap();
        assert_eq!(column.len(), 2, "{name}");
        assert!(!metadata.contains_key(*name), "{name}");
    }
    assert!(metadata.contains_key("DeadLetterSourceArray") && metadata.contains_key("sys"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_a_batch_are_aligned_with_its_bodies() {
    let messages = vec![
        Message::new("a").with_message_id("m1"),
        Message::new("b").with_message_id("m2").with_subject("j"),
        Message::new("c")
            .with_message_id("m3")
            .with_property("n", 1_i32),
    ];
    let document = request(MANY, messages).await.document();
    let metadata = &document["Metadata"];
    assert_eq!(metadata["MessageIdArray"], r#"["m1","m2","m3"]"#);
    assert_eq!(metadata["SubjectArray"], r#"[null,"j",null]"#);
    assert_eq!(metadata["SequenceNumberArray"], "[1,2,3]");
    assert_eq!(metadata["ApplicationPropertiesArray"], r#"[{},{},{"n":1}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_times_of_a_batch_keep_their_fraction_and_zone() {
    let document = request(MANY, vec![full("m1")]).await.document();
    let metadata = &document["Metadata"];
    // The broker's protocol has milliseconds.
    let utc = metadata["EnqueuedTimeUtcArray"].as_str().unwrap();
    assert_eq!(utc, r#"["2026-11-20T17:09:00.123Z"]"#);
    let offset = metadata["EnqueuedTimeArray"].as_str().unwrap();
    assert_eq!(offset, r#"["2026-11-20T17:09:00.123+00:00"]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_partition_keys_of_a_batch_are_its_partition_keys() {
    let document = request(MANY, vec![full("m1")]).await.document();
    assert_eq!(
        document["Metadata"]["TransactionPartitionKeyArray"],
        r#"["s"]"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_adds_nothing_of_its_bodies_to_the_metadata() {
    let trigger = r#", "cardinality": "many", "dataType": "string""#;
    let messages = vec![Message::new(r#"{"MessageId": "x", "user": 7}"#)];
    let document = request(trigger, messages).await.document();
    assert_eq!(document["Metadata"].get("user"), None);
    assert_eq!(document["Metadata"].get("MessageId"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_fails_as_a_whole() {
    let failed = answer("500 No", &[], "");
    let world = World::new(WORK, &queue(MANY), vec![failed, ok()]).await;
    world.send(&["a", "b", "c"]).await;
    let host = world.start().await;
    world.drained().await;
    let calls = world.wire.calls();
    let column = |name: &str, call: usize| calls[call].document()["Metadata"][name].clone();
    assert_eq!(calls.len(), 2);
    assert_eq!(column("DeliveryCountArray", 0), "[1,1,1]");
    assert_eq!(column("DeliveryCountArray", 1), "[2,2,2]");
    assert_eq!(column("SequenceNumberArray", 1), "[1,2,3]");
    host.stop().await;
}
