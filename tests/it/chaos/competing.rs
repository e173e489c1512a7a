//! Receivers that compete for one queue, abandon, give back, forget, and settle too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::Utc;
use nightshift_broker::QueueConfig;
use nightshift_bus::{BusError, Message, ReceivedMessage, Receiver, ReceiverOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, QUEUE, RECEIVERS, connect, number, send, start};

const MESSAGES: usize = 100_000;

/// What has become of the messages.
#[derive(Default)]
struct Tally {
    /// How often each one's completion was confirmed.
    completed: Vec<AtomicU32>,
    all: AtomicUsize,
    abandoned: AtomicUsize,
    released: AtomicUsize,
    forgotten: AtomicUsize,
    too_late: AtomicUsize,
}

impl Tally {
    fn complete(&self, message: &ReceivedMessage) {
        self.completed[number(message)].fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    fn is_done(&self) -> bool {
        self.all.load(Ordering::Relaxed) >= MESSAGES
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_receivers_complete_each_of_100_000_messages_exactly_once() {
    let broker = start(QueueConfig::new(QUEUE));
    let address = broker.connection_string();
    let messages = (0..MESSAGES).map(|n| Message::new(n.to_string()));
    send(&address, messages.collect()).await;
    let tally = Arc::new(Tally {
        completed: (0..MESSAGES).map(|_| AtomicU32::new(0)).collect(),
        ..Tally::default()
    });
    let mut receivers = JoinSet::new();
    for seed in 0..RECEIVERS {
        let (address, tally) = (address.clone(), Arc::clone(&tally));
        receivers.spawn(async move { receive(&address, &tally, seed).await });
    }
    let all = async { while receivers.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, all)
        .await
        .expect("every message to be completed");

    let not_once: Vec<usize> = (0..MESSAGES)
        .filter(|n| tally.completed[*n].load(Ordering::Relaxed) != 1)
        .collect();
    assert_eq!(not_once, [0; 0], "messages not completed exactly once");
    let counts = broker.counts(QUEUE).unwrap();
    assert_eq!(counts.removed, MESSAGES as u64);
    assert_eq!(
        (counts.active, counts.locked, counts.dead_letter),
        (0, 0, 0)
    );
    for (what, how_many) in [
        ("abandoned", &tally.abandoned),
        ("given back", &tally.released),
        ("forgotten", &tally.forgotten),
        ("settled too late", &tally.too_late),
    ] {
        assert!(
            how_many.load(Ordering::Relaxed) > 100,
            "hardly any were {what}"
        );
    }
    broker.stop().await;
}

async fn receive(address: &str, tally: &Tally, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let client = connect(address).await;
    let options = ReceiverOptions {
        prefetch: 50,
        ..ReceiverOptions::default()
    };
    let receiver = client.create_receiver(QUEUE, options).await.unwrap();
    let mut late = Vec::new();
    while !tally.is_done() {
        let most = random.random_range(1..400);
        let wait = Duration::from_millis(100);
        let messages = receiver.receive_messages(most, wait).await.unwrap();
        let (mut good, mut bad, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            match random.random_range(0..100) {
                0..90 => good.push(message),
                90..94 => bad.push(message),
                94..97 => unseen.push(message),
                // Its lock ends, and nobody says anything.
                97 => drop(tally.forgotten.fetch_add(1, Ordering::Relaxed)),
                _ => late.push(message),
            }
        }
        for (message, result) in good
            .iter()
            .zip(receiver.complete_messages(&good).await.unwrap())
        {
            match result {
                Ok(()) => tally.complete(message),
                // The machine was busier than the lock is long.
                Err(BusError::MessageLockLost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        receiver.abandon_messages(&bad).await.unwrap();
        tally.abandoned.fetch_add(bad.len(), Ordering::Relaxed);
        receiver.release_messages(&unseen).await.unwrap();
        tally.released.fetch_add(unseen.len(), Ordering::Relaxed);
        settle_too_late(&receiver, &mut late, tally).await;
    }
    client.close().await;
}

/// Completes messages whose lock has ended: none of it may count.
async fn settle_too_late(receiver: &Receiver, late: &mut Vec<ReceivedMessage>, tally: &Tally) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the broker tells the end of a lock by the same clock"
    )]
    let now = Utc::now();
    let has_ended = |message: &ReceivedMessage| message.locked_until.unwrap() < now;
    let ended: Vec<ReceivedMessage> = late.extract_if(.., |message| has_ended(message)).collect();
    for result in receiver.complete_messages(&ended).await.unwrap() {
        assert!(
            matches!(result, Err(BusError::MessageLockLost { .. })),
            "{result:?}"
        );
        tally.too_late.fetch_add(1, Ordering::Relaxed);
    }
}
