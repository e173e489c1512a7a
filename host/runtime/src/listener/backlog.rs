//! How many messages wait for a function, for whoever decides how many hosts there should be.
//!
//! The protocol has no count, so the messages are looked at, a page at a time, in their order and up
//! to a bound, in number and in time. What is locked counts, too: it is work that is under way. What
//! is scheduled or deferred does not, but it has to be looked at, so a queue that begins with very
//! much of it can have a longer backlog than is counted.

use std::time::Duration;

use nightshift_bus::{BusError, MessageState, ReceivedMessage, ReceiverOptions};
use tokio::time::timeout;

use crate::app::ServiceBusFunction;
use nightshift_connection::Connections;

/// The most messages that are counted.
pub(crate) const MOST: u32 = 1_000;

/// The most messages that are looked at for it.
const MOST_LOOKED_AT: usize = 5_000;

/// How many messages are looked at together.
const PAGE: usize = 100;

/// How long the broker may take for all of them. What was counted by then is the answer, if
/// anything came.
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
pub(crate) async fn count(
    bus: &Connections,
    function: &ServiceBusFunction,
) -> Result<u32, BacklogError> {
    let mut counted = None;
    let looking = timeout(PATIENCE, async {
        let client = bus.client(&function.connection).await?;
        if function.has_sessions {
            // Sessions are other hosts' to hold.
            let peek = |from| client.peek_messages(&function.entity, from, PAGE);
            return look(peek, &mut counted).await;
        }
        let options = ReceiverOptions {
            sub_queue: function.sub_queue,
            ..ReceiverOptions::default()
        };
        let receiver = client.create_receiver(&function.entity, options).await?;
        let looked = look(|from| receiver.peek_messages(from, PAGE), &mut counted).await;
        receiver.close().await;
        looked
    });
    match looking.await {
        Ok(looked) => looked?,
        Err(_) if counted.is_none() => return Err(BacklogError::TimedOut),
        Err(_) => {}
    }
    Ok(counted.unwrap_or_default())
}

/// Counts into `counted`, page by page.
async fn look<F>(peek: impl Fn(i64) -> F, counted: &mut Option<u32>) -> Result<(), BusError>
where
    F: Future<Output = Result<Vec<ReceivedMessage>, BusError>>,
{
    let (mut count, mut looked_at, mut from) = (0_u32, 0, 0);
    while count < MOST && looked_at < MOST_LOOKED_AT {
        let page = peek(from).await?;
        looked_at += page.len();
        let active = page
            .iter()
            .filter(|message| message.state == MessageState::Active)
            .count();
        count = count.saturating_add(u32::try_from(active).unwrap_or(u32::MAX));
        *counted = Some(count.min(MOST));
        let Some(last) = page.last() else {
            break;
        };
        from = last.sequence_number.saturating_add(1);
    }
    Ok(())
}
