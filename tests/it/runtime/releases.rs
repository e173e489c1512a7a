//! Two releases at once: the schema is this release's while the one before still writes, and payloads of
//! the release before come to this one.

use std::ops::RangeInclusive;

use nightshift_contract::Payload;
use nightshift_job::{BodyHash, JobKey};
use nightshift_postgres::MIGRATIONS;
use serde::Deserialize;

use super::*;

/// The last migration of the release before: messages wait, but there are no sessions, calls and runs.
const BEFORE: i64 = 20_261_122_000_003;

/// The world with the schema of the release before.
async fn old_world(script: &[(&str, &[Step])]) -> World {
    let world = World::new(script).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    connection
        .execute("DROP SCHEMA nightshift CASCADE")
        .await
        .unwrap();
    MIGRATIONS.run_to(BEFORE, &mut *connection).await.unwrap();
    // It was in the schema, which has the user's name.
    connection.execute(EFFECT).await.unwrap();
    drop(connection);
    world
}

async fn migrate(world: &World) {
    let mut connection = world.database.pool().acquire().await.unwrap();
    nightshift_postgres::migrate(&mut connection).await.unwrap();
}

/// What the release before wrote, in its own statements: `waiting` has failed once and waits, `dead` is
/// dead, `done` is done.
async fn written_before(world: &World) {
    let pool = world.database.pool();
    sqlx::query("SELECT nightshift.ensure_inbox_partitions(($1 AT TIME ZONE 'UTC')::date)")
        .bind(start_of_time())
        .execute(pool)
        .await
        .unwrap();
    for title in ["waiting", "dead", "done"] {
        let body = notification(USER, title);
        let (key, hash) = (key(title), BodyHash::of(body.as_bytes()).0);
        sqlx::query(
            "INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
             VALUES ($1, ($2 AT TIME ZONE 'UTC')::date, $3, 'scripted')",
        )
        .bind(key.0)
        .bind(start_of_time())
        .bind(hash)
        .execute(pool)
        .await
        .unwrap();
        let statement = match title {
            "waiting" => {
                "INSERT INTO nightshift.open_message
                    (key, function, queue, gen, attempt, reason, due_at, rescue_at, last_error,
                     message_id, session_id, sequence_number, enqueued_at, properties, body, body_hash)
                 VALUES ($1, 'scripted', 'scripted', 1, 1, 'retry', now(), now(), 'not yet', 'waiting',
                    NULL, 1, $2, '{}', $3, $4)"
            }
            "dead" => {
                "INSERT INTO nightshift.dead_letter
                    (key, function, reason, description, message_id, session_id, sequence_number,
                     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen)
                 VALUES ($1, 'scripted', 'broken', 'it was', 'dead', NULL, 1, 1, $2, '{}', $3, $4, 12, 11)"
            }
            _ => continue,
        };
        sqlx::query(statement)
            .bind(key.0)
            .bind(start_of_time())
            .bind(body.as_bytes())
            .bind(hash)
            .execute(pool)
            .await
            .unwrap();
    }
}

fn key(title: &str) -> JobKey {
    JobKey::of_message_id(Scripted::NAME, title)
}

#[tokio::test]
async fn what_the_release_before_has_written_before_and_after_the_migration_is_worked_off() {
    for is_migrated_first in [true, false] {
        let world = old_world(&[]).await;
        if is_migrated_first {
            migrate(&world).await;
            written_before(&world).await;
        } else {
            written_before(&world).await;
            migrate(&world).await;
        }
        assert_eq!(world.waiting().await, ["waiting retry 1 1"]);
        let titles = ["waiting", "dead", "done", "new"];
        world.deliver(&titles.map(titled)).await.unwrap();
        assert_eq!(world.effects().await, ["new 1"]);
        let copies = take_overdue(world.database.pool(), start_of_time()).await;
        world.deliver(&copies).await.unwrap();
        assert_eq!(world.effects().await, ["new 1", "waiting 2"]);
        assert_eq!(world.dead().await, ["dead broken 12"]);
        world.end().await;
    }
}

#[tokio::test]
async fn migrations_are_applied_while_messages_flow() {
    const COUNT: usize = 100;
    let world = old_world(&[("50", &[Step::Fail(Disposition::Retry)])]).await;
    let flow = async {
        for n in 0..COUNT {
            let message = titled(&n.to_string());
            world.deliver(&[message]).await.unwrap();
        }
    };
    let migrated = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        migrate(&world).await;
    };
    tokio::join!(flow, migrated);
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await.len(), COUNT);
    assert_eq!(world.dead().await, [""; 0]);
    world.end().await;
}

/// A payload that has grown: version 1 had no `colour`.
#[derive(Debug, Deserialize)]
struct Grown {
    title: String,
    #[serde(default)]
    colour: Option<String>,
}

impl Payload for Grown {
    const VERSIONS: RangeInclusive<u32> = 1..=2;
}

#[derive(Debug)]
struct Growing;

impl BatchFunction for Growing {
    const NAME: &'static str = "growing";
    const CONFIG: &'static str = Scripted::CONFIG;
    const POLICY: Policy = Policy::DEFAULT;
    type Input = Grown;

    async fn run(
        &self,
        items: &[&Item<Grown>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        for item in items {
            let colour = item.input.colour.as_deref().unwrap_or("none");
            sqlx::query("INSERT INTO effect (key, title, attempt) VALUES ($1, $2, 1)")
                .bind(item.key.0)
                .bind(format!("{} {colour}", item.input.title))
                .execute(&mut *tx)
                .await?;
        }
        Ok(vec![Outcome::Completed; items.len()])
    }
}

#[tokio::test]
async fn payloads_of_the_release_before_are_read_and_those_of_the_next_are_dead_letters() {
    let world = World::new(&[]).await;
    let registry = world.restarted().with_batch(Growing).unwrap();
    let bodies = [
        r#"{"schema_version": 1, "title": "old"}"#,
        r#"{"schema_version": 2, "title": "new", "colour": "red"}"#,
        r#"{"schema_version": 3, "title": "next", "hue": 7}"#,
    ];
    let messages = bodies.map(|body| message(body, body, start_of_time()).build());
    deliver_to(&registry, Growing::NAME, &messages)
        .await
        .unwrap();
    assert_eq!(world.effects().await, ["new red 1", "old none 1"]);
    let dead = world
        .texts("SELECT format('%s: %s', reason, description) FROM nightshift.dead_letter")
        .await;
    let expected =
        "unknown-schema-version: schema version 3 is not known; this release reads 1 to 2";
    assert_eq!(dead.len(), 1);
    assert!(dead[0].starts_with(expected), "{dead:?}");
    world.database.remove().await;
}
