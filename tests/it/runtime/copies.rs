//! Rules 1 and 3: a key is taken care of in one place, and of its copies only the newest runs.

use nightshift_job::JobKey;
use nightshift_postgres::dead_letter;

use super::*;

const RETRY: Step = Step::Fail(Disposition::Retry);

#[tokio::test]
async fn rule_3_a_copy_that_races_with_a_redelivery_of_the_original_runs_once() {
    for _ in 0..20 {
        let world = World::new(&[("a", &[RETRY])]).await;
        world.deliver(&[titled("a")]).await.unwrap();
        let copy = world.copy().await;
        let (other, third) = (world.restarted(), world.restarted());
        let (original, twice) = ([titled("a")], [copy.clone()]);
        let outcomes = tokio::join!(
            world.deliver(&original),
            deliver(&other, &twice),
            deliver(&third, &twice),
        );
        outcomes.0.unwrap();
        outcomes.1.unwrap();
        outcomes.2.unwrap();
        assert_eq!(world.effects().await, ["a 2"]);
        world.end().await;
    }
}

#[tokio::test]
async fn rule_1_a_redelivery_that_waits_for_the_first_try_to_fail_does_not_run() {
    // Both claim; the second waits for the first, which then makes the message wait.
    for _ in 0..20 {
        let world = World::new(&[("a", &[RETRY])]).await;
        let other = world.restarted();
        let original = [titled("a")];
        let (one, two) = tokio::join!(world.deliver(&original), deliver(&other, &original));
        one.unwrap();
        two.unwrap();
        assert_eq!(world.waiting().await, ["a retry 1 1"]);
        let copy = world.copy().await;
        world.deliver(&[copy]).await.unwrap();
        assert_eq!(world.effects().await, ["a 2"]);
        world.end().await;
    }
}

#[tokio::test]
async fn rule_1_two_batches_with_the_same_keys_in_opposite_order() {
    let world = World::new(&[]).await;
    let other = world.restarted();
    let one: Vec<_> = (0..200).map(|n| titled(&format!("{n:03}"))).collect();
    let two: Vec<_> = one.iter().rev().cloned().collect();
    let (first, second) = tokio::join!(world.deliver(&one), deliver(&other, &two));
    first.unwrap();
    second.unwrap();
    assert_eq!(world.effects().await.len(), 200);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_copy_is_all_that_is_left_after_a_restore() {
    let world = World::new(&[("a", &[RETRY])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let copy = world.copy().await;
    // The backup is older than the first try.
    let pool = world.database.pool();
    pool.execute("DELETE FROM nightshift.open_message")
        .await
        .unwrap();
    pool.execute("DELETE FROM nightshift.inbox").await.unwrap();
    world.deliver(std::slice::from_ref(&copy)).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.deliver(&[copy, titled("a")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_restored_message_that_fails_again_gets_a_newer_number() {
    let world = World::new(&[("a", &[RETRY, RETRY, RETRY])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let first = world.copy().await;
    world.deliver(&[first]).await.unwrap();
    let second = world.copy().await;
    let pool = world.database.pool();
    pool.execute("DELETE FROM nightshift.open_message")
        .await
        .unwrap();
    pool.execute("DELETE FROM nightshift.inbox").await.unwrap();
    world.deliver(&[second]).await.unwrap();
    assert_eq!(world.waiting().await, ["a retry 3 3"]);
    let third = world.copy().await;
    world.deliver(&[third]).await.unwrap();
    assert_eq!(world.effects().await, ["a 4"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_message_that_only_says_half_of_what_a_copy_says_is_an_original() {
    let world = World::new(&[]).await;
    let key = JobKey::of_message_id(Scripted::NAME, "b").to_string();
    let forged = message("a", notification(USER, "a"), start_of_time())
        .with_property("ns-origin", key)
        .with_property("ns-gen", 7)
        .build();
    world.deliver(&[forged, titled("b")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_1_a_message_that_is_dead_does_not_come_to_life_by_a_redelivery() {
    let dead = Step::Fail(Disposition::DeadLetter("broken"));
    for _ in 0..20 {
        let world = World::new(&[("a", std::slice::from_ref(&dead))]).await;
        let other = world.restarted();
        let original = [titled("a")];
        let (one, two) = tokio::join!(world.deliver(&original), deliver(&other, &original));
        one.unwrap();
        two.unwrap();
        // What was wrong is right now; the message stays where the operator saw it.
        world.script.0.lock().unwrap().clear();
        world.deliver(&original).await.unwrap();
        assert_eq!(world.dead().await, ["a broken 1"]);
        assert_eq!(world.effects().await, [""; 0]);
        world.end().await;
    }
}

#[tokio::test]
async fn rule_3_a_copy_that_lost_its_properties_is_dead_and_the_message_waits_on() {
    let world = World::new(&[("a", &[RETRY])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let copy = world.copy().await;
    let mut broken = copy.clone();
    broken.application_properties.remove("ns-gen");
    world.deliver(&[broken]).await.unwrap();
    assert_eq!(world.dead().await, ["a broken-copy 0"]);
    assert_eq!(world.effects().await, [""; 0]);
    // To redrive it, too, would double the effect.
    let pool = world.database.pool();
    let letter: Uuid = sqlx::query_scalar("SELECT key FROM nightshift.dead_letter")
        .fetch_one(pool)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let (keys, pause) = ([JobKey(letter)], Duration::ZERO);
    let risen = dead_letter::redrive(&mut connection, &keys, None, pause);
    assert_eq!(risen.await.unwrap(), []);
    drop(connection);
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_copy_keeps_session_and_properties_and_goes_to_the_functions_queue() {
    let world = World::new(&[("a", &[RETRY])]).await;
    let mut original = message("a", notification(USER, "a"), start_of_time())
        .with_property("traceparent", "00-1-2-3")
        .build();
    original.session_id = Some("chat".to_owned());
    world.deliver(&[original]).await.unwrap();
    let queues = world
        .texts("SELECT format('%s %s', queue, wakes = (SELECT key FROM nightshift.open_message)) FROM nightshift.outbox")
        .await;
    assert_eq!(queues, ["scripted t"]);
    let copy = world.copy().await;
    assert_eq!(copy.session_id.as_deref(), Some("chat"));
    assert_eq!(copy.application_properties["traceparent"], "00-1-2-3");
    world.deliver(&[copy]).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn rule_1_a_copy_of_a_message_that_is_older_than_the_inbox_runs_only_by_its_row() {
    let world = World::new(&[("a", &[Step::Snooze(after(20 * 86_400))])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let copy = world.copy().await;
    world.clock.set(after(20 * 86_400));
    world.deliver(std::slice::from_ref(&copy)).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    let pool = world.database.pool();
    pool.execute("DELETE FROM nightshift.inbox").await.unwrap();
    pool.execute("DELETE FROM effect").await.unwrap();
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, [""; 0]);
    assert_eq!(world.dead().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_1_a_twin_from_the_other_side_of_midnight_is_recognised_in_either_order() {
    let midnight = start_of_time()
        .date_naive()
        .and_hms_opt(0, 0, 0)
        .unwrap()
        .and_utc();
    let at = |seconds: i64| {
        let enqueued = midnight + TimeDelta::seconds(seconds);
        message("a", notification(USER, "a"), enqueued).build()
    };
    for order in [[-1, 1], [1, -1]] {
        let world = World::new(&[]).await;
        for seconds in order {
            world.deliver(&[at(seconds)]).await.unwrap();
        }
        assert_eq!(world.effects().await, ["a 1"]);
        let claims = world
            .texts("SELECT enqueued_day::text FROM nightshift.inbox")
            .await;
        assert_eq!(claims.len(), 1);
        world.end().await;
    }
}
