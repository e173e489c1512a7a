//! Many receivers and senders of one queue, each with a connection of its own.

use std::collections::BTreeSet;

use nightshift_bus::{Message, ReceiverOptions};
use tokio::task::JoinSet;

use super::checks;
use super::world::{World, complete, ids, numbers};

const QUEUE: &str = "rust-competing";

checks![
    receivers_share_a_queue_and_nothing_comes_twice_or_is_lost,
    senders_and_receivers_work_at_the_same_time,
    abandoned_messages_reach_another_receiver,
];

/// Completes messages until `done` says that it was enough; abandons every `abandons`th at first.
async fn consume(world: World, total: usize, abandons: Option<usize>) -> BTreeSet<String> {
    let done = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let mut receivers = JoinSet::new();
    for number in 0..4_u32 {
        let (world, done) = (world.clone(), std::sync::Arc::clone(&done));
        receivers.spawn(async move {
            let client = world.another_client().await;
            let options = ReceiverOptions {
                prefetch: number * 10,
                ..ReceiverOptions::default()
            };
            let receiver = client.create_receiver(QUEUE, options).await.unwrap();
            let begun = std::time::Instant::now();
            while done.lock().unwrap().len() < total {
                assert!(
                    begun.elapsed() < 2 * world.timing.soon,
                    "{} of {total}",
                    done.lock().unwrap().len()
                );
                let messages = receiver
                    .receive_messages(10, world.timing.briefly)
                    .await
                    .unwrap();
                let fails =
                    |index: usize| abandons.is_some_and(|every| index.is_multiple_of(every));
                let (failed, good): (Vec<_>, Vec<_>) = messages
                    .into_iter()
                    .enumerate()
                    .partition(|(index, message)| message.delivery_count == 1 && fails(*index));
                let second = |(_, message)| message;
                let failed: Vec<_> = failed.into_iter().map(second).collect();
                let good: Vec<_> = good.into_iter().map(second).collect();
                for result in receiver.abandon_messages(&failed).await.unwrap() {
                    result.unwrap();
                }
                complete(&receiver, &good).await;
                for id in ids(&good) {
                    assert!(
                        done.lock().unwrap().insert(id.to_owned()),
                        "{id} came twice"
                    );
                }
            }
            receiver.close().await;
            client.close().await;
        });
    }
    while let Some(ended) = receivers.join_next().await {
        ended.expect("a receiver");
    }
    done.lock().unwrap().clone()
}

async fn receivers_share_a_queue_and_nothing_comes_twice_or_is_lost(world: World) {
    let wanted = numbers(world.timing.many);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let done = consume(world, wanted.len(), None).await;
    assert_eq!(done, wanted.into_iter().collect());
}

async fn senders_and_receivers_work_at_the_same_time(world: World) {
    let mut senders = JoinSet::new();
    for part in 0..4 {
        let world = world.clone();
        senders.spawn(async move {
            let client = world.another_client().await;
            let sender = client.create_sender(QUEUE).await.unwrap();
            for number in 0..50 {
                let id = format!("{part}-{number}");
                sender
                    .send_message(Message::new("x").with_message_id(id))
                    .await
                    .unwrap();
            }
            client.close().await;
        });
    }
    let done = consume(world, 200, None).await;
    senders.join_all().await;
    assert_eq!(done.len(), 200);
}

async fn abandoned_messages_reach_another_receiver(world: World) {
    let wanted = numbers(200);
    world.send(QUEUE, &super::world::borrowed(&wanted)).await;
    let done = consume(world, 200, Some(3)).await;
    assert_eq!(done, wanted.into_iter().collect());
}
