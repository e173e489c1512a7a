//! Locks: they end, they can be renewed, and a lost one is reported.

use std::time::{Duration, Instant};

use nightshift_bus::{BusError, ReceiverOptions};

use super::checks;
use super::world::{World, complete, ids};

const QUEUE: &str = "rust-locks";

checks![
    a_lock_that_ends_makes_the_message_available_again,
    settling_under_a_lost_lock_is_an_error_for_each_message,
    a_renewed_lock_outlasts_the_queues_lock_duration,
    a_lock_that_is_lost_cannot_be_renewed,
    locks_of_held_messages_are_renewed_by_themselves,
    automatic_renewal_ends_after_its_maximal_duration,
    a_lock_outlives_the_receiver_that_held_it,
];

/// A little more than a lock lasts.
fn beyond(world: &World) -> Duration {
    world.timing.lock + Duration::from_millis(700)
}

async fn a_lock_that_ends_makes_the_message_available_again(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let begun = Instant::now();
    let first = world.take_one(&receiver).await;
    let again = world.take_one(&receiver).await;
    assert!(
        begun.elapsed() >= world.timing.lock.mul_f64(0.9),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(again.delivery_count, 2);
    assert_eq!(again.sequence_number, first.sequence_number);
    assert_ne!(again.lock_token, first.lock_token);
    complete(&receiver, &[again]).await;
    world.nothing_comes(&receiver).await;
}

async fn settling_under_a_lost_lock_is_an_error_for_each_message(world: World) {
    world.send(QUEUE, &["1", "2"]).await;
    let receiver = world.receiver(QUEUE).await;
    let late = world.take(&receiver, 2).await;
    let other = world.receiver(QUEUE).await;
    let again = world.take(&other, 2).await;
    for result in receiver.complete_messages(&late).await.unwrap() {
        assert!(
            matches!(result, Err(BusError::MessageLockLost { .. })),
            "{result:?}"
        );
    }
    complete(&other, &again).await;
    world.nothing_comes(&other).await;
}

async fn a_renewed_lock_outlasts_the_queues_lock_duration(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    let mut end = message.locked_until.expect("it is locked");
    for _ in 0..4 {
        tokio::time::sleep(world.timing.lock / 3).await;
        let renewed = receiver.renew_message_lock(&message).await.unwrap();
        assert!(renewed > end, "{renewed} is not after {end}");
        end = renewed;
    }
    complete(&receiver, &[message]).await;
    world.nothing_comes(&receiver).await;
}

async fn a_lock_that_is_lost_cannot_be_renewed(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let late = world.take_one(&receiver).await;
    let again = world.take_one(&receiver).await;
    let error = receiver.renew_message_lock(&late).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    receiver.renew_message_lock(&again).await.unwrap();
    complete(&receiver, &[again]).await;
}

fn renewing(longest: Duration) -> ReceiverOptions {
    ReceiverOptions {
        max_auto_lock_renewal_duration: longest,
        ..ReceiverOptions::default()
    }
}

async fn locks_of_held_messages_are_renewed_by_themselves(world: World) {
    world.send(QUEUE, &["1", "2", "3"]).await;
    let holder = world
        .receiver_with(QUEUE, renewing(world.timing.soon))
        .await;
    let messages = world.take(&holder, 3).await;
    let other = world.receiver(QUEUE).await;
    let free = other.receive_messages(1, beyond(&world)).await.unwrap();
    assert!(free.is_empty(), "{free:?}");
    complete(&holder, &messages).await;
}

async fn automatic_renewal_ends_after_its_maximal_duration(world: World) {
    world.send(QUEUE, &["1"]).await;
    let holder = world
        .receiver_with(QUEUE, renewing(world.timing.lock))
        .await;
    let held = world.take_one(&holder).await;
    let other = world.receiver(QUEUE).await;
    let again = world.take_one(&other).await;
    assert_eq!(again.delivery_count, 2);
    let error = holder.complete_message(&held).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    complete(&other, &[again]).await;
}

async fn a_lock_outlives_the_receiver_that_held_it(world: World) {
    world.send(QUEUE, &["1"]).await;
    let client = world.another_client().await;
    let holder = client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    let held = world.take_one(&holder).await;
    client.close().await;
    let other = world.receiver(QUEUE).await;
    let none = other
        .receive_messages(1, world.timing.lock / 4)
        .await
        .unwrap();
    assert!(none.is_empty(), "{none:?}");
    let again = world.take_one(&other).await;
    assert_eq!(
        ids(std::slice::from_ref(&again)),
        ids(std::slice::from_ref(&held))
    );
    assert_eq!(again.delivery_count, 2);
    complete(&other, &[again]).await;
}
