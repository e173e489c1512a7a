//! Errors: each mistake is the error that names it, at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use nightshift_bus::{BusError, ClientOptions, Message, ReceiverOptions, SessionReceiverOptions};
use nightshift_time::TestClock;

use super::checks;
use super::world::{World, complete, connect, impatient};

const QUEUE: &str = "rust-errors";

checks![
    an_unknown_queue_is_named_to_senders_and_receivers,
    a_wrong_key_is_refused,
    an_ended_token_is_refused,
    a_message_above_the_limit_is_refused_and_its_sender_goes_on,
    a_list_with_a_message_above_the_limit_sends_nothing,
    a_plain_queue_has_no_sessions,
    what_cannot_be_sent_is_refused_before_it_leaves,
];

/// An error is not waited for.
async fn soon<T: std::fmt::Debug>(call: impl Future<Output = Result<T, BusError>>) -> BusError {
    let begun = Instant::now();
    let error = call.await.expect_err("a refusal");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(!error.is_transient(), "{error}");
    error
}

async fn an_unknown_queue_is_named_to_senders_and_receivers(world: World) {
    const UNKNOWN: &str = "rust-no-such-queue";
    let client = &world.client;
    for error in [
        soon(client.create_sender(UNKNOWN)).await,
        soon(client.create_receiver(UNKNOWN, ReceiverOptions::default())).await,
        soon(client.accept_session(UNKNOWN, "s", SessionReceiverOptions::default())).await,
    ] {
        // The service may refuse the token already.
        assert!(
            matches!(&error, BusError::NotFound { entity, .. } | BusError::Unauthorized { entity, .. } if entity == UNKNOWN),
            "{error}"
        );
    }
    world.sender(QUEUE).await.close().await;
}

async fn a_wrong_key_is_refused(world: World) {
    let client = connect(&world.with_key("d3Jvbmc="), impatient())
        .await
        .unwrap();
    let error = soon(client.create_sender(QUEUE)).await;
    assert!(matches!(error, BusError::Unauthorized { .. }), "{error}");
    client.close().await;
}

async fn an_ended_token_is_refused(world: World) {
    let long_ago = DateTime::from_timestamp(1_600_000_000, 0).expect("in the calendar");
    let options = ClientOptions {
        clock: Arc::new(TestClock::new(long_ago)),
        ..impatient()
    };
    let client = connect(&world.connection_string, options).await.unwrap();
    let error = soon(client.create_sender(QUEUE)).await;
    assert!(matches!(error, BusError::Unauthorized { .. }), "{error}");
    client.close().await;
}

async fn a_message_above_the_limit_is_refused_and_its_sender_goes_on(world: World) {
    let sender = world.sender(QUEUE).await;
    let limit = sender.max_message_size();
    let large = Message::new(vec![0; usize::try_from(limit).expect("a size")]);
    let error = soon(sender.send_message(large)).await;
    assert!(
        matches!(error, BusError::MessageTooLarge { size, .. } if size > limit),
        "{error}"
    );
    sender.send_message(Message::new("small")).await.unwrap();
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    assert_eq!(message.message.body, "small");
    complete(&receiver, &[message]).await;
}

async fn a_list_with_a_message_above_the_limit_sends_nothing(world: World) {
    let sender = world.sender(QUEUE).await;
    let limit = usize::try_from(sender.max_message_size()).expect("a size");
    let list = vec![Message::new("small"), Message::new(vec![0; limit])];
    let error = soon(sender.send_messages(list)).await;
    assert!(matches!(error, BusError::MessageTooLarge { .. }), "{error}");
    world.nothing_comes(&world.receiver(QUEUE).await).await;
}

async fn a_plain_queue_has_no_sessions(world: World) {
    let options = SessionReceiverOptions::default();
    let error = soon(world.client.accept_session(QUEUE, "s", options)).await;
    assert!(
        matches!(&error, BusError::Detached { condition, .. } if condition.starts_with("amqp:") || condition.starts_with("com.microsoft:")),
        "{error}"
    );
}

async fn what_cannot_be_sent_is_refused_before_it_leaves(world: World) {
    let sender = world.sender(QUEUE).await;
    let eternal = Message::new("x").with_time_to_live(Duration::from_hours(24 * 60));
    let error = soon(sender.send_message(eternal)).await;
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    let receiver = world.receiver(QUEUE).await;
    let error = soon(receiver.receive_messages(0, Duration::ZERO)).await;
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
}
