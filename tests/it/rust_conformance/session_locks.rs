//! The lock of a session: it ends, it is renewed, and its loss is told to every call.

use std::time::{Duration, Instant};

use nightshift_bus::{BusError, SessionReceiver, SessionReceiverOptions};

use super::checks;
use super::world::{World, complete, ids};

const QUEUE: &str = "rust-session-locks";

checks![
    a_session_whose_lock_ends_is_free_and_its_messages_come_again,
    every_call_of_a_lost_session_says_so,
    a_renewed_session_lock_outlasts_the_queues_lock_duration,
    the_lock_of_a_session_is_renewed_by_itself,
    automatic_renewal_of_a_session_ends_after_its_maximal_duration,
    a_client_that_is_gone_leaves_its_sessions_to_others,
];

fn renewing(longest: Duration) -> SessionReceiverOptions {
    SessionReceiverOptions {
        max_auto_lock_renewal_duration: longest,
        ..SessionReceiverOptions::default()
    }
}

async fn accept(world: &World, session: &str, longest: Duration) -> SessionReceiver {
    let accepted = world
        .client
        .accept_session(QUEUE, session, renewing(longest))
        .await;
    accepted.expect("nobody holds the session")
}

/// Waits until a receiver is told that its session is lost.
async fn lost(world: &World, session: &SessionReceiver) {
    let error = session
        .receive_messages(1, world.timing.soon)
        .await
        .expect_err("a lost lock");
    assert!(matches!(error, BusError::SessionLockLost { .. }), "{error}");
    assert!(!error.is_transient());
}

fn beyond(world: &World) -> Duration {
    world.timing.lock + Duration::from_millis(700)
}

async fn a_session_whose_lock_ends_is_free_and_its_messages_come_again(world: World) {
    world.send_to_session(QUEUE, "s", &["1", "2"]).await;
    let late = accept(&world, "s", Duration::ZERO).await;
    let taken = world.take(&late, 2).await;
    let begun = Instant::now();
    lost(&world, &late).await;
    assert!(begun.elapsed() < world.timing.lock + Duration::from_secs(10));
    let next = accept(&world, "s", Duration::ZERO).await;
    let messages = world.take(&next, 2).await;
    assert_eq!(ids(&messages), ids(&taken));
    assert!(messages.iter().all(|message| message.delivery_count == 2));
    complete(&next, &messages).await;
    next.close().await;
}

async fn every_call_of_a_lost_session_says_so(world: World) {
    world.send_to_session(QUEUE, "s", &["1"]).await;
    let late = accept(&world, "s", Duration::ZERO).await;
    let message = world.take_one(&late).await;
    lost(&world, &late).await;
    for error in [
        late.complete_message(&message).await.unwrap_err(),
        late.renew_session_lock().await.unwrap_err(),
        late.get_session_state().await.unwrap_err(),
        late.set_session_state(None).await.unwrap_err(),
        late.receive_deferred_messages(&[1]).await.unwrap_err(),
        late.receive_messages(1, world.timing.soon)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, BusError::SessionLockLost { .. }), "{error}");
    }
    late.close().await;
    let next = accept(&world, "s", Duration::ZERO).await;
    let message = world.take_one(&next).await;
    complete(&next, &[message]).await;
    next.close().await;
}

async fn a_renewed_session_lock_outlasts_the_queues_lock_duration(world: World) {
    world.send_to_session(QUEUE, "s", &["1"]).await;
    let session = accept(&world, "s", Duration::ZERO).await;
    let message = world.take_one(&session).await;
    let mut end = session
        .session_locked_until()
        .expect("the broker says when");
    for _ in 0..4 {
        tokio::time::sleep(world.timing.lock / 3).await;
        let renewed = session.renew_session_lock().await.unwrap();
        assert!(renewed > end, "{renewed} is not after {end}");
        assert_eq!(session.session_locked_until(), Some(renewed));
        end = renewed;
    }
    complete(&session, &[message]).await;
    session.close().await;
}

async fn the_lock_of_a_session_is_renewed_by_itself(world: World) {
    world.send_to_session(QUEUE, "s", &["1"]).await;
    let session = accept(&world, "s", world.timing.soon).await;
    let message = world.take_one(&session).await;
    tokio::time::sleep(beyond(&world)).await;
    let refused = world
        .client
        .accept_session(QUEUE, "s", renewing(Duration::ZERO))
        .await;
    assert!(
        matches!(refused, Err(BusError::SessionCannotBeLocked { .. })),
        "{refused:?}"
    );
    complete(&session, &[message]).await;
    session.close().await;
}

async fn automatic_renewal_of_a_session_ends_after_its_maximal_duration(world: World) {
    let session = accept(&world, "s", world.timing.lock).await;
    lost(&world, &session).await;
}

async fn a_client_that_is_gone_leaves_its_sessions_to_others(world: World) {
    world.send_to_session(QUEUE, "s", &["1"]).await;
    let client = world.another_client().await;
    let session = client
        .accept_session(QUEUE, "s", renewing(world.timing.soon))
        .await
        .unwrap();
    world.take_one(&session).await;
    drop(session);
    client.close().await;
    let deadline = Instant::now() + world.timing.soon;
    let next = loop {
        match world
            .client
            .accept_session(QUEUE, "s", renewing(Duration::ZERO))
            .await
        {
            Ok(session) => break session,
            Err(BusError::SessionCannotBeLocked { .. }) => assert!(Instant::now() < deadline),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let message = world.take_one(&next).await;
    complete(&next, &[message]).await;
    next.close().await;
}
