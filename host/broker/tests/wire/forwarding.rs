//! Forwarding over the wire: where messages arrive, what they tell, and who may not receive.

use std::time::Duration;

use nightshift_amqp::{
    Value, condition, engine::Delivery, message::RawMessage, performative::DeliveryState,
};
use nightshift_broker::{Broker, BrokerError, QueueConfig};
use nightshift_time::SystemClock;

use crate::{
    client::{Client, id_of, message},
    eventually, start, start_with_clock,
};

fn annotation(delivery: &Delivery, key: &str) -> Option<Value> {
    let raw = RawMessage::split(delivery.payload.clone()).unwrap();
    raw.message_annotations().unwrap()?.get(key).cloned()
}

#[tokio::test]
async fn a_chain_of_queues_delivers_at_its_end() {
    let broker = start([
        QueueConfig::new("first").forward_to("second"),
        QueueConfig::new("second").forward_to("LAST"),
        QueueConfig::new("last"),
    ]);
    let mut client = Client::connect(broker.local_addr()).await;
    let refused = client.attach_receiver("first", false).await.unwrap_err();
    assert_eq!(refused.condition, condition::NOT_ALLOWED);
    let mut reader = Client::connect(broker.local_addr()).await;
    let receiver = reader.attach_receiver("last", true).await.unwrap();
    reader.give_credit(receiver, 10).await;
    let sender = client.attach_sender("first").await.unwrap();
    for id in ["1", "2"] {
        client.send(sender, &message(id, "x")).await;
    }
    for (id, number) in [("1", 1), ("2", 2)] {
        let delivery = reader.delivery().await;
        assert_eq!(id_of(&delivery), id);
        let origin = annotation(&delivery, "x-opt-enqueue-sequence-number");
        assert_eq!(origin, Some(Value::Long(number)));
        assert_eq!(annotation(&delivery, "x-opt-deadletter-source"), None);
    }
    for queue in ["first", "second"] {
        let counts = broker.counts(queue).unwrap();
        assert_eq!((counts.accepted, counts.removed, counts.bytes), (2, 2, 0));
    }
    broker.stop().await;
}

#[tokio::test]
async fn dead_letters_and_expired_messages_go_to_their_graveyard() {
    let (broker, clock) = start_with_clock([
        QueueConfig::new("q")
            .default_ttl(Duration::from_secs(30))
            .dead_letter_on_expiration(true)
            .forward_dead_letters_to("graveyard"),
        QueueConfig::new("graveyard"),
    ]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    for id in ["dead", "old"] {
        client.send(sender, &message(id, "x")).await;
    }
    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.give_credit(receiver, 1).await;
    let delivery = client.delivery().await;
    let rejected = DeliveryState::Rejected(nightshift_amqp::performative::Rejected { error: None });
    client
        .settle(delivery.delivery_id, delivery.delivery_id, rejected)
        .await;
    let graves = client.attach_receiver("graveyard", true).await.unwrap();
    client.give_credit(graves, 10).await;
    let first = client.delivery().await;
    assert_eq!(id_of(&first), "dead");
    let source = annotation(&first, "x-opt-deadletter-source");
    assert_eq!(source, Some(Value::from("q")));
    clock.advance(Duration::from_secs(30));
    assert_eq!(id_of(&client.delivery().await), "old");
    broker.stop().await;
}

#[tokio::test]
async fn a_target_that_is_full_loses_nothing() {
    let mut config = crate::config([
        QueueConfig::new("q").forward_to("target"),
        QueueConfig::new("target"),
    ]);
    config.limits.queue_messages = 3;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    for n in 0..6 {
        let outcome = client.send(sender, &message(&n.to_string(), "x")).await;
        assert_eq!(outcome, DeliveryState::Accepted);
    }
    let refused = client.send(sender, &message("7", "x")).await;
    assert!(matches!(refused, DeliveryState::Rejected(_)));
    let receiver = client.attach_receiver("target", true).await.unwrap();
    client.give_credit(receiver, 10).await;
    for n in 0..6 {
        assert_eq!(id_of(&client.delivery().await), n.to_string());
    }
    eventually("both are empty", || {
        let left = |queue| broker.counts(queue).unwrap().active;
        left("q") + left("target") == 0
    })
    .await;
    broker.stop().await;
}

/// Two chains over the same queues, used from several connections at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forwarding_at_full_speed_neither_locks_up_nor_loses_nor_doubles() {
    const EACH: usize = 500;
    let broker = start([
        QueueConfig::new("a")
            .forward_to("hub")
            .forward_dead_letters_to("b"),
        QueueConfig::new("b").forward_to("hub"),
        QueueConfig::new("hub")
            .forward_to("end")
            .forward_dead_letters_to("end"),
        QueueConfig::new("end"),
    ]);
    let address = broker.local_addr();
    let mut senders = tokio::task::JoinSet::new();
    for queue in ["a", "b", "hub", "end"] {
        senders.spawn(async move {
            let mut client = Client::connect(address).await;
            let sender = client.attach_sender(queue).await.unwrap();
            for n in 0..EACH {
                client
                    .send(sender, &message(&format!("{queue}-{n}"), "x"))
                    .await;
            }
        });
    }
    let mut client = Client::connect(address).await;
    let receiver = client.attach_receiver("end", true).await.unwrap();
    client.give_credit(receiver, 10_000).await;
    let mut ids = std::collections::HashSet::new();
    while ids.len() < 4 * EACH {
        let id = id_of(&client.delivery().await);
        assert!(ids.insert(id), "a message came twice");
    }
    senders.join_all().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_circle_and_a_target_that_is_not_there_keep_the_broker_from_starting() {
    let queues = [QueueConfig::new("a").forward_to("nowhere")];
    let refused = Broker::start(crate::config(queues), SystemClock::shared()).unwrap_err();
    assert!(
        matches!(refused, BrokerError::UnknownForwardTarget { .. }),
        "{refused}"
    );
    let queues = [
        QueueConfig::new("a").forward_to("b"),
        QueueConfig::new("b").forward_dead_letters_to("a"),
    ];
    let refused = Broker::start(crate::config(queues), SystemClock::shared()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "messages would be forwarded in a circle: a -> b -> a"
    );
}
