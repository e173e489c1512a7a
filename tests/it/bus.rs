//! Our Service Bus client against our broker: everything that needs both ends of the wire.

mod locks;
pub(crate) mod malformed;
mod management;
mod recovery;
pub(crate) mod tls;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use nightshift_broker::{AccessKey, Broker, BrokerConfig, QueueConfig};
use nightshift_bus::{
    BusError, ClientOptions, Message, ReceiveMode, ReceivedMessage, Receiver, ReceiverOptions,
    ServiceBusClient, SubQueue,
};
use nightshift_time::{SharedClock, SystemClock, TestClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Long enough for anything that should happen, on a machine with much else to do.
const SOON: Duration = Duration::from_secs(30);
/// How long to wait for something that should not come.
const BRIEFLY: Duration = Duration::from_millis(50);

fn broker() -> Broker {
    start(
        BrokerConfig::new([QueueConfig::new("q")]),
        SystemClock::shared(),
    )
}

fn start(config: BrokerConfig, clock: SharedClock) -> Broker {
    Broker::start(config, clock).expect("the broker starts")
}

async fn connect(connection_string: &str) -> ServiceBusClient {
    let options = ClientOptions {
        try_timeout: SOON,
        ..ClientOptions::default()
    };
    connect_with(connection_string, options).await
}

async fn connect_with(connection_string: &str, options: ClientOptions) -> ServiceBusClient {
    let parsed = connection_string.parse().expect("it is well-formed");
    ServiceBusClient::connect(&parsed, options)
        .await
        .expect("the broker accepts")
}

fn prefetch(prefetch: u32) -> ReceiverOptions {
    ReceiverOptions {
        prefetch,
        ..ReceiverOptions::default()
    }
}

async fn receiver(client: &ServiceBusClient, options: ReceiverOptions) -> Receiver {
    client
        .create_receiver("q", options)
        .await
        .expect("the queue exists")
}

/// Sends messages whose ids and bodies are the numbers of `range`.
async fn send_numbers(client: &ServiceBusClient, range: std::ops::Range<u32>) {
    let sender = client.create_sender("q").await.expect("the queue exists");
    let messages = range
        .map(|n| Message::new(n.to_string()).with_message_id(n.to_string()))
        .collect();
    sender
        .send_messages(messages)
        .await
        .expect("the broker accepts");
    sender.close().await;
}

/// Receives exactly `count` messages.
async fn receive(receiver: &Receiver, count: usize) -> Vec<ReceivedMessage> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let more = receiver
            .receive_messages(count - messages.len(), SOON)
            .await
            .expect("the connection stands");
        assert!(
            !more.is_empty(),
            "only {} of {count} messages came",
            messages.len()
        );
        messages.extend(more);
    }
    messages
}

fn ids(messages: &[ReceivedMessage]) -> Vec<String> {
    messages
        .iter()
        .map(|m| m.message.message_id.clone().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_and_is_gone_when_completed() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sent = Message::new(&b"\xff\x00 no UTF-8"[..])
        .with_message_id("m-1")
        .with_correlation_id("c")
        .with_content_type("application/octet-stream")
        .with_subject("s")
        .with_reply_to("r")
        .with_to("t")
        .with_property("text", "größer")
        .with_property("number", -7_i64)
        .with_property(
            "when",
            DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
        )
        .with_property("octets", Bytes::from_static(b"\x00\xff"));
    let sender = client.create_sender("q").await.unwrap();
    sender.send_message(sent.clone()).await.unwrap();

    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let received = receive(&receiver, 1).await.remove(0);
    assert_eq!(received.message, sent);
    assert_eq!(received.delivery_count, 1);
    assert_eq!(received.sequence_number, 1);
    assert!(!received.lock_token.is_nil());
    assert!(
        received
            .locked_until
            .is_some_and(|until| until > received.enqueued_time)
    );
    receiver.complete_message(&received).await.unwrap();
    let counts = broker.counts("q").unwrap();
    assert_eq!((counts.active, counts.locked), (0, 0));

    let again = receiver.complete_message(&received).await.unwrap_err();
    assert!(matches!(again, BusError::MessageLockLost { .. }), "{again}");
    assert!(
        receiver
            .receive_messages(1, BRIEFLY)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_abandoned_message_comes_back_and_a_dead_letter_says_why() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..1).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let first = receive(&receiver, 1).await.remove(0);
    receiver.abandon_message(&first).await.unwrap();
    let second = receive(&receiver, 1).await.remove(0);
    assert_eq!(
        (second.delivery_count, second.sequence_number),
        (2, first.sequence_number)
    );
    assert_ne!(second.lock_token, first.lock_token);
    receiver
        .dead_letter_message(&second, "broken", "it cannot be read")
        .await
        .unwrap();

    let options = ReceiverOptions {
        sub_queue: Some(SubQueue::DeadLetter),
        mode: ReceiveMode::ReceiveAndDelete,
        ..ReceiverOptions::default()
    };
    let graveyard = client.create_receiver("q", options).await.unwrap();
    let dead = receive(&graveyard, 1).await.remove(0);
    assert_eq!(dead.dead_letter_reason(), Some("broken"));
    assert_eq!(
        dead.dead_letter_error_description(),
        Some("it cannot be read")
    );
    assert_eq!(dead.message.body, "0");
    assert!(dead.lock_token.is_nil());
    let error = graveyard.complete_message(&dead).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    assert_eq!(broker.counts("q").unwrap().dead_letter, 0);
}

#[tokio::test]
async fn a_released_message_comes_back_uncounted() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..3).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let taken = receive(&receiver, 3).await;
    let released = receiver.release_messages(&taken[..2]).await.unwrap();
    assert!(released.iter().all(Result::is_ok), "{released:?}");
    let again = receive(&receiver, 2).await;
    assert_eq!(ids(&again), ["0", "1"]);
    assert!(again.iter().all(|message| message.delivery_count == 1));
    let late = receiver.release_messages(&taken[..1]).await.unwrap();
    assert!(
        matches!(&late[..], [Err(BusError::MessageLockLost { .. })]),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_message_is_settled_where_it_was_received() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..1).await;
    let one = receiver(&client, ReceiverOptions::default()).await;
    let other = receiver(&client, ReceiverOptions::default()).await;
    let message = receive(&one, 1).await.remove(0);
    let error = other.complete_message(&message).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    one.complete_message(&message).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_has_ended_is_reported() {
    let clock = TestClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let queue = QueueConfig::new("q").lock_duration(Duration::from_secs(5));
    let broker = start(
        BrokerConfig::new([queue]),
        std::sync::Arc::new(clock.clone()),
    );
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..3).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let messages = receive(&receiver, 3).await;
    clock.advance(Duration::from_secs(6));
    let results = receiver.complete_messages(&messages).await.unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        assert!(
            matches!(result, Err(BusError::MessageLockLost { .. })),
            "{result:?}"
        );
    }
    let again = receive(&receiver, 3).await;
    assert!(again.iter().all(|message| message.delivery_count == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn competing_receivers_get_each_of_10_000_messages_once() {
    const COUNT: u32 = 10_000;
    let broker = broker();
    let connection_string = broker.connection_string();
    send_numbers(&connect(&connection_string).await, 0..COUNT).await;
    let mut receivers = JoinSet::new();
    for n in 0..4 {
        let connection_string = connection_string.clone();
        receivers.spawn(async move {
            // With and without prefetch, with large calls and small ones.
            let client = connect(&connection_string).await;
            let receiver = receiver(&client, prefetch([0, 10, 100, 1000][n])).await;
            let mut completed = Vec::new();
            loop {
                let messages = receiver
                    .receive_messages(1 + 50 * n, BRIEFLY)
                    .await
                    .unwrap();
                if messages.is_empty() {
                    receiver.close().await;
                    return completed;
                }
                let results = receiver.complete_messages(&messages).await.unwrap();
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                completed.extend(ids(&messages));
            }
        });
    }
    let completed = receivers.join_all().await.concat();
    let distinct: HashSet<&String> = completed.iter().collect();
    assert_eq!(
        (completed.len(), distinct.len()),
        (COUNT as usize, COUNT as usize)
    );
    let counts = broker.counts("q").unwrap();
    assert_eq!(
        (counts.active, counts.locked, counts.dead_letter),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn many_concurrent_calls_share_a_sender_and_a_receiver() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = std::sync::Arc::new(client.create_sender("q").await.unwrap());
    let mut sends = JoinSet::new();
    for n in 0..500 {
        let sender = sender.clone();
        let message = Message::new("x").with_message_id(n.to_string());
        sends.spawn(async move { sender.send_message(message).await });
    }
    assert!(sends.join_all().await.iter().all(Result::is_ok));
    let receiver = std::sync::Arc::new(receiver(&client, ReceiverOptions::default()).await);
    let mut receives = JoinSet::new();
    for _ in 0..500 {
        let receiver = receiver.clone();
        receives.spawn(async move {
            let message = receiver.receive_messages(1, SOON).await.unwrap().remove(0);
            receiver.complete_message(&message).await.unwrap();
            message.message.message_id
        });
    }
    let received: HashSet<_> = receives.join_all().await.into_iter().collect();
    assert_eq!(received.len(), 500);
}

#[tokio::test]
async fn a_large_list_is_split_and_keeps_its_order() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = client.create_sender("q").await.unwrap();
    assert_eq!(sender.max_message_size(), 1024 * 1024);
    let messages = (0..3000)
        .map(|n| Message::new(vec![b'x'; 2000]).with_message_id(n.to_string()))
        .collect();
    sender.send_messages(messages).await.unwrap();
    let receiver = receiver(&client, prefetch(100)).await;
    let received = ids(&receive(&receiver, 3000).await);
    let sent: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_harms_nothing() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = client.create_sender("q").await.unwrap();
    let large = || Message::new(vec![0; 1024 * 1024]);
    let error = sender.send_message(large()).await.unwrap_err();
    assert!(
        matches!(error, BusError::MessageTooLarge { size, limit } if size > limit),
        "{error}"
    );
    let error = sender
        .send_messages(vec![Message::new("ok"), large()])
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::MessageTooLarge { .. }), "{error}");
    assert_eq!(
        broker.counts("q").unwrap().active,
        0,
        "nothing of the list was sent"
    );
    let just_fits = Message::new(vec![b'x'; 1024 * 1024 - 100]);
    sender.send_message(just_fits.clone()).await.unwrap();
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let received = receive(&receiver, 1).await.remove(0);
    assert_eq!(received.message.body, just_fits.body);
}

#[tokio::test]
async fn more_than_the_output_may_hold_is_sent_as_the_broker_takes_it() {
    const COUNT: u32 = 70;
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = client.create_sender("q").await.unwrap();
    let body = Bytes::from(vec![b'x'; 1_000_000]);
    let messages = (0..COUNT).map(|_| Message::new(body.clone())).collect();
    sender.send_messages(messages).await.unwrap();
    assert_eq!(broker.counts("q").unwrap().active, COUNT as usize);
}

#[tokio::test]
async fn an_unknown_entity_is_named() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let of_sender = client.create_sender("nowhere").await.unwrap_err();
    let of_receiver = client
        .create_receiver("nowhere", ReceiverOptions::default())
        .await
        .unwrap_err();
    for error in [of_sender, of_receiver] {
        assert!(
            matches!(&error, BusError::NotFound { entity, .. } if entity == "nowhere"),
            "{error}"
        );
        assert!(!error.is_transient());
    }
    client
        .create_sender("Q")
        .await
        .expect("names know no case, and the connection lives on");
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let key = |key: &str| AccessKey {
        name: "app".to_owned(),
        key: key.to_owned(),
    };
    let config = BrokerConfig::new([QueueConfig::new("q")]).access_key(key("right"));
    let broker = start(config, SystemClock::shared());
    let with = |key: &str| {
        let address = broker.local_addr();
        format!(
            "Endpoint=sb://{address};SharedAccessKeyName=app;SharedAccessKey={key};\
             UseDevelopmentEmulator=true"
        )
    };
    let client = connect(&with("wrong")).await;
    let error = client.create_sender("q").await.unwrap_err();
    assert!(matches!(error, BusError::Unauthorized { .. }), "{error}");
    connect(&with("right"))
        .await
        .create_sender("q")
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_listening_is_an_error_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connection_string = format!(
        "Endpoint=sb://{address};SharedAccessKeyName=n;SharedAccessKey=k;\
         UseDevelopmentEmulator=true"
    );
    let parsed = connection_string.parse().unwrap();
    let error = ServiceBusClient::connect(&parsed, ClientOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot connect to the broker at {address}")
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn dropped_receive_calls_lose_nothing() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..300).await;
    let receiver = receiver(&client, prefetch(20)).await;
    let mut received = HashSet::new();
    let mut turn = 0_u64;
    let deadline = Instant::now() + SOON;
    while received.len() < 300 {
        assert!(Instant::now() < deadline, "{} of 300 came", received.len());
        turn += 1;
        let patience = tokio::time::sleep(Duration::from_micros(turn % 7 * 20));
        let messages = tokio::select! {
            biased;
            () = patience => continue,
            messages = receiver.receive_messages(3, SOON) => messages.unwrap(),
        };
        for result in receiver.complete_messages(&messages).await.unwrap() {
            result.unwrap();
        }
        for id in ids(&messages) {
            assert!(received.insert(id), "a message came twice");
        }
    }
    assert_eq!(broker.counts("q").unwrap().locked, 0);
}

#[tokio::test]
async fn dropped_send_calls_leave_the_sender_usable() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    let sender = client.create_sender("q").await.unwrap();
    for n in 0..200_u64 {
        let send = sender.send_message(Message::new(vec![b'x'; 1000]));
        let patience = Duration::from_micros(n % 5 * 20);
        let _ = tokio::time::timeout(patience, send).await;
    }
    sender.send_message(Message::new("last")).await.unwrap();
    let held = broker.counts("q").unwrap().active;
    assert!((1..=201).contains(&held), "{held}");
}

#[tokio::test]
async fn what_a_receiver_has_not_handed_out_goes_back() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..50).await;
    for close in [true, false] {
        let receiver = receiver(&client, prefetch(40)).await;
        let taken = receive(&receiver, 2).await;
        receiver.abandon_messages(&taken[1..]).await.unwrap();
        receiver.complete_message(&taken[0]).await.unwrap();
        if close {
            receiver.close().await;
            assert_eq!(
                broker.counts("q").unwrap().locked,
                0,
                "closed means given back"
            );
        } else {
            drop(receiver);
        }
    }
    // Only the two abandoned ones count a failed delivery.
    let last = receiver(&client, ReceiverOptions::default()).await;
    let messages = receive(&last, 48).await;
    let failed = messages
        .iter()
        .filter(|message| message.delivery_count > 1)
        .count();
    assert!(
        (1..=2).contains(&failed),
        "{failed} messages count a failed delivery"
    );
    assert!(last.receive_messages(1, BRIEFLY).await.unwrap().is_empty());
}

#[tokio::test]
async fn closing_the_client_gives_messages_back_and_ends_calls() {
    let broker = broker();
    let client = connect(&broker.connection_string()).await;
    send_numbers(&client, 0..10).await;
    let full = receiver(&client, prefetch(10)).await;
    receive(&full, 1).await;
    let empty = client.create_receiver("q", dead_letters()).await.unwrap();
    let waiting = tokio::spawn(async move { empty.receive_messages(1, SOON).await });
    tokio::task::yield_now().await;
    client.close().await;
    assert!(client.is_closed());
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, BusError::Closed { .. }), "{error}");
    assert_eq!(
        broker.counts("q").unwrap().locked,
        1,
        "the one that was handed out"
    );
    assert!(client.create_sender("q").await.is_err());
}

fn dead_letters() -> ReceiverOptions {
    ReceiverOptions {
        sub_queue: Some(SubQueue::DeadLetter),
        ..ReceiverOptions::default()
    }
}
