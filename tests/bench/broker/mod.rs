//! The broker and our client against a client that costs nothing, against a journal, and against
//! Microsoft's SDK.
//!
//! The broker is a process; its clients are in this one. A message has a body of 256 bytes. "There
//! and back" is the time to send a number of messages, each confirmed, plus the time to receive them
//! under a peek-lock and complete them, each confirmed.

mod javascript;
mod ours;
mod raw;

use std::time::Duration;

use anyhow::Context;
use nightshift_tests::resident_bytes;

use crate::process::{BrokerProcess, mebibytes, rate};
use crate::report::{Bar, Section};

/// The body of every message.
const BODY_BYTES: usize = 256;

/// Messages under way where many are: what a sender is granted credit for.
const IN_FLIGHT: usize = 1_000;

/// Messages under way where few are asked for.
const FEW_IN_FLIGHT: usize = 100;

const MESSAGES: usize = 200_000;
const HELD: usize = 200_000;

/// What Microsoft's SDK is given to do; it is slower.
const SDK_MESSAGES: usize = 20_000;

/// How often what varies is measured. The middle one counts.
const RUNS: usize = 5;

/// How fast messages go there and back, in messages per second.
#[derive(Debug, Clone, Copy)]
struct Speed {
    send: f64,
    receive: f64,
    both: f64,
}

impl Speed {
    fn of(count: usize, send: Duration, receive: Duration) -> Self {
        Self {
            send: rate(count, send),
            receive: rate(count, receive),
            both: rate(count, send + receive),
        }
    }
}

pub(crate) async fn measure() -> anyhow::Result<Section> {
    let mut section = Section::new(
        "broker",
        "Broker and client, messages of 256 bytes, loopback",
    );
    rest(&mut section)?;
    held(&mut section)
        .await
        .context("memory of held messages")?;
    wire(&mut section).await.context("against a raw loop")?;
    journal(&mut section).await.context("with a journal")?;
    sdk(&mut section).await.context("against the SDK")?;
    Ok(section)
}

/// A broker that nobody uses.
fn rest(section: &mut Section) -> anyhow::Result<()> {
    let mut starts = Vec::new();
    let mut memory = 0.0;
    for _ in 0..20 {
        let broker = BrokerProcess::start(None)?;
        starts.push(broker.start.as_secs_f64() * 1_000.0);
        memory = mebibytes(resident_bytes(broker.pid()).context("the broker is gone")?);
    }
    let start = median(starts);
    let label = "from the start of the process until it listens";
    section.hold("start_ms", start, "ms", label, Bar::AtMost(10.0));
    section.hold("rest_mib", memory, "MiB", "at rest", Bar::AtMost(5.0));
    Ok(())
}

/// What a message that waits costs.
#[expect(clippy::cast_precision_loss, reason = "a memory size fits")]
async fn held(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    let before = resident_bytes(broker.pid()).context("the broker is gone")?;
    ours::send(&broker, HELD, IN_FLIGHT).await?;
    let after = resident_bytes(broker.pid()).context("the broker is gone")?;
    let each = (after - before) as f64 / HELD as f64;
    let label = format!("for each of {HELD} messages that wait, bodies included");
    section.hold("held_bytes", each, "bytes", label, Bar::AtMost(1_228.8));
    Ok(())
}

/// Our client, and frames that were encoded beforehand, on the same broker.
async fn wire(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    ours::there_and_back(&broker, MESSAGES / 10, IN_FLIGHT).await?;
    let (mut limits, mut speeds) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let address = broker.address.clone();
        let limit = tokio::task::spawn_blocking(move || {
            let count = u32::try_from(MESSAGES)?;
            let (there, back) = (raw::send(&address, count)?, raw::receive(&address, count)?);
            anyhow::Ok(Speed::of(MESSAGES, there, back))
        });
        limits.push(limit.await??);
        speeds.push(ours::there_and_back(&broker, MESSAGES, IN_FLIGHT).await?);
    }
    let (limit, speed) = (middle(limits), middle(speeds));
    let names = ["send", "receive", "there_and_back"];
    tell(section, names, speed, "our client");
    let names = ["raw_send", "raw_receive", "raw_there_and_back"];
    tell(section, names, limit, "a raw loop of ready frames");
    let batches = ours::send_in_batches(&broker, MESSAGES).await?;
    let label = "sent: our client, in batches";
    section.tell(
        "send_in_batches",
        rate(MESSAGES, batches),
        "messages/s",
        label,
    );
    let ratio = speed.both / limit.both;
    let label = "of the raw loop, there and back";
    section.hold("ratio_to_raw", ratio, "", label, Bar::AtLeast(0.6));
    Ok(())
}

/// With a journal, and without.
async fn journal(section: &mut Section) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let durable = BrokerProcess::start(Some(folder.path()))?;
    let memory = BrokerProcess::start(None)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        with.push(ours::there_and_back(&durable, MESSAGES / 4, FEW_IN_FLIGHT).await?);
        without.push(ours::there_and_back(&memory, MESSAGES / 4, FEW_IN_FLIGHT).await?);
    }
    let (with, without) = (middle(with), middle(without));
    let names = ["journal_send", "journal_receive", "journal_there_and_back"];
    tell(section, names, with, "with --data, 100 in flight");
    let names = ["memory_send", "memory_receive", "memory_there_and_back"];
    tell(section, names, without, "in memory, 100 in flight");
    let ratio = with.both / without.both;
    let label = "of memory, there and back, 100 in flight";
    section.hold("ratio_to_memory", ratio, "", label, Bar::AtLeast(0.5));
    Ok(())
}

/// Our client and Microsoft's, on the same broker.
async fn sdk(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        theirs.push(javascript::there_and_back(&broker, SDK_MESSAGES, FEW_IN_FLIGHT).await?);
        ours.push(ours::there_and_back(&broker, SDK_MESSAGES, FEW_IN_FLIGHT).await?);
    }
    let (theirs, ours) = (middle(theirs), middle(ours));
    let names = ["sdk_send", "sdk_receive", "sdk_there_and_back"];
    tell(
        section,
        names,
        theirs,
        "Microsoft's JavaScript SDK, 100 in flight",
    );
    let ratio = ours.both / theirs.both;
    let label = "times the JavaScript SDK, there and back, 100 in flight";
    section.hold("ratio_to_sdk", ratio, "", label, Bar::AtLeast(3.0));
    Ok(())
}

fn tell(section: &mut Section, names: [&'static str; 3], speed: Speed, who: &str) {
    let Speed {
        send,
        receive,
        both,
    } = speed;
    let [send_name, receive_name, both_name] = names;
    section.tell(send_name, send, "messages/s", format!("sent: {who}"));
    let label = format!("received and completed: {who}");
    section.tell(receive_name, receive, "messages/s", label);
    section.tell(
        both_name,
        both,
        "messages/s",
        format!("there and back: {who}"),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn middle(mut speeds: Vec<Speed>) -> Speed {
    speeds.sort_by(|a, b| a.both.total_cmp(&b.both));
    speeds[speeds.len() / 2]
}
