//! A disk of the database that is full: the kernel's own `ENOSPC`, as the server reports it (53100).

use super::*;

/// Whoever writes a row to the table with this trigger writes to a device that is always full.
const FULL: &str = "
    CREATE FUNCTION write_to_full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        COPY (SELECT repeat('x', 1000000)) TO '/dev/full';
        RETURN NEW;
    END $$;";

async fn fill_disk(world: &World, trigger: &'static str) {
    let pool = world.database.pool();
    pool.execute(FULL).await.unwrap();
    pool.execute(trigger).await.unwrap();
}

async fn free_disk(world: &World) {
    let free = "DROP FUNCTION write_to_full_disk CASCADE";
    world.database.pool().execute(free).await.unwrap();
}

#[tokio::test]
async fn rule_4_a_full_disk_under_the_function_costs_a_try_and_not_its_neighbours() {
    let world = World::new(&[]).await;
    let trigger = "CREATE TRIGGER disk BEFORE INSERT ON effect FOR EACH ROW WHEN (NEW.title = 'a')
        EXECUTE FUNCTION write_to_full_disk()";
    fill_disk(&world, trigger).await;
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    assert_eq!(world.effects().await, ["b 1"]);
    assert_eq!(world.waiting().await, ["a retry 1 1"]);
    let said = world
        .texts("SELECT last_error FROM nightshift.open_message")
        .await;
    assert!(said[0].contains("No space left on device"), "{said:?}");
    free_disk(&world).await;
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2", "b 1"]);
    world.end().await;
}

/// A disk that is full for half a second, while `messages` are delivered.
async fn full_for_a_while(world: &World, trigger: &'static str, messages: &[TriggerMessage]) {
    fill_disk(world, trigger).await;
    let freed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.effects().await, [""; 0]);
        free_disk(world).await;
    };
    let (delivered, ()) = tokio::join!(world.deliver(messages), freed);
    delivered.unwrap();
}

#[tokio::test]
async fn rule_4_an_invocation_is_held_while_the_disk_takes_no_claims() {
    let world = World::new(&[]).await;
    let trigger = "CREATE TRIGGER disk BEFORE INSERT ON nightshift.inbox FOR EACH ROW
        EXECUTE FUNCTION write_to_full_disk()";
    full_for_a_while(&world, trigger, &[titled("a"), titled("b")]).await;
    assert_eq!(world.effects().await, ["a 1", "b 1"]);
    assert_eq!(world.dead().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_4_a_failure_that_the_disk_does_not_take_is_not_forgotten_and_counts_once() {
    let world = World::new(&[("a", &[Step::Fail(Disposition::Retry)])]).await;
    let trigger = "CREATE TRIGGER disk BEFORE INSERT ON nightshift.open_message FOR EACH ROW
        EXECUTE FUNCTION write_to_full_disk()";
    full_for_a_while(&world, trigger, &[titled("a")]).await;
    assert_eq!(world.waiting().await, ["a retry 1 1"]);
    let copy = world.copy().await;
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.end().await;
}
