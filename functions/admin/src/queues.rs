//! Queues: how much is in them, and since when.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use nightshift_bus::{BusError, MessageState, ServiceBusClient};
use nightshift_handler::{Registry, Trigger};
use nightshift_telemetry::causes;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};

/// The most messages that are counted: the protocol has no count, so they are looked at.
const MOST: usize = 1_000;

/// How many are looked at together.
const PAGE: usize = 100;

/// How long the broker may take for one queue.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is in a queue.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Depth {
    /// How many messages wait or are being worked on; 1000 stands for that many or more. Absent when the
    /// broker could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
    /// How many of those that were looked at are scheduled for later.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<usize>,
    /// When the broker accepted the oldest of those that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<DateTime<Utc>>,
    /// How many messages the broker has given up, in the queue's own dead-letter queue; 100 stands for that
    /// many or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_up: Option<usize>,
    /// Why the broker could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A queue of a function.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    /// Its name.
    name: String,
    /// The function that its messages call.
    function: String,
    #[serde(flatten)]
    depth: Depth,
}

/// All queues.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queues {
    /// By function.
    items: Vec<Queue>,
}

/// The queues of all functions, and what is in them. Where the broker could not be asked that stands
/// instead.
#[utoipa::path(get, path = "/queues", tag = "queues", responses((status = 200, body = Queues)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    let queues = ask
        .app
        .described()
        .filter_map(|function| match function.trigger {
            Trigger::Messages { queue, .. } => Some((queue.to_owned(), function.name)),
            _ => None,
        });
    let looking = queues.map(|(queue, function)| async move {
        let depth = depth(ask.app, &queue).await;
        Queue {
            name: queue,
            function: function.to_owned(),
            depth,
        }
    });
    json(&Queues {
        items: join_all(looking).await,
    })
}

/// What is in `queue`.
pub(crate) async fn depth(app: &Registry, queue: &str) -> Depth {
    let failed = |error: String| Depth {
        error: Some(error),
        ..Depth::default()
    };
    let looked = timeout(PATIENCE, async {
        match app.broker().await? {
            Some(client) => look(&client, queue).await.map(Some),
            None => Ok(None),
        }
    });
    match looked.await {
        Ok(Ok(Some(depth))) => depth,
        Ok(Ok(None)) => failed("this process is not connected to the broker".to_owned()),
        Ok(Err(error)) => failed(causes(&error)),
        Err(_elapsed) => failed(format!("the broker did not answer within {PATIENCE:?}")),
    }
}

async fn look(client: &ServiceBusClient, queue: &str) -> Result<Depth, BusError> {
    let (mut waiting, mut scheduled, mut oldest) = (0, 0, None);
    let mut from = 0;
    while waiting + scheduled < MOST {
        let page = client.peek_messages(queue, from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.sequence_number.saturating_add(1);
        let is_last = page.len() < PAGE;
        for message in page {
            if message.state == MessageState::Active {
                waiting += 1;
                oldest = oldest.or(Some(message.enqueued_time));
            } else {
                scheduled += 1;
            }
        }
        if is_last {
            break;
        }
    }
    let dead = format!("{queue}/$DeadLetterQueue");
    let given_up = client.peek_messages(&dead, 0, PAGE).await?.len();
    Ok(Depth {
        waiting: Some(waiting),
        scheduled: Some(scheduled),
        oldest,
        given_up: Some(given_up),
        error: None,
    })
}
