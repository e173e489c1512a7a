//! The whole broker with a client, over a disk that fails: what the client was told is on the disk
//! at the moment in which it was told.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use nightshift_bus::{
    BusError, ClientOptions, Message, ReceiveMode, ReceivedMessage, Receiver, ReceiverOptions,
    RetryOptions, Sender, ServiceBusClient, SessionReceiverOptions, Settlement as Settle,
    SubQueue as Below,
};
use nightshift_time::SystemClock;
use tokio::time::timeout;

use super::*;
use crate::Broker;

/// Longer than any step takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(disk: &Disk) -> Result<Broker, crate::BrokerError> {
    let mut config = config();
    config.limits.stop_grace = Duration::from_millis(20);
    let folder: Arc<dyn Folder> = Arc::new(disk.clone());
    Broker::start_in(Some(folder), config, SystemClock::shared())
}

/// A client that tries nothing again.
async fn connect(broker: &Broker) -> Result<ServiceBusClient, BusError> {
    let options = ClientOptions {
        retry: RetryOptions {
            max_retries: 0,
            ..RetryOptions::default()
        },
        ..ClientOptions::default()
    };
    let connection = broker.connection_string().parse().unwrap();
    ServiceBusClient::connect(&connection, options).await
}

fn message(id: &str) -> Message {
    Message::new(id.to_owned()).with_message_id(id)
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8(message.message.body.to_vec()).unwrap()
}

async fn one(receiver: &Receiver) -> Result<ReceivedMessage, BusError> {
    let mut messages = receiver.receive_messages(1, PATIENCE).await?;
    Ok(messages.pop().expect("a message"))
}

/// What a broker would find if the power were cut at this moment, at the worst.
fn on_disk(disk: &Disk) -> [QueueCounts; NAMES.len()] {
    let (mut worst, mut fewest) = (None, usize::MAX);
    for seed in 0..4 {
        let world = World::open(&disk.cut_power(seed), SystemClock::shared().now()).unwrap();
        let counts = [0, 1, 2, 3, 4].map(|queue| world.counts(queue));
        let total = counts.iter().map(QueueCounts::total).sum();
        if total < fewest {
            (worst, fewest) = (Some(counts), total);
        }
    }
    worst.unwrap()
}

#[tokio::test]
async fn everything_that_a_client_is_told_is_on_the_disk_by_then() {
    let disk = Disk::default();
    // Long enough that an answer which does not wait would be here before.
    disk.slow_down(Duration::from_millis(5));
    let broker = start(&disk).unwrap();
    let client = connect(&broker).await.unwrap();
    let sender = client.create_sender("plain").await.unwrap();
    let plain = || on_disk(&disk)[0];

    for count in 1..=6 {
        sender
            .send_message(message(&count.to_string()))
            .await
            .unwrap();
        assert_eq!(plain().active, count, "sent");
    }
    let later = SystemClock::shared().now() + TimeDelta::hours(1);
    let scheduled = sender
        .schedule_messages(vec![message("later")], later)
        .await
        .unwrap();
    assert_eq!(plain().scheduled, 1, "scheduled");
    sender.cancel_scheduled_messages(&scheduled).await.unwrap();
    assert_eq!(plain().scheduled, 0, "cancelled");

    let receiver = client
        .create_receiver("plain", ReceiverOptions::default())
        .await
        .unwrap();
    let held = one(&receiver).await.unwrap();
    receiver.complete_message(&held).await.unwrap();
    assert_eq!(plain().active, 5, "completed");
    let held = one(&receiver).await.unwrap();
    receiver
        .dead_letter_message(&held, "why", "because")
        .await
        .unwrap();
    assert_eq!(
        (plain().active, plain().dead_letter),
        (4, 1),
        "dead-lettered"
    );
    let held = one(&receiver).await.unwrap();
    receiver.defer_message(&held).await.unwrap();
    assert_eq!((plain().active, plain().deferred), (3, 1), "deferred");
    let held = one(&receiver).await.unwrap();
    receiver
        .settle_message(&held, Settle::abandon())
        .await
        .unwrap();
    let again = one(&receiver).await.unwrap();
    assert_eq!(again.delivery_count, 2, "abandoned");
    receiver.close().await;

    let options = ReceiverOptions {
        mode: ReceiveMode::ReceiveAndDelete,
        ..ReceiverOptions::default()
    };
    let deleting = client.create_receiver("plain", options).await.unwrap();
    // One is still locked for the receiver that left.
    for left in (1..3).rev() {
        one(&deleting).await.unwrap();
        assert_eq!(plain().active, left, "received and deleted");
    }
    deleting.close().await;

    client.close().await;
    broker.stop().await;
}

#[tokio::test]
async fn states_and_forwarded_messages_are_on_the_disk_too() {
    let disk = Disk::default();
    disk.slow_down(Duration::from_millis(5));
    let broker = start(&disk).unwrap();
    let client = connect(&broker).await.unwrap();
    let options = SessionReceiverOptions::default();
    let session = client
        .accept_session("sessions", "s", options)
        .await
        .unwrap();
    let before = on_disk(&disk)[2].bytes;
    let state = bytes::Bytes::from_static(b"state");
    session.set_session_state(Some(state)).await.unwrap();
    assert!(on_disk(&disk)[2].bytes > before, "the state of a session");

    let entry = client.create_sender("entry").await.unwrap();
    entry.send_message(message("forwarded")).await.unwrap();
    assert_eq!(
        (on_disk(&disk)[3].total(), on_disk(&disk)[0].active),
        (0, 1),
        "forwarded"
    );
    client.close().await;
    broker.stop().await;
}

/// What a client was told, over all lives of the broker.
#[derive(Default)]
struct Told {
    dice: Option<StdRng>,
    sent: u32,
    accepted: BTreeSet<String>,
    completed: BTreeSet<String>,
    uncertain: BTreeSet<String>,
    /// By the address of the queue and the number in it.
    deferred: HashMap<String, (String, i64)>,
}

/// How long to wait for messages that may not come.
const SHORT: Duration = Duration::from_millis(5);

/// The links of one life.
struct Links {
    plain: Sender,
    strict: Sender,
    entry: Sender,
    from: [Receiver; 2],
    dead: Receiver,
}

impl Links {
    async fn open(client: &ServiceBusClient) -> Result<Self, BusError> {
        let options = ReceiverOptions::default;
        let dead = ReceiverOptions {
            sub_queue: Some(Below::DeadLetter),
            ..options()
        };
        Ok(Self {
            plain: client.create_sender("plain").await?,
            strict: client.create_sender("strict").await?,
            entry: client.create_sender("entry").await?,
            from: [
                client.create_receiver("plain", options()).await?,
                client.create_receiver("strict", options()).await?,
            ],
            dead: client.create_receiver("plain", dead).await?,
        })
    }
}

impl Told {
    fn roll(&mut self, sides: usize) -> usize {
        let dice = self.dice.get_or_insert_with(|| StdRng::seed_from_u64(0));
        dice.random_range(0..sides)
    }

    /// Does one thing after the other until the broker is gone.
    async fn live(&mut self, links: &Links) -> BusError {
        loop {
            let done = match self.roll(8) {
                0..4 => self.send(links).await,
                4..6 => self.receive(&links.from[0], false).await,
                6 => self.receive(&links.from[1], false).await,
                _ => self.receive(&links.dead, false).await,
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    async fn send(&mut self, links: &Links) -> Result<(), BusError> {
        self.sent += 1;
        let id = format!("m{}", self.sent);
        match self.roll(4) {
            0 => links.plain.send_message(message(&id)).await?,
            1 => links.entry.send_message(message(&id)).await?,
            2 => {
                let soon = SystemClock::shared().now() + TimeDelta::milliseconds(20);
                links
                    .plain
                    .schedule_messages(vec![message(&id)], soon)
                    .await?;
            }
            _ => {
                links.strict.send_message(message(&id)).await?;
                self.accepted.insert(id.clone());
                // Once more: it must not come twice.
                links.strict.send_message(message(&id)).await?;
            }
        }
        self.accepted.insert(id);
        Ok(())
    }

    /// Receives what is there and settles it in some way, or completes it.
    async fn receive(&mut self, receiver: &Receiver, only_completes: bool) -> Result<(), BusError> {
        let messages = receiver.receive_messages(20, SHORT).await?;
        for message in messages {
            let id = text(&message);
            assert!(!self.completed.contains(&id), "{id} came back");
            let deferred = self.deferred.contains_key(&id);
            assert!(!deferred, "{id} was set aside");
            match if only_completes { 9 } else { self.roll(10) } {
                0 => receiver.abandon_message(&message).await?,
                1 => {
                    receiver
                        .dead_letter_message(&message, "why", "because")
                        .await?;
                }
                // A dead letter that is set aside would never come out again.
                2 if !receiver.entity().ends_with("Queue") => {
                    self.uncertain.insert(id.clone());
                    receiver.defer_message(&message).await?;
                    self.uncertain.remove(&id);
                    let number = message.sequence_number;
                    self.deferred
                        .insert(id, (receiver.entity().to_owned(), number));
                }
                _ => {
                    self.uncertain.insert(id.clone());
                    receiver.complete_message(&message).await?;
                    self.uncertain.remove(&id);
                    self.completed.insert(id);
                }
            }
        }
        Ok(())
    }

    /// Takes out everything that is left, on a broker that does not fail.
    async fn finish(&mut self, broker: &Broker, client: &ServiceBusClient) {
        let links = Links::open(client).await.unwrap();
        for (id, (entity, number)) in std::mem::take(&mut self.deferred) {
            let all = [&links.from[0], &links.from[1], &links.dead];
            let receiver = all.into_iter().find(|receiver| receiver.entity() == entity);
            let receiver = receiver.unwrap();
            let found = receiver.receive_deferred_messages(&[number]).await.unwrap();
            assert_eq!(text(&found[0]), id, "it was set aside");
            receiver.complete_message(&found[0]).await.unwrap();
            self.completed.insert(id);
        }
        let graves = client
            .create_receiver("graves", ReceiverOptions::default())
            .await
            .unwrap();
        let left = || {
            let count = |name: &str| {
                let counts = broker.counts(name).unwrap();
                counts.total() - counts.deferred
            };
            ["plain", "strict", "entry", "graves"]
                .map(count)
                .iter()
                .sum::<usize>()
        };
        timeout(PATIENCE, async {
            while left() > 0 {
                for receiver in [&links.from[0], &links.from[1], &links.dead, &graves] {
                    self.receive(receiver, true).await.unwrap();
                }
            }
            // A dead letter that was set aside stays; all others come at once.
        })
        .await
        .expect("everything comes out");
    }
}

#[tokio::test]
async fn power_cut_at_any_moment_breaks_no_promise() {
    let mut compactions = 0;
    for seed in seeds(5) {
        let mut disk = Disk::default();
        let mut told = Told {
            dice: Some(StdRng::seed_from_u64(seed)),
            ..Told::default()
        };
        for life in 0..3 {
            let operations = 10 + told.roll(150) as u64;
            disk.die_at(disk.operations() + operations, seed);
            if let Ok(broker) = start(&disk) {
                let client = connect(&broker).await;
                if let Ok(client) = &client
                    && let Ok(links) = Links::open(client).await
                {
                    let error = timeout(PATIENCE, told.live(&links)).await;
                    assert!(error.is_ok(), "seed {seed}, life {life}: nobody was told");
                }
                let failure = timeout(PATIENCE, broker.failed())
                    .await
                    .expect("it has failed");
                assert!(matches!(failure, crate::BrokerError::Journal(_)));
                broker.stop().await;
            }
            let names = disk.list();
            compactions += usize::from(names.iter().any(|name| name.starts_with("checkpoint")));
            disk = disk.cut_power(seed);
        }
        let broker = start(&disk).unwrap();
        let client = connect(&broker).await.unwrap();
        told.finish(&broker, &client).await;
        let lost: Vec<&String> = told
            .accepted
            .iter()
            .filter(|id| !told.completed.contains(*id) && !told.uncertain.contains(*id))
            .collect();
        assert!(
            lost.is_empty(),
            "seed {seed}: {lost:?} of {}",
            told.accepted.len()
        );
        broker.stop().await;
    }
    assert!(compactions > 0, "the journal was compacted all the while");
}
