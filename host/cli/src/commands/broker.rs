//! `nightshift broker`: the broker as a process of its own.

use std::time::Duration;

use anyhow::Context;
use nightshift_broker::{
    AccessKey, Broker, BrokerConfig, ConfigFile, ConfigFileError, QueueConfig,
};
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
    let (queues, topics) = configured(&args)?;
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
    for topic in topics {
        tracing::warn!(
            broker.topic = topic,
            "topics are not served; this one is left out"
        );
    }
    signals.next().await;
    broker.stop().await;
    Ok(0)
}

/// The queues to serve, and the topics that were asked for in vain.
fn configured(args: &BrokerArgs) -> Result<(Vec<QueueConfig>, Vec<String>), ConfigFileError> {
    if let Some(file) = &args.config {
        let file = ConfigFile::read(file)?;
        return Ok((file.queues, file.topics));
    }
    let queue = |name| {
        QueueConfig::new(name)
            .lock_duration(Duration::from_secs(args.lock_seconds))
            .max_delivery_count(args.max_delivery_count)
    };
    let plain = args.queues.iter().map(queue);
    let with_sessions = args.session_queues.iter().map(queue);
    let with_sessions = with_sessions.map(|queue| queue.requires_session(true));
    Ok((plain.chain(with_sessions).collect(), Vec::new()))
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn try_args(arguments: &[&str]) -> Option<BrokerArgs> {
        let cli = Cli::try_parse_from([&["nightshift", "broker"], arguments].concat()).ok()?;
        let Command::Broker(args) = cli.command else {
            panic!("{arguments:?}")
        };
        Some(args)
    }

    #[test]
    fn the_queues_come_from_the_options_or_from_a_file() {
        let args = try_args(&["--queue", "a", "--queue", "b", "--lock-seconds", "7"]).unwrap();
        let (queues, _) = configured(&args).unwrap();
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(queues[1].lock_duration, Duration::from_secs(7));

        let args = try_args(&["--session-queue", "s", "--queue", "a"]).unwrap();
        let (queues, _) = configured(&args).unwrap();
        let sessions = queues
            .iter()
            .map(|queue| (queue.name.as_str(), queue.requires_session));
        assert_eq!(sessions.collect::<Vec<_>>(), [("a", false), ("s", true)]);
        assert!(try_args(&["--session-queue", "s"]).is_some());

        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"UserConfig": {"Namespaces": [{
            "Queues": [{"Name": "c"}], // a comment
            "Topics": [{"Name": "t"}]
        }]}}"#;
        std::fs::write(file.path(), text).unwrap();
        let args = try_args(&["--config", file.path().to_str().unwrap()]).unwrap();
        let (queues, topics) = configured(&args).unwrap();
        assert_eq!((queues[0].name.as_str(), topics), ("c", vec!["t".into()]));
    }

    #[test]
    fn options_and_file_exclude_each_other_and_one_is_needed() {
        for arguments in [
            &[][..],
            &["--config", "f", "--queue", "q"],
            &["--config", "f", "--session-queue", "q"],
            &["--config", "f", "--lock-seconds", "7"],
            &["--config", "f", "--max-delivery-count", "7"],
        ] {
            assert!(try_args(arguments).is_none(), "{arguments:?}");
        }
    }
}
