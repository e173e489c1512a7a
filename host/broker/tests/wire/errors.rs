//! Every error condition that a client of this broker can meet, provoked and compared by its name.
//!
//! SDKs decide by the name alone whether to try again, reconnect, or give up. Of those that the SDKs
//! know, these are missing because nothing here leads to them: `amqp:internal-error`,
//! `amqp:link:detach-forced`, `amqp:link:stolen`, `com.microsoft:auth-failed`, `session-not-found`,
//! `entity-already-exists`, `precondition-failed`, `store-lock-lost`, `partition-not-owned`,
//! `operation-cancelled` and `container-close`.

use std::time::Duration;

use bytes::Bytes;
use nightshift_amqp::{
    Array, ElementType, Map, Symbol, Value,
    engine::{Event, LinkId, NewLink},
    message::{Body, Message, Properties},
    performative::{AttachTarget, Coordinator, DeliveryState, ReceiverSettleMode, Source, Target},
};
use nightshift_broker::{AccessKey, Broker, BrokerConfig, QueueConfig, QueueStatus};
use nightshift_time::SystemClock;
use uuid::Uuid;

use crate::client::{Client, encode, message};

/// A broker and a client of it.
async fn with(change: impl FnOnce(&mut BrokerConfig)) -> (Broker, Client) {
    let mut config = crate::config([
        QueueConfig::new("q").lock_duration(Duration::from_millis(20)),
        QueueConfig::new("s").requires_session(true),
        QueueConfig::new("short")
            .requires_session(true)
            .lock_duration(Duration::from_millis(20)),
        QueueConfig::new("forwards").forward_to("q"),
        QueueConfig::new("off").status(QueueStatus::Disabled),
        QueueConfig::new("no-sending").status(QueueStatus::SendDisabled),
        QueueConfig::new("no-receiving").status(QueueStatus::ReceiveDisabled),
    ]);
    change(&mut config);
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let client = Client::connect(broker.local_addr()).await;
    (broker, client)
}

async fn plain() -> (Broker, Client) {
    with(|_| ()).await
}

fn of_refusal(state: DeliveryState) -> String {
    let DeliveryState::Rejected(rejected) = state else {
        panic!("{state:?}")
    };
    rejected.error.expect("an error").condition.to_string()
}

/// What an operation of the management node is answered.
async fn call(client: &mut Client, node: &str, operation: &str, body: Map) -> (i32, String) {
    let operation = format!("com.microsoft:{operation}");
    let properties = Map::from_iter([("operation", operation.as_str())]);
    let body = Body::Value(Value::Map(body));
    let answer = client.request(node, properties, body).await;
    let properties = answer.application_properties.unwrap();
    let Some(Value::Int(status)) = properties.get("statusCode") else {
        panic!("no status in {properties:?}")
    };
    let condition = properties.get("errorCondition").and_then(Value::as_str);
    (*status, condition.unwrap_or_default().to_owned())
}

/// A receiver of the session `wanted`, or of any.
fn session_receiver(from: &str, wanted: Value) -> NewLink {
    let mut source = Source::new(from);
    let filter = Symbol::from_static("com.microsoft:session-filter");
    source.filter = Some(Map::from_iter([(Value::from(filter), wanted)]));
    let name = format!("r-{}", rand::random::<u64>());
    let mut link = NewLink::new(name, source, Target::new("here"));
    link.rcv_settle_mode = ReceiverSettleMode::Second;
    let mut properties = Map::new();
    properties.insert_symbol("com.microsoft:timeout", 20_u32);
    link.properties = Some(properties);
    link
}

async fn refused(client: &mut Client, link: NewLink) -> String {
    client.attach(link).await.unwrap_err().condition.to_string()
}

async fn detached(client: &mut Client, link: LinkId) -> String {
    let of_link = |event: &Event| match event {
        Event::LinkDetached {
            link: gone, error, ..
        } if *gone == link => error.clone(),
        _ => None,
    };
    client.wait(of_link).await.condition.to_string()
}

fn of_session(id: &str) -> Bytes {
    encode(&Message {
        properties: Some(Properties {
            message_id: Some(id.into()),
            group_id: Some("a".to_owned()),
            ..Properties::default()
        }),
        body: Body::data("x"),
        ..Message::default()
    })
}

#[tokio::test]
async fn not_found() {
    let (broker, mut client) = plain().await;
    let error = client.attach_sender("nothing").await.unwrap_err();
    assert_eq!(error.condition, "amqp:not-found");
    let error = client
        .attach_receiver("nothing/$management", false)
        .await
        .unwrap_err();
    assert_eq!(error.condition, "amqp:not-found");
    broker.stop().await;
}

#[tokio::test]
async fn unauthorized_access() {
    let key = AccessKey {
        name: "Root".into(),
        key: "secret".into(),
    };
    let config = crate::config([QueueConfig::new("q")]).access_key(key);
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect_without_token(broker.local_addr()).await;
    let error = client.attach_sender("q").await.unwrap_err();
    assert_eq!(error.condition, "amqp:unauthorized-access");
    broker.stop().await;
}

#[tokio::test]
async fn not_allowed() {
    let (broker, mut client) = plain().await;
    let no_session = client.attach_receiver("s", false).await.unwrap_err();
    let forwards = client.attach_receiver("forwards", false).await.unwrap_err();
    let dead = client
        .attach_sender("q/$DeadLetterQueue")
        .await
        .unwrap_err();
    for error in [no_session, forwards, dead] {
        assert_eq!(error.condition, "amqp:not-allowed");
    }
    let error = refused(&mut client, session_receiver("q", Value::from("a"))).await;
    assert_eq!(error, "amqp:not-allowed");
    let sender = client.attach_sender("s").await.unwrap();
    let outcome = client.send(sender, &message("1", "x")).await;
    assert_eq!(of_refusal(outcome), "amqp:not-allowed");
    let about = Map::from_iter([("session-id", "a")]);
    let answer = call(&mut client, "q/$management", "get-session-state", about).await;
    assert_eq!(answer, (400, "amqp:not-allowed".into()));
    broker.stop().await;
}

#[tokio::test]
async fn not_implemented() {
    let (broker, mut client) = plain().await;
    let answer = call(&mut client, "q/$management", "add-rule", Map::new()).await;
    assert_eq!(answer, (501, "amqp:not-implemented".into()));
    let target = AttachTarget::Coordinator(Coordinator { capabilities: None });
    let link = NewLink::new("coordinator", Source::new("here"), target);
    let session = client.session();
    let link = client.engine.attach_sender(session, link).unwrap();
    client.flush().await;
    assert_eq!(detached(&mut client, link).await, "amqp:not-implemented");
    broker.stop().await;
}

#[tokio::test]
async fn resource_limit_exceeded() {
    let (broker, mut client) = with(|config| config.limits.queue_messages = 0).await;
    let sender = client.attach_sender("q").await.unwrap();
    let outcome = client.send(sender, &message("1", "x")).await;
    assert_eq!(of_refusal(outcome), "amqp:resource-limit-exceeded");
    broker.stop().await;
}

#[tokio::test]
async fn server_busy() {
    let (broker, mut client) = with(|config| config.limits.total_bytes = 100).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    let outcome = client.send(sender, &message("2", "x")).await;
    assert_eq!(of_refusal(outcome), "com.microsoft:server-busy");
    broker.stop().await;
}

#[tokio::test]
async fn message_size_exceeded() {
    let (broker, mut client) = with(|config| config.max_message_size = 1_000).await;
    // An honest engine keeps to the limit that is announced, so the octets are another link's.
    let (other, mut frank) = plain().await;
    let [small, large] = [&mut client, &mut frank];
    let sender = small.attach_sender("q").await.unwrap();
    let twin = large.attach_sender("q").await.unwrap();
    let id = large.start_sending(twin, &message("1", vec![0; 5_000]), 0, false);
    let octets = large.engine.output().split();
    assert!(small.engine.credit(sender) > 0);
    small.write_raw(&octets).await;
    let outcome = small.answer(id).await;
    assert_eq!(of_refusal(outcome), "amqp:link:message-size-exceeded");
    broker.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn connection_forced() {
    let (broker, mut client) =
        with(|config| config.limits.idle_connection = Duration::from_millis(20)).await;
    let closed = |event: &Event| match event {
        Event::Closed(error) => error.clone(),
        _ => None,
    };
    assert_eq!(
        client.wait(closed).await.condition,
        "amqp:connection:forced"
    );
    broker.stop().await;
}

#[tokio::test]
async fn entity_disabled() {
    let (broker, mut client) = plain().await;
    for queue in ["off", "no-sending"] {
        let error = client.attach_sender(queue).await.unwrap_err();
        assert_eq!(error.condition, "com.microsoft:entity-disabled", "{queue}");
    }
    for queue in [
        "off",
        "no-receiving",
        "off/$DeadLetterQueue",
        "off/$management",
    ] {
        let error = client.attach_receiver(queue, false).await.unwrap_err();
        assert_eq!(error.condition, "com.microsoft:entity-disabled", "{queue}");
    }
    client.attach_sender("no-receiving").await.unwrap();
    client.attach_receiver("no-sending", false).await.unwrap();
    let entry = Map::from_iter([("message", message("1", "x"))]);
    let body = Map::from_iter([("messages", Value::List(vec![Value::Map(entry)]))]);
    let answer = call(
        &mut client,
        "no-sending/$management",
        "schedule-message",
        body,
    )
    .await;
    assert_eq!(answer, (403, "com.microsoft:entity-disabled".into()));
    broker.stop().await;
}

#[tokio::test]
async fn timeout() {
    let (broker, mut client) = plain().await;
    let error = refused(&mut client, session_receiver("s", Value::Null)).await;
    assert_eq!(error, "com.microsoft:timeout");
    broker.stop().await;
}

#[tokio::test]
async fn session_cannot_be_locked() {
    let (broker, mut client) = plain().await;
    client
        .attach(session_receiver("s", Value::from("a")))
        .await
        .unwrap();
    let error = refused(&mut client, session_receiver("s", Value::from("a"))).await;
    assert_eq!(error, "com.microsoft:session-cannot-be-locked");
    broker.stop().await;
}

#[tokio::test]
async fn session_lock_lost() {
    let (broker, mut client) = plain().await;
    let sender = client.attach_sender("short").await.unwrap();
    client.send(sender, &of_session("1")).await;
    let link = client
        .attach(session_receiver("short", Value::from("a")))
        .await
        .unwrap();
    client.give_credit(link, 1).await;
    let delivery = client.delivery().await.delivery_id;
    assert_eq!(
        detached(&mut client, link).await,
        "com.microsoft:session-lock-lost"
    );
    let outcome = client
        .settle(delivery, delivery, DeliveryState::Accepted)
        .await;
    assert_eq!(of_refusal(outcome), "com.microsoft:session-lock-lost");
    let about = Map::from_iter([("session-id", "a")]);
    let answer = call(
        &mut client,
        "short/$management",
        "renew-session-lock",
        about,
    )
    .await;
    assert_eq!(answer, (410, "com.microsoft:session-lock-lost".into()));
    broker.stop().await;
}

#[tokio::test]
async fn message_lock_lost() {
    let (broker, mut client) = plain().await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.give_credit(receiver, 2).await;
    let first = client.delivery().await.delivery_id;
    // The lock has ended when the message comes again.
    client.delivery().await;
    let outcome = client.settle(first, first, DeliveryState::Accepted).await;
    assert_eq!(of_refusal(outcome), "com.microsoft:message-lock-lost");
    let tokens = Array::new(ElementType::Uuid, vec![Value::Uuid(Uuid::nil())]).unwrap();
    let body = Map::from_iter([("lock-tokens", tokens)]);
    let answer = call(&mut client, "q/$management", "renew-lock", body).await;
    assert_eq!(answer, (410, "com.microsoft:message-lock-lost".into()));
    broker.stop().await;
}

#[tokio::test]
async fn message_not_found() {
    let (broker, mut client) = plain().await;
    let numbers = Array::new(ElementType::Long, vec![Value::Long(77)]).unwrap();
    let body = Map::from_iter([("sequence-numbers", numbers)]);
    let answer = call(
        &mut client,
        "q/$management",
        "cancel-scheduled-message",
        body,
    )
    .await;
    assert_eq!(answer, (404, "com.microsoft:message-not-found".into()));
    broker.stop().await;
}

#[tokio::test]
async fn argument_error_and_argument_out_of_range() {
    let (broker, mut client) = plain().await;
    let answer = call(&mut client, "q/$management", "renew-lock", Map::new()).await;
    assert_eq!(answer, (400, "com.microsoft:argument-error".into()));
    let mut body = Map::from_iter([("from-sequence-number", 0_i64)]);
    body.insert("message-count", 0_i32);
    let answer = call(&mut client, "q/$management", "peek-message", body).await;
    assert_eq!(answer, (400, "com.microsoft:argument-out-of-range".into()));
    let long = session_receiver("s", Value::from("x".repeat(129)));
    assert_eq!(
        refused(&mut client, long).await,
        "com.microsoft:argument-out-of-range"
    );
    broker.stop().await;
}
