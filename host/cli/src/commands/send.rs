//! `nightshift send`: one message, or many alike, to a queue.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use nightshift_bus::{ClientOptions, ConnectionString, Message, ServiceBusClient};
use nightshift_settings::{Environment, MapSource, Reader, Source};
use nightshift_telemetry::trace::{self, TRACE, TRACEPARENT};
use nightshift_telemetry::{Export, Telemetry};
use nightshift_time::{Clock, Ids, SystemClock};
use serde_json::json;
use tracing::Instrument;

use super::settings::{BUS, ELSEWHERE};
use crate::args::SendArgs;
use crate::output;
use crate::servers::{FOLDER, checkout_above};
use crate::up::addresses;

/// No broker takes larger messages (the service's largest limit is 100 MB), so no more is read.
const LARGEST_BODY: u64 = 100 * 1024 * 1024;

/// How many messages are handed over at a time.
const PORTION: usize = 1000;

pub(super) async fn run(args: SendArgs, is_json: bool) -> anyhow::Result<u8> {
    let connection = connection_string()?;
    let telemetry = telemetry()?;
    let body = read_body(&args.file)?;
    let stem = match &args.message_id {
        Some(id) => id.clone(),
        None => Ids::random().next(SystemClock.now()).to_string(),
    };
    let ids = message_ids(&stem, args.count);
    let client = ServiceBusClient::connect(&connection, ClientOptions::default()).await?;
    let span = tracing::info_span!(
        target: TRACE,
        "queue.send",
        otel.kind = "producer",
        messaging.destination.name = args.queue,
        batch.size = ids.len(),
    );
    let context = trace::context_of(&span);
    let sent = send(&client, &args.queue, &body, &ids, context)
        .instrument(span)
        .await;
    client.close().await;
    telemetry.close().await;
    sent?;
    if is_json {
        output::line(json!({ "queue": args.queue, "sent": ids.len(), "message_id": stem }));
    } else {
        let what = if ids.len() == 1 {
            "message"
        } else {
            "messages"
        };
        output::line(format!(
            "sent {} {what} to {} with the message id {stem}",
            ids.len(),
            args.queue
        ));
    }
    Ok(0)
}

async fn send(
    client: &ServiceBusClient,
    queue: &str,
    body: &bytes::Bytes,
    ids: &[String],
    context: Option<String>,
) -> anyhow::Result<()> {
    let sender = client.create_sender(queue).await?;
    for portion in ids.chunks(PORTION) {
        let message = |id: &String| {
            let message = Message::new(body.clone())
                .with_message_id(id)
                .with_content_type("application/json");
            match &context {
                Some(context) => message.with_property(TRACEPARENT, context.as_str()),
                None => message,
            }
        };
        if let [id] = portion {
            sender.send_message(message(id)).await?;
        } else {
            let messages = portion.iter().map(message).collect();
            sender.send_messages(messages).await?;
        }
    }
    sender.close().await;
    Ok(())
}

/// Spans of what is sent, where the environment says who takes them.
fn telemetry() -> anyhow::Result<Telemetry> {
    let mut reader = Reader::new(&Environment);
    let export = Export::read(&mut reader, "nightshift-send");
    reader.finish(ELSEWHERE)?;
    Ok(Telemetry::start_quietly(export.as_ref()))
}

/// The connection string in the environment, or that of the stack that runs in this checkout.
fn connection_string() -> anyhow::Result<ConnectionString> {
    let source = match Environment.get(BUS) {
        Some(text) => [(BUS, text)].into_iter().collect(),
        None => running_stack().unwrap_or_default(),
    };
    let mut reader = Reader::new(&source);
    let connection = reader.secret_as(BUS);
    reader.finish(ELSEWHERE)?;
    connection.context("the settings hold no connection string")
}

fn running_stack() -> Option<MapSource> {
    let working = std::env::current_dir().ok()?;
    let checkout = checkout_above(&working)?;
    addresses::read(&checkout.join(FOLDER).join("run"))
}

fn message_ids(stem: &str, count: u32) -> Vec<String> {
    match count {
        1 => vec![stem.to_owned()],
        count => (1..=count)
            .map(|number| format!("{stem}-{number}"))
            .collect(),
    }
}

/// The bytes of `file`, or of standard input if it is `-`.
pub(crate) fn read_body(file: &Path) -> anyhow::Result<bytes::Bytes> {
    let mut body = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(LARGEST_BODY + 1)
            .read_to_end(&mut body)
    } else {
        let opened = std::fs::File::open(file);
        opened.and_then(|opened| opened.take(LARGEST_BODY + 1).read_to_end(&mut body))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    if u64::try_from(body.len()).is_ok_and(|length| length > LARGEST_BODY) {
        bail!(
            "{} is larger than any broker takes ({LARGEST_BODY} bytes)",
            file.display()
        );
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_messages_get_different_ids() {
        assert_eq!(message_ids("a", 1), ["a"]);
        assert_eq!(message_ids("a", 3), ["a-1", "a-2", "a-3"]);
    }

    #[test]
    fn a_file_is_sent_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, b"\xff\0{}").unwrap();
        assert_eq!(read_body(&file).unwrap(), &b"\xff\0{}"[..]);
        let error = read_body(&folder.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
