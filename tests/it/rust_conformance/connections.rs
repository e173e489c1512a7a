//! What a connection carries, and how long it lives.

use std::time::Duration;

use nightshift_bus::{BusError, ClientOptions, Message, ReceiverOptions};

use super::checks;
use super::world::{World, complete, connect, impatient};

const QUEUE: &str = "rust-connections";
const OTHER: &str = "rust-connections-2";

checks![
    one_connection_serves_many_senders_and_receivers,
    a_quiet_connection_lives_on,
    a_connection_string_may_be_limited_to_one_entity,
    names_of_entities_know_no_case,
    a_closed_client_refuses_every_call,
    a_token_is_renewed_while_the_connection_lives,
];

async fn one_connection_serves_many_senders_and_receivers(world: World) {
    let client = world.another_client().await;
    let mut pairs = Vec::new();
    for number in 0..20 {
        let queue = if number % 2 == 0 { QUEUE } else { OTHER };
        let sender = client.create_sender(queue).await.unwrap();
        let receiver = client
            .create_receiver(queue, ReceiverOptions::default())
            .await
            .unwrap();
        pairs.push((sender, receiver));
    }
    for (sender, receiver) in &pairs {
        sender.send_message(Message::new("x")).await.unwrap();
        let message = world.take_one(receiver).await;
        complete(receiver, &[message]).await;
    }
    client.close().await;
}

async fn a_quiet_connection_lives_on(world: World) {
    let options = ClientOptions {
        idle_timeout: Duration::from_secs(2),
        ..impatient()
    };
    let client = connect(&world.connection_string, options).await.unwrap();
    let sender = client.create_sender(QUEUE).await.unwrap();
    let receiver = client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    // More than twice what counts as death when nothing is heard.
    assert!(
        receiver
            .receive_messages(1, Duration::from_secs(5))
            .await
            .unwrap()
            .is_empty()
    );
    sender.send_message(Message::new("x")).await.unwrap();
    let message = world.take_one(&receiver).await;
    complete(&receiver, &[message]).await;
    client.close().await;
}

async fn a_connection_string_may_be_limited_to_one_entity(world: World) {
    let text = format!(
        "{};EntityPath={QUEUE}",
        world.connection_string.trim_end_matches(';')
    );
    let client = connect(&text, impatient()).await.unwrap();
    let sender = client.create_sender(QUEUE).await.unwrap();
    sender.send_message(Message::new("x")).await.unwrap();
    let error = client.create_sender(OTHER).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    client.close().await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    complete(&receiver, &[message]).await;
}

async fn names_of_entities_know_no_case(world: World) {
    let sender = world.sender("RUST-Connections").await;
    sender.send_message(Message::new("x")).await.unwrap();
    let receiver = world.receiver("/rust-connections/").await;
    let message = world.take_one(&receiver).await;
    complete(&receiver, &[message]).await;
}

async fn a_closed_client_refuses_every_call(world: World) {
    let client = world.another_client().await;
    let sender = client.create_sender(QUEUE).await.unwrap();
    let receiver = client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    client.close().await;
    for error in [
        sender.send_message(Message::new("x")).await.unwrap_err(),
        receiver
            .receive_messages(1, Duration::ZERO)
            .await
            .unwrap_err(),
        receiver.peek_messages(0, 1).await.unwrap_err(),
        client.create_sender(QUEUE).await.unwrap_err(),
    ] {
        assert!(matches!(error, BusError::Closed { .. }), "{error}");
    }
}

async fn a_token_is_renewed_while_the_connection_lives(world: World) {
    let options = ClientOptions {
        token_lifetime: world.timing.token_lifetime,
        ..impatient()
    };
    let client = connect(&world.connection_string, options).await.unwrap();
    let sender = client.create_sender(QUEUE).await.unwrap();
    let receiver = client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    let quiet = world.timing.token_lifetime * 2;
    assert!(
        receiver
            .receive_messages(1, quiet)
            .await
            .unwrap()
            .is_empty()
    );
    sender.send_message(Message::new("x")).await.unwrap();
    let message = world.take_one(&receiver).await;
    complete(&receiver, &[message]).await;
    client.close().await;
}
