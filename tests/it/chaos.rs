//! What holds when receivers fail, stall and vanish: each message is completed exactly once, and
//! those of a session in their order.

mod competing;
mod sessions;

use std::time::Duration;

use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_bus::{ClientOptions, Message, ReceivedMessage, ServiceBusClient};
use nightshift_time::SystemClock;

const QUEUE: &str = "q";

/// Receivers at a time, each with a connection of its own.
const RECEIVERS: u64 = 8;

/// Short, so that locks do end; long enough for a batch on a busy machine.
const LOCK: Duration = Duration::from_secs(2);

/// How long the whole may take. It ends as soon as everything is completed.
const PATIENCE: Duration = Duration::from_mins(3);

/// A queue whose messages may fail as often as they like.
fn start(queue: QueueConfig) -> Broker {
    let queue = queue.lock_duration(LOCK).max_delivery_count(2_000);
    Broker::start(BrokerConfig::new([queue]), SystemClock::shared()).unwrap()
}

async fn connect(connection_string: &str) -> ServiceBusClient {
    let connection = connection_string.parse().unwrap();
    ServiceBusClient::connect(&connection, ClientOptions::default())
        .await
        .unwrap()
}

async fn send(connection_string: &str, messages: Vec<Message>) {
    let client = connect(connection_string).await;
    let sender = client.create_sender(QUEUE).await.unwrap();
    sender.send_messages(messages).await.unwrap();
    client.close().await;
}

/// The number that a message carries as its body.
fn number(message: &ReceivedMessage) -> usize {
    let text = std::str::from_utf8(&message.message.body).unwrap();
    text.parse().unwrap()
}
