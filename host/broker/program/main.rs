//! `nightshift-broker`: the broker as a program of its own, without the tools around it, so that it is
//! small. `nightshift broker` starts it.

mod args;
mod descriptors;
mod found;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use nightshift_broker::{AccessKey, Broker, BrokerConfig, ConfigFile, QueueConfig};
use nightshift_settings::{EXIT_CODE, Environment, ExposeSecret, Problems, Reader, Source};
use nightshift_telemetry::{Telemetry, TelemetrySettings};
use nightshift_time::SystemClock;
use serde_json::json;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::found::Entities;

/// The setting with the key that clients must hold; without it any key is accepted, on loopback.
const KEY: &str = "NIGHTSHIFT_BROKER_KEY";

/// Settings of the processes that may share the environment.
const ELSEWHERE: &[&str] = &[
    // One that is empty is not there, and is no mistake either.
    KEY,
    "NIGHTSHIFT_API_",
    "NIGHTSHIFT_HOST_",
    "NIGHTSHIFT_OPS_",
    "NIGHTSHIFT_PINGS",
    "NIGHTSHIFT_PING_",
    "NIGHTSHIFT_POSTGRES_",
    "NIGHTSHIFT_REDIS_",
    "NIGHTSHIFT_RELEASED_AT",
    "NIGHTSHIFT_BLOB_",
    "NIGHTSHIFT_BATCH_",
    "NIGHTSHIFT_MAX_",
    "NIGHTSHIFT_TEST_",
];

/// The rule that every namespace has from the beginning.
const RULE: &str = "RootManageSharedAccessKey";

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run(&Args::parse()).await else {
        return ExitCode::SUCCESS;
    };
    let problems = error.downcast_ref::<Problems>();
    let text = match problems {
        Some(problems) => problems.to_string(),
        None => format!("nightshift-broker: {error:#}\n"),
    };
    // Nobody may be reading any more; the exit code says the same.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    problems.map_or(ExitCode::FAILURE, |_| ExitCode::from(EXIT_CODE))
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let mut reader = Reader::new(&Environment);
    let telemetry = TelemetrySettings::read(&mut reader, "nightshift-broker");
    let is_protected = Environment.get(KEY).is_some();
    let key = if is_protected {
        reader.secret(KEY)
    } else {
        None
    };
    reader.finish(ELSEWHERE)?;
    let (queues, topics) = configured(args)?;
    let mut config = BrokerConfig::new(queues).listen(args.listen);
    config.limits.total_bytes = bytes(args.memory_mib);
    let wanted = config.limits.connections;
    let files = descriptors::raise()?;
    let connections = descriptors::connections(wanted, files)?;
    config.limits.connections = connections;
    config.data.clone_from(&args.data);
    if let Some(key) = key {
        let key = key.expose_secret().to_owned();
        config = config.access_key(AccessKey {
            name: RULE.to_owned(),
            key,
        });
    }
    // From here on a signal does not kill at once.
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let broker = Broker::start(config, SystemClock::shared())?;
    announce(&broker, args, is_protected);
    let telemetry = Telemetry::start(&telemetry);
    for notice in broker.notices() {
        tracing::warn!("{notice}");
    }
    if connections < wanted {
        tracing::warn!(
            process.open_files = files,
            broker.limit = connections,
            "the limit of open files leaves room for fewer connections than {wanted}"
        );
    }
    for topic in topics {
        tracing::warn!(
            broker.topic = topic,
            "topics are not served; this one is left out"
        );
    }
    let failure = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        _ = hangup.recv() => None,
        failure = broker.failed() => Some(failure),
    };
    broker.stop().await;
    telemetry.close().await;
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

fn bytes(mib: u32) -> usize {
    usize::try_from(mib)
        .unwrap_or(usize::MAX)
        .saturating_mul(1024 * 1024)
}

/// The queues to serve, and the topics that were asked for in vain.
fn configured(args: &Args) -> anyhow::Result<(Vec<QueueConfig>, Vec<String>)> {
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

/// Writes a line to standard output. A reader who went away is no error.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Says where the broker is. A key that protects something is not shown.
fn announce(broker: &Broker, args: &Args, is_protected: bool) {
    let data = args.data.as_deref();
    let address = broker.local_addr();
    let connection_string = (!is_protected).then(|| broker.connection_string());
    let queues: Vec<&str> = broker.queue_names().collect();
    if args.json {
        let line = json!({
            "listening": address.to_string(),
            "queues": queues,
            "data": data,
            "connection_string": connection_string,
        });
        say(line);
        return;
    }
    say(format!(
        "listening on {address}, queues: {}",
        queues.join(", ")
    ));
    say(match data {
        Some(folder) => format!("messages are kept in {}", folder.display()),
        None => "messages are kept in memory only; --data DIR keeps them over a restart".to_owned(),
    });
    if let Some(connection_string) = connection_string {
        say(format!("connection string: {connection_string}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_args(arguments: &[&str]) -> Option<Args> {
        Args::try_parse_from([&["nightshift-broker"], arguments].concat()).ok()
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
