//! Sending: one, many, batches, and everything a message can carry.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use nightshift_bus::{Message, MessageState, PropertyValue};
use nightshift_time::{Clock as _, SystemClock};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::checks;
use super::world::{World, complete, ids, numbers};

const QUEUE: &str = "rust-sending";

checks![
    a_message_arrives_with_its_number_its_time_and_its_lock,
    a_message_without_an_id_is_given_one,
    system_properties_come_back_as_they_were_sent,
    application_properties_of_every_type_come_back,
    a_list_arrives_in_its_order_with_rising_numbers,
    a_list_beyond_one_batch_is_split_and_keeps_its_order,
    many_sends_in_flight_are_each_accepted,
    sends_one_after_the_other_keep_their_order,
    an_empty_list_sends_nothing,
];

async fn a_message_arrives_with_its_number_its_time_and_its_lock(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let before = SystemClock.now() - TimeDelta::seconds(30);
    world.send(QUEUE, &["1"]).await;
    let message = world.take_one(&receiver).await;
    assert_eq!(ids(std::slice::from_ref(&message)), ["1"]);
    assert_eq!(
        (message.delivery_count, message.state),
        (1, MessageState::Active)
    );
    assert!(message.sequence_number > 0);
    let after = SystemClock.now() + TimeDelta::seconds(30);
    assert!(
        (before..after).contains(&message.enqueued_time),
        "{}",
        message.enqueued_time
    );
    let locked = message.locked_until.expect("it is locked") - message.enqueued_time;
    assert!((50..=75).contains(&locked.num_seconds()), "{locked}");
    assert!(!message.lock_token.is_nil());
    complete(&receiver, &[message]).await;
    world.nothing_comes(&receiver).await;
}

async fn a_message_without_an_id_is_given_one(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let sender = world.sender(QUEUE).await;
    for subject in ["a", "b"] {
        sender
            .send_message(Message::new("x").with_subject(subject))
            .await
            .unwrap();
    }
    let messages = world.take(&receiver, 2).await;
    let given = ids(&messages);
    assert_ne!(given[0], given[1]);
    for id in given {
        assert!(id.len() >= 32, "{id}");
    }
    let subjects: Vec<_> = messages
        .iter()
        .map(|m| m.message.subject.as_deref())
        .collect();
    assert_eq!(subjects, [Some("a"), Some("b")]);
    complete(&receiver, &messages).await;
}

async fn system_properties_come_back_as_they_were_sent(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let sent = Message::new("x")
        .with_message_id("id-1")
        .with_correlation_id("correlation")
        .with_content_type("application/json")
        .with_subject("subject")
        .with_to("to")
        .with_reply_to("reply")
        .with_reply_to_session_id("reply-session")
        .with_partition_key("partition")
        .with_time_to_live(Duration::from_mins(5));
    world
        .sender(QUEUE)
        .await
        .send_message(sent.clone())
        .await
        .unwrap();
    let received = world.take_one(&receiver).await;
    assert_eq!(received.message, sent);
    let life = received.expires_at.expect("it ends") - received.enqueued_time;
    assert_eq!(life, TimeDelta::minutes(5));
    complete(&receiver, &[received]).await;
}

async fn application_properties_of_every_type_come_back(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let instant = DateTime::from_timestamp_millis(1_774_747_800_123).expect("in the calendar");
    let sent = Message::new("x")
        .with_message_id("1")
        .with_property("true", true)
        .with_property("u8", 200_u8)
        .with_property("u16", 60_000_u16)
        .with_property("u32", 4_000_000_000_u32)
        .with_property("u64", u64::MAX)
        .with_property("i8", -100_i8)
        .with_property("i16", -30_000_i16)
        .with_property("i32", i32::MIN)
        .with_property("i64", i64::MIN)
        .with_property("f32", 1.5_f32)
        .with_property("f64", -0.1_f64)
        .with_property("char", '🦔')
        .with_property("instant", instant)
        .with_property(
            "uuid",
            Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        )
        .with_property("octets", Bytes::from_static(b"\x00\xff"))
        .with_property("text", "zażółć 🦔")
        .with_property("empty", "")
        .with_property("symbol", PropertyValue::Symbol("s".to_owned()));
    world
        .sender(QUEUE)
        .await
        .send_message(sent.clone())
        .await
        .unwrap();
    let received = world.take_one(&receiver).await;
    assert_eq!(
        received.message.application_properties,
        sent.application_properties
    );
    complete(&receiver, &[received]).await;
}

async fn a_list_arrives_in_its_order_with_rising_numbers(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let wanted = numbers(200);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let messages = world.take(&receiver, 200).await;
    assert_eq!(ids(&messages), wanted);
    assert!(messages.is_sorted_by(|a, b| a.sequence_number < b.sequence_number));
    complete(&receiver, &messages).await;
    world.nothing_comes(&receiver).await;
}

async fn a_list_beyond_one_batch_is_split_and_keeps_its_order(world: World) {
    let sender = world.sender(QUEUE).await;
    let wanted = numbers(world.timing.many);
    let body = vec![b'b'; 1_000];
    let messages = wanted
        .iter()
        .map(|id| Message::new(body.clone()).with_message_id(id));
    sender.send_messages(messages.collect()).await.unwrap();
    let taker = world.taker(QUEUE).await;
    assert_eq!(ids(&world.take(&taker, wanted.len()).await), wanted);
}

async fn many_sends_in_flight_are_each_accepted(world: World) {
    let sender = std::sync::Arc::new(world.sender(QUEUE).await);
    let wanted = numbers(world.timing.many);
    let mut sends = JoinSet::new();
    for id in wanted.clone() {
        let sender = std::sync::Arc::clone(&sender);
        sends.spawn(async move {
            sender
                .send_message(Message::new("x").with_message_id(id))
                .await
        });
    }
    for sent in sends.join_all().await {
        sent.expect("the queue takes messages");
    }
    let messages = world.take(&world.taker(QUEUE).await, wanted.len()).await;
    let mut came = ids(&messages);
    came.sort_by_key(|id| id.parse::<usize>().expect("a number"));
    assert_eq!(came, wanted);
}

async fn sends_one_after_the_other_keep_their_order(world: World) {
    let sender = world.sender(QUEUE).await;
    let wanted = numbers(100);
    for id in &wanted {
        sender
            .send_message(Message::new("x").with_message_id(id))
            .await
            .unwrap();
    }
    assert_eq!(
        ids(&world.take(&world.taker(QUEUE).await, 100).await),
        wanted
    );
}

async fn an_empty_list_sends_nothing(world: World) {
    let sender = world.sender(QUEUE).await;
    sender.send_messages(Vec::new()).await.unwrap();
    let later = SystemClock.now() + TimeDelta::hours(1);
    assert!(
        sender
            .schedule_messages(Vec::new(), later)
            .await
            .unwrap()
            .is_empty()
    );
    world.nothing_comes(&world.receiver(QUEUE).await).await;
}
