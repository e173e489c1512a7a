//! Duplicate detection: an id that was seen within the window is accepted and dropped.

use std::time::Duration;

use nightshift_bus::Message;

use super::checks;
use super::world::{World, complete};

const QUEUE: &str = "rust-duplicates";

checks![
    a_message_whose_id_was_seen_is_accepted_and_dropped,
    duplicates_within_one_batch_are_dropped,
    a_completed_message_is_still_remembered,
    after_the_window_the_same_id_is_a_new_message,
];

fn message(id: &str, body: &'static str) -> Message {
    Message::new(body).with_message_id(id)
}

async fn a_message_whose_id_was_seen_is_accepted_and_dropped(world: World) {
    let sender = world.sender(QUEUE).await;
    for body in ["first", "again"] {
        sender.send_message(message("a-1", body)).await.unwrap();
    }
    sender.send_message(message("a-2", "other")).await.unwrap();
    let receiver = world.receiver(QUEUE).await;
    let messages = world.take(&receiver, 2).await;
    let bodies: Vec<_> = messages.iter().map(|m| m.message.body.clone()).collect();
    assert_eq!(bodies, ["first", "other"]);
    complete(&receiver, &messages).await;
    world.nothing_comes(&receiver).await;
}

async fn duplicates_within_one_batch_are_dropped(world: World) {
    let batch = vec![
        message("b-1", "first"),
        message("b-1", "second"),
        message("b-2", "other"),
    ];
    world
        .sender(QUEUE)
        .await
        .send_messages(batch)
        .await
        .unwrap();
    let receiver = world.receiver(QUEUE).await;
    let messages = world.take(&receiver, 2).await;
    let bodies: Vec<_> = messages.iter().map(|m| m.message.body.clone()).collect();
    assert_eq!(bodies, ["first", "other"]);
    complete(&receiver, &messages).await;
    world.nothing_comes(&receiver).await;
}

async fn a_completed_message_is_still_remembered(world: World) {
    let sender = world.sender(QUEUE).await;
    let receiver = world.receiver(QUEUE).await;
    sender.send_message(message("c-1", "first")).await.unwrap();
    let first = world.take_one(&receiver).await;
    complete(&receiver, &[first]).await;
    sender.send_message(message("c-1", "late")).await.unwrap();
    world.nothing_comes(&receiver).await;
}

async fn after_the_window_the_same_id_is_a_new_message(world: World) {
    let sender = world.sender(QUEUE).await;
    let receiver = world.receiver(QUEUE).await;
    for body in ["first", "second"] {
        if body == "second" {
            tokio::time::sleep(world.timing.window + Duration::from_millis(500)).await;
        }
        sender.send_message(message("d-1", body)).await.unwrap();
        let came = world.take_one(&receiver).await;
        assert_eq!(came.message.body, body);
        complete(&receiver, &[came]).await;
    }
}
