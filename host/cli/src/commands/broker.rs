//! `nightshift broker`: the broker as a process of its own.

use std::time::Duration;

use anyhow::Context;
use nightshift_broker::{AccessKey, Broker, BrokerConfig, QueueConfig};
use nightshift_settings::{Environment, ExposeSecret, Reader};
use nightshift_telemetry::LogFilter;
use nightshift_time::SystemClock;
use serde_json::json;

use super::settings::ELSEWHERE;
use crate::args::BrokerArgs;
use crate::output;
use crate::signals::Signals;

/// The setting with the key that clients must hold; without it any key is accepted, on loopback.
pub(super) const KEY: &str = "NIGHTSHIFT_BROKER_KEY";

/// The rule that every namespace has from the beginning.
const RULE: &str = "RootManageSharedAccessKey";

pub(super) async fn run(args: BrokerArgs, is_json: bool) -> anyhow::Result<u8> {
    let mut reader = Reader::new(&Environment);
    let filter = LogFilter::read(&mut reader);
    let is_protected = nightshift_settings::Source::get(&Environment, KEY).is_some();
    let key = if is_protected {
        reader.secret(KEY)
    } else {
        None
    };
    reader.finish(ELSEWHERE)?;
    let queues = args.queues.iter().map(|name| {
        QueueConfig::new(name)
            .lock_duration(Duration::from_secs(args.lock_seconds))
            .max_delivery_count(args.max_delivery_count)
    });
    let mut config = BrokerConfig::new(queues).listen(args.listen);
    if let Some(key) = key {
        let key = key.expose_secret().to_owned();
        config = config.access_key(AccessKey {
            name: RULE.to_owned(),
            key,
        });
    }
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let broker = Broker::start(config, SystemClock::shared())?;
    announce(&broker, is_protected, is_json);
    nightshift_telemetry::init(&filter);
    signals.next().await;
    broker.stop().await;
    Ok(0)
}

/// Says where the broker is. A key that protects something is not shown.
fn announce(broker: &Broker, is_protected: bool, is_json: bool) {
    let address = broker.local_addr();
    let connection_string = (!is_protected).then(|| broker.connection_string());
    let queues: Vec<&str> = broker.queue_names().collect();
    if is_json {
        let line = json!({
            "listening": address.to_string(),
            "queues": queues,
            "connection_string": connection_string,
        });
        output::line(line);
        return;
    }
    output::line(format!(
        "listening on {address}, queues: {}",
        queues.join(", ")
    ));
    if let Some(connection_string) = connection_string {
        output::line(format!("connection string: {connection_string}"));
    }
}
