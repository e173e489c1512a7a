//! What travels: bytes, tags, annotations, ranges, drains.

use std::time::Duration;

use nightshift_amqp::{
    Map, Timestamp, Value, condition,
    engine::Event,
    message::{BATCH_FORMAT, BatchBuilder, Body, Message, Properties, RawMessage},
    performative::{AmqpError, DeliveryState, Modified, Rejected},
};
use nightshift_broker::QueueConfig;

use crate::{
    client::{Client, encode, id_of, message},
    eventually, start, start_with_clock,
};

#[tokio::test]
async fn the_bare_message_comes_back_byte_for_byte_under_a_lock_token() {
    let (broker, _clock) = start_with_clock([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("/Q").await.unwrap();
    let sent = Message {
        properties: Some(Properties {
            message_id: Some(7_u64.into_id()),
            ..Properties::default()
        }),
        application_properties: Some(Map::from_iter([("a", vec![Value::Null])])),
        body: Body::Sequence(vec![vec![Value::from(1.5_f64)], vec![]]),
        footer: Some(Map::from_iter([("f", 1_i32)])),
        ..Message::default()
    };
    let sent = encode(&sent);
    assert_eq!(client.send(sender, &sent).await, DeliveryState::Accepted);

    let receiver = client
        .attach_receiver("amqps://elsewhere:1/q", false)
        .await
        .unwrap();
    client.give_credit(receiver, 1).await;
    let delivery = client.delivery().await;
    assert!(!delivery.settled);
    let raw = RawMessage::split(delivery.payload.clone()).unwrap();
    assert_eq!(raw.bare_and_footer(), sent);

    let annotations = raw.message_annotations().unwrap().unwrap();
    let now = Timestamp::from_millis(1_800_000_000_000);
    let lock_end = Timestamp::from_millis(1_800_000_060_000);
    assert_eq!(
        annotations.get("x-opt-sequence-number"),
        Some(&Value::Long(1))
    );
    assert_eq!(annotations.get("x-opt-enqueued-time"), Some(&now.into()));
    assert_eq!(
        annotations.get("x-opt-locked-until"),
        Some(&lock_end.into())
    );
    assert!(
        annotations.get("x-opt-message-state").is_none(),
        "active messages carry none"
    );
    let token = raw.delivery_annotations().unwrap().unwrap();
    let token = token
        .get("x-opt-lock-token")
        .and_then(Value::as_uuid)
        .unwrap();
    assert_eq!(token.to_bytes_le(), delivery.tag.as_bytes());
    broker.stop().await;
}

trait IntoId {
    fn into_id(self) -> nightshift_amqp::message::MessageId;
}

impl IntoId for u64 {
    fn into_id(self) -> nightshift_amqp::message::MessageId {
        nightshift_amqp::message::MessageId::Ulong(self)
    }
}

#[tokio::test]
async fn one_range_settles_many_and_is_confirmed_by_one_range() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let ids: Vec<u32> = (0..100)
        .map(|i| client.start_sending(sender, &message(&i.to_string(), "x"), 0, false))
        .collect();
    client.flush().await;
    assert_eq!(client.answer(ids[99]).await, DeliveryState::Accepted);

    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.give_credit(receiver, 100).await;
    let mut last = 0;
    for i in 0..100 {
        let delivery = client.delivery().await;
        assert_eq!(id_of(&delivery), i.to_string());
        last = delivery.delivery_id;
    }
    assert_eq!(broker.counts("q").unwrap().locked, 100);
    let first = last - 99;
    // A range that claims far more than there is costs nothing.
    let state = client.settle(first, last, DeliveryState::Accepted).await;
    assert_eq!(state, DeliveryState::Accepted);
    assert_eq!(broker.counts("q").unwrap().removed, 100);
    let state = client
        .settle(first, u32::MAX / 2, DeliveryState::Accepted)
        .await;
    assert_eq!(lost(&state), Some(true));
    broker.stop().await;
}

fn lost(state: &DeliveryState) -> Option<bool> {
    let DeliveryState::Rejected(Rejected { error }) = state else {
        return None;
    };
    error
        .as_ref()
        .map(|error| error.condition == condition::MESSAGE_LOCK_LOST)
}

#[tokio::test]
async fn each_outcome_is_confirmed_by_its_own_kind() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.send(sender, &message("1", "x")).await;

    let failed = Modified {
        delivery_failed: true,
        undeliverable_here: false,
        message_annotations: Some(Map::from_iter([("tries", 1_i32)])),
    };
    client.give_credit(receiver, 1).await;
    let id = client.delivery().await.delivery_id;
    let confirmed = client.settle(id, id, DeliveryState::Modified(failed)).await;
    assert!(matches!(confirmed, DeliveryState::Modified(m) if m.delivery_failed));

    client.give_credit(receiver, 1).await;
    let delivery = client.delivery().await;
    let raw = RawMessage::split(delivery.payload.clone()).unwrap();
    assert_eq!(raw.header().unwrap().unwrap().delivery_count, Some(1));
    let properties = raw.application_properties().unwrap().unwrap();
    assert_eq!(
        properties.get("tries"),
        Some(&Value::Int(1)),
        "abandoning changes properties"
    );
    let id = delivery.delivery_id;
    assert_eq!(
        client.settle(id, id, DeliveryState::Released).await,
        DeliveryState::Released
    );

    client.give_credit(receiver, 1).await;
    let id = client.delivery().await.delivery_id;
    let reason = DeliveryState::rejected(AmqpError::new("some:reason".to_owned(), "because"));
    let confirmed = client.settle(id, id, reason).await;
    assert_eq!(confirmed, DeliveryState::Rejected(Rejected { error: None }));

    let dead = client
        .attach_receiver("q/$deadletterqueue", true)
        .await
        .unwrap();
    client.give_credit(dead, 1).await;
    let delivery = client.delivery().await;
    assert!(delivery.settled);
    let raw = RawMessage::split(delivery.payload).unwrap();
    let properties = raw.application_properties().unwrap().unwrap();
    assert_eq!(
        properties.get("DeadLetterReason"),
        Some(&Value::from("some:reason"))
    );
    assert_eq!(
        properties.get("DeadLetterErrorDescription"),
        Some(&Value::from("because"))
    );
    assert!(raw.delivery_annotations().unwrap().unwrap().is_empty());
    let counts = broker.counts("q").unwrap();
    assert_eq!(
        (counts.active, counts.locked, counts.dead_letter),
        (0, 0, 0)
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_drain_brings_what_is_there_and_the_rest_of_the_credit_back() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    for i in 0..3 {
        client.send(sender, &message(&i.to_string(), "x")).await;
    }
    let receiver = client.attach_receiver("q", true).await.unwrap();
    client.engine.set_credit(receiver, 10).unwrap();
    client.engine.drain(receiver).unwrap();
    client.flush().await;
    for i in 0..3 {
        assert_eq!(id_of(&client.delivery().await), i.to_string());
    }
    client
        .wait(|event| matches!(event, Event::Drained { .. }).then_some(()))
        .await;
    assert_eq!(client.engine.credit(receiver), 0);
    // Nothing is left in line: a message that comes now stays where it is.
    client.send(sender, &message("late", "x")).await;
    assert_eq!(broker.counts("q").unwrap().active, 1);
    client.give_credit(receiver, 1).await;
    assert_eq!(id_of(&client.delivery().await), "late");
    broker.stop().await;
}

#[tokio::test]
async fn credit_given_after_a_drain_stays() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let receiver = client.attach_receiver("q", true).await.unwrap();
    client.give_credit(receiver, 10).await;
    // Both reach the broker at once: by the time it looks, the drain is history.
    client.engine.drain(receiver).unwrap();
    client.give_credit(receiver, 5).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.start_sending(sender, &message("1", "x"), 0, false);
    client.flush().await;
    assert_eq!(id_of(&client.delivery().await), "1");
    broker.stop().await;
}

#[tokio::test]
async fn a_batch_and_settled_transfers_are_stored_and_a_broken_one_is_refused() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let mut batch = BatchBuilder::new();
    batch.push(&message("1", "x"));
    batch.push(&message("2", "y"));
    let accepted = client
        .send_format(sender, &batch.finish(), BATCH_FORMAT)
        .await;
    assert_eq!(accepted, DeliveryState::Accepted);
    client.start_sending(sender, &message("3", "z"), 0, true);
    let refused = client.send(sender, b"\x00\x53\x75\xa0\xff").await;
    let DeliveryState::Rejected(Rejected { error: Some(error) }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.condition, condition::DECODE_ERROR);
    assert_eq!(broker.counts("q").unwrap().active, 3);
    // The link lives on.
    assert_eq!(
        client.send(sender, &message("4", "x")).await,
        DeliveryState::Accepted
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_waiting_receiver_gets_a_message_whose_lock_ends() {
    let (broker, clock) = start_with_clock([QueueConfig::new("q")]);
    let mut holder = Client::connect(broker.local_addr()).await;
    let sender = holder.attach_sender("q").await.unwrap();
    holder.send(sender, &message("1", "x")).await;
    let receiver = holder.attach_receiver("q", false).await.unwrap();
    holder.give_credit(receiver, 1).await;
    let held = holder.delivery().await.delivery_id;
    let mut waiter = Client::connect(broker.local_addr()).await;
    let receiver = waiter.attach_receiver("q", false).await.unwrap();
    waiter.give_credit(receiver, 1).await;
    clock.advance(Duration::from_mins(1));
    let delivery = waiter.delivery().await;
    let raw = RawMessage::split(delivery.payload.clone()).unwrap();
    assert_eq!(raw.header().unwrap().unwrap().delivery_count, Some(1));
    assert_eq!(
        lost(&holder.settle(held, held, DeliveryState::Accepted).await),
        Some(true)
    );
    let id = delivery.delivery_id;
    assert_eq!(
        waiter.settle(id, id, DeliveryState::Accepted).await,
        DeliveryState::Accepted
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_lost_connection_does_not_unlock_what_it_held() {
    let (broker, clock) = start_with_clock([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    let receiver = client.attach_receiver("q", false).await.unwrap();
    client.give_credit(receiver, 5).await;
    client.delivery().await;
    drop(client);
    let mut other = Client::connect(broker.local_addr()).await;
    let receiver = other.attach_receiver("q", true).await.unwrap();
    other.engine.set_credit(receiver, 1).unwrap();
    other.engine.drain(receiver).unwrap();
    other.flush().await;
    other
        .wait(|event| matches!(event, Event::Drained { .. }).then_some(()))
        .await;
    assert_eq!(broker.counts("q").unwrap().locked, 1);
    clock.advance(Duration::from_mins(1));
    eventually("the lock ends by itself", || {
        broker.counts("q").unwrap().active == 1
    })
    .await;
    broker.stop().await;
}
