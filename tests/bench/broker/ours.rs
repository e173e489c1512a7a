//! What a program does with our client: send many messages at once, receive, complete.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use nightshift_bus::{Message, ReceiverOptions};

use super::{BODY_BYTES, Speed};
use crate::process::{BrokerProcess, QUEUE};

/// How long nothing may come before something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// Batches of received messages that wait for their confirmation at a time.
const CONFIRMING: usize = 4;

/// Sends and receives `count` messages, at most `in_flight` unconfirmed at a time.
pub(super) async fn there_and_back(
    broker: &BrokerProcess,
    count: usize,
    in_flight: usize,
) -> anyhow::Result<Speed> {
    let there = send(broker, count, in_flight).await?;
    let back = receive(broker, count, in_flight).await?;
    Ok(Speed::of(count, there, back))
}

/// Sends every message by itself.
pub(super) async fn send(
    broker: &BrokerProcess,
    count: usize,
    in_flight: usize,
) -> anyhow::Result<Duration> {
    let client = broker.client().await?;
    let sender = client.create_sender(QUEUE).await?;
    let began = Instant::now();
    stream::iter(0..count)
        .map(|_| sender.send_message(message()))
        .buffer_unordered(in_flight)
        .try_collect::<()>()
        .await?;
    let elapsed = began.elapsed();
    sender.close().await;
    client.close().await;
    Ok(elapsed)
}

/// Sends all messages with one call and takes them out again.
pub(super) async fn send_in_batches(
    broker: &BrokerProcess,
    count: usize,
) -> anyhow::Result<Duration> {
    let client = broker.client().await?;
    let sender = client.create_sender(QUEUE).await?;
    let messages = (0..count).map(|_| message()).collect();
    let began = Instant::now();
    sender.send_messages(messages).await?;
    let elapsed = began.elapsed();
    sender.close().await;
    client.close().await;
    receive(broker, count, 1_000).await?;
    Ok(elapsed)
}

async fn receive(
    broker: &BrokerProcess,
    count: usize,
    in_flight: usize,
) -> anyhow::Result<Duration> {
    let client = broker.client().await?;
    let options = ReceiverOptions {
        prefetch: u32::try_from(in_flight)?,
        ..ReceiverOptions::default()
    };
    let began = Instant::now();
    let receiver = client.create_receiver(QUEUE, options).await?;
    let batches = stream::try_unfold(0, async |so_far| {
        if so_far == count {
            return Ok(None);
        }
        let messages = receiver.receive_messages(in_flight, PATIENCE).await?;
        ensure!(
            !messages.is_empty(),
            "only {so_far} of {count} messages came"
        );
        let so_far = so_far + messages.len();
        Ok(Some((messages, so_far)))
    });
    // While some messages are confirmed, the next ones are received.
    batches
        .map_ok(async |messages| {
            for completed in receiver.complete_messages(&messages).await? {
                completed?;
            }
            Ok(())
        })
        .try_buffer_unordered(CONFIRMING)
        .try_collect::<()>()
        .await?;
    let elapsed = began.elapsed();
    receiver.close().await;
    client.close().await;
    Ok(elapsed)
}

fn message() -> Message {
    Message::new(vec![b'x'; BODY_BYTES])
}
