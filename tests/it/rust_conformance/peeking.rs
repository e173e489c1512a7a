//! Peeking: what is there, in every state, without taking it.

use chrono::TimeDelta;
use nightshift_bus::{BusError, Message, MessageState};
use nightshift_time::{Clock as _, SystemClock};

use super::checks;
use super::world::{World, complete, id, ids, numbers};

const QUEUE: &str = "rust-peeking";

checks![
    peeking_takes_and_locks_nothing,
    peeking_goes_on_from_a_number,
    peeking_shows_every_state,
    dead_letters_are_seen_apart_from_the_queue,
    peeking_at_nothing_gives_nothing,
    a_long_queue_is_seen_whole_call_by_call,
];

async fn peeking_takes_and_locks_nothing(world: World) {
    world.send(QUEUE, &["1", "2"]).await;
    let receiver = world.receiver(QUEUE).await;
    for _ in 0..2 {
        let seen = receiver.peek_messages(0, 10).await.unwrap();
        assert_eq!(ids(&seen), ["1", "2"]);
        assert!(seen[0].locked_until.is_none() && seen[0].lock_token.is_nil());
        assert_eq!(
            (seen[0].delivery_count, &seen[0].message.body[..]),
            (0, &b"x"[..])
        );
        let error = receiver.complete_message(&seen[0]).await.unwrap_err();
        assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    }
    let messages = world.take(&receiver, 2).await;
    complete(&receiver, &messages).await;
}

async fn peeking_goes_on_from_a_number(world: World) {
    world.send(QUEUE, &["a", "b", "c", "d", "e"]).await;
    let receiver = world.receiver(QUEUE).await;
    let first = receiver.peek_messages(0, 3).await.unwrap();
    assert_eq!(ids(&first), ["a", "b", "c"]);
    let rest = receiver
        .peek_messages(first[2].sequence_number + 1, 9)
        .await
        .unwrap();
    assert_eq!(ids(&rest), ["d", "e"]);
    let from_second = receiver
        .peek_messages(first[1].sequence_number, 2)
        .await
        .unwrap();
    assert_eq!(ids(&from_second), ["b", "c"]);
    let messages = world.take(&receiver, 5).await;
    complete(&receiver, &messages).await;
}

async fn peeking_shows_every_state(world: World) {
    world.send(QUEUE, &["deferred", "locked"]).await;
    let (sender, receiver) = (world.sender(QUEUE).await, world.receiver(QUEUE).await);
    let taken = world.take(&receiver, 2).await;
    receiver.defer_message(&taken[0]).await.unwrap();
    let at = SystemClock.now() + TimeDelta::hours(1);
    let scheduled = vec![Message::new("x").with_message_id("scheduled")];
    let scheduled = sender.schedule_messages(scheduled, at).await.unwrap();
    sender
        .send_message(Message::new("x").with_message_id("active"))
        .await
        .unwrap();
    let mut seen = receiver.peek_messages(0, 10).await.unwrap();
    seen.sort_by(|a, b| id(a).cmp(id(b)));
    let states: Vec<_> = seen
        .iter()
        .map(|message| (id(message), message.state))
        .collect();
    let expected = [
        ("active", MessageState::Active),
        ("deferred", MessageState::Deferred),
        ("locked", MessageState::Active),
        ("scheduled", MessageState::Scheduled),
    ];
    assert_eq!(states, expected);
    sender.cancel_scheduled_messages(&scheduled).await.unwrap();
    let mut rest = receiver
        .receive_deferred_messages(&[taken[0].sequence_number])
        .await
        .unwrap();
    rest.push(taken[1].clone());
    rest.push(world.take_one(&receiver).await);
    complete(&receiver, &rest).await;
}

async fn dead_letters_are_seen_apart_from_the_queue(world: World) {
    world.send(QUEUE, &["dead", "alive"]).await;
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    receiver
        .dead_letter_message(&message, "R", "")
        .await
        .unwrap();
    assert_eq!(ids(&receiver.peek_messages(0, 9).await.unwrap()), ["alive"]);
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = graveyard.peek_messages(0, 9).await.unwrap();
    assert_eq!(
        (ids(&dead), dead[0].dead_letter_reason()),
        (vec!["dead"], Some("R"))
    );
    let (alive, dead) = (
        world.take_one(&receiver).await,
        world.take_one(&graveyard).await,
    );
    complete(&receiver, &[alive]).await;
    complete(&graveyard, &[dead]).await;
}

async fn peeking_at_nothing_gives_nothing(world: World) {
    let receiver = world.receiver(QUEUE).await;
    assert!(receiver.peek_messages(0, 10).await.unwrap().is_empty());
    assert!(
        receiver
            .peek_messages(i64::MAX - 1, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(receiver.peek_messages(0, 0).await.unwrap().is_empty());
}

async fn a_long_queue_is_seen_whole_call_by_call(world: World) {
    let wanted = numbers(300);
    let body = vec![b'p'; 2_000];
    let messages = wanted
        .iter()
        .map(|id| Message::new(body.clone()).with_message_id(id));
    world
        .sender(QUEUE)
        .await
        .send_messages(messages.collect())
        .await
        .unwrap();
    let receiver = world.receiver(QUEUE).await;
    let (mut seen, mut from) = (Vec::new(), 0);
    loop {
        let some = receiver.peek_messages(from, 100).await.unwrap();
        let Some(last) = some.last() else { break };
        from = last.sequence_number + 1;
        seen.extend(ids(&some).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, wanted);
    world.take(&world.taker(QUEUE).await, 300).await;
}
