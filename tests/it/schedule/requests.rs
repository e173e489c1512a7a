//! What people ask for: pause and resume, run now, backfill.

use nightshift_job::RequestId;
use nightshift_postgres::schedule::{Requested, backfill, pause, resume, run_now};

use super::*;

const NAME: &str = Clocked::NAME;

fn request(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

impl World {
    async fn transact<T>(
        &self,
        act: impl AsyncFnOnce(&mut sqlx::PgConnection) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let mut tx = self.database.pool().begin().await?;
        let result = act(&mut tx).await?;
        tx.commit().await?;
        Ok(result)
    }

    async fn pause(&self) -> bool {
        let paused = self.transact(async |tx| pause(tx, NAME).await);
        paused.await.unwrap()
    }

    async fn resume(&self) -> Decided {
        let resumed = self.transact(async |tx| resume(tx, NAME).await);
        resumed.await.unwrap()
    }

    async fn run_now(&self, id: &str) -> Requested {
        let run = self.transact(async |tx| run_now(tx, NAME, &request(id), &body).await);
        run.await.unwrap()
    }

    async fn backfill(&self, from: &str, to: &str, id: &str) -> Result<Requested, ScheduleError> {
        let span = (at(from), at(to));
        self.transact(async |tx| backfill(tx, NAME, span, &request(id), &body).await)
            .await
    }
}

#[tokio::test]
async fn what_is_due_in_a_pause_is_skipped_and_said_so() {
    let world = World::new(Schedule {
        missed: Missed::All { max: 10 },
        ..HOURLY
    })
    .await;
    assert!(world.pause().await);
    assert!(!world.pause().await, "is paused already");
    world.wake("10:00:00").await;
    // Nobody wakes at eleven.
    world.set_clock(at("11:30:00")).await;
    world.resume().await;
    assert_eq!(world.resume().await, Decided::default(), "is not paused");
    world.wake("12:00:00").await;
    assert_eq!(
        world.ticks().await,
        ["10:00 skipped", "11:00 skipped", "12:00 enqueued"]
    );
    assert_eq!(world.whys().await, ["the schedule is paused"]);
    world.end().await;
}

#[tokio::test]
async fn what_waits_for_an_earlier_end_waits_through_a_pause() {
    let world = World::new(Schedule {
        overlap: Overlap::BufferAll,
        ..HOURLY
    })
    .await;
    world.wake("10:00:00").await;
    world.wake("11:00:00").await;
    world.pause().await;
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 done", "11:00 buffered"]);
    assert_eq!(world.resume().await.enqueued, 1);
    assert_eq!(world.ticks().await, ["10:00 done", "11:00 enqueued"]);
    assert_eq!(world.messages().await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn one_request_runs_once_even_while_the_schedule_is_paused() {
    let world = World::new(HOURLY).await;
    world.pause().await;
    assert!(matches!(world.run_now("r-1").await, Requested::Granted(_)));
    world.set_clock(at("09:35:00")).await;
    assert_eq!(world.run_now("r-1").await, Requested::Known);
    assert!(matches!(world.run_now("r-2").await, Requested::Granted(_)));
    assert_eq!(
        world.ticks().await,
        ["09:30 run-now enqueued", "09:35 run-now enqueued"]
    );
    for message in world.messages().await {
        world.deliver(&message, Mode::Complete).await;
    }
    assert_eq!(world.ran().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_run_that_is_asked_for_waits_for_its_turn_and_is_not_skipped() {
    let world = World::new(Schedule {
        overlap: Overlap::Skip,
        ..HOURLY
    })
    .await;
    world.wake("10:00:00").await;
    world.run_now("now").await;
    assert_eq!(
        world.ticks().await,
        ["10:00 run-now buffered", "10:00 enqueued"]
    );
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 run-now done", "10:00 done"]);
    world.end().await;
}

#[tokio::test]
async fn of_requests_that_come_at_once_one_is_run_and_the_others_wait() {
    let world = World::new(Schedule {
        overlap: Overlap::Skip,
        ..HOURLY
    })
    .await;
    world.open_connections().await;
    let ids: Vec<String> = (0..8).map(|number| format!("r-{number}")).collect();
    join_all(ids.iter().map(|id| world.run_now(id))).await;
    for _ in 0..8 {
        let message = world.message().await;
        world.deliver(&message, Mode::Complete).await;
    }
    assert_eq!(world.ticks().await, vec!["09:30 run-now done"; 8]);
    world.end().await;
}

#[tokio::test]
async fn a_backfill_runs_each_tick_of_its_span_once_and_in_order() {
    let world = World::new(Schedule {
        overlap: Overlap::Skip,
        ..HOURLY
    })
    .await;
    world.backfill("06:00:00", "09:00:00", "b").await.unwrap();
    let again = world.backfill("06:00:00", "09:00:00", "b").await.unwrap();
    assert_eq!(again, Requested::Known);
    for _ in 0..3 {
        let message = world.message().await;
        world.deliver(&message, Mode::Complete).await;
    }
    assert_eq!(world.ran(), ["06:00", "07:00", "08:00"]);
    assert_eq!(world.messages().await, []);
    assert_eq!(world.ticks().await[2], "08:00 backfill done");
    world.end().await;
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_explained() {
    let world = World::new(HOURLY).await;
    let refused = world.backfill("06:00:00", "10:00:00", "b").await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("those to come will come by themselves"),
        "{text}"
    );
    let refused = world
        .backfill("2020-01-01T00:00:00Z", "09:00:00", "b")
        .await;
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("there are more than 1000 ticks"), "{text}");
    let refused = world.transact(async |tx| pause(tx, "nobody").await).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "no function called \"nobody\" has a schedule here; was it ever deployed?"
    );
    assert_eq!(world.ticks().await, [""; 0]);
    world.end().await;
}
