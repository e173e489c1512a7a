//! scratch
use std::time::Duration;
use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_time::SystemClock;
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let plain = ["plain", "bodies", "competing", "asynchronous"].map(QueueConfig::new);
    let mut queues = plain.to_vec();
    queues.push(QueueConfig::new("short-lock").lock_duration(Duration::from_secs(1)));
    queues.push(QueueConfig::new("two-tries").max_delivery_count(2));
    queues.push(QueueConfig::new("expiring").default_ttl(Duration::from_secs(1)).dead_letter_on_expiration(true));
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let config = BrokerConfig::new(queues).listen(([127, 0, 0, 1], port).into());
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    println!("{}", broker.connection_string());
    tokio::time::sleep(Duration::from_secs(3600)).await;
}
