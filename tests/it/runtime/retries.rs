//! Rule 3: what fails for a cause that may pass waits in the database, longer each time, and a copy
//! wakes it; whoever is beside it does not wait.

use nightshift_job::JobKey;

use super::*;

const RETRY: Step = Step::Fail(Disposition::Retry);

/// How long after `now` a copy is due, in milliseconds.
fn delay(copy: &TriggerMessage, now: DateTime<Utc>) -> i64 {
    (copy.enqueued_time - now).num_milliseconds()
}

#[tokio::test]
async fn rule_3_a_failing_call_backs_off_across_restarts_until_it_succeeds() {
    let world = World::new(&[("a", &[RETRY, RETRY, RETRY])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let bounds = [8_000, 16_000, 20_000];
    let mut copy = world.copy().await;
    for (failures, bound) in bounds.into_iter().enumerate() {
        let now = world.clock_now();
        assert!(
            (0..=bound).contains(&delay(&copy, now)),
            "within its window"
        );
        let state = format!("a retry {0} {0}", failures + 1);
        assert_eq!(world.waiting().await, [state]);
        assert_eq!(
            world.effects().await,
            [""; 0],
            "a failed try leaves nothing"
        );
        world.clock.set(copy.enqueued_time);
        // Each try is made by another process.
        deliver(&world.restarted(), &[copy.clone()]).await.unwrap();
        if failures + 1 < bounds.len() {
            copy = world.copy().await;
        }
    }
    assert_eq!(world.effects().await, ["a 4"]);
    assert_eq!(world.dead().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_the_last_failed_try_makes_a_dead_letter_that_counts_them() {
    let world = World::new(&[("a", &[RETRY, RETRY, RETRY, RETRY])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    for _ in 0..3 {
        let copy = world.copy().await;
        world.deliver(&[copy]).await.unwrap();
    }
    assert_eq!(world.dead().await, ["a attempts-used-up 4"]);
    let said = world
        .texts("SELECT description FROM nightshift.dead_letter")
        .await;
    assert_eq!(said, ["failed 4 times; last: the script says so"]);
    // A redelivery of the original finds it dead.
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.effects().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_only_the_failing_members_of_a_batch_wait() {
    let world = World::new(&[
        ("b", &[RETRY]),
        ("d", &[Step::Panic]),
        ("e", &[Step::Fail(Disposition::DeadLetter("broken"))]),
        ("f", &[Step::ForgetOutcome]),
    ])
    .await;
    let batch: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(titled).into();
    world.deliver(&batch).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "c 1", "g 1"]);
    assert_eq!(
        world.waiting().await,
        ["b retry 1 1", "d retry 1 1", "f retry 1 1"]
    );
    assert_eq!(world.dead().await, ["e broken 1"]);
    let errors = world
        .texts("SELECT last_error FROM nightshift.open_message ORDER BY last_error")
        .await;
    assert_eq!(
        errors,
        [
            "the function panicked: the script says so",
            "the function returned 0 outcomes for 1 messages",
            "the script says so",
        ]
    );
    let copies = world.promised().await;
    // The whole batch comes again, because its answer was lost, and the copies with it.
    let again: Vec<_> = batch.into_iter().chain(copies).collect();
    world.deliver(&again).await.unwrap();
    let all = ["a 1", "b 2", "c 1", "d 2", "f 2", "g 1"];
    assert_eq!(world.effects().await, all);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_pause_that_the_other_side_asks_for_wins() {
    let pause = Disposition::RetryAfter(Duration::from_mins(5));
    let world = World::new(&[("a", &[Step::Fail(pause)])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let copy = world.copy().await;
    assert_eq!(delay(&copy, start_of_time()), 300_000);
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_two_snoozes_of_one_message_cost_no_try() {
    let world = World::new(&[("a", &[Step::Snooze(after(90))])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    let first = world.copy().await;
    assert_eq!(first.enqueued_time, after(90));
    // It comes early, as an alarm clock may.
    world.clock.set(after(60));
    world.deliver(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(world.waiting().await, ["a snooze 2 0"]);
    let second = world.copy().await;
    world.clock.set(after(90));
    world.deliver(&[first]).await.unwrap();
    assert_eq!(
        world.effects().await,
        [""; 0],
        "the first copy is stale now"
    );
    world.deliver(&[second]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_message_that_waited_may_be_skipped_or_refused() {
    let world = World::new(&[("a", &[RETRY, Step::Skip]), ("b", &[RETRY, Step::Refuse])]).await;
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    let copies = world.promised().await;
    world.deliver(&copies).await.unwrap();
    assert_eq!(world.effects().await, [""; 0]);
    assert_eq!(world.dead().await, ["b told 1"]);
    let skipped = world
        .texts("SELECT skipped FROM nightshift.inbox WHERE skipped IS NOT NULL")
        .await;
    assert_eq!(skipped, ["the script says so"]);
    world.end().await;
}

#[tokio::test]
async fn rule_1_a_conflict_under_the_function_costs_no_try() {
    let world = World::new(&[]).await;
    let key = JobKey::of_message_id(Scripted::NAME, "a").0;
    let mut other = world.database.pool().begin().await.unwrap();
    sqlx::query("INSERT INTO effect (key, title) VALUES ($1, 'other')")
        .bind(key)
        .execute(&mut *other)
        .await
        .unwrap();
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    other.rollback().await.unwrap();
    assert_eq!(world.effects().await, ["b 1"]);
    assert_eq!(world.waiting().await, ["a retry 1 0"]);
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_function_that_hangs_costs_a_try_and_not_its_neighbours() {
    let world = World::new(&[("a", &[Step::Hang]), ("c", &[Step::Hang])]).await;
    world
        .deliver(&[titled("a"), titled("b"), titled("c")])
        .await
        .unwrap();
    assert_eq!(world.effects().await, ["b 1"]);
    assert_eq!(world.waiting().await, ["a retry 1 1", "c retry 1 1"]);
    let said = world
        .texts("SELECT DISTINCT last_error FROM nightshift.open_message")
        .await;
    assert_eq!(said, ["the function was not done after 1.5 s"]);
    let copies = world.promised().await;
    world.deliver(&copies).await.unwrap();
    assert_eq!(world.effects().await, ["a 2", "b 1", "c 2"]);
    world.end().await;
}

#[tokio::test]
async fn rule_4_a_database_that_goes_away_under_the_function_costs_no_try() {
    let world = World::new(&[("a", &[Step::CutOnce])]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    assert_eq!(world.waiting().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_a_statement_that_breaks_its_own_limits_costs_a_try_and_not_its_neighbours() {
    let world = World::new(&[("a", &[Step::TooSlow])]).await;
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    assert_eq!(world.effects().await, ["b 1"]);
    assert_eq!(world.waiting().await, ["a retry 1 1"]);
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn rule_3_messages_that_fail_together_do_not_come_back_together() {
    let titles: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let script: Vec<(&str, &[Step])> = titles
        .iter()
        .map(|title| (&**title, &[RETRY][..]))
        .collect();
    let world = World::new(&script).await;
    let messages: Vec<_> = titles.iter().map(|title| titled(title)).collect();
    world.deliver(&messages).await.unwrap();
    let copies = world.promised().await;
    let delays: Vec<i64> = copies
        .iter()
        .map(|copy| delay(copy, start_of_time()))
        .collect();
    assert!(delays.iter().all(|delay| (0..=8_000).contains(delay)));
    // 64 draws from 0 to 8 s: one that is not spread over it is not drawn.
    let quarters = |quarter: i64| {
        delays
            .iter()
            .filter(|delay| **delay / 2_001 == quarter)
            .count()
    };
    assert!((0..4).all(|quarter| quarters(quarter) > 0), "{delays:?}");
    world.deliver(&copies).await.unwrap();
    assert_eq!(world.effects().await.len(), 64);
    world.end().await;
}
