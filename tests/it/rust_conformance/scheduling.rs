//! Scheduled messages: they come at their time, and can be cancelled until then.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_bus::{BusError, Message, MessageState};
use nightshift_time::{Clock as _, SystemClock};

use super::checks;
use super::world::{World, complete, id, ids, numbers};

const QUEUE: &str = "rust-scheduling";

checks![
    a_scheduled_message_comes_at_its_time_and_not_before,
    many_messages_are_scheduled_at_once_and_come_in_their_order,
    a_message_that_carries_its_time_is_scheduled_by_a_plain_send,
    a_batch_may_hold_scheduled_messages,
    a_cancelled_message_never_comes_and_cannot_be_cancelled_twice,
    cancelling_one_that_is_not_there_cancels_none,
    a_message_scheduled_for_the_past_is_there_at_once,
    a_scheduled_message_can_be_seen_while_it_waits,
];

/// The clocks of two machines may differ a little.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(100);

fn later(millis: i64) -> DateTime<Utc> {
    SystemClock.now() + TimeDelta::milliseconds(millis)
}

fn message(id: &str) -> Message {
    Message::new("x").with_message_id(id)
}

async fn a_scheduled_message_comes_at_its_time_and_not_before(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let at = later(1_500);
    let scheduled = sender
        .schedule_messages(vec![message("1")], at)
        .await
        .unwrap();
    let came = world.take_one(&receiver).await;
    assert!(SystemClock.now() >= at - TOLERANCE, "too early");
    assert!(
        came.enqueued_time >= at - TOLERANCE,
        "{}",
        came.enqueued_time
    );
    assert_eq!((id(&came), came.state), ("1", MessageState::Active));
    assert!(
        came.sequence_number > scheduled[0],
        "its number is a new one"
    );
    let stated = came
        .message
        .scheduled_enqueue_time
        .expect("it is still told");
    assert!(
        (stated - at).abs() < TimeDelta::milliseconds(2),
        "{stated} for {at}"
    );
    complete(&receiver, &[came]).await;
    world.nothing_comes(&receiver).await;
}

async fn many_messages_are_scheduled_at_once_and_come_in_their_order(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let wanted = numbers(20);
    let messages = wanted.iter().map(|id| message(id)).collect();
    let scheduled = sender
        .schedule_messages(messages, later(700))
        .await
        .unwrap();
    assert_eq!(scheduled.len(), 20);
    assert!(scheduled.is_sorted_by(|a, b| a < b), "{scheduled:?}");
    let came = world.take(&receiver, 20).await;
    assert_eq!(ids(&came), wanted);
    complete(&receiver, &came).await;
}

async fn a_message_that_carries_its_time_is_scheduled_by_a_plain_send(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let at = later(1_000);
    sender
        .send_message(message("late").with_scheduled_enqueue_time(at))
        .await
        .unwrap();
    sender.send_message(message("now")).await.unwrap();
    let came = world.take(&receiver, 2).await;
    assert_eq!(ids(&came), ["now", "late"]);
    assert!(SystemClock.now() >= at - TOLERANCE, "too early");
    complete(&receiver, &came).await;
}

async fn a_batch_may_hold_scheduled_messages(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let at = later(1_000);
    let batch = vec![
        message("now"),
        message("late").with_scheduled_enqueue_time(at),
    ];
    sender.send_messages(batch).await.unwrap();
    let came = world.take(&receiver, 2).await;
    assert_eq!(ids(&came), ["now", "late"]);
    assert!(SystemClock.now() >= at - TOLERANCE, "too early");
    complete(&receiver, &came).await;
}

async fn a_cancelled_message_never_comes_and_cannot_be_cancelled_twice(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let messages = ["0", "1", "2"].map(message).to_vec();
    let scheduled = sender
        .schedule_messages(messages, later(1_500))
        .await
        .unwrap();
    sender
        .cancel_scheduled_messages(&[scheduled[0], scheduled[2]])
        .await
        .unwrap();
    let error = sender
        .cancel_scheduled_messages(&scheduled[..1])
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::MessageNotFound { .. }), "{error}");
    let came = world.take_one(&receiver).await;
    assert_eq!(id(&came), "1");
    complete(&receiver, &[came]).await;
    world.nothing_comes(&receiver).await;
}

async fn cancelling_one_that_is_not_there_cancels_none(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let scheduled = sender
        .schedule_messages(vec![message("1")], later(1_500))
        .await
        .unwrap();
    let error = sender
        .cancel_scheduled_messages(&[scheduled[0], 9_999_999])
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::MessageNotFound { .. }), "{error}");
    let came = world.take_one(&receiver).await;
    complete(&receiver, &[came]).await;
}

async fn a_message_scheduled_for_the_past_is_there_at_once(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    sender
        .schedule_messages(vec![message("1")], later(-60_000))
        .await
        .unwrap();
    let begun = Instant::now();
    let came = world.take_one(&receiver).await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    complete(&receiver, &[came]).await;
}

async fn a_scheduled_message_can_be_seen_while_it_waits(world: World) {
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let scheduled = sender
        .schedule_messages(vec![message("1")], later(3_600_000))
        .await
        .unwrap();
    let seen = receiver.peek_messages(scheduled[0], 1).await.unwrap();
    assert_eq!(
        (id(&seen[0]), seen[0].state),
        ("1", MessageState::Scheduled)
    );
    assert_eq!(seen[0].sequence_number, scheduled[0]);
    sender.cancel_scheduled_messages(&scheduled).await.unwrap();
    assert!(
        receiver
            .peek_messages(scheduled[0], 1)
            .await
            .unwrap()
            .is_empty()
    );
}
