//! The management node: exact statuses, conditions and types of what it answers.

use std::time::Duration;

use bytes::Bytes;
use nightshift_amqp::{
    Array, ElementType, Map, Timestamp, Value, condition,
    engine::Delivery,
    message::{Body, Message, Properties, RawMessage},
    performative::{DeliveryState, Modified},
};
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;
use uuid::Uuid;

use crate::{
    client::{Client, encode, message},
    eventually, start, start_with_clock,
};

/// Status, condition and body of an answer.
async fn call(
    client: &mut Client,
    node: &str,
    operation: &str,
    body: Map,
) -> (i32, Option<String>, Value) {
    let operation = format!("com.microsoft:{operation}");
    let properties = Map::from_iter([("operation", operation.as_str())]);
    let body = Body::Value(Value::Map(body));
    let answer = client.request(node, properties, body).await;
    let properties = answer.application_properties.unwrap();
    let Some(Value::Int(status)) = properties.get("statusCode") else {
        panic!("no status in {properties:?}")
    };
    let condition = properties.get("errorCondition").and_then(Value::as_str);
    let Body::Value(body) = answer.body else {
        panic!("no value in the body")
    };
    (*status, condition.map(str::to_owned), body)
}

fn failed(status: i32, condition: &nightshift_amqp::Symbol) -> (i32, Option<String>, Value) {
    (status, Some(condition.as_str().to_owned()), Value::Null)
}

fn longs(numbers: &[i64]) -> Value {
    let numbers = numbers.iter().copied().map(Value::Long).collect();
    Array::new(ElementType::Long, numbers).unwrap().into()
}

fn numbers(key: &str, numbers: &[i64]) -> Map {
    Map::from_iter([(key, longs(numbers))])
}

fn peek(from: i64, count: i32) -> Map {
    let mut body = Map::from_iter([("from-sequence-number", from)]);
    body.insert("message-count", count);
    body
}

fn receive(number: i64, mode: u32) -> Map {
    let mut body = numbers("sequence-numbers", &[number]);
    body.insert("receiver-settle-mode", mode);
    body
}

fn settle(token: Uuid, status: &str) -> Map {
    let tokens = Array::new(ElementType::Uuid, vec![Value::Uuid(token)]).unwrap();
    let mut body = Map::from_iter([("disposition-status", status)]);
    body.insert("lock-tokens", tokens);
    body
}

/// The maps in `messages`, each with its message taken apart.
fn messages(body: &Value) -> Vec<(Map, RawMessage)> {
    let items = body.as_map().unwrap().get("messages").unwrap();
    let read = |item: &Value| {
        let map = item.as_map().unwrap().clone();
        let bytes = map.get("message").unwrap().as_binary().unwrap().clone();
        (map, RawMessage::split(bytes).unwrap())
    };
    items.as_items().unwrap().iter().map(read).collect()
}

fn annotation(message: &RawMessage, key: &str) -> Option<Value> {
    message.message_annotations().unwrap()?.get(key).cloned()
}

fn id(message: &RawMessage) -> String {
    let properties = message.properties().unwrap().unwrap();
    properties.message_id.unwrap().to_string()
}

fn at(id: &str, at_ms: i64) -> Bytes {
    let mut annotations = Map::new();
    annotations.insert_symbol(
        "x-opt-scheduled-enqueue-time",
        Timestamp::from_millis(at_ms),
    );
    encode(&Message {
        message_annotations: Some(annotations),
        properties: Some(Properties {
            message_id: Some(id.into()),
            ..Properties::default()
        }),
        body: Body::data("x"),
        ..Message::default()
    })
}

fn schedule(messages: &[Bytes]) -> Map {
    let entry = |message: &Bytes| Value::Map(Map::from_iter([("message", message.clone())]));
    let entries = messages.iter().map(entry).collect();
    Map::from_iter([("messages", Value::List(entries))])
}

async fn defer_one(client: &mut Client, broker: &Broker) -> Delivery {
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.give_credit(receiver, 1).await;
    let delivery = client.delivery().await;
    let modified = Modified {
        delivery_failed: false,
        undeliverable_here: true,
        message_annotations: None,
    };
    let id = delivery.delivery_id;
    let answer = client
        .settle(id, id, DeliveryState::Modified(modified.clone()))
        .await;
    assert_eq!(answer, DeliveryState::Modified(modified));
    assert_eq!(broker.counts("q").unwrap().deferred, 1);
    delivery
}

#[tokio::test]
async fn scheduling_answers_the_numbers_by_which_it_is_cancelled() {
    let (broker, clock) = start_with_clock([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let node = "q/$management";
    let body = schedule(&[at("1", 1_800_000_060_000), at("2", 1_800_000_060_000)]);
    let (status, _, body) = call(&mut client, node, "schedule-message", body).await;
    assert_eq!(status, 200);
    let expected = Map::from_iter([("sequence-numbers", longs(&[1, 2]))]);
    assert_eq!(body, Value::Map(expected));

    let (_, _, body) = call(&mut client, node, "peek-message", peek(0, 9)).await;
    let [(_, first), _] = messages(&body).try_into().unwrap();
    assert_eq!(
        annotation(&first, "x-opt-message-state"),
        Some(Value::Int(2))
    );
    assert!(annotation(&first, "x-opt-scheduled-enqueue-time").is_some());

    let cancel = || numbers("sequence-numbers", &[1]);
    let cancelled = call(&mut client, node, "cancel-scheduled-message", cancel()).await;
    assert_eq!(cancelled, (200, None, Value::Map(Map::new())));
    let again = call(&mut client, node, "cancel-scheduled-message", cancel()).await;
    assert_eq!(again, failed(404, &condition::MESSAGE_NOT_FOUND));

    let receiver = client.attach_receiver("q", true).await.unwrap();
    client.give_credit(receiver, 5).await;
    clock.advance(Duration::from_mins(1));
    let delivery = client.delivery().await;
    assert_eq!(crate::client::id_of(&delivery), "2");
    let raw = RawMessage::split(delivery.payload).unwrap();
    assert_eq!(
        annotation(&raw, "x-opt-sequence-number"),
        Some(Value::Long(3))
    );
    assert_eq!(annotation(&raw, "x-opt-message-state"), None);
    broker.stop().await;
}

#[tokio::test]
async fn a_message_sent_for_later_comes_later() {
    let (broker, clock) = start_with_clock([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let outcome = client.send(sender, &at("1", 1_800_000_000_500)).await;
    assert_eq!(outcome, DeliveryState::Accepted);
    let counts = broker.counts("q").unwrap();
    assert_eq!((counts.active, counts.scheduled), (0, 1));
    clock.advance(Duration::from_millis(500));
    eventually("it is available", || {
        broker.counts("q").unwrap().active == 1
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn peeking_goes_through_a_queue_and_ends_with_no_content() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    for id in ["1", "2", "3"] {
        client.send(sender, &message(id, "x")).await;
    }
    let node = "q/$management";
    let (status, _, body) = call(&mut client, node, "peek-message", peek(2, 1)).await;
    assert_eq!(status, 200);
    let [(map, message)] = messages(&body).try_into().unwrap();
    assert_eq!((id(&message).as_str(), map.len()), ("2", 1));
    assert_eq!(annotation(&message, "x-opt-message-state"), None);
    assert_eq!(annotation(&message, "x-opt-locked-until"), None);
    for (node, from) in [(node, 4), ("q/$DeadLetterQueue/$management", 0)] {
        let nothing = call(&mut client, node, "peek-message", peek(from, 9)).await;
        assert_eq!(nothing, (204, None, Value::Null));
    }
    assert_eq!(broker.counts("q").unwrap().active, 3);
    broker.stop().await;
}

#[tokio::test]
async fn a_deferred_message_is_received_by_number_and_settled_by_token() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    defer_one(&mut client, &broker).await;
    let node = "q/$management";
    let operation = "receive-by-sequence-number";
    let missing = call(&mut client, node, operation, receive(7, 1)).await;
    assert_eq!(missing, failed(404, &condition::MESSAGE_NOT_FOUND));

    let (status, _, body) = call(&mut client, node, operation, receive(1, 1)).await;
    assert_eq!(status, 200);
    let [(map, message)] = messages(&body).try_into().unwrap();
    assert_eq!(
        annotation(&message, "x-opt-message-state"),
        Some(Value::Int(1))
    );
    assert!(annotation(&message, "x-opt-locked-until").is_some());
    assert_eq!(message.header().unwrap().unwrap().delivery_count, Some(1));
    let token = map.get("lock-token").unwrap().as_uuid().unwrap();

    // From another connection, as the SDKs do it.
    let mut other = Client::connect(broker.local_addr()).await;
    let update = "update-disposition";
    let forged = call(&mut other, node, update, settle(Uuid::max(), "completed")).await;
    assert_eq!(forged, failed(410, &condition::MESSAGE_LOCK_LOST));
    let unknown = call(&mut other, node, update, settle(token, "forgotten")).await;
    assert_eq!(unknown, failed(400, &condition::ARGUMENT_ERROR));
    let settled = call(&mut other, node, update, settle(token, "abandoned")).await;
    assert_eq!(settled, (200, None, Value::Map(Map::new())));
    assert_eq!(broker.counts("q").unwrap().deferred, 1);

    let (_, _, body) = call(&mut client, node, operation, receive(1, 0)).await;
    let [(map, message)] = messages(&body).try_into().unwrap();
    assert_eq!((map.get("lock-token"), id(&message).as_str()), (None, "1"));
    assert_eq!(broker.counts("q").unwrap().bytes, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_message_is_dead_lettered_by_token_with_a_reason() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    defer_one(&mut client, &broker).await;
    let node = "q/$management";
    let (_, _, body) = call(
        &mut client,
        node,
        "receive-by-sequence-number",
        receive(1, 1),
    )
    .await;
    let token = messages(&body)[0]
        .0
        .get("lock-token")
        .unwrap()
        .as_uuid()
        .unwrap();
    let mut body = settle(token, "suspended");
    body.insert("deadletter-reason", "R");
    body.insert("deadletter-description", "D");
    let (status, _, _) = call(&mut client, node, "update-disposition", body).await;
    assert_eq!(status, 200);
    let dead = "q/$DeadLetterQueue/$management";
    let (_, _, body) = call(&mut client, dead, "peek-message", peek(0, 1)).await;
    let properties = messages(&body)[0]
        .1
        .application_properties()
        .unwrap()
        .unwrap();
    let reason = [
        ("DeadLetterReason", "R"),
        ("DeadLetterErrorDescription", "D"),
    ];
    assert_eq!(properties, Map::from_iter(reason));
    broker.stop().await;
}

#[tokio::test]
async fn wrong_arguments_are_told_apart() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let argument = failed(400, &condition::ARGUMENT_ERROR);
    let range = failed(400, &condition::ARGUMENT_OUT_OF_RANGE);
    let wrong = Map::from_iter([("sequence-numbers", "7")]);
    for (operation, body, expected) in [
        ("peek-message", Map::new(), &argument),
        ("peek-message", peek(0, 0), &range),
        ("peek-message", peek(0, -1), &range),
        ("cancel-scheduled-message", wrong.clone(), &argument),
        (
            "cancel-scheduled-message",
            numbers("sequence-numbers", &[]),
            &argument,
        ),
        (
            "cancel-scheduled-message",
            numbers("sequence-numbers", &vec![1; 10_001]),
            &range,
        ),
        ("schedule-message", wrong, &argument),
        (
            "schedule-message",
            schedule(&[Bytes::from_static(b"nonsense")]),
            &argument,
        ),
        ("receive-by-sequence-number", receive(1, 2), &argument),
        (
            "receive-by-sequence-number",
            numbers("sequence-numbers", &[1]),
            &argument,
        ),
        ("update-disposition", Map::new(), &argument),
        ("renew-lock", numbers("lock-tokens", &[1]), &argument),
    ] {
        let answer = call(&mut client, "q/$management", operation, body.clone()).await;
        assert_eq!(answer, *expected, "{operation} {body:?}");
    }
    let later = schedule(&[at("1", i64::MAX)]);
    let dead = "q/$DeadLetterQueue/$management";
    let refused = call(&mut client, dead, "schedule-message", later).await;
    assert_eq!(refused, failed(400, &condition::NOT_ALLOWED));
    broker.stop().await;
}

#[tokio::test]
async fn a_full_history_of_ids_is_a_busy_broker() {
    let queue = QueueConfig::new("q").duplicate_detection(Duration::from_mins(1));
    let mut config = crate::config([queue]);
    config.limits.duplicate_history = 1;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let outcome = client.send(sender, &message("1", "x")).await;
    assert_eq!(outcome, DeliveryState::Accepted);
    let DeliveryState::Rejected(rejected) = client.send(sender, &message("2", "x")).await else {
        panic!("it was not refused")
    };
    assert_eq!(rejected.error.unwrap().condition, condition::SERVER_BUSY);
    let body = schedule(&[at("3", i64::MAX)]);
    let busy = call(&mut client, "q/$management", "schedule-message", body).await;
    assert_eq!(busy, failed(503, &condition::SERVER_BUSY));
    broker.stop().await;
}

#[tokio::test]
async fn large_answers_to_many_requests_wait_for_room_and_all_come() {
    const REQUESTS: usize = 50;
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", vec![0; 300_000])).await;
    let node = "q/$management";
    let requests = client.attach_sender(node).await.unwrap();
    let answers = client.attach_receiver(node, false).await.unwrap();
    client.give_credit(answers, 100).await;
    let operation = Map::from_iter([("operation", "com.microsoft:peek-message")]);
    let request = encode(&Message {
        application_properties: Some(operation),
        body: Body::Value(Value::Map(peek(0, 1))),
        ..Message::default()
    });
    while client.engine.credit(requests) < 50 {
        client.next().await.unwrap();
    }
    for _ in 0..REQUESTS {
        client.start_sending(requests, &request, 0, true);
    }
    client.flush().await;
    for _ in 0..REQUESTS {
        assert!(client.delivery().await.payload.len() > 300_000);
    }
    broker.stop().await;
}
