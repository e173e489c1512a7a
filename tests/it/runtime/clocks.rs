//! Clocks that jump: what is done twice or not at all does not hang on them. A handler's clock gives its
//! pauses; leases and schedules go by the database's.

use super::*;

const RETRY: Step = Step::Fail(Disposition::Retry);

#[tokio::test]
async fn rule_3_a_clock_that_jumps_a_day_between_two_tries_loses_and_doubles_nothing() {
    for jump in [TimeDelta::days(1), TimeDelta::days(-1)] {
        let world = World::new(&[("a", &[RETRY, RETRY])]).await;
        world.deliver(&[titled("a")]).await.unwrap();
        world.clock.set(start_of_time() + jump);
        for state in ["a retry 1 1", "a retry 2 2"] {
            assert_eq!(world.waiting().await, [state]);
            let copy = world.copy().await;
            // The broker's clock has not jumped: the original and a new message come beside the copy.
            let messages = [titled("a"), copy, titled("b")];
            world.deliver(&messages).await.unwrap();
        }
        assert_eq!(world.effects().await, ["a 3", "b 1"]);
        assert_eq!(world.dead().await, [""; 0]);
        world.end().await;
    }
}

#[tokio::test]
async fn rule_3_after_a_jump_ahead_and_back_a_message_waits_until_the_time_that_was_written() {
    let world = World::new(&[("a", &[RETRY])]).await;
    world.clock.set(after(86_400));
    world.deliver(&[titled("a")]).await.unwrap();
    world.clock.set(start_of_time());
    let copy = world.copy().await;
    let due = copy.enqueued_time;
    assert!((after(86_400)..=after(86_408)).contains(&due), "{due}");
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(world.effects().await, ["a 2"]);
    world.end().await;
}
