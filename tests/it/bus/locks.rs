//! Locks that are renewed.

use std::time::{Duration, Instant};

use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_bus::{BusError, ReceiverOptions};
use nightshift_time::SystemClock;

use super::{SOON, connect, prefetch, receive, receiver, send_numbers, start};

fn broker_with_short_locks() -> Broker {
    let queue = QueueConfig::new("q").lock_duration(Duration::from_secs(1));
    start(BrokerConfig::new([queue]), SystemClock::shared())
}

fn renewing(longest: Duration) -> ReceiverOptions {
    ReceiverOptions {
        max_auto_lock_renewal_duration: longest,
        ..ReceiverOptions::default()
    }
}

#[tokio::test]
async fn a_renewed_lock_ends_later() {
    let broker = broker_with_short_locks();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..1).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let message = receive(&receiver, 1).await.remove(0);
    let mut end = message.locked_until.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let renewed = receiver.renew_message_lock(&message).await.unwrap();
        assert!(renewed > end, "{renewed} is not after {end}");
        end = renewed;
    }
    receiver.complete_message(&message).await.unwrap();
    let error = receiver.renew_message_lock(&message).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    assert_eq!(broker.counts("q").unwrap().locked, 0);
}

#[tokio::test]
async fn held_messages_stay_locked_until_they_are_settled_or_dropped() {
    let broker = broker_with_short_locks();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..3).await;
    let holder = receiver(&client, renewing(SOON)).await;
    let mut messages = receive(&holder, 3).await;
    let other = receiver(&client, ReceiverOptions::default()).await;
    let free = other
        .receive_messages(3, Duration::from_millis(2_500))
        .await;
    assert!(free.unwrap().is_empty(), "the locks were renewed");

    // The end of one's renewal does not disturb the others'.
    let settled = messages.remove(0);
    holder.complete_message(&settled).await.unwrap();
    let dropped = messages.remove(0);
    let number = dropped.sequence_number;
    drop(dropped);
    let free = receive(&other, 1).await;
    assert_eq!(
        free[0].sequence_number, number,
        "a dropped message is renewed no more"
    );
    holder.complete_message(&messages[0]).await.unwrap();
    other.complete_message(&free[0]).await.unwrap();
    let counts = broker.counts("q").unwrap();
    assert_eq!((counts.active, counts.locked), (0, 0));
}

#[tokio::test]
async fn renewal_ends_after_its_maximal_duration() {
    let broker = broker_with_short_locks();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..1).await;
    let holder = receiver(&client, renewing(Duration::from_millis(1_200))).await;
    let begun = Instant::now();
    let message = receive(&holder, 1).await.remove(0);
    let again = receiver(&client, prefetch(1)).await;
    assert_eq!(receive(&again, 1).await[0].delivery_count, 2);
    let elapsed = begun.elapsed();
    assert!(
        elapsed >= Duration::from_millis(1_300),
        "it was renewed once: {elapsed:?}"
    );
    let error = holder.complete_message(&message).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
}
