//! Scheduled, peeked and deferred messages.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_bus::{
    BusError, Message, MessageState, ReceiveMode, ReceivedMessage, ReceiverOptions,
};
use nightshift_time::{Clock as _, TestClock};

use super::{BRIEFLY, connect, dead_letters, ids, receive, receiver, send_numbers, start};

fn broker() -> (Broker, TestClock) {
    let clock = TestClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let config = BrokerConfig::new([QueueConfig::new("q")]);
    (start(config, std::sync::Arc::new(clock.clone())), clock)
}

fn numbers(messages: &[ReceivedMessage]) -> Vec<i64> {
    let number = |message: &ReceivedMessage| message.sequence_number;
    messages.iter().map(number).collect()
}

#[tokio::test]
async fn scheduled_messages_come_when_it_is_time_unless_they_are_cancelled() {
    let (broker, clock) = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = client.create_sender("q").await.unwrap();
    let later: DateTime<Utc> = clock.now() + TimeDelta::minutes(10);
    let messages = ["a", "b", "c"]
        .map(|id| Message::new(id).with_message_id(id))
        .to_vec();
    let scheduled = sender.schedule_messages(messages, later).await.unwrap();
    assert_eq!(scheduled.len(), 3);
    let nameless = vec![Message::new("d")];
    let nameless = sender.schedule_messages(nameless, later).await.unwrap();
    sender
        .cancel_scheduled_messages(&scheduled[1..2])
        .await
        .unwrap();
    sender.cancel_scheduled_messages(&nameless).await.unwrap();
    let error = sender
        .cancel_scheduled_messages(&nameless)
        .await
        .unwrap_err();
    let is_of_queue = |entity: &str| entity == "q";
    assert!(
        matches!(&error, BusError::MessageNotFound { entity, .. } if is_of_queue(entity)),
        "{error}"
    );

    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let waiting = receiver.peek_messages(0, 10).await.unwrap();
    assert_eq!(numbers(&waiting), [scheduled[0], scheduled[2]]);
    assert!(
        waiting
            .iter()
            .all(|message| message.state == MessageState::Scheduled)
    );
    assert_eq!(waiting[0].message.scheduled_enqueue_time, Some(later));
    assert!(
        receiver
            .receive_messages(1, BRIEFLY)
            .await
            .unwrap()
            .is_empty()
    );
    clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(ids(&receive(&receiver, 2).await), ["a", "c"]);
    assert!(
        sender
            .schedule_messages(Vec::new(), later)
            .await
            .unwrap()
            .is_empty()
    );
    let large = vec![Message::new(vec![0; 600_000]); 2];
    let error = sender.schedule_messages(large, later).await.unwrap_err();
    assert!(matches!(error, BusError::MessageTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn peeking_locks_nothing_and_goes_on_from_a_number() {
    let (broker, _) = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..5).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let first = receiver.peek_messages(0, 3).await.unwrap();
    assert_eq!(ids(&first), ["0", "1", "2"]);
    let next = first[2].sequence_number + 1;
    let rest = receiver.peek_messages(next, 100).await.unwrap();
    assert_eq!(ids(&rest), ["3", "4"]);
    assert!(receiver.peek_messages(1_000, 1).await.unwrap().is_empty());
    assert!(receiver.peek_messages(0, 0).await.unwrap().is_empty());
    let peeked = &first[0];
    assert_eq!(
        (peeked.delivery_count, peeked.state),
        (0, MessageState::Active)
    );
    assert!(peeked.lock_token.is_nil());
    let error = receiver.complete_message(peeked).await.unwrap_err();
    assert!(error.to_string().contains("only peeked at"), "{error}");
    assert_eq!(broker.counts("q").unwrap().locked, 0);

    let taken = receive(&receiver, 1).await.remove(0);
    receiver
        .dead_letter_message(&taken, "why", "")
        .await
        .unwrap();
    let dead = client.create_receiver("q", dead_letters()).await.unwrap();
    let dead = dead.peek_messages(0, 10).await.unwrap();
    assert_eq!(ids(&dead), ["0"]);
    assert_eq!(dead[0].dead_letter_reason(), Some("why"));
}

#[tokio::test]
async fn a_deferred_message_is_received_by_its_number_and_settled_by_its_token() {
    let (broker, _) = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..4).await;
    let holder = receiver(&client, ReceiverOptions::default()).await;
    let messages = receive(&holder, 4).await;
    for message in &messages {
        holder.defer_message(message).await.unwrap();
    }
    assert!(
        holder
            .receive_messages(1, BRIEFLY)
            .await
            .unwrap()
            .is_empty()
    );
    let peeked = holder.peek_messages(0, 1).await.unwrap();
    assert_eq!(peeked[0].state, MessageState::Deferred);

    let numbers = numbers(&messages);
    let deferred = holder.receive_deferred_messages(&numbers).await.unwrap();
    assert_eq!(ids(&deferred), ["0", "1", "2", "3"]);
    assert!(deferred.iter().all(|message| !message.lock_token.is_nil()));
    holder.renew_message_lock(&deferred[0]).await.unwrap();
    holder.complete_message(&deferred[0]).await.unwrap();
    holder
        .dead_letter_message(&deferred[1], "why", "because")
        .await
        .unwrap();
    holder.abandon_message(&deferred[2]).await.unwrap();
    let error = holder.complete_message(&deferred[2]).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    let gone = holder
        .receive_deferred_messages(&numbers[..1])
        .await
        .unwrap_err();
    assert!(matches!(gone, BusError::MessageNotFound { .. }), "{gone}");
    let again = holder
        .receive_deferred_messages(&numbers[2..3])
        .await
        .unwrap();

    // Settled together, each in its own way.
    send_numbers(&client, 4..5).await;
    let fresh = receive(&holder, 1).await.remove(0);
    let kinds = [again[0].clone(), fresh, deferred[3].clone()];
    for result in holder.complete_messages(&kinds).await.unwrap() {
        result.unwrap();
    }
    assert_eq!(broker.counts("q").unwrap().locked, 0);

    let dead = client.create_receiver("q", dead_letters()).await.unwrap();
    let dead = receive(&dead, 1).await.remove(0);
    assert_eq!(dead.dead_letter_reason(), Some("why"));
    assert_eq!(dead.message.body, "1");
}

#[tokio::test]
async fn a_deferred_message_may_be_received_and_deleted() {
    let (broker, _) = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..1).await;
    let locking = receiver(&client, ReceiverOptions::default()).await;
    let message = receive(&locking, 1).await.remove(0);
    locking.defer_message(&message).await.unwrap();
    let deleting = ReceiverOptions {
        mode: ReceiveMode::ReceiveAndDelete,
        ..ReceiverOptions::default()
    };
    let deleting = receiver(&client, deleting).await;
    let number = [message.sequence_number];
    let taken = deleting.receive_deferred_messages(&number).await.unwrap();
    assert_eq!(taken[0].message.body, "0");
    assert!(deleting.complete_message(&taken[0]).await.is_err());
    assert!(deleting.peek_messages(0, 1).await.unwrap().is_empty());
}
