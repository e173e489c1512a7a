//! What happens at the bounds of what the broker holds, by name.

use nightshift_amqp::{Map, Value, condition, message::Body, performative::DeliveryState};
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;

use crate::client::{Client, message};

#[tokio::test]
async fn a_full_broker_is_busy_until_an_eighth_is_free() {
    let mut config = crate::config([
        QueueConfig::new("a"),
        QueueConfig::new("b"),
        QueueConfig::new("s").requires_session(true),
    ]);
    config.limits.total_bytes = 100_000;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("a").await.unwrap();
    let large = message("large", vec![0; 10_000]);
    let mut sent = 0;
    let refused = loop {
        match client.send(sender, &large).await {
            DeliveryState::Accepted => sent += 1,
            DeliveryState::Rejected(rejected) => break rejected,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused.error.unwrap().condition, condition::SERVER_BUSY);
    assert_eq!(sent, 10);
    // No other queue takes anything either, by whatever door.
    let other = client.attach_sender("b").await.unwrap();
    let outcome = client.send(other, &message("1", "x")).await;
    assert!(matches!(outcome, DeliveryState::Rejected(_)), "{outcome:?}");
    let entry = Map::from_iter([("message", message("2", "x"))]);
    let body = Map::from_iter([("messages", Value::List(vec![Value::Map(entry)]))]);
    let properties = Map::from_iter([("operation", "com.microsoft:schedule-message")]);
    let body = Body::Value(Value::Map(body));
    let answer = client.request("b/$management", properties, body).await;
    let properties = answer.application_properties.unwrap();
    assert_eq!(properties.get("statusCode"), Some(&Value::Int(503)));
    let busy = properties.get("errorCondition").and_then(Value::as_str);
    assert_eq!(busy, Some("com.microsoft:server-busy"));

    // Nine of ten are still more than seven eighths.
    let receiver = client.attach_receiver("a", true).await.unwrap();
    for (left, accepted) in [(9, false), (8, true)] {
        client.give_credit(receiver, 1).await;
        client.delivery().await;
        assert_eq!(broker.counts("a").unwrap().active, left);
        let outcome = client.send(other, &message("3", "x")).await;
        assert_eq!(outcome == DeliveryState::Accepted, accepted, "{outcome:?}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_full_broker_forwards_what_it_has() {
    let mut config = crate::config([
        QueueConfig::new("source").forward_to("target"),
        QueueConfig::new("target"),
    ]);
    config.limits.total_bytes = 50_000;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("source").await.unwrap();
    let large = message("large", vec![0; 60_000]);
    assert_eq!(client.send(sender, &large).await, DeliveryState::Accepted);
    let outcome = client.send(sender, &large).await;
    assert!(matches!(outcome, DeliveryState::Rejected(_)), "{outcome:?}");
    assert_eq!(broker.counts("target").unwrap().active, 1);
    assert_eq!(broker.counts("source").unwrap().active, 0);
    broker.stop().await;
}
