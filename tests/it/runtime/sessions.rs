//! Rule 6: the messages of a session have their effects in order, also while one of them waits.

use super::*;

const RETRY: Step = Step::Fail(Disposition::Retry);
const DEAD: Step = Step::Fail(Disposition::DeadLetter("broken"));

fn nth(number: i64, session: &str) -> TriggerMessage {
    let title = format!("{session}{number}");
    message(&title, notification(USER, &title), start_of_time())
        .numbered(number)
        .in_session(session)
        .build()
}

fn first(count: i64, session: &str) -> Vec<TriggerMessage> {
    (1..=count).map(|number| nth(number, session)).collect()
}

/// Delivers each copy by itself, in the order in which they were promised, until none is.
async fn deliver_copies(world: &World, function: &'static str) {
    loop {
        let copies = world.promised().await;
        if copies.is_empty() {
            return;
        }
        for copy in copies {
            let copy = std::slice::from_ref(&copy);
            world.deliver_to(function, copy).await.unwrap();
        }
    }
}

async fn order(world: &World) -> Vec<String> {
    world.texts("SELECT title FROM effect ORDER BY n").await
}

#[tokio::test]
async fn rule_6_what_comes_after_a_failing_head_waits_for_it_and_keeps_its_order() {
    let world = World::new(&[("s2", &[RETRY, RETRY])]).await;
    world.deliver_to("ordered", &first(4, "s")).await.unwrap();
    assert_eq!(order(&world).await, ["s1"]);
    assert_eq!(
        world.waiting().await,
        ["s2 retry 1 1", "s3 parked 1 0", "s4 parked 1 0"]
    );
    // Whatever comes meanwhile is parked behind them; another session is not concerned.
    world.deliver_to("ordered", &[nth(5, "s")]).await.unwrap();
    world.deliver_to("ordered", &[nth(6, "t")]).await.unwrap();
    assert_eq!(order(&world).await, ["s1", "t6"]);
    deliver_copies(&world, "ordered").await;
    assert_eq!(order(&world).await, ["s1", "t6", "s2", "s3", "s4", "s5"]);
    world.end().await;
}

#[tokio::test]
async fn rule_6_a_snooze_stops_the_rest_of_its_session_in_the_same_batch() {
    let world = World::new(&[("s1", &[Step::Snooze(after(60))])]).await;
    let mut messages = first(3, "s");
    messages.push(nth(4, "t"));
    world.deliver_to("ordered", &messages).await.unwrap();
    assert_eq!(order(&world).await, ["t4"]);
    world.clock.set(after(60));
    deliver_copies(&world, "ordered").await;
    assert_eq!(order(&world).await, ["t4", "s1", "s2", "s3"]);
    world.end().await;
}

#[tokio::test]
async fn rule_6_by_default_a_session_goes_on_after_a_dead_message() {
    let world = World::new(&[("s1", &[RETRY, DEAD]), ("s3", &[DEAD])]).await;
    world.deliver_to("ordered", &first(4, "s")).await.unwrap();
    assert_eq!(order(&world).await, [""; 0]);
    deliver_copies(&world, "ordered").await;
    assert_eq!(order(&world).await, ["s2", "s4"]);
    assert_eq!(world.dead().await, ["s1 broken 2", "s3 broken 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_6_a_session_that_is_to_be_held_waits_for_its_dead_message() {
    let world = World::new(&[("s2", &[DEAD])]).await;
    world.deliver_to("holding", &first(3, "s")).await.unwrap();
    assert_eq!(order(&world).await, ["s1"]);
    world.deliver_to("holding", &[nth(4, "s")]).await.unwrap();
    deliver_copies(&world, "holding").await;
    assert_eq!(order(&world).await, ["s1"]);
    assert_eq!(world.dead().await, ["s2 broken 1"]);
    assert_eq!(world.waiting().await, ["s3 parked 1 0", "s4 parked 1 0"]);
    // The operator mends what was wrong and redrives it.
    world.script.0.lock().unwrap().clear();
    let copy = redrive::redriven(&world, "s2").await;
    world.deliver_to("holding", &[copy]).await.unwrap();
    deliver_copies(&world, "holding").await;
    assert_eq!(order(&world).await, ["s1", "s2", "s3", "s4"]);
    world.end().await;
}

#[tokio::test]
async fn rule_6_redeliveries_and_copies_that_race_leave_one_effect_each_in_order() {
    for _ in 0..10 {
        let world = World::new(&[("s1", &[RETRY]), ("s3", &[RETRY])]).await;
        let (other, batch) = (world.restarted(), first(5, "s"));
        // An owner that has lost the session works on while the next one has begun.
        let (one, two) = tokio::join!(
            world.deliver_to("ordered", &batch),
            deliver_to(&other, "ordered", &batch),
        );
        one.unwrap();
        two.unwrap();
        loop {
            let copies = world.promised().await;
            if copies.is_empty() {
                break;
            }
            for copy in copies {
                let copy = std::slice::from_ref(&copy);
                let (one, two) = tokio::join!(
                    world.deliver_to("ordered", copy),
                    deliver_to(&other, "ordered", copy),
                );
                one.unwrap();
                two.unwrap();
            }
        }
        assert_eq!(order(&world).await, ["s1", "s2", "s3", "s4", "s5"]);
        world.end().await;
    }
}

#[tokio::test]
async fn rule_6_nothing_of_a_session_runs_before_one_that_is_held_elsewhere_or_suspected() {
    let world = World::new(&[]).await;
    sqlx::query("SELECT nightshift.ensure_inbox_partitions(($1 AT TIME ZONE 'UTC')::date)")
        .bind(start_of_time())
        .execute(world.database.pool())
        .await
        .unwrap();
    let mut other = world.database.pool().begin().await.unwrap();
    sqlx::query(
        "INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
         VALUES ($1, ($2 AT TIME ZONE 'UTC')::date, $1, 'ordered')",
    )
    .bind(nightshift_job::JobKey::of_message_id("ordered", "s1").0)
    .bind(start_of_time())
    .execute(&mut *other)
    .await
    .unwrap();
    let mut batch = first(2, "s");
    batch.push(nth(3, "t"));
    world.deliver_to("ordered", &batch).await.unwrap_err();
    assert_eq!(order(&world).await, ["t3"]);
    other.rollback().await.unwrap();
    batch[0].delivery_count = 3;
    world.deliver_to("ordered", &batch).await.unwrap();
    assert_eq!(order(&world).await, ["t3", "s1", "s2"]);
    world.end().await;
}
