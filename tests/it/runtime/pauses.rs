//! Rule 9: the messages of a paused function wait, and come back in their order when it is resumed.

use nightshift_postgres::control;

use super::*;

async fn pause(world: &World) -> bool {
    let mut tx = world.database.pool().begin().await.unwrap();
    let paused = control::pause(&mut tx, Scripted::NAME, "an operator", "a test").await;
    tx.commit().await.unwrap();
    paused.unwrap()
}

async fn resume(world: &World, interval: Duration) -> u64 {
    let mut tx = world.database.pool().begin().await.unwrap();
    let woken = control::resume(&mut tx, Scripted::NAME, interval, "an operator").await;
    tx.commit().await.unwrap();
    woken.unwrap()
}

fn numbered(title: &str, number: i64) -> TriggerMessage {
    message(title, notification(USER, title), start_of_time())
        .numbered(number)
        .build()
}

#[tokio::test]
async fn rule_9_a_paused_function_runs_nothing_and_loses_nothing() {
    let world = World::new(&[("c", &[Step::Fail(Disposition::Retry)])]).await;
    world.deliver(&[titled("c")]).await.unwrap();
    let copy = world.copy().await;
    assert!(pause(&world).await);
    assert!(!pause(&world).await, "paused already");
    let paused = world.restarted();
    let messages = [numbered("b", 2), numbered("a", 1), copy];
    deliver(&paused, &messages).await.unwrap();
    deliver(&paused, &messages).await.unwrap();
    assert_eq!(world.effects().await, [""; 0]);
    let waiting = ["a paused 1 0", "b paused 1 0", "c paused 2 1"];
    assert_eq!(world.waiting().await, waiting);
    assert_eq!(world.promised().await, []);
    // Other functions go on.
    deliver_to(&paused, "ordered", &[titled("other")])
        .await
        .unwrap();
    assert_eq!(world.effects().await, ["other 1"]);
    assert_eq!(resume(&world, Duration::ZERO).await, 3);
    assert_eq!(resume(&world, Duration::ZERO).await, 0);
    let copies = take_overdue(world.database.pool(), start_of_time()).await;
    deliver(&world.restarted(), &copies).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1", "c 2", "other 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_9_a_pause_is_heard_of_by_a_process_that_runs_and_so_is_its_end() {
    let world = World::new(&[]).await;
    world.deliver(&[titled("a")]).await.unwrap();
    pause(&world).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    world.deliver(&[titled("b")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1"]);
    assert_eq!(resume(&world, Duration::ZERO).await, 1);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let copies = take_overdue(world.database.pool(), start_of_time()).await;
    world.deliver(&copies).await.unwrap();
    world.deliver(&[titled("c")]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1", "c 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_9_what_waited_comes_back_in_order_at_a_rate() {
    let world = World::new(&[]).await;
    pause(&world).await;
    let paused = world.restarted();
    let messages = [numbered("c", 3), numbered("a", 1), numbered("b", 2)];
    deliver(&paused, &messages).await.unwrap();
    resume(&world, Duration::from_secs(30)).await;
    let order = world
        .texts(
            "SELECT format('%s %s', convert_from(body, 'utf8')::json ->> 'title',
                    round(extract(epoch FROM due_at - min(due_at) OVER ())))
             FROM nightshift.open_message ORDER BY rescue_at",
        )
        .await;
    assert_eq!(order, ["a 0", "b 30", "c 60"]);
    world.database.remove().await;
}
