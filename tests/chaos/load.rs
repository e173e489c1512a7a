//! Orders, sent one batch after the other until it is enough.

use std::time::Duration;

use nightshift_bus::{
    ClientOptions, ConnectionString, Message, RetryOptions, Sender, ServiceBusClient,
};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::checker::Ordered;
use super::order::{CALLS, FUNCTION, IN_SESSIONS, Order, QUEUE, RUNS, SESSIONS};

/// How many are sent together, and how often: fifty a second, and as many follow from them. A debug build
/// can do some five times of that on one processor.
const TOGETHER: usize = 5;
const PERIOD: Duration = Duration::from_millis(100);

/// How many batches go with one message in a session, one call, and one run: five messages and two calls a
/// second, and a run every two seconds, which takes nearly that long.
const ONE_IN_SESSION_IN: usize = 2;
const A_CALL_IN: usize = 5;
const A_RUN_IN: usize = 20;

/// While more than this wait to be done the load pauses: they must all be done at the end.
const BACKLOG: i64 = 1_000;

/// How often that is looked at, in batches.
const LOOK: usize = 10;

/// A load that goes on.
#[derive(Debug)]
pub(super) struct Load {
    enough: CancellationToken,
    task: JoinHandle<anyhow::Result<Ordered>>,
}

impl Load {
    /// Begins to send orders of the load `name`.
    pub(super) fn start(name: String, connection: ConnectionString, pool: PgPool) -> Self {
        let enough = CancellationToken::new();
        let task = tokio::spawn(send(name, connection, pool, enough.clone()));
        Self { enough, task }
    }

    /// Stops, and returns what the broker has accepted, which is all that was sent.
    pub(super) async fn stop(self) -> anyhow::Result<Ordered> {
        self.enough.cancel();
        self.task.await?
    }
}

async fn connect(connection: &ConnectionString) -> anyhow::Result<ServiceBusClient> {
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
    Ok(ServiceBusClient::connect(connection, options).await?)
}

async fn send(
    name: String,
    connection: ConnectionString,
    pool: PgPool,
    enough: CancellationToken,
) -> anyhow::Result<Ordered> {
    let client = connect(&connection).await?;
    let sender = client.create_sender(QUEUE).await?;
    let calls = client.create_sender(CALLS).await?;
    let runs = client.create_sender(RUNS).await?;
    let in_sessions = client.create_sender(IN_SESSIONS).await?;
    let mut ordered = Ordered::default();
    let mut period = tokio::time::interval(PERIOD);
    for batch in 0.. {
        tokio::select! {
            _ = period.tick() => {}
            () = enough.cancelled() => break,
        }
        if batch % LOOK == 0 && !enough.is_cancelled() {
            keep_up(&ordered.orders, &pool, &enough).await;
        }
        let begin = ordered.orders.len();
        let orders = (begin..begin + TOGETHER).map(|n| Order::nth(&name, n));
        ordered.orders.extend(orders);
        send_until_accepted(&sender, &ordered.orders[begin..]).await?;
        if batch % ONE_IN_SESSION_IN == 0 {
            let n = ordered.in_sessions.len();
            let order = Order::in_session(&name, n);
            let session = format!("session-{}", n % SESSIONS);
            send_one_until_accepted(&in_sessions, &order, Some(session)).await?;
            ordered.in_sessions.push(order);
        }
        if batch % A_CALL_IN == 0 {
            let call = Order::call(&name, ordered.calls.len());
            send_one_until_accepted(&calls, &call, None).await?;
            ordered.calls.push(call);
        }
        if batch % A_RUN_IN == 0 {
            let run = Order::run(&name, ordered.runs.len());
            send_one_until_accepted(&runs, &run, None).await?;
            ordered.runs.push(run);
        }
    }
    client.close().await;
    Ok(ordered)
}

/// Waits until most of `orders` and of what follows from them are taken care of, or it is enough.
async fn keep_up(orders: &[Order], pool: &PgPool, enough: &CancellationToken) {
    let follow = orders.iter().filter_map(Order::follow_up).count();
    let ordered = i64::try_from(orders.len() + follow).unwrap_or(i64::MAX);
    loop {
        // While the database is away nothing is done.
        let claimed: Result<i64, sqlx::Error> =
            sqlx::query_scalar("SELECT count(*) FROM nightshift.inbox WHERE function = $1")
                .bind(FUNCTION)
                .fetch_one(pool)
                .await;
        if claimed.is_ok_and(|claimed| ordered - claimed < BACKLOG) || enough.is_cancelled() {
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Sends `orders` until the broker has them.
pub(super) async fn send_until_accepted(sender: &Sender, orders: &[Order]) -> anyhow::Result<()> {
    loop {
        let messages: anyhow::Result<Vec<Message>> = orders.iter().map(message).collect();
        match sender.send_messages(messages?).await {
            Err(error) if error.is_transient() => {}
            sent => return Ok(sent?),
        }
    }
}

async fn send_one_until_accepted(
    sender: &Sender,
    order: &Order,
    session: Option<String>,
) -> anyhow::Result<()> {
    loop {
        let message = Message {
            session_id: session.clone(),
            ..message(order)?
        };
        match sender.send_message(message).await {
            Err(error) if error.is_transient() => {}
            sent => return Ok(sent?),
        }
    }
}

fn message(order: &Order) -> anyhow::Result<Message> {
    let body = serde_json::to_string(order)?;
    Ok(Message::new(body).with_message_id(order.id.clone()))
}
