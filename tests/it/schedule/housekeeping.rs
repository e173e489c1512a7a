//! The housekeeping: what is removed, what is kept, and who is watched.

use chrono::{Days, NaiveDate};
use nightshift_postgres::inbox::{OldPartitions, drop_old_partitions};
use nightshift_postgres::schedule::{Silent, pause, prune, silent};
use sqlx::PgConnection;

use super::*;

const PARTITIONS: &str =
    "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'nightshift.inbox'::regclass ORDER BY 1";

async fn ensure_partitions(connection: &mut PgConnection, first: NaiveDate) {
    sqlx::query("SELECT nightshift.ensure_inbox_partitions($1)")
        .bind(first)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn partitions_go_when_none_of_their_messages_would_be_run_any_more() {
    let world = World::new(HOURLY).await;
    let today = at("09:30:00").date_naive();
    let mut connection = world.database.pool().acquire().await.unwrap();
    for days in [20, 16, 14] {
        ensure_partitions(&mut connection, today - Days::new(days)).await;
    }
    // 20, 19, 16, 15, 14 and 13 days ago; three of them are more than fifteen days old.
    let first = drop_old_partitions(&mut connection, 2).await.unwrap();
    assert_eq!((first.dropped, first.remaining), (2, 1));
    let second = drop_old_partitions(&mut connection, 2).await.unwrap();
    assert_eq!((second.dropped, second.remaining), (1, 0));
    let name = |days| {
        let day = today - Days::new(days);
        format!("inbox_{}", day.format("%Y%m%d"))
    };
    let expected = [name(15), name(14), name(13)];
    assert_eq!(world.texts(PARTITIONS).await, expected);
    drop(connection);
    world.end().await;
}

#[tokio::test]
async fn a_busy_inbox_is_not_held_up_for_long() {
    let world = World::new(HOURLY).await;
    let old = at("09:30:00").date_naive() - Days::new(20);
    let mut connection = world.database.pool().acquire().await.unwrap();
    ensure_partitions(&mut connection, old).await;
    let mut reader = world.database.pool().begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM nightshift.inbox")
        .execute(&mut *reader)
        .await
        .unwrap();
    let started = std::time::Instant::now();
    let busy = drop_old_partitions(&mut connection, 2).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let none = OldPartitions {
        dropped: 0,
        remaining: 2,
    };
    assert_eq!(busy, none);
    reader.rollback().await.unwrap();
    let free = drop_old_partitions(&mut connection, 2).await.unwrap();
    assert_eq!(free.dropped, 2);
    drop(connection);
    world.end().await;
}

#[tokio::test]
async fn ticks_go_after_ninety_days_unless_they_have_not_ended() {
    let world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let message = world.message().await;
    world.deliver(&message, Mode::Complete).await;
    world.wake("11:00:00").await;
    world.set_clock(at("2026-05-31T10:30:00Z")).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    assert_eq!(prune(&mut connection, 90, 10).await.unwrap(), 1);
    assert_eq!(world.ticks().await, ["11:00 enqueued"]);
    drop(connection);
    world.end().await;
}

#[tokio::test]
async fn a_schedule_is_silent_when_a_tick_was_due_and_nobody_has_looked() {
    let world = World::new(HOURLY).await;
    let mut connection = world.database.pool().acquire().await.unwrap();
    for (now, expected) in [
        ("09:59:00", None),
        ("10:09:59", None),
        ("10:10:01", Some("10:00:00")),
        ("15:00:00", Some("10:00:00")),
    ] {
        world.set_clock(at(now)).await;
        let expected: Vec<Silent> = expected
            .map(|due| Silent {
                function: Clocked::NAME.to_owned(),
                due: Some(at(due)),
            })
            .into_iter()
            .collect();
        assert_eq!(silent(&mut connection).await.unwrap(), expected, "{now}");
    }
    // A pause is no silence, as long as somebody looks.
    pause(&mut connection, Clocked::NAME).await.unwrap();
    world.wake("15:00:00").await;
    assert_eq!(silent(&mut connection).await.unwrap(), []);
    drop(connection);
    world.end().await;
}
