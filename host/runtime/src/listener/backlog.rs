//! How many messages wait for a function, for whoever decides how many hosts there should be.
//!
//! The protocol has no count, so the messages are looked at, a few at a time, up to a bound. What is
//! locked counts, too: it is work that is under way.

use std::time::Duration;

use nightshift_bus::{BusError, MessageState, ReceivedMessage, ReceiverOptions};
use tokio::time::timeout;

use crate::app::ServiceBusFunction;
use crate::bus::Bus;

/// The most messages that are counted.
pub(crate) const MOST: u32 = 1_000;

/// How many messages are looked at together.
const PAGE: usize = 50;

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing could be counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BacklogError {
    #[error("the broker did not answer within {PATIENCE:?}")]
    TimedOut,
    #[error("the broker cannot be asked")]
    Bus(#[from] BusError),
}

/// The messages that wait for `function` or are being worked on, [`MOST`] at most.
pub(crate) async fn count(bus: &Bus, function: &ServiceBusFunction) -> Result<u32, BacklogError> {
    let counted = timeout(PATIENCE, async {
        let client = bus.client(&function.connection).await?;
        if function.has_sessions {
            // Sessions are other hosts' to hold.
            return look(|from| client.peek_messages(&function.entity, from, PAGE)).await;
        }
        let options = ReceiverOptions {
            sub_queue: function.sub_queue,
            ..ReceiverOptions::default()
        };
        let receiver = client.create_receiver(&function.entity, options).await?;
        let counted = look(|from| receiver.peek_messages(from, PAGE)).await;
        receiver.close().await;
        counted
    });
    Ok(counted.await.map_err(|_| BacklogError::TimedOut)??)
}

async fn look<F>(peek: impl Fn(i64) -> F) -> Result<u32, BusError>
where
    F: Future<Output = Result<Vec<ReceivedMessage>, BusError>>,
{
    let (mut count, mut from) = (0, 0);
    while count < MOST {
        let page = peek(from).await?;
        let Some(last) = page.last() else {
            break;
        };
        from = last.sequence_number.saturating_add(1);
        let active = page
            .iter()
            .filter(|message| message.state == MessageState::Active)
            .count();
        count = count.saturating_add(u32::try_from(active).unwrap_or(u32::MAX));
    }
    Ok(count.min(MOST))
}
