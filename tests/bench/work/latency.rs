//! From the moment a client sends until the handler has the database's word that the row is
//! committed, at 200 messages per second.
//!
//! The function tells it by a datagram as soon as its transaction has ended, so that what is measured
//! contains the whole commit and the database's answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use nightshift_bus::Message;
use nightshift_tests::Stack;
use nightshift_tests::bench::Order;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::QUEUE;
use super::limit::Pace;

/// Messages per second.
pub(crate) const RATE: u32 = 200;

/// How long the stream lasts.
const SECONDS: u32 = 15;

/// How much of it is not counted, at the beginning.
const WARM_UP_SECONDS: u32 = 3;

/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends at an even pace without waiting for answers, and collects what `told` hears.
pub(crate) async fn measure(stack: &Stack, told: &UdpSocket) -> anyhow::Result<Pace> {
    let (sent, waits_ms) = tokio::join!(send(stack), collect(told));
    sent?;
    Ok(Pace::of(waits_ms?))
}

async fn send(stack: &Stack) -> anyhow::Result<()> {
    let (client, sender) = stack.sender_to(QUEUE).await?;
    let sender = Arc::new(sender);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..RATE * SECONDS {
        pace.tick().await;
        let sender = Arc::clone(&sender);
        sends.spawn(async move {
            let body = serde_json::to_vec(&Order::told("pace"))?;
            let message = Message::new(body).with_message_id(format!("pace-{n}"));
            sender.send_message(message).await?;
            anyhow::Ok(())
        });
    }
    while let Some(sent) = sends.join_next().await {
        sent??;
    }
    client.close().await;
    Ok(())
}

/// How long each counted message took, in milliseconds, in the order of their commits.
async fn collect(told: &UdpSocket) -> anyhow::Result<Vec<f64>> {
    let expected = (RATE * SECONDS) as usize;
    let deadline = Instant::now() + Duration::from_secs(SECONDS.into()) + PATIENCE;
    let mut waits = Vec::with_capacity(expected);
    let mut micros = [0; 8];
    while waits.len() < expected {
        let heard = timeout_at(deadline, told.recv(&mut micros)).await;
        ensure!(
            heard.is_ok(),
            "only {} of {expected} rows in time",
            waits.len()
        );
        heard??;
        let micros = u32::try_from(u64::from_be_bytes(micros))?;
        waits.push(f64::from(micros) / 1000.0);
    }
    Ok(waits.split_off((RATE * WARM_UP_SECONDS) as usize))
}
