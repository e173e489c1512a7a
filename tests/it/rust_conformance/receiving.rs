//! Receiving: credit, both modes, prefetch, and what a receiver leaves behind.

use std::time::{Duration, Instant};

use nightshift_bus::{BusError, Message, ReceiverOptions};

use super::checks;
use super::world::{World, complete, ids, numbers};

const QUEUE: &str = "rust-receiving";

checks![
    a_receiver_gets_no_more_than_it_asks_for,
    a_receiver_that_waits_gets_a_message_as_soon_as_it_is_sent,
    a_call_without_patience_returns_what_is_there,
    receive_and_delete_removes_and_leaves_nothing_to_settle,
    prefetched_messages_come_in_their_order,
    a_closed_receiver_gives_back_what_nobody_took,
    abandoned_calls_lose_no_message,
    two_receivers_of_one_client_do_not_mix_their_messages,
];

fn prefetch(prefetch: u32) -> ReceiverOptions {
    ReceiverOptions {
        prefetch,
        ..ReceiverOptions::default()
    }
}

async fn a_receiver_gets_no_more_than_it_asks_for(world: World) {
    world.send(QUEUE, &["1", "2", "3", "4", "5"]).await;
    let first = world.receiver(QUEUE).await;
    let taken = world.take(&first, 2).await;
    assert_eq!(ids(&taken), ["1", "2"]);
    let second = world.receiver(QUEUE).await;
    let rest = world.take(&second, 3).await;
    assert_eq!(
        ids(&rest),
        ["3", "4", "5"],
        "what is left is left for others"
    );
    complete(&second, &rest).await;
    complete(&first, &taken).await;
    world.nothing_comes(&first).await;
}

async fn a_receiver_that_waits_gets_a_message_as_soon_as_it_is_sent(world: World) {
    let receiver = world.receiver(QUEUE).await;
    world.nothing_comes(&receiver).await;
    let sender = world.sender(QUEUE).await;
    let send = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sender.send_message(Message::new("late")).await.unwrap();
        Instant::now()
    };
    let (messages, sent) = tokio::join!(receiver.receive_messages(1, world.timing.soon), send);
    let messages = messages.unwrap();
    assert_eq!(messages.len(), 1);
    assert!(
        sent.elapsed() < Duration::from_secs(5),
        "{:?}",
        sent.elapsed()
    );
    complete(&receiver, &messages).await;
}

async fn a_call_without_patience_returns_what_is_there(world: World) {
    let receiver = world.receiver_with(QUEUE, prefetch(10)).await;
    let none = receiver.receive_messages(1, Duration::ZERO).await.unwrap();
    assert!(none.is_empty(), "{none:?}");
    world.send(QUEUE, &["1", "2"]).await;
    let one = world.take_one(&receiver).await;
    let deadline = Instant::now() + world.timing.soon;
    let two = loop {
        assert!(Instant::now() < deadline);
        match receiver.receive_messages(5, Duration::ZERO).await.unwrap() {
            none if none.is_empty() => tokio::time::sleep(Duration::from_millis(5)).await,
            some => break some,
        }
    };
    assert_eq!(ids(&two), ["2"]);
    complete(&receiver, &[one]).await;
    complete(&receiver, &two).await;
}

async fn receive_and_delete_removes_and_leaves_nothing_to_settle(world: World) {
    world.send(QUEUE, &["1", "2"]).await;
    let taker = world.taker(QUEUE).await;
    let messages = world.take(&taker, 2).await;
    assert_eq!(ids(&messages), ["1", "2"]);
    assert!(messages[0].lock_token.is_nil() && messages[0].locked_until.is_none());
    let error = taker.complete_message(&messages[0]).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    world.nothing_comes(&world.receiver(QUEUE).await).await;
}

async fn prefetched_messages_come_in_their_order(world: World) {
    let wanted = numbers(100);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let receiver = world.receiver_with(QUEUE, prefetch(20)).await;
    let mut came = Vec::new();
    while came.len() < 100 {
        let messages = receiver
            .receive_messages(7, world.timing.soon)
            .await
            .unwrap();
        assert!(!messages.is_empty(), "{} came", came.len());
        complete(&receiver, &messages).await;
        came.extend(ids(&messages).into_iter().map(str::to_owned));
    }
    assert_eq!(came, wanted);
}

async fn a_closed_receiver_gives_back_what_nobody_took(world: World) {
    let wanted = numbers(20);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let receiver = world.receiver_with(QUEUE, prefetch(20)).await;
    let taken = world.take(&receiver, 3).await;
    complete(&receiver, &taken).await;
    receiver.close().await;
    let next = world.receiver(QUEUE).await;
    let mut rest = world.take(&next, 17).await;
    rest.sort_by_key(|message| message.sequence_number);
    assert_eq!(ids(&rest), wanted[3..]);
    complete(&next, &rest).await;
    world.nothing_comes(&next).await;
}

async fn abandoned_calls_lose_no_message(world: World) {
    let wanted = numbers(50);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let receiver = world.receiver(QUEUE).await;
    let (mut came, mut turn) = (Vec::new(), 0_u64);
    let deadline = Instant::now() + world.timing.soon;
    while came.len() < 50 {
        assert!(Instant::now() < deadline, "{} of 50 came", came.len());
        turn += 1;
        let patience = tokio::time::sleep(Duration::from_micros(turn % 5 * 100));
        let messages = tokio::select! {
            biased;
            () = patience => continue,
            messages = receiver.receive_messages(3, world.timing.soon) => messages.unwrap(),
        };
        complete(&receiver, &messages).await;
        came.extend(ids(&messages).into_iter().map(str::to_owned));
        turn = 0;
    }
    came.sort_by_key(|id| id.parse::<usize>().expect("a number"));
    assert_eq!(came, wanted);
}

async fn two_receivers_of_one_client_do_not_mix_their_messages(world: World) {
    world.send(QUEUE, &["1"]).await;
    let (one, other) = (world.receiver(QUEUE).await, world.receiver(QUEUE).await);
    let message = world.take_one(&one).await;
    let error = other.complete_message(&message).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    one.complete_message(&message).await.unwrap();
}
