//! Settling in every way, one by one and many at once.

use nightshift_bus::{BusError, Message, PropertyValue, Settlement};

use super::checks;
use super::world::{World, complete, ids, numbers};

const QUEUE: &str = "rust-settling";

checks![
    an_abandoned_message_comes_back_with_one_more_delivery_counted,
    abandoning_changes_and_adds_properties,
    a_released_message_comes_back_at_once,
    many_messages_are_completed_in_one_call,
    messages_are_settled_in_any_order,
    messages_of_one_call_are_settled_in_different_ways,
    a_message_cannot_be_settled_twice,
    an_abandoned_message_is_the_next_one_again,
];

async fn an_abandoned_message_comes_back_with_one_more_delivery_counted(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let mut number = None;
    for count in 1..=3 {
        let message = world.take_one(&receiver).await;
        assert_eq!(message.delivery_count, count);
        assert_eq!(
            *number.get_or_insert(message.sequence_number),
            message.sequence_number
        );
        receiver.abandon_message(&message).await.unwrap();
    }
    let last = world.take_one(&receiver).await;
    complete(&receiver, &[last]).await;
    world.nothing_comes(&receiver).await;
}

async fn abandoning_changes_and_adds_properties(world: World) {
    let sent = Message::new("x")
        .with_property("kept", 1)
        .with_property("changed", "before");
    world.sender(QUEUE).await.send_message(sent).await.unwrap();
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    let settlement = Settlement::abandon()
        .with_property("changed", "after")
        .with_property("added", true);
    receiver.settle_message(&message, settlement).await.unwrap();
    let again = world.take_one(&receiver).await;
    let properties = &again.message.application_properties;
    assert_eq!(properties.get("kept"), Some(&PropertyValue::I32(1)));
    assert_eq!(
        properties.get("changed"),
        Some(&PropertyValue::String("after".to_owned()))
    );
    assert_eq!(properties.get("added"), Some(&PropertyValue::Bool(true)));
    complete(&receiver, &[again]).await;
}

async fn a_released_message_comes_back_at_once(world: World) {
    world.send(QUEUE, &["1", "2"]).await;
    let receiver = world.receiver(QUEUE).await;
    let taken = world.take(&receiver, 2).await;
    for result in receiver.release_messages(&taken).await.unwrap() {
        result.unwrap();
    }
    let again = world.take(&receiver, 2).await;
    assert_eq!(ids(&again), ["1", "2"]);
    // Whether this counts as a failed delivery is the broker's affair: the service counts it.
    assert!(again.iter().all(|message| message.delivery_count <= 2));
    complete(&receiver, &again).await;
}

async fn many_messages_are_completed_in_one_call(world: World) {
    let wanted = numbers(500);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let receiver = world.receiver(QUEUE).await;
    let messages = world.take(&receiver, 500).await;
    complete(&receiver, &messages).await;
    world.nothing_comes(&receiver).await;
}

async fn messages_are_settled_in_any_order(world: World) {
    let wanted = numbers(20);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let receiver = world.receiver(QUEUE).await;
    let mut messages = world.take(&receiver, 20).await;
    messages.reverse();
    let (last, first) = messages.split_at(7);
    complete(&receiver, last).await;
    for message in first {
        receiver.complete_message(message).await.unwrap();
    }
    world.nothing_comes(&receiver).await;
}

async fn messages_of_one_call_are_settled_in_different_ways(world: World) {
    world.send(QUEUE, &["done", "again", "dead", "aside"]).await;
    let receiver = world.receiver(QUEUE).await;
    let taken = world.take(&receiver, 4).await;
    let (done, again, dead, aside) = tokio::join!(
        receiver.complete_message(&taken[0]),
        receiver.abandon_message(&taken[1]),
        receiver.dead_letter_message(&taken[2], "why", "because"),
        receiver.defer_message(&taken[3]),
    );
    for result in [done, again, dead, aside] {
        result.unwrap();
    }
    let again = world.take_one(&receiver).await;
    assert_eq!(
        (ids(std::slice::from_ref(&again)), again.delivery_count),
        (vec!["again"], 2)
    );
    let aside = receiver
        .receive_deferred_messages(&[taken[3].sequence_number])
        .await
        .unwrap();
    assert_eq!(ids(&aside), ["aside"]);
    complete(&receiver, &[again, aside[0].clone()]).await;
    world.nothing_comes(&receiver).await;
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(ids(std::slice::from_ref(&dead)), ["dead"]);
    complete(&graveyard, &[dead]).await;
}

async fn a_message_cannot_be_settled_twice(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver.complete_message(&message).await.unwrap();
    let error = receiver.complete_message(&message).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    let error = receiver.renew_message_lock(&message).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
}

async fn an_abandoned_message_is_the_next_one_again(world: World) {
    world.send(QUEUE, &["1", "2", "3"]).await;
    let receiver = world.receiver(QUEUE).await;
    let first = world.take_one(&receiver).await;
    receiver.abandon_message(&first).await.unwrap();
    let messages = world.take(&receiver, 3).await;
    assert_eq!(ids(&messages), ["1", "2", "3"]);
    complete(&receiver, &messages).await;
}
