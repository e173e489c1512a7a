//! What the handler sees.

use bytes::Bytes;
use nightshift_bus::{Message, ReceiverOptions};
use serde_json::{Value, json};

use super::fixture::{FUNCTION, Fixture, stats, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_message_arrives_as_the_contract_says_and_is_completed() {
    let fixture = Fixture::new("", "ok").await;
    let message = Message::new(r#"{"user": 7, "MessageId": "theirs"}"#)
        .with_message_id("m1")
        .with_subject("greeting")
        .with_property("kind", "welcome")
        .with_property("retries", 3_i32);
    fixture.send_messages(vec![message]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let request = fixture.requests().pop().unwrap();
    assert_eq!(request.path(), format!("/{FUNCTION}"));
    assert_eq!(
        request.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert_eq!(request.header("content-length"), None);
    assert!(
        request
            .header("user-agent")
            .unwrap()
            .starts_with("Azure-Functions-Host/4.")
    );
    assert!(
        request
            .header("x-azure-functions-hostversion")
            .unwrap()
            .starts_with("4.")
    );
    let id: uuid::Uuid = request
        .header("x-azure-functions-invocationid")
        .unwrap()
        .parse()
        .unwrap();
    assert!(!id.is_nil());
    let locked_until = request.header("x-nightshift-locked-until").unwrap();
    assert!(locked_until < request.header("x-nightshift-deadline").unwrap());

    let body = request.body();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["Data", "Metadata"]);
    let document = r#"{"user": 7, "MessageId": "theirs"}"#;
    assert_eq!(
        body["Data"],
        json!({"orders": Value::from(document).to_string()})
    );
    let metadata = &body["Metadata"];
    // The body's own property hides the message's id: the real host's quirk.
    assert_eq!(metadata["MessageId"], "\"theirs\"");
    assert_eq!(metadata["user"], "\"7\"");
    assert_eq!(metadata["DeliveryCount"], "1");
    assert_eq!(metadata["SequenceNumber"], "1");
    assert_eq!(metadata["Subject"], "\"greeting\"");
    assert_eq!(metadata["Label"], "\"greeting\"");
    assert_eq!(
        metadata["ApplicationProperties"],
        json!({"kind": "welcome", "retries": 3})
    );
    assert_eq!(
        metadata["UserProperties"],
        metadata["ApplicationProperties"]
    );
    assert_eq!(
        metadata["EnqueuedTimeUtc"].as_str().unwrap().len(),
        "2026-11-20T17:09:00".len()
    );
    assert_eq!(metadata["sys"]["MethodName"], FUNCTION);
    assert_eq!(metadata.get("SessionId"), None);

    let stats = stats(&host);
    assert_eq!(
        (stats.invocations, stats.failures, stats.messages),
        (1, 0, 1)
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_messages_arrive_as_one_batch_with_their_bytes() {
    let trigger = r#", "cardinality": "many", "dataType": "binary""#;
    let fixture = Fixture::new(trigger, "ok").await;
    let messages = vec![
        Message::new(Bytes::from_static(b"\xff\x00")).with_message_id("a"),
        Message::new("").with_message_id("b").with_session_id("s"),
        Message::new(r#"{"MessageId": "mine"}"#)
            .with_message_id("c")
            .with_property("n", 1_i64),
    ];
    fixture.send_messages(messages).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    let data = request.body()["Data"]["orders"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(data, r#"["/wA=","","eyJNZXNzYWdlSWQiOiAibWluZSJ9"]"#);
    assert_eq!(request.metadata("MessageIdArray"), json!(["a", "b", "c"]));
    assert_eq!(request.metadata("SequenceNumberArray"), json!([1, 2, 3]));
    assert_eq!(request.metadata("DeliveryCountArray"), json!([1, 1, 1]));
    assert_eq!(request.metadata("SessionIdArray"), json!([null, "s", null]));
    assert_eq!(
        request.metadata("ApplicationPropertiesArray"),
        json!([{}, {}, {"n": 1}])
    );
    for time in request.metadata("EnqueuedTimeUtcArray").as_array().unwrap() {
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_sends_no_headers_of_its_own() {
    let fixture = Fixture::new("", "logs")
        .await
        .setting("NIGHTSHIFT_HOST_MODE", "strict");
    fixture.send(&["hello"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let request = fixture.requests().pop().unwrap();
    assert_eq!(request.header("x-nightshift-deadline"), None);
    assert_eq!(request.header("x-nightshift-locked-until"), None);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letter_queue_can_be_a_source() {
    let fixture = Fixture::new("", "ok")
        .await
        .setting("QUEUE", "orders/$DeadLetterQueue");
    fixture.send(&["spoilt"]).await;
    let client = super::fixture::connect(&fixture.broker).await;
    let receiver = client
        .create_receiver("orders", ReceiverOptions::default())
        .await
        .unwrap();
    let received = receiver
        .receive_messages(1, std::time::Duration::from_secs(30))
        .await
        .unwrap();
    receiver
        .dead_letter_message(&received[0], "Bad", "no good")
        .await
        .unwrap();
    let host = fixture.start().await;
    until("an empty dead-letter queue", || {
        fixture.counts().dead_letter == 0
    })
    .await;
    let request = fixture.requests().pop().unwrap();
    let properties = &request.body()["Metadata"]["ApplicationProperties"];
    assert_eq!(properties["DeadLetterReason"], "Bad");
    host.stop().await;
}
