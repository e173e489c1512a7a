//! Rules 1 and 3: a key is taken care of in one place, and of its copies only the newest runs.

use nightshift_job::JobKey;

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
