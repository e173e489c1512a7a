//! Ticks that are due while an earlier one has not ended, and what its end lets go.

use super::*;

async fn world(overlap: Overlap) -> World {
    World::new(Schedule { overlap, ..HOURLY }).await
}

/// Three hours in which nobody works.
async fn wake_thrice(world: &World) {
    for now in ["10:00:00", "11:00:00", "12:00:00"] {
        world.wake(now).await;
    }
}

#[tokio::test]
async fn skip_lets_one_run_at_a_time_and_says_what_it_has_skipped() {
    let world = world(Overlap::Skip).await;
    wake_thrice(&world).await;
    assert_eq!(
        world.ticks().await,
        ["10:00 enqueued", "11:00 skipped", "12:00 skipped"]
    );
    assert_eq!(world.whys().await, ["the tick before has not ended"]);
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    world.wake("13:00:00").await;
    assert_eq!(world.ticks().await[3], "13:00 enqueued");
    world.end().await;
}

#[tokio::test]
async fn buffer_one_keeps_the_first_that_waits_and_lets_it_go_at_the_end() {
    let world = world(Overlap::BufferOne).await;
    wake_thrice(&world).await;
    assert_eq!(
        world.ticks().await,
        ["10:00 enqueued", "11:00 buffered", "12:00 skipped"]
    );
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    assert_eq!(world.ran(), ["10:00", "11:00"]);
    assert_eq!(world.messages().await, []);
    world.end().await;
}

#[tokio::test]
async fn buffer_all_runs_every_tick_one_after_the_other() {
    let world = world(Overlap::BufferAll).await;
    wake_thrice(&world).await;
    for due in ["10:00", "11:00", "12:00"] {
        // Whoever delivers it twice lets go of one only.
        let message = world.message().await;
        world.deliver(&message, Mode::Complete).await;
        world.deliver(&message, Mode::Complete).await;
        assert_eq!(world.ran().last().unwrap(), due);
    }
    assert_eq!(
        world.ticks().await,
        ["10:00 done", "11:00 done", "12:00 done"]
    );
    world.end().await;
}

#[tokio::test]
async fn cancel_running_takes_the_place_of_what_has_not_ended() {
    let world = world(Overlap::CancelRunning).await;
    wake_thrice(&world).await;
    assert_eq!(
        world.ticks().await,
        ["10:00 cancelled", "11:00 cancelled", "12:00 enqueued"]
    );
    for message in world.messages().await {
        world.deliver(&message, Mode::Complete).await;
    }
    assert_eq!(world.ran(), ["12:00"]);
    assert_eq!(
        world.ticks().await,
        ["10:00 cancelled", "11:00 cancelled", "12:00 done"]
    );
    world.end().await;
}

#[tokio::test]
async fn cancel_running_reaches_a_message_that_waits_for_another_try() {
    let world = world(Overlap::CancelRunning).await;
    world.wake("10:00:00").await;
    let message = world.message().await;
    world.deliver(&message, Mode::Fail).await;
    let copy = world.message().await;
    world.wake("11:00:00").await;
    world.deliver(&copy, Mode::Complete).await;
    assert_eq!(world.ran(), [""; 0]);
    assert_eq!(world.ticks().await, ["10:00 cancelled", "11:00 enqueued"]);
    let waiting = world
        .texts("SELECT function FROM nightshift.open_message")
        .await;
    assert_eq!(waiting, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn allow_lets_ticks_run_beside_each_other() {
    let world = world(Overlap::Allow).await;
    wake_thrice(&world).await;
    assert_eq!(world.messages().await.len(), 3);
    world.end().await;
}

#[tokio::test]
async fn every_end_of_the_work_ends_the_tick_and_lets_the_next_one_go() {
    for (mode, state) in [
        (Mode::Complete, "10:00 done"),
        (Mode::Skip, "10:00 skipped"),
        (Mode::Refuse, "10:00 failed"),
    ] {
        let world = world(Overlap::BufferAll).await;
        world.wake("10:00:00").await;
        world.wake("11:00:00").await;
        let message = world.message().await;
        world.deliver(&message, mode).await;
        assert_eq!(world.ticks().await, [state, "11:00 enqueued"]);
        assert_eq!(world.messages().await.len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn a_tick_whose_work_is_split_ends_with_the_finish_message() {
    let world = world(Overlap::BufferAll).await;
    world.wake("10:00:00").await;
    world.wake("11:00:00").await;
    let first = world.message().await;
    world.deliver(&first, Mode::Split).await;
    let part = world.message().await;
    world.deliver(&part, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 enqueued", "11:00 buffered"]);
    let finish = world.message().await;
    // The first message is neither sent again nor, days later, split again.
    assert_eq!(world.wake("11:50:00").await.resent, 0);
    let mut late = first.clone();
    late.enqueued_time = first.enqueued_time + chrono::TimeDelta::days(3);
    world.clock.set(late.enqueued_time);
    world.deliver(&late, Mode::Split).await;
    assert_eq!(world.messages().await, []);
    // The finish message fails once, and its copy carries the tick, too.
    world.deliver(&finish, Mode::Fail).await;
    let copy = world.message().await;
    world.deliver(&copy, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 done", "11:00 enqueued"]);
    assert_eq!(world.ran().len(), 3);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_comes_weeks_late_fails_its_tick_and_lets_the_next_one_go() {
    let world = world(Overlap::BufferAll).await;
    world.wake("10:00:00").await;
    world.wake("11:00:00").await;
    let message = world.message().await;
    world.set_clock(at("2026-03-22T12:00:00Z")).await;
    world.deliver(&message, Mode::Complete).await;
    assert_eq!(world.ran(), [""; 0]);
    assert_eq!(world.ticks().await, ["10:00 failed", "11:00 enqueued"]);
    let whys = world.whys().await;
    assert!(whys[0].contains("not within the 14 days"), "{whys:?}");
    world.end().await;
}

#[tokio::test]
async fn a_tick_whose_work_waits_for_another_try_has_not_ended() {
    let world = world(Overlap::BufferAll).await;
    world.wake("10:00:00").await;
    world.wake("11:00:00").await;
    let message = world.message().await;
    world.deliver(&message, Mode::Fail).await;
    assert_eq!(world.ticks().await, ["10:00 enqueued", "11:00 buffered"]);
    let copy = world.message().await;
    assert_ne!(copy.message_id, message.message_id);
    world.deliver(&copy, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 done", "11:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn ticks_that_are_caught_up_with_overlap_like_any_others() {
    for (overlap, expected) in [
        (Overlap::Skip, ["enqueued", "skipped", "skipped"]),
        (Overlap::BufferOne, ["enqueued", "buffered", "skipped"]),
        (Overlap::BufferAll, ["enqueued", "buffered", "buffered"]),
        (Overlap::CancelRunning, ["skipped", "skipped", "enqueued"]),
        (Overlap::Allow, ["enqueued", "enqueued", "enqueued"]),
    ] {
        let world = World::new(Schedule {
            overlap,
            missed: Missed::All { max: 10 },
            ..HOURLY
        })
        .await;
        world.wake("12:30:00").await;
        let states = world
            .texts("SELECT state FROM nightshift.schedule_tick ORDER BY due_at")
            .await;
        assert_eq!(states, expected, "{overlap:?}");
        world.end().await;
    }
}
