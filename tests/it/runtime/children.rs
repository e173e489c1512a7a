//! Fan-out: the commit that ends the last part sends the finish message, once.

use super::*;

const RETRY: Step = Step::Fail(Disposition::Retry);
const DEAD: Step = Step::Fail(Disposition::DeadLetter("broken"));
const THREE: Step = Step::Split(&["1", "2", "3"]);

fn finishes(messages: &[TriggerMessage]) -> usize {
    let finish =
        |message: &&TriggerMessage| String::from_utf8_lossy(&message.body).contains("\"finish\"");
    messages.iter().filter(finish).count()
}

#[tokio::test]
async fn rule_2_the_finish_message_is_sent_with_the_last_of_the_parts() {
    let world = World::new(&[("all", &[THREE]), ("2", &[RETRY])]).await;
    world.deliver(&[titled("all")]).await.unwrap();
    let parts = world.promised().await;
    assert_eq!((parts.len(), finishes(&parts)), (3, 0));
    world.deliver(&parts).await.unwrap();
    // One waits, so its copy is all that was sent; a redelivery of the others counts nothing.
    let copy = world.copy().await;
    world.deliver(&parts).await.unwrap();
    assert_eq!(world.promised().await, []);
    world.deliver(&[copy]).await.unwrap();
    let finish = world.promised().await;
    assert_eq!((finish.len(), finishes(&finish)), (1, 1));
    world.deliver(&finish).await.unwrap();
    assert_eq!(
        world.effects().await,
        ["1 1", "2 2", "3 1", "all 1", "finish 1"]
    );
    world.end().await;
}

#[tokio::test]
async fn rule_2_dead_parts_have_ended_are_counted_and_do_not_count_again_when_redriven() {
    let world = World::new(&[("all", &[THREE]), ("1", &[DEAD]), ("3", &[DEAD])]).await;
    world.deliver(&[titled("all")]).await.unwrap();
    let parts = world.promised().await;
    world.deliver(&parts).await.unwrap();
    let finish = world.promised().await;
    assert_eq!(finishes(&finish), 1);
    world.deliver(&finish).await.unwrap();
    assert_eq!(
        world.effects().await,
        ["2 1", "all 1", "finish without 2 1"]
    );
    world.script.0.lock().unwrap().clear();
    let pool = world.database.pool();
    let keys: Vec<Uuid> = sqlx::query_scalar("SELECT key FROM nightshift.dead_letter")
        .fetch_all(pool)
        .await
        .unwrap();
    let keys: Vec<_> = keys.into_iter().map(nightshift_job::JobKey).collect();
    let mut connection = pool.acquire().await.unwrap();
    nightshift_postgres::dead_letter::redrive(&mut connection, &keys, None, Duration::ZERO)
        .await
        .unwrap();
    drop(connection);
    let redriven = take_overdue(pool, start_of_time()).await;
    world.deliver(&redriven).await.unwrap();
    assert_eq!(world.effects().await.len(), 5);
    world.end().await;
}

#[tokio::test]
async fn rule_2_a_part_that_is_split_itself_ends_with_its_own_parts() {
    let world = World::new(&[("all", &[Step::Split(&["half"])]), ("half", &[THREE])]).await;
    world.deliver(&[titled("all")]).await.unwrap();
    let half = world.promised().await;
    world.deliver(&half).await.unwrap();
    let parts = world.promised().await;
    assert_eq!((parts.len(), finishes(&parts)), (3, 0));
    world.deliver(&parts).await.unwrap();
    let inner = world.promised().await;
    assert_eq!((inner.len(), finishes(&inner)), (1, 1));
    world.deliver(&inner).await.unwrap();
    let outer = world.promised().await;
    assert_eq!((outer.len(), finishes(&outer)), (1, 1));
    world.deliver(&outer).await.unwrap();
    assert_eq!(world.promised().await, []);
    world.end().await;
}

#[tokio::test]
async fn rule_2_parts_that_end_in_many_processes_at_once_send_one_finish_message() {
    static PARTS: [&str; 60] = {
        let mut parts = ["part"; 60];
        parts[0] = "first";
        parts
    };
    let world = World::new(&[("all", &[Step::Split(&PARTS)])]).await;
    world.deliver(&[titled("all")]).await.unwrap();
    let parts = world.promised().await;
    let (one, two, three) = (world.restarted(), world.restarted(), world.restarted());
    // Some are delivered to two of them.
    let outcomes = tokio::join!(
        deliver(&one, &parts[..30]),
        deliver(&two, &parts[20..45]),
        deliver(&three, &parts[40..]),
    );
    outcomes.0.unwrap();
    outcomes.1.unwrap();
    outcomes.2.unwrap();
    let finish = world.promised().await;
    assert_eq!((finish.len(), finishes(&finish)), (1, 1));
    assert_eq!(world.effects().await.len(), 61);
    world.database.remove().await;
}

#[tokio::test]
async fn rule_2_without_parts_the_finish_message_is_sent_at_once() {
    let world = World::new(&[("all", &[Step::Split(&[])])]).await;
    world.deliver(&[titled("all")]).await.unwrap();
    assert_eq!(finishes(&world.promised().await), 1);
    world.end().await;
}
