//! Rule 5: a message that ends its processes is found, its neighbours are not harmed, and a message
//! that only happened to be there is not taken for one.

use nightshift_job::JobKey;
use nightshift_postgres::lone_start;

use super::*;

fn delivered(title: &str, count: u32) -> TriggerMessage {
    message(title, notification(USER, title), start_of_time())
        .delivered(count)
        .build()
}

/// As if `processes` others had started the message and died.
async fn started_by(world: &World, title: &str, processes: i32) {
    sqlx::query(
        "INSERT INTO nightshift.lone_start (key, function, process, starts)
         VALUES ($1, 'scripted', gen_random_uuid(), $2)",
    )
    .bind(JobKey::of_message_id(Scripted::NAME, title).0)
    .bind(processes)
    .execute(world.database.pool())
    .await
    .unwrap();
}

async fn marks(world: &World) -> Vec<String> {
    world
        .texts("SELECT starts::text FROM nightshift.lone_start")
        .await
}

#[tokio::test]
async fn rule_5_the_third_start_is_a_dead_letter_and_its_neighbours_run() {
    let world = World::new(&[]).await;
    started_by(&world, "killer", 2).await;
    let messages = ["a", "killer", "b"].map(|title| delivered(title, 5));
    world.deliver(&messages).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1"]);
    assert_eq!(world.dead().await, ["killer kills-the-process 1"]);
    let said = world
        .texts("SELECT description FROM nightshift.dead_letter")
        .await;
    assert!(said[0].starts_with("2 processes have started"), "{said:?}");
    assert_eq!(marks(&world).await, [""; 0]);
    world.deliver(&messages).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_5_a_suspect_that_survives_is_innocent() {
    let world = World::new(&[]).await;
    started_by(&world, "a", 1).await;
    world.deliver(&[delivered("a", 4)]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    assert_eq!(marks(&world).await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_5_suspects_run_last_and_those_that_others_have_started_after_them() {
    let world = World::new(&[]).await;
    started_by(&world, "1 killer", 1).await;
    let messages = [
        delivered("1 killer", 4),
        delivered("2 suspect", 3),
        delivered("3 neighbour", 2),
        delivered("4 neighbour", 1),
    ];
    world.deliver(&messages).await.unwrap();
    let order = world.texts("SELECT title FROM effect ORDER BY n").await;
    assert_eq!(
        order,
        ["3 neighbour", "4 neighbour", "2 suspect", "1 killer"]
    );
    world.end().await;
}

#[tokio::test]
async fn rule_5_a_start_that_ends_without_an_outcome_is_taken_back() {
    let world = World::new(&[("a", &[Step::Hang])]).await;
    let key = JobKey::of_message_id(Scripted::NAME, "a").0;
    sqlx::query("SELECT nightshift.ensure_inbox_partitions(($1 AT TIME ZONE 'UTC')::date)")
        .bind(start_of_time())
        .execute(world.database.pool())
        .await
        .unwrap();
    for _ in 0..3 {
        let mut other = world.database.pool().begin().await.unwrap();
        // Somebody holds the claim, so the delivery ends without an outcome.
        sqlx::query(
            "INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
             VALUES ($1, ($2 AT TIME ZONE 'UTC')::date, $1, 'scripted')",
        )
        .bind(key)
        .bind(start_of_time())
        .execute(&mut *other)
        .await
        .unwrap();
        world.deliver(&[delivered("a", 9)]).await.unwrap_err();
        other.rollback().await.unwrap();
        assert_eq!(marks(&world).await, [""; 0]);
    }
    world.deliver(&[delivered("a", 9)]).await.unwrap();
    assert_eq!(world.waiting().await, ["a retry 1 1"]);
    assert_eq!(marks(&world).await, [""; 0]);
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn rule_5_a_process_that_starts_a_message_again_is_alive() {
    let world = World::new(&[]).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    let key = JobKey::of_message_id(Scripted::NAME, "a");
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut starts = Vec::new();
    for process in [one, one, one, other, other] {
        let count = lone_start::mark(&mut connection, Scripted::NAME, key, process).await;
        starts.push(count.unwrap());
    }
    assert_eq!(starts, [1, 1, 1, 2, 2]);
    drop(connection);
    world.end().await;
}
