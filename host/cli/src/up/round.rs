//! The first round: sample messages through the whole path, and what became of them.
//!
//! A few broken messages go first; they warm the path up and show where dead letters end. Then
//! sample notifications follow at a steady rate, so that the measured times are those of messages
//! that do not wait for each other. Sample scores are added last, and counted and shown at once.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use nightshift_bus::{ClientOptions, ConnectionString, Message, Sender, ServiceBusClient};
use serde::Serialize;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection, FromRow};

use super::leaderboard::{self, Leaderboard, Shown};
use super::scores::{self, Event};

/// The queue of the sample function.
pub(super) const QUEUE: &str = "notifications";

/// How many sample notifications are sent, and at what distance: 200 a second.
const SAMPLES: u32 = 200;
const DISTANCE: Duration = Duration::from_millis(5);

/// How many sample scores are added.
const SCORES: usize = 200;

/// How many users the sample application has (`sample/app.sql`).
const USERS: u32 = 200;

/// How long the first answer may take (the handler may just be starting), and how long the rest.
const FIRST: Duration = Duration::from_secs(45);
const REST: Duration = Duration::from_mins(1);

/// How often the database is asked.
const POLL: Duration = Duration::from_millis(20);

/// What was sent and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Round {
    pub(super) sent: u32,
    pub(super) rows: i64,
    /// From the broker's acceptance to the row, median and 99th percentile.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) dead_letters: Vec<DeadLetter>,
    /// Sample scores that were added.
    pub(super) scores: usize,
    /// The board on which they are; `None` if the user has declared that there is none.
    pub(super) leaderboard: Option<Leaderboard>,
}

/// One broken message that ended as a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub(super) struct DeadLetter {
    pub(super) reason: String,
    pub(super) description: String,
}

/// Sends and waits until everything is processed, and `shown`. `run` makes the message ids this round's own.
pub(super) async fn go(
    bus: &str,
    postgres: &str,
    shown: &Shown,
    run: &str,
) -> anyhow::Result<Round> {
    let connection: ConnectionString = bus.parse().context("the broker's address")?;
    let client = ServiceBusClient::connect(&connection, ClientOptions::default())
        .await
        .context("cannot connect to the broker")?;
    let mut database = PgConnection::connect(postgres)
        .await
        .context("cannot connect to the database")?;
    let round = process(&client, &mut database, shown, run).await;
    client.close().await;
    round
}

async fn process(
    client: &ServiceBusClient,
    database: &mut PgConnection,
    shown: &Shown,
    run: &str,
) -> anyhow::Result<Round> {
    let sender = client.create_sender(QUEUE).await?;
    let round = notify(&sender, database, run).await;
    sender.close().await;
    let mut round = round?;
    let scores: Vec<Event> = {
        let mut random = rand::rng();
        (0..SCORES).map(|_| Event::random(&mut random)).collect()
    };
    let added = scores::add(database, &scores).await?;
    let rollup = client.create_sender(leaderboard::QUEUE).await?;
    let board = leaderboard::count(&rollup, database, shown, added, run).await;
    rollup.close().await;
    (round.scores, round.leaderboard) = (scores.len(), board?);
    Ok(round)
}

async fn notify(sender: &Sender, database: &mut PgConnection, run: &str) -> anyhow::Result<Round> {
    let broken = broken_messages(run);
    let ids: Vec<String> = broken
        .iter()
        .filter_map(|message| message.message_id.clone())
        .collect();
    sender.send_messages(broken).await.context("cannot send")?;
    let dead_letters = wait_for_dead_letters(database, &ids).await?;
    let begin: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&mut *database)
        .await?;
    let mut ticks = tokio::time::interval(DISTANCE);
    for number in 1..=SAMPLES {
        ticks.tick().await;
        sender
            .send_message(sample(run, number))
            .await
            .context("cannot send")?;
    }
    let mut round = wait_for_rows(database, begin).await?;
    round.dead_letters = dead_letters;
    Ok(round)
}

fn sample(run: &str, number: u32) -> Message {
    let kinds = ["creature.liked", "creature.adopted", "score.beaten"];
    let titles = [
        "Somebody likes your creature",
        "Your creature was adopted",
        "Your score was beaten",
    ];
    let which = usize::try_from(number).unwrap_or(0) % kinds.len();
    let body = json!({
        "schema_version": 1,
        "user_id": user(number % USERS + 1),
        "kind": kinds[which],
        "title": titles[which],
        "body": format!("Sample notification {number}."),
    });
    message(format!("sample-{run}-{number:03}"), body.to_string())
}

/// The id of a sample user, as `sample/app.sql` makes it.
pub(super) fn user(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// Messages that no try would help, each for another reason.
fn broken_messages(run: &str) -> Vec<Message> {
    let text = |user: &str, version: u32, title: serde_json::Value| {
        json!({
            "schema_version": version, "user_id": user, "kind": "creature.liked",
            "title": title, "body": "A broken sample.",
        })
        .to_string()
    };
    let nobody = "00000000-0000-4000-8000-ffffffffffff";
    let bodies = [
        ("not-json", "{\"schema_version\": 1,".to_owned()),
        ("unknown-user", text(nobody, 1, "Nobody reads this".into())),
        ("wrong-type", text(&user(1), 1, 5.into())),
        (
            "future-version",
            text(&user(1), 99, "From the future".into()),
        ),
        ("empty", String::new()),
    ];
    bodies
        .map(|(name, body)| message(format!("sample-{run}-{name}"), body))
        .into_iter()
        .collect()
}

fn message(id: String, body: String) -> Message {
    Message::new(Bytes::from(body))
        .with_message_id(id)
        .with_content_type("application/json")
}

async fn wait_for_dead_letters(
    database: &mut PgConnection,
    ids: &[String],
) -> anyhow::Result<Vec<DeadLetter>> {
    let deadline = Instant::now() + FIRST;
    loop {
        let found: Vec<DeadLetter> = sqlx::query_as(
            "select reason, description from nightshift.dead_letter \
             where message_id = any($1) order by reason, description limit 100",
        )
        .bind(ids)
        .fetch_all(&mut *database)
        .await
        .context("cannot read the dead letters")?;
        if found.len() >= ids.len() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!(
                "after {} s only {} of {} broken sample messages are dead letters",
                FIRST.as_secs(),
                found.len(),
                ids.len()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Counts by the time of the broker's acceptance: an earlier run may have left messages there, which
/// become rows now.
async fn wait_for_rows(database: &mut PgConnection, begin: DateTime<Utc>) -> anyhow::Result<Round> {
    let deadline = Instant::now() + REST;
    loop {
        let (rows, p50, p99): (i64, Option<f64>, Option<f64>) = sqlx::query_as(
            "select count(*), percentile_cont(0.5) within group (order by ms), \
                    percentile_cont(0.99) within group (order by ms) \
             from (select extract(epoch from created_at - enqueued_at)::float8 * 1000 as ms \
                   from nightshift.notification \
                   where enqueued_at >= date_trunc('milliseconds', $1)) as measured",
        )
        .bind(begin)
        .fetch_one(&mut *database)
        .await
        .context("cannot count the notifications")?;
        if rows >= i64::from(SAMPLES) {
            let (p50_ms, p99_ms) = (p50.unwrap_or_default(), p99.unwrap_or_default());
            return Ok(Round {
                sent: SAMPLES,
                rows,
                p50_ms,
                p99_ms,
                dead_letters: Vec::new(),
                scores: 0,
                leaderboard: None,
            });
        }
        if Instant::now() >= deadline {
            bail!(
                "after {} s only {rows} of {SAMPLES} sample notifications are rows",
                REST.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use nightshift_contract::{NotificationRequested, decode};

    use super::*;

    const LIMIT: usize = 1 << 18;

    #[test]
    fn samples_are_valid_and_broken_ones_but_for_the_unknown_user_are_not() {
        for number in [1, USERS, SAMPLES] {
            decode::<NotificationRequested>(&sample("r", number).body, LIMIT).unwrap();
        }
        let refused = broken_messages("r")
            .iter()
            .filter(|message| decode::<NotificationRequested>(&message.body, LIMIT).is_err())
            .count();
        assert_eq!(refused, 4);
    }

    #[test]
    fn users_are_those_of_the_sample_application() {
        assert_eq!(user(200), "00000000-0000-4000-8000-0000000000c8");
    }
}
