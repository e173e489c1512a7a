//! `nightshift broker`: the broker as a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nightshift_broker::{AccessKey, Broker, BrokerConfig, ConfigFile, QueueConfig};
use nightshift_settings::{Environment, ExposeSecret, Reader};
use nightshift_telemetry::LogFilter;
use nightshift_time::SystemClock;
use serde_json::json;

use super::settings::ELSEWHERE;
use crate::args::BrokerArgs;
use crate::found::Entities;
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
    config.limits.total_bytes = bytes(args.memory_mib);
    config.data.clone_from(&args.data);
    if let Some(key) = key {
        let key = key.expose_secret().to_owned();
        config = config.access_key(AccessKey {
            name: RULE.to_owned(),
            key,
        });
    }
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let broker = Broker::start(config, SystemClock::shared())?;
    announce(&broker, args.data.as_deref(), is_protected, is_json);
    nightshift_telemetry::init(&filter);
    for notice in broker.notices() {
        tracing::warn!("{notice}");
    }
    for topic in topics {
        tracing::warn!(
            broker.topic = topic,
            "topics are not served; this one is left out"
        );
    }
    let failure = tokio::select! {
        _ = signals.next() => None,
        failure = broker.failed() => Some(failure),
    };
    broker.stop().await;
    failure.map_or(Ok(0), |failure| Err(failure.into()))
}

fn bytes(mib: u32) -> usize {
    usize::try_from(mib)
        .unwrap_or(usize::MAX)
        .saturating_mul(1024 * 1024)
}

/// The queues to serve, and the topics that were asked for in vain.
fn configured(args: &BrokerArgs) -> anyhow::Result<(Vec<QueueConfig>, Vec<String>)> {
    if let Some(file) = &args.config {
        let file = ConfigFile::read(file)?;
        return Ok((file.queues, file.topics));
    }
    let queue = |name: String, has_sessions| {
        QueueConfig::new(name)
            .lock_duration(Duration::from_secs(args.lock_seconds))
            .max_delivery_count(args.max_delivery_count)
            .requires_session(has_sessions)
    };
    let named = [(&args.queues, false), (&args.session_queues, true)];
    let named = named.into_iter().flat_map(|(names, has_sessions)| {
        names
            .iter()
            .map(move |name| queue(name.clone(), has_sessions))
    });
    let queues: Vec<QueueConfig> = named.collect();
    if !queues.is_empty() {
        return Ok((queues, Vec::new()));
    }
    let mut found = Entities::of_app(&args.app_root, &Environment)?;
    let topics = std::mem::take(&mut found.topics);
    let queues: Vec<QueueConfig> = found
        .into_queues()
        .map(|found| queue(found.name, found.has_sessions))
        .collect();
    if queues.is_empty() {
        bail!(
            "no function in {} names a queue: name one by --queue, give a Config.json by --config, \
             or say by --app-root where the functions are",
            args.app_root.display()
        );
    }
    Ok((queues, topics))
}

/// Says where the broker is. A key that protects something is not shown.
fn announce(broker: &Broker, data: Option<&Path>, is_protected: bool, is_json: bool) {
    let address = broker.local_addr();
    let connection_string = (!is_protected).then(|| broker.connection_string());
    let queues: Vec<&str> = broker.queue_names().collect();
    if is_json {
        let line = json!({
            "listening": address.to_string(),
            "queues": queues,
            "data": data,
            "connection_string": connection_string,
        });
        output::line(line);
        return;
    }
    output::line(format!(
        "listening on {address}, queues: {}",
        queues.join(", ")
    ));
    output::line(match data {
        Some(folder) => format!("messages are kept in {}", folder.display()),
        None => "messages are kept in memory only; --data DIR keeps them over a restart".to_owned(),
    });
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
    fn without_options_the_functions_name_the_queues() {
        let root = tempfile::tempdir().unwrap();
        let args = try_args(&["--app-root", root.path().to_str().unwrap()]).unwrap();
        let nothing = configured(&args).unwrap_err().to_string();
        assert!(nothing.contains("--queue"), "{nothing}");
        let folder = root.path().join("work");
        std::fs::create_dir(&folder).unwrap();
        let function = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in", "name": "m",
            "queueName": "steps", "isSessionsEnabled": true}]}"#;
        std::fs::write(folder.join("function.json"), function).unwrap();
        let (queues, _) = configured(&args).unwrap();
        assert_eq!(queues[0].name, "steps");
        assert!(queues[0].requires_session);
    }

    #[test]
    fn the_sources_of_queues_exclude_each_other() {
        for arguments in [
            &["--config", "f", "--queue", "q"][..],
            &["--app-root", "d", "--queue", "q"],
            &["--app-root", "d", "--config", "f"],
            &["--config", "f", "--session-queue", "q"],
            &["--config", "f", "--lock-seconds", "7"],
            &["--config", "f", "--max-delivery-count", "7"],
        ] {
            assert!(try_args(arguments).is_none(), "{arguments:?}");
        }
    }
}
