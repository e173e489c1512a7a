//! Values in `Data` and `Metadata`.

use bytes::Bytes;
use nightshift_bus::Message;
use serde_json::{Value, json};

use super::wire::Seen;
use super::world::{TICK, WEB, WORK, World, ok, queue, timer, web};
use crate::host::http_client::{ask, get};

/// The request for `message`, sent and called at a known instant.
async fn request(trigger: &str, message: Message) -> Seen {
    let world = World::standing_still(WORK, &queue(trigger), vec![ok()]).await;
    world.send_messages(vec![message]).await;
    let host = world.start().await;
    let seen = world.wire.call(1).await;
    world.drained().await;
    host.stop().await;
    seen
}

async fn with_body(body: &str) -> Value {
    let message = Message::new(body.to_owned()).with_message_id("m1");
    request("", message).await.document()
}

/// The request for a `GET`.
async fn web_request(path: &str) -> Value {
    let world = World::standing_still(WEB, &web(""), vec![ok()]).await;
    let host = world.start().await;
    get(&host, path).await;
    host.stop().await;
    world.wire.calls().remove(0).document()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_base64_and_no_json_in_a_string() {
    let message = Message::new(Bytes::from_static(b"\xff\x00\"a"));
    let seen = request(r#", "dataType": "binary""#, message).await;
    assert!(seen.body().starts_with(r#"{"Data":{"order":"/wAiYQ=="},"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_base64_without_a_data_type_too() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let host = world.start().await;
    let kind = "Content-Type: application/octet-stream\r\n";
    ask(&host, "POST /api/Web", kind, "\"a").await;
    host.stop().await;
    let document = world.wire.call(1).await.document();
    assert_eq!(document["Data"]["req"]["Body"], "ImE=");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datetime_has_no_fraction_and_no_offset() {
    let metadata = &with_body("hello").await["Metadata"];
    assert_eq!(metadata["EnqueuedTimeUtc"], "2026-11-20T17:09:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datetimeoffset_has_no_fraction_and_keeps_its_offset() {
    let metadata = &with_body("hello").await["Metadata"];
    assert_eq!(metadata["EnqueuedTime"], "2026-11-20T17:09:00+00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_stands_inline() {
    let message = Message::new("")
        .with_property("kind", "a")
        .with_property("n", 3_i32);
    let seen = request("", message).await;
    assert!(
        seen.body()
            .contains(r#""ApplicationProperties":{"kind":"a","n":3}"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_is_a_json_string_in_a_string() {
    let message = Message::new("say \"hi\"\n").with_message_id("m\"1");
    let seen = request("", message).await;
    assert!(seen.body().contains(r#""order":"\"say \\\"hi\\\"\\n\"""#));
    assert!(seen.body().contains(r#""MessageId":"\"m\\\"1\"""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_its_text() {
    let metadata = &with_body("hello").await["Metadata"];
    assert_eq!(metadata["DeliveryCount"], "1");
    assert_eq!(metadata["SequenceNumber"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guid_is_a_json_string_in_a_string() {
    let metadata = &with_body("hello").await["Metadata"];
    let token = metadata["LockToken"].as_str().unwrap();
    let token: String = serde_json::from_str(token).unwrap();
    assert!(uuid::Uuid::parse_str(&token).is_ok(), "{token}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_json_in_a_string() {
    let trigger = r#", "cardinality": "many", "dataType": "string""#;
    let seen = request(trigger, Message::new("a")).await;
    assert!(seen.body().starts_with(r#"{"Data":{"order":"[\"a\"]"},"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_without_a_value_are_left_out() {
    let document = with_body("hello").await;
    let metadata = document["Metadata"].as_object().unwrap();
    for name in ["SessionId", "CorrelationId", "To", "DeadLetterSource"] {
        assert!(!metadata.contains_key(name), "{name}");
    }
    assert!(metadata.values().all(|value| *value != "null"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_whose_name_ends_with_trigger_are_left_out() {
    let document = with_body(r#"{"myTRIGGER": 1, "trigger": 2, "triggers": 3}"#).await;
    let metadata = document["Metadata"].as_object().unwrap();
    let named = |name: &&String| name.to_lowercase().contains("trigger");
    let names: Vec<&String> = metadata.keys().filter(named).collect();
    assert_eq!(names, ["triggers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_is_not_repeated_in_the_metadata() {
    let document = web_request("/api/Web").await;
    let metadata = document["Metadata"].as_object().unwrap();
    let names: Vec<&String> = metadata.keys().collect();
    assert_eq!(names, ["Headers", "Query", "sys"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sys_names_the_function_the_instant_and_a_guid() {
    let seen = request("", Message::new("")).await;
    let sys = r#""sys":{"MethodName":"Orders-Work","UtcNow":"2026-11-20T17:09:00.12345Z","RandGuid":"GUID"}"#;
    assert!(seen.masked().contains(sys), "{}", seen.masked());
}

#[tokio::test(flavor = "multi_thread")]
async fn sys_is_there_whatever_triggered_the_function() {
    let many = request(
        r#", "cardinality": "many", "dataType": "binary""#,
        Message::new(""),
    )
    .await;
    let world = World::standing_still(TICK, &timer("0 0 0 1 1 *", ""), vec![ok()]).await;
    let host = world.start().await;
    let tick = world.wire.call(1).await;
    host.stop().await;
    let documents = [
        (many.document(), WORK),
        (tick.document(), TICK),
        (web_request("/api/Web").await, WEB),
    ];
    for (document, function) in documents {
        let sys = &document["Metadata"]["sys"];
        assert_eq!(sys["MethodName"], function);
        assert_eq!(sys["UtcNow"], "2026-11-20T17:09:00.12345Z", "{function}");
        assert!(
            sys["RandGuid"]
                .as_str()
                .unwrap()
                .parse::<uuid::Uuid>()
                .is_ok()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_of_the_body_named_sys_replaces_it() {
    let metadata = &with_body(r#"{"sys": {"a": 1}}"#).await["Metadata"];
    assert_eq!(metadata["sys"], json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scalar_of_a_json_body_joins_the_metadata_as_a_text() {
    let metadata = &with_body(r#"{"user": 7, "name": "x", "rate": 1.50}"#).await["Metadata"];
    assert_eq!(metadata["user"], "\"7\"");
    assert_eq!(metadata["name"], "\"x\"");
    assert_eq!(metadata["rate"], "\"1.50\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_json_body_joins_the_metadata_inline() {
    let metadata = &with_body(r#"{"at": {"x": [1]}}"#).await["Metadata"];
    assert_eq!(metadata["at"], json!({"x": [1]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_a_json_body_does_not_join_the_metadata() {
    let document = with_body(r#"{"list": [1], "user": 7}"#).await;
    let metadata = document["Metadata"].as_object().unwrap();
    assert!(!metadata.contains_key("list") && metadata.contains_key("user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_overwrites_the_messages_own_metadata() {
    let body = r#"{"MessageId": "theirs", "DeliveryCount": 99}"#;
    let metadata = &with_body(body).await["Metadata"];
    assert_eq!(metadata["MessageId"], "\"theirs\"");
    assert_eq!(metadata["DeliveryCount"], "\"99\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_adds_nothing() {
    let names = |document: Value| -> Vec<String> {
        document["Metadata"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let plain = names(with_body("hello").await);
    for body in [r#"{"user": 7"#, r#"[{"user": 7}]"#, r#""user""#] {
        assert_eq!(names(with_body(body).await), plain, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_bound_as_bytes_adds_nothing() {
    let message = Message::new(r#"{"MessageId": "theirs", "user": 7}"#).with_message_id("mine");
    let seen = request(r#", "dataType": "binary""#, message).await;
    let metadata = &seen.document()["Metadata"];
    assert_eq!(metadata["MessageId"], "\"mine\"");
    assert_eq!(metadata.get("user"), None);
}
