//! The broker over a socket, driven by the protocol engine itself: what an SDK would never do, and
//! what it hides.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what a test cannot do without, it may panic for"
)]

mod authorisation;
mod bounds;
mod client;
mod crowd;
mod delivery;
mod errors;
mod forwarding;
mod health;
mod hostile;
mod links;
mod management;
mod neighbours;
mod sessions;

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_time::{SystemClock, TestClock};

/// Longer than any step takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Like a user's, but for a stop that does not wait for the clients that a test leaves behind.
fn config(queues: impl IntoIterator<Item = QueueConfig>) -> BrokerConfig {
    let mut config = BrokerConfig::new(queues);
    config.limits.stop_grace = Duration::from_millis(50);
    config
}

fn start(queues: impl IntoIterator<Item = QueueConfig>) -> Broker {
    Broker::start(config(queues), SystemClock::shared()).expect("a free port")
}

/// A broker whose time only moves by hand.
fn start_with_clock(queues: impl IntoIterator<Item = QueueConfig>) -> (Broker, TestClock) {
    let clock = TestClock::new(DateTime::from_timestamp(1_800_000_000, 0).expect("a time"));
    let broker = Broker::start(config(queues), Arc::new(clock.clone())).expect("a free port");
    (broker, clock)
}

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
