//! Orders, sent one batch after the other until it is enough.

use std::time::Duration;

use nightshift_bus::{
    ClientOptions, ConnectionString, Message, RetryOptions, Sender, ServiceBusClient,
};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::order::{Order, QUEUE};

/// How many are sent together, and how often: fifty a second, and as many follow from them. A debug build
/// can do some five times of that on one processor.
const TOGETHER: usize = 5;
const PERIOD: Duration = Duration::from_millis(100);

/// While more than this wait to be done the load pauses: they must all be done at the end.
const BACKLOG: i64 = 1_000;

/// How often that is looked at, in batches.
const LOOK: usize = 10;

/// A load that goes on.
#[derive(Debug)]
pub(super) struct Load {
    enough: CancellationToken,
    task: JoinHandle<anyhow::Result<Vec<Order>>>,
}

impl Load {
    /// Begins to send orders of the load `name`.
    pub(super) fn start(name: String, connection: ConnectionString, pool: PgPool) -> Self {
        let enough = CancellationToken::new();
        let task = tokio::spawn(send(name, connection, pool, enough.clone()));
        Self { enough, task }
    }

    /// Stops, and returns what the broker has accepted, which is all that was sent.
    pub(super) async fn stop(self) -> anyhow::Result<Vec<Order>> {
        self.enough.cancel();
        self.task.await?
    }
}

async fn send(
    name: String,
    connection: ConnectionString,
    pool: PgPool,
    enough: CancellationToken,
) -> anyhow::Result<Vec<Order>> {
    // What may have arrived is sent again under the same id, which is what ids are for.
    let options = ClientOptions {
        retry: RetryOptions {
            delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(200),
            resend_unknown: true,
            ..RetryOptions::default()
        },
        ..ClientOptions::default()
    };
    let client = ServiceBusClient::connect(&connection, options).await?;
    let sender = client.create_sender(QUEUE).await?;
    let mut orders = Vec::new();
    let mut period = tokio::time::interval(PERIOD);
    for batch in 0.. {
        tokio::select! {
            _ = period.tick() => {}
            () = enough.cancelled() => break,
        }
        if batch % LOOK == 0 && !enough.is_cancelled() {
            keep_up(&orders, &pool, &enough).await;
        }
        let begin = orders.len();
        orders.extend((begin..begin + TOGETHER).map(|n| Order::nth(&name, n)));
        send_until_accepted(&sender, &orders[begin..]).await?;
    }
    client.close().await;
    Ok(orders)
}

/// Waits until most of `orders` and of what follows from them are taken care of, or it is enough.
async fn keep_up(orders: &[Order], pool: &PgPool, enough: &CancellationToken) {
    let follow = orders.iter().filter_map(Order::follow_up).count();
    let ordered = i64::try_from(orders.len() + follow).unwrap_or(i64::MAX);
    loop {
        // While the database is away nothing is done.
        let claimed: Result<i64, sqlx::Error> =
            sqlx::query_scalar("SELECT count(*) FROM nightshift.inbox")
                .fetch_one(pool)
                .await;
        if claimed.is_ok_and(|claimed| ordered - claimed < BACKLOG) || enough.is_cancelled() {
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn send_until_accepted(sender: &Sender, orders: &[Order]) -> anyhow::Result<()> {
    loop {
        let messages = orders.iter().map(|order| {
            let body = serde_json::to_string(order)?;
            Ok(Message::new(body).with_message_id(order.id.clone()))
        });
        let messages: anyhow::Result<Vec<Message>> = messages.collect();
        match sender.send_messages(messages?).await {
            Err(error) if error.is_transient() => {}
            sent => return Ok(sent?),
        }
    }
}
