//! Time to live: what is too old vanishes, or becomes a dead letter where the queue says so.

use std::time::Duration;

use chrono::TimeDelta;
use nightshift_bus::Message;

use super::checks;
use super::world::{World, complete, id, ids};

const VANISHING: &str = "rust-vanishing";
const EXPIRING: &str = "rust-expiring";
const SHORT_LIVED: &str = "rust-short-lived";

checks![
    a_message_that_is_too_old_vanishes,
    a_message_that_is_too_old_becomes_a_dead_letter,
    the_queue_sets_the_life_of_messages_that_do_not,
    the_shorter_of_two_lives_counts,
    a_locked_message_does_not_expire,
];

async fn a_message_that_is_too_old_vanishes(world: World) {
    let brief = Message::new("x")
        .with_message_id("old")
        .with_time_to_live(Duration::from_secs(1));
    let sender = world.sender(VANISHING).await;
    sender.send_message(brief).await.unwrap();
    sender
        .send_message(Message::new("x").with_message_id("young"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let receiver = world.receiver(VANISHING).await;
    let message = world.take_one(&receiver).await;
    assert_eq!(id(&message), "young");
    complete(&receiver, &[message]).await;
    world.nothing_comes(&receiver).await;
    world
        .nothing_comes(&world.dead_letters(VANISHING).await)
        .await;
}

async fn a_message_that_is_too_old_becomes_a_dead_letter(world: World) {
    let brief = Message::new("x")
        .with_message_id("1")
        .with_time_to_live(Duration::from_secs(1));
    world
        .sender(EXPIRING)
        .await
        .send_message(brief)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    // The service looks at what a receiver would get.
    world.nothing_comes(&world.receiver(EXPIRING).await).await;
    let graveyard = world.dead_letters(EXPIRING).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(
        (id(&dead), dead.dead_letter_reason()),
        ("1", Some("TTLExpiredException"))
    );
    complete(&graveyard, &[dead]).await;
}

async fn the_queue_sets_the_life_of_messages_that_do_not(world: World) {
    world.send(SHORT_LIVED, &["1"]).await;
    let browser = world.receiver(SHORT_LIVED).await;
    let peeked = browser.peek_messages(0, 10).await.unwrap();
    let life = peeked[0].expires_at.expect("it ends") - peeked[0].enqueued_time;
    assert_eq!(
        life.to_std().expect("it is ahead"),
        world.timing.time_to_live
    );
    tokio::time::sleep(world.timing.time_to_live + Duration::from_millis(300)).await;
    world.nothing_comes(&browser).await;
    let graveyard = world.dead_letters(SHORT_LIVED).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(dead.dead_letter_reason(), Some("TTLExpiredException"));
    complete(&graveyard, &[dead]).await;
}

async fn the_shorter_of_two_lives_counts(world: World) {
    let receiver = world.receiver(SHORT_LIVED).await;
    let long = Message::new("x").with_time_to_live(Duration::from_hours(1));
    let sender = world.sender(SHORT_LIVED).await;
    sender.send_message(long).await.unwrap();
    let message = world.take_one(&receiver).await;
    let life = message.expires_at.expect("it ends") - message.enqueued_time;
    assert!(life <= TimeDelta::seconds(10), "{life}");
    complete(&receiver, &[message]).await;
}

async fn a_locked_message_does_not_expire(world: World) {
    let receiver = world.receiver(VANISHING).await;
    let brief = Message::new("x")
        .with_message_id("1")
        .with_time_to_live(Duration::from_secs(2));
    let sender = world.sender(VANISHING).await;
    sender.send_message(brief).await.unwrap();
    let message = world.take_one(&receiver).await;
    assert_eq!(ids(std::slice::from_ref(&message)), ["1"]);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    complete(&receiver, &[message]).await;
    world.nothing_comes(&receiver).await;
}
