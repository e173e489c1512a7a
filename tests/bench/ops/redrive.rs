//! Dead letters that are sent again, all at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightshift_bus::{ClientOptions, ConnectionString, Message, ServiceBusClient};
use nightshift_testkit::notification;
use nightshift_tests::{Stack, user_id};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::sleep;

use super::client::Client;
use crate::fill;

/// How many messages wait in a queue that is looked into: as many as are counted.
const WAITING: usize = 1_000;

/// The function that all letters are of which are to be done again, and its queue.
const FUNCTION: &str = "notifications-dispatch";
const QUEUE: &str = "notifications";

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// How often it is looked whether it is done.
const PAUSE: Duration = Duration::from_millis(50);

/// No copy is still to be sent: what the broker has confirmed is forgotten, and only that.
const IS_SENT: &str = "
    SELECT NOT EXISTS (SELECT FROM nightshift.open_message WHERE reason = 'redrive' AND rescues < 0)
       AND NOT EXISTS (SELECT FROM nightshift.outbox)";

/// Nothing waits that was dead.
const IS_SETTLED: &str =
    "SELECT NOT EXISTS (SELECT FROM nightshift.open_message WHERE reason = 'redrive')";

/// What came of it.
#[derive(Debug)]
pub(super) struct Redriven {
    pub(super) letters: usize,
    pub(super) per_second: f64,
}

/// Has messages wait in the queue of a function.
pub(super) async fn wait_in_queue(stack: &Stack) -> anyhow::Result<()> {
    let (client, sender) = stack.sender_to(QUEUE).await?;
    let messages = (0..WAITING).map(|n| {
        Message::new(notification(&user_id(1), "It waits")).with_message_id(format!("waiting-{n}"))
    });
    sender.send_messages(messages.collect()).await?;
    client.close().await;
    Ok(())
}

/// Sends all letters again, until the broker has each of them, once.
pub(super) async fn all(
    client: &mut Client,
    pool: &PgPool,
    stack: &Stack,
) -> anyhow::Result<Redriven> {
    let letters = dead(pool).await?;
    let began = Instant::now();
    ask(client, letters).await?;
    until(pool, IS_SENT).await?;
    let per_second = crate::process::rate(letters, began.elapsed());
    let ids = copies(stack).await?;
    let different: HashSet<&String> = ids.iter().collect();
    ensure!(
        ids.len() == letters && different.len() == letters,
        "of {letters} letters that were sent again the broker has {} copies, {} of them different",
        ids.len(),
        different.len()
    );
    Ok(Redriven {
        letters,
        per_second,
    })
}

/// Has as many letters again, all of one function, and nothing left of the others.
pub(super) async fn refill(pool: &PgPool, letters: usize) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM nightshift.open_message WHERE reason = 'redrive' AND function <> $1")
        .bind(FUNCTION)
        .execute(pool)
        .await?;
    until(pool, IS_SETTLED).await?;
    fill::letters(pool, i32::try_from(letters)?, Some(FUNCTION)).await?;
    fill::settle(pool).await
}

/// Sends all letters again while a host delivers them, until the last of them is done.
pub(super) async fn settle(client: &mut Client, pool: &PgPool) -> anyhow::Result<Redriven> {
    let (letters, before) = (dead(pool).await?, delivered(pool).await?);
    let began = Instant::now();
    ask(client, letters).await?;
    until(pool, IS_SENT).await?;
    until(pool, IS_SETTLED).await?;
    let per_second = crate::process::rate(letters, began.elapsed());
    let (still, now) = (dead(pool).await?, delivered(pool).await?);
    ensure!(
        still == 0 && now - before == letters,
        "of {letters} letters that were sent again {} are done and {still} are dead",
        now - before
    );
    Ok(Redriven {
        letters,
        per_second,
    })
}

/// As `nightshift dead redrive --all` asks: until nothing is left.
async fn ask(client: &mut Client, letters: usize) -> anyhow::Result<()> {
    let mut body = json!({ "filter": { "all": true } });
    let mut redriven = 0;
    while redriven < letters {
        let said = client.post("/dead-letters/redrive", &body).await?;
        let now = said["redriven"].as_u64().context("no count")?;
        ensure!(now > 0, "only {redriven} of {letters}: {said}");
        redriven += usize::try_from(now)?;
        body["filter"]["to"] = said["until"].clone();
    }
    Ok(())
}

async fn until(pool: &PgPool, condition: &'static str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let holds: bool = sqlx::query_scalar(condition).fetch_one(pool).await?;
        if holds {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "this does not hold after {PATIENCE:?}: {condition}"
        );
        sleep(PAUSE).await;
    }
}

async fn dead(pool: &PgPool) -> anyhow::Result<usize> {
    count(pool, "SELECT count(*) FROM nightshift.dead_letter").await
}

async fn delivered(pool: &PgPool) -> anyhow::Result<usize> {
    count(pool, "SELECT count(*) FROM nightshift.notification").await
}

async fn count(pool: &PgPool, statement: &'static str) -> anyhow::Result<usize> {
    let count: i64 = sqlx::query_scalar(statement).fetch_one(pool).await?;
    Ok(usize::try_from(count)?)
}

/// The ids of all copies in all queues.
async fn copies(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let connection: ConnectionString = stack.connection_string().parse()?;
    let client = ServiceBusClient::connect(&connection, ClientOptions::default()).await?;
    let mut ids = Vec::new();
    for queue in super::QUEUES {
        let mut from = 0;
        loop {
            let page = client.peek_messages(queue, from, WAITING).await?;
            let Some(last) = page.last() else { break };
            from = last.sequence_number + 1;
            let page = page
                .into_iter()
                .filter_map(|received| received.message.message_id);
            ids.extend(page.filter(|id| id.starts_with("ns:")));
        }
    }
    client.close().await;
    Ok(ids)
}
