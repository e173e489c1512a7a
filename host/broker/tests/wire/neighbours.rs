//! A client that behaves badly towards the broker must not be felt by another.

use std::time::Duration;

use nightshift_amqp::{engine::ClientOptions, performative::DeliveryState};
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;

use crate::{
    client::{Client, id_of, message},
    eventually, start, start_with_clock,
};

#[tokio::test]
async fn a_client_that_never_settles_is_given_no_more_and_others_are_served() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.unsettled_per_connection = 10;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut greedy = Client::connect(broker.local_addr()).await;
    let sender = greedy.attach_sender("q").await.unwrap();
    for i in 0..30 {
        greedy.send(sender, &message(&i.to_string(), "x")).await;
    }
    let receiver = greedy.attach_receiver("q", false).await.unwrap();
    greedy.give_credit(receiver, 1_000).await;
    let mut last = 0;
    for _ in 0..10 {
        last = greedy.delivery().await.delivery_id;
    }
    let mut other = Client::connect(broker.local_addr()).await;
    let receiver = other.attach_receiver("q", true).await.unwrap();
    other.give_credit(receiver, 20).await;
    for i in 10..30 {
        assert_eq!(id_of(&other.delivery().await), i.to_string());
    }
    assert_eq!(broker.counts("q").unwrap().locked, 10);
    // Settling makes room again.
    other.attach_sender("q").await.unwrap();
    greedy.settle(last - 9, last, DeliveryState::Accepted).await;
    greedy.start_sending(sender, &message("next", "x"), 0, false);
    greedy.flush().await;
    assert_eq!(id_of(&greedy.delivery().await), "next");
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_a_bounded_number_of_locks() {
    const MESSAGES: usize = 2_000;
    let (broker, clock) = start_with_clock([QueueConfig::new("q").max_delivery_count(99)]);
    let mut sleeper = Client::connect(broker.local_addr()).await;
    let sender = sleeper.attach_sender("q").await.unwrap();
    for i in 0..MESSAGES {
        sleeper
            .send(sender, &message(&i.to_string(), vec![0; 10_000]))
            .await;
    }
    let receiver = sleeper.attach_receiver("q", false).await.unwrap();
    // It asks for everything and reads nothing: sockets and output fill up, and that is all.
    sleeper.give_credit(receiver, 100_000).await;
    let locked = || broker.counts("q").unwrap().locked;
    eventually("it is given something", || locked() > 0).await;

    let mut other = Client::connect(broker.local_addr()).await;
    let receiver = other.attach_receiver("q", true).await.unwrap();
    other
        .give_credit(receiver, u32::try_from(MESSAGES).unwrap())
        .await;
    let held = loop {
        let counts = broker.counts("q").unwrap();
        if counts.active == 0 {
            break counts.locked;
        }
        other.delivery().await;
    };
    assert!(
        held < MESSAGES,
        "all messages went to a client that does not read"
    );
    clock.advance(Duration::from_secs(61));
    // What the sleeper holds comes back and goes to the one that is awake.
    eventually("the locks end", || locked() == 0 || locked() < held).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_receiver_that_leaves_passes_its_message_on() {
    let broker = start([QueueConfig::new("q")]);
    let mut leaver = Client::connect(broker.local_addr()).await;
    let first = leaver.attach_receiver("q", false).await.unwrap();
    leaver.give_credit(first, 1).await;
    let mut stayer = Client::connect(broker.local_addr()).await;
    let receiver = stayer.attach_receiver("q", true).await.unwrap();
    stayer.give_credit(receiver, 1).await;
    drop(leaver);
    let mut sender = Client::connect(broker.local_addr()).await;
    let link = sender.attach_sender("q").await.unwrap();
    // The leaver may still take the first one with it into its lock; then the second must arrive.
    for id in ["1", "2"] {
        sender.send(link, &message(id, "x")).await;
    }
    stayer.delivery().await;
    broker.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_are_hung_up_on_and_places_become_free() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.connections = 2;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let first = Client::connect(broker.local_addr()).await;
    let second = Client::connect(broker.local_addr()).await;
    let mut third = Client::dial(broker.local_addr(), ClientOptions::new("third")).await;
    assert_eq!(third.read().await, 0);
    drop((first, second));
    let address = broker.local_addr();
    let mut connected = false;
    for _ in 0..1_000 {
        let mut client = Client::dial(address, ClientOptions::new("next")).await;
        client.flush().await;
        connected = client.read().await > 0;
        if connected {
            break;
        }
    }
    assert!(connected, "a place becomes free when its client leaves");
    broker.stop().await;
}
