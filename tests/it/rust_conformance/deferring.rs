//! Deferred messages: received by their sequence numbers, in both modes, and settled in every way.

use nightshift_bus::{
    BusError, MessageState, PropertyValue, ReceivedMessage, Receiver, ReceiverOptions, Settlement,
};

use super::checks;
use super::world::{World, complete, id, ids, numbers};

const QUEUE: &str = "rust-deferring";

checks![
    a_deferred_message_comes_by_its_number_only_and_with_a_lock,
    an_abandoned_deferred_message_stays_deferred,
    a_deferred_message_can_be_dead_lettered,
    deferring_changes_and_adds_properties,
    a_deferred_message_can_be_received_and_deleted,
    a_number_under_which_nothing_is_deferred_is_an_error,
    many_deferred_messages_are_received_and_settled_at_once,
    another_connection_can_receive_what_was_deferred,
];

/// Sends messages and defers them. Their numbers.
async fn defer(world: &World, receiver: &Receiver, ids: &[&str]) -> Vec<i64> {
    world.send(QUEUE, ids).await;
    let messages = world.take(receiver, ids.len()).await;
    let settled = receiver
        .settle_messages(&messages, Settlement::defer())
        .await
        .unwrap();
    for result in settled {
        result.unwrap();
    }
    world.nothing_comes(receiver).await;
    messages
        .iter()
        .map(|message| message.sequence_number)
        .collect()
}

async fn by_number(receiver: &Receiver, number: i64) -> ReceivedMessage {
    receiver
        .receive_deferred_messages(&[number])
        .await
        .unwrap()
        .remove(0)
}

async fn a_deferred_message_comes_by_its_number_only_and_with_a_lock(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let numbers = defer(&world, &receiver, &["a", "b"]).await;
    let messages = receiver.receive_deferred_messages(&numbers).await.unwrap();
    assert_eq!(ids(&messages), ["a", "b"]);
    for message in &messages {
        assert_eq!(
            (message.state, message.delivery_count),
            (MessageState::Deferred, 2)
        );
        assert!(!message.lock_token.is_nil() && message.locked_until.is_some());
        receiver.renew_message_lock(message).await.unwrap();
    }
    complete(&receiver, &messages).await;
    let gone = receiver
        .receive_deferred_messages(&numbers[..1])
        .await
        .unwrap_err();
    assert!(matches!(gone, BusError::MessageNotFound { .. }), "{gone}");
}

async fn an_abandoned_deferred_message_stays_deferred(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let number = defer(&world, &receiver, &["a"]).await[0];
    let message = by_number(&receiver, number).await;
    receiver.abandon_message(&message).await.unwrap();
    world.nothing_comes(&receiver).await;
    let message = by_number(&receiver, number).await;
    assert_eq!(message.delivery_count, 3);
    receiver.defer_message(&message).await.unwrap();
    let message = by_number(&receiver, number).await;
    complete(&receiver, &[message]).await;
}

async fn a_deferred_message_can_be_dead_lettered(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let number = defer(&world, &receiver, &["a"]).await[0];
    let message = by_number(&receiver, number).await;
    let settlement = Settlement::dead_letter("R", "D").with_property("p", 1);
    receiver.settle_message(&message, settlement).await.unwrap();
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(dead.dead_letter_reason(), Some("R"));
    assert_eq!(dead.dead_letter_error_description(), Some("D"));
    assert_eq!(
        dead.message.application_properties.get("p"),
        Some(&PropertyValue::I32(1))
    );
    complete(&graveyard, &[dead]).await;
}

async fn deferring_changes_and_adds_properties(world: World) {
    world.send(QUEUE, &["a"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    let settlement = Settlement::defer().with_property("step", 1);
    receiver.settle_message(&message, settlement).await.unwrap();
    let message = by_number(&receiver, message.sequence_number).await;
    let step =
        |message: &ReceivedMessage| message.message.application_properties.get("step").cloned();
    assert_eq!(step(&message), Some(PropertyValue::I32(1)));
    // Over the management node this time.
    let settlement = Settlement::abandon().with_property("step", 2);
    receiver.settle_message(&message, settlement).await.unwrap();
    let message = by_number(&receiver, message.sequence_number).await;
    assert_eq!(step(&message), Some(PropertyValue::I32(2)));
    complete(&receiver, &[message]).await;
}

async fn a_deferred_message_can_be_received_and_deleted(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let number = defer(&world, &receiver, &["a"]).await[0];
    let taker = world.taker(QUEUE).await;
    let message = by_number(&taker, number).await;
    assert_eq!(id(&message), "a");
    assert!(taker.complete_message(&message).await.is_err());
    let gone = taker
        .receive_deferred_messages(&[number])
        .await
        .unwrap_err();
    assert!(matches!(gone, BusError::MessageNotFound { .. }), "{gone}");
}

async fn a_number_under_which_nothing_is_deferred_is_an_error(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let number = defer(&world, &receiver, &["a"]).await[0];
    let error = receiver
        .receive_deferred_messages(&[number, 9_999_999])
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::MessageNotFound { .. }), "{error}");
    let message = by_number(&receiver, number).await;
    complete(&receiver, &[message]).await;
}

async fn many_deferred_messages_are_received_and_settled_at_once(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let wanted = numbers(100);
    let deferred = defer(&world, &receiver, &super::world::borrowed(&wanted)).await;
    let messages = receiver.receive_deferred_messages(&deferred).await.unwrap();
    assert_eq!(ids(&messages), wanted);
    complete(&receiver, &messages).await;
    assert!(receiver.peek_messages(0, 1).await.unwrap().is_empty());
}

async fn another_connection_can_receive_what_was_deferred(world: World) {
    let receiver = world.receiver(QUEUE).await;
    let number = defer(&world, &receiver, &["a"]).await[0];
    receiver.close().await;
    let client = world.another_client().await;
    let other = client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    let message = by_number(&other, number).await;
    complete(&other, &[message]).await;
    client.close().await;
}
