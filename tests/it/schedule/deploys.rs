//! First deployments, changed schedules, and releases that run side by side.

use super::*;

const AT_HALF_PAST: Schedule = Schedule {
    cron: "0 30 * * * *",
    ..HOURLY
};

#[tokio::test]
async fn a_first_deployment_runs_nothing_of_the_past() {
    let world = World::undeployed(HOURLY).await;
    let started = world.look("10:00:30", Occasion::Start).await;
    assert!(matches!(started, Looked::Decided(decided) if decided.is_new));
    assert_eq!(world.wake("10:01:00").await, Decided::default());
    assert_eq!(world.ticks().await, [""; 0]);
    world.wake("11:00:00").await;
    assert_eq!(world.ticks().await, ["11:00 enqueued"]);
    world.end().await;
}

/// A host that has scaled to nothing starts the process only to deliver the wake-up.
#[tokio::test]
async fn a_wake_up_before_the_first_start_runs_the_tick_that_it_is_for() {
    let world = World::undeployed(HOURLY).await;
    world.wake("10:00:05").await;
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn a_change_counts_from_its_deployment_and_the_old_schedule_until_then() {
    let mut world = World::new(Schedule {
        missed: Missed::All { max: 10 },
        ..HOURLY
    })
    .await;
    world.wake("10:00:00").await;
    world.redeployed(AT_HALF_PAST, "12:10:00");
    world.look("12:10:00", Occasion::Start).await;
    world.wake("12:30:00").await;
    world.wake("13:30:00").await;
    assert_eq!(
        world.ticks().await,
        ["10:00", "11:00", "12:00", "12:30", "13:30"].map(|due| format!("{due} enqueued"))
    );
    let revisions = world
        .texts("SELECT revision::text FROM nightshift.schedule_tick ORDER BY due_at")
        .await;
    assert_eq!(revisions, ["1", "1", "1", "2", "2"]);
    world.end().await;
}

#[tokio::test]
async fn a_change_of_the_policy_alone_runs_no_tick_twice() {
    let mut world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let buffered = Schedule {
        overlap: Overlap::BufferAll,
        ..HOURLY
    };
    world.redeployed(buffered, "10:00:30");
    world.wake("10:00:40").await;
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn an_older_release_with_another_schedule_writes_nothing() {
    let mut world = World::new(HOURLY).await;
    world.redeployed(AT_HALF_PAST, "09:40:00");
    world.look("09:40:00", Occasion::Start).await;
    world.redeployed(HOURLY, "09:00:00");
    for occasion in [Occasion::Start, Occasion::WakeUp] {
        let looked = world.look("10:00:00", occasion).await;
        let by = at("09:40:00");
        assert_eq!(looked, Looked::Superseded { by });
    }
    assert_eq!(world.ticks().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn the_same_schedule_is_kept_by_whichever_release_wakes() {
    let mut world = World::new(HOURLY).await;
    world.redeployed(HOURLY, "09:40:00");
    world.wake("10:00:00").await;
    world.redeployed(HOURLY, "09:00:00");
    world.wake("11:00:00").await;
    assert_eq!(world.ticks().await, ["10:00 enqueued", "11:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn of_two_releases_that_wake_at_once_the_newer_ones_schedule_is_run() {
    let mut world = World::new(HOURLY).await;
    world.redeployed(AT_HALF_PAST, "09:40:00");
    world.look("09:40:00", Occasion::Start).await;
    for now in ["10:00:00", "10:30:00", "11:00:00", "11:30:00"] {
        world.set_clock(at(now)).await;
        // The real function in the handler is of the release of nine o'clock.
        let (old, new) = tokio::join!(
            join_all((0..4).map(|_| world.invoke(10))),
            join_all((0..4).map(|_| world.try_look(Occasion::WakeUp))),
        );
        assert!(old.iter().all(Result::is_ok) && new.iter().all(Result::is_ok));
    }
    assert_eq!(world.ticks().await, ["10:30 enqueued", "11:30 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn a_return_to_the_old_schedule_is_a_newer_release() {
    let mut world = World::new(HOURLY).await;
    world.redeployed(AT_HALF_PAST, "09:40:00");
    world.look("09:40:00", Occasion::Start).await;
    world.redeployed(HOURLY, "09:50:00");
    world.look("09:50:00", Occasion::Start).await;
    world.wake("10:00:00").await;
    world.wake("10:30:00").await;
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}
