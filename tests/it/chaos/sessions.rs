//! Receivers that take sessions from each other: they abandon, vanish with their connection, let
//! the session's lock end, and settle too late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_broker::QueueConfig;
use nightshift_bus::{
    BusError, Message, ReceivedMessage, ServiceBusClient, SessionReceiver, SessionReceiverOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{LOCK, PATIENCE, QUEUE, RECEIVERS, connect, number, send, start};

const SESSIONS: usize = 40;
const MESSAGES_EACH: usize = 250;

/// The numbers of each session's messages in the order in which their completion was confirmed.
type Completed = Mutex<HashMap<String, Vec<usize>>>;

/// What has become of the messages and the receivers.
#[derive(Default)]
struct Tally {
    completed: Completed,
    abandoned: AtomicUsize,
    /// How often messages were in hand that nothing more was said of.
    vanished: AtomicUsize,
    hung_up: AtomicUsize,
    stalled: AtomicUsize,
}

/// How a receiver leaves a session.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It goes on until the session is empty for a moment.
    WorkOn,
    /// It gives one message back as failed, and closes.
    Abandon,
    /// It goes with everything that it holds.
    Vanish,
    /// It takes the connection with it.
    HangUp,
    /// It holds messages until its lock has ended, and completes them then.
    Stall,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_keeps_its_order_whoever_fails() {
    let broker = start(QueueConfig::new(QUEUE).requires_session(true));
    let address = broker.connection_string();
    let message = |n: usize| {
        let session = format!("session-{}", n % SESSIONS);
        Message::new((n / SESSIONS).to_string()).with_session_id(session)
    };
    // A batch belongs to one session.
    for session in 0..SESSIONS {
        let messages = (0..MESSAGES_EACH).map(|n| message(n * SESSIONS + session));
        send(&address, messages.collect()).await;
    }
    let tally = Arc::new(Tally::default());
    let mut receivers = JoinSet::new();
    for seed in 0..RECEIVERS {
        let (address, tally) = (address.clone(), Arc::clone(&tally));
        receivers.spawn(async move { receive(&address, &tally, seed).await });
    }
    let all = async { while receivers.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, all)
        .await
        .expect("every message to be completed");

    let completed = std::mem::take(&mut *tally.completed.lock().unwrap());
    assert_eq!(completed.len(), SESSIONS);
    for (session, numbers) in &completed {
        let expected: Vec<usize> = (0..MESSAGES_EACH).collect();
        assert_eq!(numbers, &expected, "{session}");
    }
    let counts = broker.counts(QUEUE).unwrap();
    assert_eq!(
        (counts.active, counts.locked, counts.dead_letter),
        (0, 0, 0)
    );
    for (fate, how_often) in [
        (Fate::Abandon, &tally.abandoned),
        (Fate::Vanish, &tally.vanished),
        (Fate::HangUp, &tally.hung_up),
        (Fate::Stall, &tally.stalled),
    ] {
        assert!(how_often.load(Ordering::Relaxed) > 0, "no {fate:?}");
    }
    broker.stop().await;
}

fn is_done(completed: &Completed) -> bool {
    let all: usize = completed.lock().unwrap().values().map(Vec::len).sum();
    all >= SESSIONS * MESSAGES_EACH
}

async fn receive(address: &str, tally: &Tally, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = connect(address).await;
    while !is_done(&tally.completed) {
        let options = SessionReceiverOptions {
            prefetch: random.random_range(0..20),
            max_wait: Duration::from_millis(500),
            ..SessionReceiverOptions::default()
        };
        let session = match client.accept_next_session(QUEUE, options).await {
            Ok(session) => session,
            Err(BusError::NoSessionAvailable { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let fate = match random.random_range(0..100) {
            0..60 => Fate::WorkOn,
            60..75 => Fate::Abandon,
            75..87 => Fate::Vanish,
            87..94 => Fate::HangUp,
            _ => Fate::Stall,
        };
        work(&session, tally, fate, &mut random).await;
        match fate {
            Fate::WorkOn | Fate::Abandon | Fate::Stall => session.close().await,
            Fate::Vanish => drop(session),
            Fate::HangUp => client = hang_up(client, address).await,
        }
    }
    client.close().await;
}

async fn hang_up(client: ServiceBusClient, address: &str) -> ServiceBusClient {
    client.close().await;
    connect(address).await
}

/// Completes some batches, and then does what the fate says.
async fn work(session: &SessionReceiver, tally: &Tally, fate: Fate, random: &mut StdRng) {
    for _ in 0..random.random_range(0..8) {
        let most = random.random_range(1..30);
        let wait = Duration::from_millis(50);
        let Ok(messages) = session.receive_messages(most, wait).await else {
            return;
        };
        if messages.is_empty() || !complete(session, &tally.completed, &messages).await {
            return;
        }
    }
    let wait = Duration::from_millis(50);
    let Ok(messages) = session.receive_messages(5, wait).await else {
        return;
    };
    // Only what happens to a message counts.
    let Some(first) = messages.first() else {
        return;
    };
    let count = |count: &AtomicUsize| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    match fate {
        Fate::WorkOn => drop(complete(session, &tally.completed, &messages).await),
        Fate::Abandon => {
            // Its lock may have ended on a busy machine.
            if session.abandon_message(first).await.is_ok() {
                count(&tally.abandoned);
            }
        }
        Fate::Vanish => count(&tally.vanished),
        Fate::HangUp => count(&tally.hung_up),
        Fate::Stall => {
            sleep(LOCK + Duration::from_millis(300)).await;
            let results = session.complete_messages(&messages).await;
            let is_refused =
                results.is_err() || results.is_ok_and(|results| results.iter().all(Result::is_err));
            assert!(is_refused, "completed after the session's lock had ended");
            count(&tally.stalled);
        }
    }
}

/// Completes messages in their order, and notes those whose completion is confirmed.
async fn complete(
    session: &SessionReceiver,
    completed: &Completed,
    messages: &[ReceivedMessage],
) -> bool {
    let Ok(results) = session.complete_messages(messages).await else {
        return false;
    };
    let mut completed = completed.lock().unwrap();
    let numbers = completed
        .entry(session.session_id().to_owned())
        .or_default();
    for (message, result) in messages.iter().zip(results) {
        if result.is_err() {
            return false;
        }
        numbers.push(number(message));
    }
    true
}
