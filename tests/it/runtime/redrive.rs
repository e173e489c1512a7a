//! Rule 11: a dead message is tried again when an operator says so, once for each time it was dead.

use nightshift_job::JobKey;
use nightshift_postgres::dead_letter;

use super::*;

const DEAD: Step = Step::Fail(Disposition::DeadLetter("broken"));

async fn keys(world: &World) -> Vec<JobKey> {
    let keys: Vec<Uuid> = sqlx::query_scalar("SELECT key FROM nightshift.dead_letter")
        .fetch_all(world.database.pool())
        .await
        .unwrap();
    keys.into_iter().map(JobKey).collect()
}

async fn redrive(world: &World, keys: &[JobKey]) -> usize {
    let mut tx = world.database.pool().begin().await.unwrap();
    let risen = dead_letter::redrive(&mut tx, keys, None, Duration::ZERO).await;
    tx.commit().await.unwrap();
    risen.unwrap().len()
}

/// Redrives everything that is dead, which is `title`, and returns the copy that the sweep sends.
pub(super) async fn redriven(world: &World, title: &str) -> TriggerMessage {
    assert_eq!(redrive(world, &keys(world).await).await, 1);
    let mut copies = take_overdue(world.database.pool(), start_of_time()).await;
    assert_eq!(copies.len(), 1);
    let copy = copies.remove(0);
    let body = String::from_utf8(copy.body.to_vec()).unwrap();
    assert!(body.contains(&format!("{title:?}")), "{body}");
    copy
}

#[tokio::test]
async fn rule_11_a_message_that_is_redriven_twice_runs_once_with_all_its_tries() {
    let world = World::new(&[("a", &[DEAD])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.dead().await, ["a broken 1"]);
    world.script.0.lock().unwrap().clear();
    let keys = keys(&world).await;
    assert_eq!(redrive(&world, &keys).await, 1);
    assert_eq!(redrive(&world, &keys).await, 0, "redriven already");
    assert_eq!(world.dead().await, [""; 0]);
    assert_eq!(world.waiting().await, ["a redrive 1 0"]);
    let copies = take_overdue(world.database.pool(), start_of_time()).await;
    assert_eq!(copies.len(), 1);
    world.deliver(&copies).await.unwrap();
    world.deliver(&copies).await.unwrap();
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"], "its tries begin anew");
    world.end().await;
}

#[tokio::test]
async fn rule_11_many_are_redriven_at_a_rate() {
    let world = World::new(&[("0", &[DEAD]), ("1", &[DEAD]), ("2", &[DEAD])]).await;
    world.deliver(&["0", "1", "2"].map(titled)).await.unwrap();
    let keys = keys(&world).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    let pause = Duration::from_mins(1);
    let risen = dead_letter::redrive(&mut connection, &keys, None, pause).await;
    assert_eq!(risen.unwrap().len(), 3);
    drop(connection);
    let pauses = world
        .texts(
            "SELECT round(extract(epoch FROM due_at - min(due_at) OVER ()))::text
             FROM nightshift.open_message WHERE rescue_at = due_at ORDER BY due_at",
        )
        .await;
    assert_eq!(pauses, ["0", "60", "120"]);
    let due = take_overdue(world.database.pool(), start_of_time()).await;
    assert_eq!(due.len(), 1);
    world.database.remove().await;
}

#[tokio::test]
async fn rule_11_a_redriven_message_that_fails_is_dead_again_and_can_be_redriven_again() {
    let world = World::new(&[("a", &[DEAD])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    for number in 1..=3 {
        let copy = redriven(&world, "a").await;
        assert_eq!(copy.application_properties["ns-gen"], number);
        world.deliver(&[copy]).await.unwrap();
        assert_eq!(world.dead().await, ["a broken 1"]);
    }
    world.end().await;
}

#[tokio::test]
async fn rule_11_dead_letters_of_the_same_cause_are_one_group() {
    let titles = ["1", "2", "3"];
    let world = World::new(&[("1", &[DEAD]), ("2", &[DEAD]), ("3", &[Step::Refuse])]).await;
    world.deliver(&titles.map(titled)).await.unwrap();
    let unknown = message("m", "{\"schema_version\": 99}", start_of_time()).build();
    world.deliver(&[unknown]).await.unwrap();
    let mut connection = world.database.pool().acquire().await.unwrap();
    let groups = dead_letter::groups(&mut connection).await.unwrap();
    drop(connection);
    let mut counts: Vec<_> = groups
        .iter()
        .map(|group| (group.count, group.reason.as_str()))
        .collect();
    counts.sort_unstable();
    let expected = [(1, "told"), (1, "unknown-schema-version"), (2, "broken")];
    assert_eq!(counts, expected);
    assert_eq!(groups[0].count, 2, "the largest first");
    assert_eq!(groups[0].fingerprint.len(), 16);
    world.database.remove().await;
}

#[tokio::test]
async fn rule_11_groups_are_what_one_plain_statement_makes_of_the_letters() {
    let world = World::new(&[]).await;
    let pool = world.database.pool();
    // Fingerprints, functions and reasons in every combination, some of them once, and letters of earlier
    // releases without a fingerprint.
    sqlx::query(
        "INSERT INTO nightshift.dead_letter (key, function, queue, reason, description, sequence_number, delivery_count,
            enqueued_at, properties, body, body_hash, dead_at, fingerprint)
        SELECT gen_random_uuid(), 'f' || n / 4 % 3, 'q', 'r' || n / 12 % 5, 'letter ' || n, n, 1,
            now(), '{}', '', gen_random_uuid(), now() + n * interval '1 second',
            CASE WHEN n % 4 > 0 THEN lpad((n % 4)::text, 16, 'Aa') END
        FROM generate_series(1, 1000) AS n WHERE n % 7 > 0 OR n < 60",
    )
    .execute(pool)
    .await
    .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let groups = dead_letter::groups(&mut connection).await.unwrap();
    drop(connection);
    let found: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let of = (group.fingerprint, group.function, group.reason);
            (of, group.description, group.count, group.first, group.last)
        })
        .collect();
    let plain = sqlx::query_as(
        "SELECT coalesce(fingerprint, ''), function, reason, (max(ARRAY[lpad(sequence_number::text, 9, '0'), description]))[2],
            count(*), min(dead_at), max(dead_at)
        FROM nightshift.dead_letter GROUP BY fingerprint, function, reason ORDER BY 5 DESC, 1, 2, 3",
    );
    let plain: Vec<(String, String, String, String, i64, _, _)> =
        plain.fetch_all(pool).await.unwrap();
    let plain: Vec<_> = plain
        .into_iter()
        .map(
            |(fingerprint, function, reason, description, count, first, last)| {
                (
                    (fingerprint, function, reason),
                    description,
                    count,
                    first,
                    last,
                )
            },
        )
        .collect();
    assert_eq!(plain.len(), 60);
    assert_eq!(found, plain);
    world.database.remove().await;
}
