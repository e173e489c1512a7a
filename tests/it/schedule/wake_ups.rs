//! Wake-ups that come as they should, twice, late, together, or not at all.

use chrono::TimeDelta;

use super::*;

#[tokio::test]
async fn a_tick_becomes_a_message_whose_id_is_its_name() {
    let world = World::new(HOURLY).await;
    let decided = world.wake("10:00:00").await;
    assert_eq!((decided.enqueued, decided.skipped), (1, 0));
    let message = world.message().await;
    let id = "ns-tick:clocked-schedule:2026-03-02T10:00:00Z";
    assert_eq!(message.message_id.as_deref(), Some(id));
    assert_eq!(
        message.body,
        r#"{"schema_version":1,"due":"2026-03-02T10:00:00Z"}"#
    );
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.deliver(&message, Mode::Complete).await;
    assert_eq!(world.ticks().await, ["10:00 done"]);
    assert_eq!(world.ran(), ["10:00"]);
    world.end().await;
}

#[tokio::test]
async fn every_tick_is_run_once_however_wake_ups_come() {
    let world = World::new(Schedule {
        missed: Missed::All { max: 100 },
        ..HOURLY
    })
    .await;
    // In time, twice, late, between ticks, three hours missing, and a clock that was set back.
    for now in [
        "10:00:00", "10:00:00", "10:00:01", "11:01:30", "11:20:00", "14:30:00", "12:00:00",
        "14:30:00", "15:00:00",
    ] {
        world.wake(now).await;
    }
    let expected = ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"];
    let expected = expected.map(|due| format!("{due} enqueued"));
    assert_eq!(world.ticks().await, expected);
    assert_eq!(world.messages().await.len(), 6);
    world.end().await;
}

#[tokio::test]
async fn processes_that_wake_at_once_write_each_tick_once() {
    let world = World::new(HOURLY).await;
    world.open_connections().await;
    for hour in 10..14 {
        world.set_clock(at(&format!("{hour}:00:00"))).await;
        let woken = join_all((0..8).map(|_| world.invoke(10))).await;
        assert!(woken.iter().all(Result::is_ok), "{woken:?}");
        let promised = world
            .texts("SELECT message_id FROM nightshift.outbox")
            .await;
        assert_eq!(promised.len(), 1);
        let message = world.message().await;
        world.deliver(&message, Mode::Complete).await;
    }
    assert_eq!(world.ticks().await.len(), 4);
    world.end().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_take_the_cursor_along() {
    let world = World::new(HOURLY).await;
    for now in ["10:00:00", "08:00:00"] {
        world.wake(now).await;
        let cursor = world
            .texts(
                "SELECT to_char(cursor_at AT TIME ZONE 'UTC', 'HH24:MI') FROM nightshift.schedule",
            )
            .await;
        assert_eq!(cursor, ["10:00"]);
    }
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn at_both_changes_of_the_clocks_every_day_has_one_run() {
    let berlin = Schedule {
        cron: "0 30 2 * * *",
        zone: "Europe/Berlin",
        ..HOURLY
    };
    for (begin, expected) in [
        ("2026-03-27T12:00:00Z", ["01:30", "01:30", "00:30"]),
        ("2026-10-23T12:00:00Z", ["00:30", "00:30", "01:30"]),
    ] {
        let world = World::undeployed(berlin).await;
        world.look(begin, Occasion::Start).await;
        // Both of the wake-ups in UTC, each day.
        for hours in (12..72).filter(|hours| [12, 13].contains(&(hours % 24))) {
            let now = at(begin) + TimeDelta::hours(hours) + TimeDelta::minutes(30);
            world.wake(&now.to_rfc3339()).await;
        }
        let due = world.ticks().await;
        assert_eq!(due, expected.map(|due| format!("{due} enqueued")));
        world.end().await;
    }
}

#[tokio::test]
async fn after_an_outage_the_policy_decides_what_is_run_of_the_missed() {
    for (missed, run) in [
        (Missed::None, 0),
        (Missed::Last, 1),
        (Missed::All { max: 3 }, 3),
        (Missed::All { max: 9 }, 5),
    ] {
        let world = World::new(Schedule { missed, ..HOURLY }).await;
        world.wake("14:30:00").await;
        let dues = ["10:00", "11:00", "12:00", "13:00", "14:00"];
        let state = |hour: usize| {
            if hour < 5 - run {
                "skipped"
            } else {
                "enqueued"
            }
        };
        let expected: Vec<String> = dues
            .iter()
            .enumerate()
            .map(|(hour, due)| format!("{due} {}", state(hour)))
            .collect();
        assert_eq!(world.ticks().await, expected, "{missed:?}");
        assert_eq!(world.messages().await.len(), run);
        world.end().await;
    }
}

#[tokio::test]
async fn a_long_outage_is_a_bounded_number_of_rows() {
    let world = World::new(Schedule {
        cron: "* * * * * *",
        ..HOURLY
    })
    .await;
    world.wake("2026-03-09T09:30:00Z").await;
    let ticks = world.ticks().await;
    // A sum and a hundred rows each of what is too old and of what is not the last; two minutes.
    assert_eq!(ticks.len(), 101 + 101 + 120);
    let sums = world
        .texts("SELECT id FROM nightshift.schedule_tick WHERE ticks IS NULL")
        .await;
    assert_eq!(sums.len(), 2);
    assert_eq!(world.messages().await.len(), 120);
    world.end().await;
}

#[tokio::test]
async fn jitter_delays_the_message_and_not_the_decision() {
    let world = World::new(Schedule {
        jitter: Duration::from_mins(30),
        ..HOURLY
    })
    .await;
    world.wake("10:00:00").await;
    let message = world.message().await;
    let delay = message.enqueued_time - at("10:00:00");
    assert!(TimeDelta::zero() < delay && delay < TimeDelta::minutes(30));
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_is_lost_is_sent_again_under_its_id() {
    let world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let lost = world.message().await;
    world.wake("10:14:00").await;
    assert_eq!(world.messages().await, []);
    let decided = world.wake("10:15:00").await;
    assert_eq!(decided.resent, 1);
    let again = world.message().await;
    assert_eq!(
        (&again.message_id, &again.body),
        (&lost.message_id, &lost.body)
    );
    // Both come after all, and the tick is done once.
    world.deliver(&again, Mode::Complete).await;
    world.deliver(&lost, Mode::Complete).await;
    assert_eq!(world.ran(), ["10:00"]);
    assert_eq!(world.wake("10:50:00").await.resent, 0);
    world.end().await;
}

/// Claims recognise an id for a day; the ledger does for as long as it has the tick.
#[tokio::test]
async fn a_message_that_is_sent_again_days_later_is_not_run_twice() {
    let world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let first = world.message().await;
    world.deliver(&first, Mode::Fail).await;
    let copy = world.message().await;
    world.wake("2026-03-05T10:00:00Z").await;
    let messages = world.messages().await;
    let same_id = |message: &&TriggerMessage| message.message_id == first.message_id;
    let again = messages.iter().find(same_id).unwrap();
    world.deliver(again, Mode::Complete).await;
    assert_eq!(
        world.ran(),
        [""; 0],
        "the first one waits, and its copy runs"
    );
    world.deliver(&copy, Mode::Complete).await;
    world.deliver(again, Mode::Complete).await;
    assert_eq!(world.ran(), ["10:00"]);
    let waiting = world
        .texts("SELECT function FROM nightshift.open_message")
        .await;
    assert_eq!(waiting, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn two_messages_of_one_tick_at_the_same_time_run_once() {
    let world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let first = world.message().await;
    let mut second = first.clone();
    second.enqueued_time = first.enqueued_time + TimeDelta::days(3);
    world.set_clock(second.enqueued_time).await;
    world.open_connections().await;
    tokio::join!(
        world.deliver(&first, Mode::CompleteSlowly),
        world.deliver(&second, Mode::CompleteSlowly),
    );
    assert_eq!(world.ran(), ["10:00"]);
    world.end().await;
}

#[tokio::test]
async fn a_wake_up_waits_for_a_database_that_is_not_in_order() {
    let world = World::new(HOURLY).await;
    world.set_clock(at("10:00:00")).await;
    let pool = world.database.pool();
    let rename = |from, to| {
        let statement = format!("ALTER TABLE nightshift.{from} RENAME TO {to}");
        async {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(pool)
                .await
                .unwrap()
        }
    };
    rename("schedule", "elsewhere").await;
    let unavailable = world.invoke(1).await.unwrap_err();
    assert!(
        matches!(unavailable, InvocationFailed::Unavailable { .. }),
        "{unavailable:?}"
    );
    let (woken, ()) = tokio::join!(world.invoke(30), async {
        tokio::task::yield_now().await;
        rename("elsewhere", "schedule").await;
    });
    woken.unwrap();
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn a_handler_whose_clock_is_a_day_off_decides_by_the_databases() {
    let world = World::new(HOURLY).await;
    for handlers in ["2026-03-03T10:00:00Z", "2026-03-01T10:00:00Z"] {
        world.database.set_clock(at("10:00:00")).await;
        world.clock.set(at(handlers));
        world.invoke(10).await.unwrap();
    }
    assert_eq!(world.ticks().await, ["10:00 enqueued"]);
    world.end().await;
}

#[tokio::test]
async fn a_database_whose_clock_jumps_a_day_ahead_and_back_runs_no_tick_twice() {
    let world = World::new(HOURLY).await;
    world.wake("10:00:00").await;
    let ahead = world.wake("2026-03-03T10:00:00Z").await;
    assert_eq!((ahead.enqueued, ahead.skipped), (1, 23));
    for back in ["11:00:00", "23:00:00", "2026-03-03T09:00:00Z"] {
        assert_eq!(world.wake(back).await, Decided::default());
    }
    let later = world.wake("2026-03-03T11:00:00Z").await;
    assert_eq!((later.enqueued, later.skipped), (1, 0));
    world.end().await;
}
