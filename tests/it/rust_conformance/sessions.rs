//! Sessions: whose messages come to whom, in which order, and what is kept with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::TimeDelta;
use nightshift_bus::{
    BusError, Message, MessageState, ReceiveMode, ReceiverOptions, ServiceBusClient,
    SessionReceiver, SessionReceiverOptions, Settlement,
};
use nightshift_time::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use super::checks;
use super::world::{World, borrowed, complete, id, ids, numbers};

const QUEUE: &str = "rust-sessions";
const TWO_TRIES: &str = "rust-session-tries";

checks![
    a_session_gets_its_own_messages_in_their_order,
    sessions_are_received_side_by_side,
    the_next_session_is_one_that_has_messages,
    a_search_for_a_session_ends_when_there_is_none,
    a_search_for_a_session_ends_as_soon_as_there_is_one,
    a_session_that_is_held_is_nobody_elses,
    a_closed_receiver_frees_its_session,
    an_abandoned_message_comes_again_before_later_ones,
    a_session_may_be_held_before_it_has_messages,
    prefetched_messages_of_a_session_come_in_their_order,
    a_session_may_be_received_and_deleted,
    a_list_for_several_sessions_reaches_each,
    state_is_kept_with_the_session,
    peeking_shows_the_messages_of_the_session,
    deferred_messages_of_a_session_come_by_their_number,
    scheduled_messages_come_to_their_session,
    dead_letters_of_sessions_are_received_without_one,
    too_many_deliveries_in_a_session_make_a_dead_letter,
    a_message_without_a_session_is_refused,
    a_queue_with_sessions_has_no_plain_receivers,
    sessions_with_messages_are_listed,
    many_workers_keep_the_order_of_every_session,
];

fn options() -> SessionReceiverOptions {
    SessionReceiverOptions::default()
}

fn waiting(max_wait: Duration) -> SessionReceiverOptions {
    SessionReceiverOptions {
        max_wait,
        ..options()
    }
}

async fn accept(world: &World, session: &str) -> SessionReceiver {
    let accepted = world.client.accept_session(QUEUE, session, options()).await;
    accepted.expect("nobody holds the session")
}

async fn a_session_gets_its_own_messages_in_their_order(world: World) {
    let wanted = numbers(30);
    world.send_to_session(QUEUE, "other", &["x"]).await;
    world
        .send_to_session(QUEUE, "mine", &borrowed(&wanted))
        .await;
    let mine = accept(&world, "mine").await;
    assert_eq!(mine.session_id(), "mine");
    assert!(mine.session_locked_until().is_some());
    let messages = world.take(&mine, 30).await;
    assert_eq!(ids(&messages), wanted);
    assert!(
        messages
            .iter()
            .all(|m| m.message.session_id.as_deref() == Some("mine"))
    );
    complete(&mine, &messages).await;
    world.nothing_comes(&mine).await;
    let other = accept(&world, "other").await;
    let message = world.take_one(&other).await;
    complete(&other, &[message]).await;
    mine.close().await;
    other.close().await;
}

async fn sessions_are_received_side_by_side(world: World) {
    for n in ["1", "2", "3"] {
        world.send_to_session(QUEUE, "a", &[n]).await;
        world.send_to_session(QUEUE, "b", &[n]).await;
    }
    let (a, b) = (accept(&world, "a").await, accept(&world, "b").await);
    let (from_a, from_b) = tokio::join!(world.take(&a, 3), world.take(&b, 3));
    assert_eq!(
        (ids(&from_a), ids(&from_b)),
        (vec!["1", "2", "3"], vec!["1", "2", "3"])
    );
    complete(&a, &from_a).await;
    complete(&b, &from_b).await;
    a.close().await;
    b.close().await;
}

async fn the_next_session_is_one_that_has_messages(world: World) {
    let held = accept(&world, "held").await;
    world.send_to_session(QUEUE, "held", &["1"]).await;
    world.send_to_session(QUEUE, "free", &["2"]).await;
    let next = world
        .client
        .accept_next_session(QUEUE, options())
        .await
        .unwrap();
    assert_eq!(next.session_id(), "free");
    for (session, wanted) in [(&next, "2"), (&held, "1")] {
        let message = world.take_one(session).await;
        assert_eq!(id(&message), wanted);
        complete(session, &[message]).await;
    }
    next.close().await;
    held.close().await;
}

async fn a_search_for_a_session_ends_when_there_is_none(world: World) {
    let begun = Instant::now();
    let wait = waiting(Duration::from_millis(1_500));
    let error = world
        .client
        .accept_next_session(QUEUE, wait)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, BusError::NoSessionAvailable { entity } if entity == QUEUE),
        "{error}"
    );
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(15)).contains(&took),
        "{took:?}"
    );
}

async fn a_search_for_a_session_ends_as_soon_as_there_is_one(world: World) {
    let search = world
        .client
        .accept_next_session(QUEUE, waiting(Duration::from_secs(25)));
    let send = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.send_to_session(QUEUE, "late", &["1"]).await;
        Instant::now()
    };
    let (found, sent) = tokio::join!(search, send);
    assert!(
        sent.elapsed() < Duration::from_secs(8),
        "{:?}",
        sent.elapsed()
    );
    let session = found.unwrap();
    assert_eq!(session.session_id(), "late");
    let message = world.take_one(&session).await;
    complete(&session, &[message]).await;
    session.close().await;
}

async fn a_session_that_is_held_is_nobody_elses(world: World) {
    world.send_to_session(QUEUE, "one", &["1"]).await;
    let holder = accept(&world, "one").await;
    let error = world
        .client
        .accept_session(QUEUE, "one", options())
        .await
        .unwrap_err();
    assert!(
        matches!(error, BusError::SessionCannotBeLocked { .. }),
        "{error}"
    );
    let wait = waiting(Duration::from_secs(1));
    let error = world
        .client
        .accept_next_session(QUEUE, wait)
        .await
        .unwrap_err();
    assert!(
        matches!(error, BusError::NoSessionAvailable { .. }),
        "{error}"
    );
    let message = world.take_one(&holder).await;
    complete(&holder, &[message]).await;
    holder.close().await;
}

async fn a_closed_receiver_frees_its_session(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2"]).await;
    let first = accept(&world, "s").await;
    let done = world.take_one(&first).await;
    complete(&first, &[done]).await;
    first.close().await;
    let second = accept(&world, "s").await;
    let message = world.take_one(&second).await;
    assert_eq!(id(&message), "2");
    complete(&second, &[message]).await;
    second.close().await;
}

async fn an_abandoned_message_comes_again_before_later_ones(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2", "3"]).await;
    let session = accept(&world, "s").await;
    let first = world.take_one(&session).await;
    session
        .settle_message(&first, Settlement::abandon().with_property("tried", 1))
        .await
        .unwrap();
    let messages = world.take(&session, 3).await;
    assert_eq!(ids(&messages), ["1", "2", "3"]);
    assert_eq!(messages[0].delivery_count, 2);
    assert!(
        messages[0]
            .message
            .application_properties
            .contains_key("tried")
    );
    complete(&session, &messages).await;
    session.close().await;
}

async fn a_session_may_be_held_before_it_has_messages(world: World) {
    let session = accept(&world, "empty").await;
    world.nothing_comes(&session).await;
    let send = world.send_to_session(QUEUE, "empty", &["1"]);
    let (message, ()) = tokio::join!(world.take_one(&session), send);
    complete(&session, &[message]).await;
    session.close().await;
}

async fn prefetched_messages_of_a_session_come_in_their_order(world: World) {
    let wanted = numbers(60);
    world.send_to_session(QUEUE, "s", &borrowed(&wanted)).await;
    let prefetching = SessionReceiverOptions {
        prefetch: 20,
        ..options()
    };
    let session = world
        .client
        .accept_session(QUEUE, "s", prefetching)
        .await
        .unwrap();
    let mut came = Vec::new();
    while came.len() < 60 {
        let messages = world.take(&session, 5).await;
        complete(&session, &messages).await;
        came.extend(ids(&messages).into_iter().map(str::to_owned));
    }
    assert_eq!(came, wanted);
    session.close().await;
}

async fn a_session_may_be_received_and_deleted(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2"]).await;
    let taking = SessionReceiverOptions {
        mode: ReceiveMode::ReceiveAndDelete,
        ..options()
    };
    let session = world
        .client
        .accept_session(QUEUE, "s", taking)
        .await
        .unwrap();
    assert_eq!(ids(&world.take(&session, 2).await), ["1", "2"]);
    session.close().await;
    let session = accept(&world, "s").await;
    world.nothing_comes(&session).await;
    session.close().await;
}

async fn a_list_for_several_sessions_reaches_each(world: World) {
    let message = |n: usize| {
        let session = ["a", "b", "c"][n % 3];
        Message::new("x")
            .with_message_id(n.to_string())
            .with_session_id(session)
    };
    world
        .sender(QUEUE)
        .await
        .send_messages((0..9).map(message).collect())
        .await
        .unwrap();
    for (session, wanted) in [
        ("a", ["0", "3", "6"]),
        ("b", ["1", "4", "7"]),
        ("c", ["2", "5", "8"]),
    ] {
        let session = accept(&world, session).await;
        let messages = world.take(&session, 3).await;
        assert_eq!(ids(&messages), wanted);
        complete(&session, &messages).await;
        session.close().await;
    }
}

async fn state_is_kept_with_the_session(world: World) {
    let session = accept(&world, "with-state").await;
    session.set_session_state(None).await.unwrap();
    assert_eq!(session.get_session_state().await.unwrap(), None);
    let state = Bytes::from_static(b"\x00step 1\xff");
    session
        .set_session_state(Some(state.clone()))
        .await
        .unwrap();
    assert_eq!(
        session.get_session_state().await.unwrap(),
        Some(state.clone())
    );
    session.close().await;
    let session = accept(&world, "with-state").await;
    assert_eq!(session.get_session_state().await.unwrap(), Some(state));
    let other = accept(&world, "without-state").await;
    assert_eq!(other.get_session_state().await.unwrap(), None);
    session.set_session_state(None).await.unwrap();
    assert_eq!(session.get_session_state().await.unwrap(), None);
    session.close().await;
    other.close().await;
}

async fn peeking_shows_the_messages_of_the_session(world: World) {
    world.send_to_session(QUEUE, "a", &["1"]).await;
    world.send_to_session(QUEUE, "b", &["2", "3"]).await;
    let (a, b) = (accept(&world, "a").await, accept(&world, "b").await);
    assert_eq!(ids(&a.peek_messages(0, 10).await.unwrap()), ["1"]);
    let seen = b.peek_messages(0, 10).await.unwrap();
    assert_eq!(ids(&seen), ["2", "3"]);
    let rest = b
        .peek_messages(seen[0].sequence_number + 1, 10)
        .await
        .unwrap();
    assert_eq!(ids(&rest), ["3"]);
    for (session, count) in [(a, 1), (b, 2)] {
        let messages = world.take(&session, count).await;
        complete(&session, &messages).await;
        session.close().await;
    }
}

async fn deferred_messages_of_a_session_come_by_their_number(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2", "3"]).await;
    let session = accept(&world, "s").await;
    let messages = world.take(&session, 3).await;
    session.defer_message(&messages[0]).await.unwrap();
    session.defer_message(&messages[1]).await.unwrap();
    complete(&session, &messages[2..]).await;
    world.nothing_comes(&session).await;
    let numbers = [messages[0].sequence_number, messages[1].sequence_number];
    let deferred = session.receive_deferred_messages(&numbers).await.unwrap();
    assert_eq!(ids(&deferred), ["1", "2"]);
    assert_eq!(deferred[0].state, MessageState::Deferred);
    complete(&session, &deferred[..1]).await;
    session
        .dead_letter_message(&deferred[1], "R", "D")
        .await
        .unwrap();
    session.close().await;
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(id(&dead), "2");
    complete(&graveyard, &[dead]).await;
}

async fn scheduled_messages_come_to_their_session(world: World) {
    let sender = world.sender(QUEUE).await;
    let at = SystemClock.now() + TimeDelta::milliseconds(1_000);
    let message = |id| Message::new("x").with_message_id(id).with_session_id("s");
    let scheduled = sender
        .schedule_messages(vec![message("1"), message("2")], at)
        .await
        .unwrap();
    sender
        .cancel_scheduled_messages(&scheduled[..1])
        .await
        .unwrap();
    let session = world
        .client
        .accept_next_session(QUEUE, options())
        .await
        .unwrap();
    assert_eq!(session.session_id(), "s");
    let message = world.take_one(&session).await;
    assert_eq!(id(&message), "2");
    complete(&session, &[message]).await;
    session.close().await;
}

async fn dead_letters_of_sessions_are_received_without_one(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2"]).await;
    let session = accept(&world, "s").await;
    for message in world.take(&session, 2).await {
        session
            .dead_letter_message(&message, "R", "D")
            .await
            .unwrap();
    }
    session.close().await;
    let graveyard = world.dead_letters(QUEUE).await;
    let dead = world.take(&graveyard, 2).await;
    assert_eq!(ids(&dead), ["1", "2"]);
    for message in &dead {
        assert_eq!(message.dead_letter_reason(), Some("R"));
        assert_eq!(message.message.session_id.as_deref(), Some("s"));
    }
    complete(&graveyard, &dead).await;
}

async fn too_many_deliveries_in_a_session_make_a_dead_letter(world: World) {
    world.send_to_session(TWO_TRIES, "s", &["1", "2"]).await;
    let session = world
        .client
        .accept_session(TWO_TRIES, "s", options())
        .await
        .unwrap();
    for _ in 0..2 {
        let message = world.take_one(&session).await;
        assert_eq!(id(&message), "1");
        session.abandon_message(&message).await.unwrap();
    }
    let next = world.take_one(&session).await;
    assert_eq!(id(&next), "2");
    complete(&session, &[next]).await;
    session.close().await;
    let graveyard = world.dead_letters(TWO_TRIES).await;
    let dead = world.take_one(&graveyard).await;
    assert_eq!(
        (id(&dead), dead.dead_letter_reason()),
        ("1", Some("MaxDeliveryCountExceeded"))
    );
    complete(&graveyard, &[dead]).await;
}

async fn a_message_without_a_session_is_refused(world: World) {
    let sender = world.sender(QUEUE).await;
    let error = sender.send_message(Message::new("x")).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    sender
        .send_message(Message::new("x").with_session_id("s"))
        .await
        .unwrap();
    let session = accept(&world, "s").await;
    let message = world.take_one(&session).await;
    complete(&session, &[message]).await;
    session.close().await;
}

async fn a_queue_with_sessions_has_no_plain_receivers(world: World) {
    let refused = world
        .client
        .create_receiver(QUEUE, ReceiverOptions::default())
        .await;
    let error = refused.expect_err("a refusal");
    assert!(!error.is_transient(), "{error}");
}

async fn sessions_with_messages_are_listed(world: World) {
    let listed = async |client: &ServiceBusClient| {
        let (mut all, mut page) = (Vec::new(), 0);
        loop {
            let some = client
                .get_message_sessions(QUEUE, None, page, 2)
                .await
                .unwrap();
            if some.is_empty() {
                all.sort();
                return all;
            }
            page += u32::try_from(some.len()).expect("a page");
            all.extend(some);
        }
    };
    assert!(listed(&world.client).await.is_empty());
    for session in ["a", "b", "c"] {
        world.send_to_session(QUEUE, session, &["1"]).await;
    }
    assert_eq!(listed(&world.client).await, ["a", "b", "c"]);
    for session in ["a", "b", "c"] {
        let session = accept(&world, session).await;
        let message = world.take_one(&session).await;
        complete(&session, &[message]).await;
        session.close().await;
    }
}

async fn many_workers_keep_the_order_of_every_session(world: World) {
    const SESSIONS: usize = 20;
    const EACH: usize = 5;
    let sender = world.sender(QUEUE).await;
    for n in 0..EACH {
        let message = |session: usize| {
            Message::new("x")
                .with_message_id(n.to_string())
                .with_session_id(session.to_string())
        };
        sender
            .send_messages((0..SESSIONS).map(message).collect())
            .await
            .unwrap();
    }
    let done = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let (world, done) = (world.clone(), Arc::clone(&done));
        workers.spawn(async move {
            let client = world.another_client().await;
            loop {
                let wait = waiting(5 * world.timing.briefly);
                let session = match client.accept_next_session(QUEUE, wait).await {
                    Ok(session) => session,
                    Err(BusError::NoSessionAvailable { .. }) => break,
                    Err(error) => panic!("{error}"),
                };
                // A few at a time, so that sessions go from hand to hand.
                let messages = session
                    .receive_messages(2, world.timing.briefly)
                    .await
                    .unwrap();
                for message in &messages {
                    let mut done = done.lock().unwrap();
                    done.entry(session.session_id().to_owned())
                        .or_default()
                        .push(id(message).to_owned());
                }
                complete(&session, &messages).await;
                session.close().await;
            }
            client.close().await;
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker");
    }
    let done = done.lock().unwrap();
    assert_eq!(done.len(), SESSIONS);
    for (session, order) in done.iter() {
        assert_eq!(order, &numbers(EACH), "session {session}");
    }
}
