//! Dead letters: by hand, by too many deliveries; and what can be done with them.

use nightshift_bus::{Message, PropertyValue, Settlement};

use super::checks;
use super::world::{World, complete, id};

const QUEUE: &str = "rust-dead-letters";
const TWO_TRIES: &str = "rust-two-tries";

checks![
    a_dead_letter_has_its_reason_and_all_that_it_carried,
    dead_lettering_changes_and_adds_properties,
    a_message_can_be_dead_lettered_without_a_reason,
    too_many_deliveries_make_a_dead_letter,
    a_dead_letter_may_fail_as_often_as_it_likes,
    a_dead_letter_can_be_put_aside,
    a_dead_letter_can_be_sent_again,
];

async fn a_dead_letter_has_its_reason_and_all_that_it_carried(world: World) {
    let sent = Message::new("body")
        .with_message_id("1")
        .with_subject("s")
        .with_property("p", 7);
    world
        .sender(QUEUE)
        .await
        .send_message(sent.clone())
        .await
        .unwrap();
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "BadInput", "a field is missing")
        .await
        .unwrap();
    world.nothing_comes(&receiver).await;
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(dead.dead_letter_reason(), Some("BadInput"));
    assert_eq!(
        dead.dead_letter_error_description(),
        Some("a field is missing")
    );
    assert_eq!(
        (&dead.message.body, &dead.message.subject),
        (&sent.body, &sent.subject)
    );
    assert_eq!(id(&dead), "1");
    assert_eq!(
        dead.message.application_properties.get("p"),
        Some(&PropertyValue::I32(7))
    );
    complete(&graveyard, &[dead]).await;
    world.nothing_comes(&graveyard).await;
}

async fn dead_lettering_changes_and_adds_properties(world: World) {
    let sent = Message::new("x").with_property("changed", 1);
    world.sender(QUEUE).await.send_message(sent).await.unwrap();
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    let settlement = Settlement::dead_letter("R", "D")
        .with_property("changed", 2)
        .with_property("added", "yes");
    receiver.settle_message(&message, settlement).await.unwrap();
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    let properties = &dead.message.application_properties;
    assert_eq!(properties.get("changed"), Some(&PropertyValue::I32(2)));
    assert_eq!(
        properties.get("added"),
        Some(&PropertyValue::String("yes".to_owned()))
    );
    assert_eq!(dead.dead_letter_reason(), Some("R"));
    complete(&graveyard, &[dead]).await;
}

async fn a_message_can_be_dead_lettered_without_a_reason(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "", "")
        .await
        .unwrap();
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    assert!(dead.dead_letter_reason().unwrap_or_default().is_empty());
    complete(&graveyard, &[dead]).await;
}

async fn too_many_deliveries_make_a_dead_letter(world: World) {
    world.send(TWO_TRIES, &["1"]).await;
    let receiver = world.receiver(TWO_TRIES).await;
    for count in 1..=2 {
        let message = world.take_one(&receiver).await;
        assert_eq!(message.delivery_count, count);
        receiver.abandon_message(&message).await.unwrap();
    }
    world.nothing_comes(&receiver).await;
    let graveyard = world.dead_letters(TWO_TRIES).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(
        (id(&dead), dead.dead_letter_reason()),
        ("1", Some("MaxDeliveryCountExceeded"))
    );
    complete(&graveyard, &[dead]).await;
}

async fn a_dead_letter_may_fail_as_often_as_it_likes(world: World) {
    world.send(TWO_TRIES, &["1"]).await;
    let receiver = world.receiver(TWO_TRIES).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "R", "")
        .await
        .unwrap();
    let graveyard = world.dead_letters(TWO_TRIES).await;
    for _ in 0..5 {
        let dead = world.take_one(&graveyard).await;
        graveyard.abandon_message(&dead).await.unwrap();
    }
    let dead = world.take_one(&graveyard).await;
    assert_eq!(dead.dead_letter_reason(), Some("R"));
    complete(&graveyard, &[dead]).await;
}

async fn a_dead_letter_can_be_put_aside(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "R", "")
        .await
        .unwrap();
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    graveyard.defer_message(&dead).await.unwrap();
    world.nothing_comes(&graveyard).await;
    let again = graveyard
        .receive_deferred_messages(&[dead.sequence_number])
        .await
        .unwrap();
    assert_eq!(id(&again[0]), "1");
    complete(&graveyard, &again).await;
}

async fn a_dead_letter_can_be_sent_again(world: World) {
    world.send(QUEUE, &["1"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "R", "D")
        .await
        .unwrap();
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    world
        .sender(QUEUE)
        .await
        .send_message(dead.message.clone())
        .await
        .unwrap();
    complete(&graveyard, &[dead]).await;
    let again = world.take_one(&receiver).await;
    assert_eq!((id(&again), again.delivery_count), ("1", 1));
    assert_eq!(
        again.dead_letter_reason(),
        Some("R"),
        "it tells where it comes from"
    );
    complete(&receiver, &[again]).await;
}
