//! Forwarding: of messages, and of dead letters, into another queue.

use nightshift_bus::{Message, ReceiverOptions};

use super::checks;
use super::world::{World, complete, id, ids, numbers};

const FROM: &str = "rust-forwarding";
const TO: &str = "rust-forwarded";
const BURYING: &str = "rust-burying";
const BURIED: &str = "rust-buried";

checks![
    a_forwarded_message_arrives_with_all_that_it_carried,
    a_forwarded_list_keeps_its_order,
    a_queue_that_forwards_cannot_be_received_from,
    a_dead_letter_is_forwarded_with_its_reason,
];

async fn a_forwarded_message_arrives_with_all_that_it_carried(world: World) {
    let sent = Message::new("body")
        .with_message_id("1")
        .with_subject("s")
        .with_property("p", 1);
    world
        .sender(FROM)
        .await
        .send_message(sent.clone())
        .await
        .unwrap();
    let receiver = world.receiver(TO).await;
    let message = world.take_one(&receiver).await;
    assert_eq!(message.message, sent);
    assert!(message.sequence_number > 0);
    assert!(
        message.enqueued_sequence_number.is_some(),
        "the number that it had before"
    );
    complete(&receiver, &[message]).await;
    world.nothing_comes(&receiver).await;
}

async fn a_forwarded_list_keeps_its_order(world: World) {
    let wanted = numbers(100);
    world.send(FROM, &super::world::borrowed(&wanted)).await;
    let messages = world.take(&world.taker(TO).await, 100).await;
    assert_eq!(ids(&messages), wanted);
}

async fn a_queue_that_forwards_cannot_be_received_from(world: World) {
    let refused = world
        .client
        .create_receiver(FROM, ReceiverOptions::default())
        .await;
    let error = refused.expect_err("a refusal");
    assert!(!error.is_transient(), "{error}");
}

async fn a_dead_letter_is_forwarded_with_its_reason(world: World) {
    world.send(BURYING, &["1"]).await;
    let receiver = world.receiver(BURYING).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "R", "D")
        .await
        .unwrap();
    let buried = world.receiver(BURIED).await;
    let dead = world.take_one(&buried).await;
    assert_eq!((id(&dead), dead.dead_letter_reason()), ("1", Some("R")));
    assert_eq!(dead.dead_letter_error_description(), Some("D"));
    let source = dead.dead_letter_source.as_deref().unwrap_or_default();
    assert!(source.eq_ignore_ascii_case(BURYING), "{source}");
    complete(&buried, &[dead]).await;
    world
        .nothing_comes(&world.dead_letters(BURYING).await)
        .await;
}
