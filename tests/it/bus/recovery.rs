//! Connections that are lost, and what works again afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_bus::{
    BusError, ClientOptions, Message, ReceiverOptions, RetryOptions, ServiceBusClient,
};
use nightshift_time::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{
    SOON, broker, connect_with, dead_letters, ids, prefetch, receive, receiver, send_numbers, start,
};

fn with_retries(max_retries: u32) -> ClientOptions {
    ClientOptions {
        try_timeout: SOON,
        retry: RetryOptions {
            max_retries,
            delay: Duration::from_millis(20),
            max_delay: Duration::from_millis(200),
            resend_unknown: false,
        },
        ..ClientOptions::default()
    }
}

fn connection_string(address: SocketAddr) -> String {
    format!(
        "Endpoint=sb://{address};SharedAccessKeyName=n;SharedAccessKey=k;\
         UseDevelopmentEmulator=true"
    )
}

/// Stands between client and broker: counts connections, cuts them, and can keep the broker's
/// answers to itself.
struct Proxy {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    mode: watch::Sender<Mode>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// The broker's answers are not passed on.
    Mute,
    /// Connections are cut, and new ones too.
    Cut,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let (mode, seen) = watch::channel(Mode::Pass);
        let (count, count_ended) = (Arc::clone(&accepted), Arc::clone(&ended));
        tokio::spawn(async move {
            while let Ok((inner, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut until_cut = seen.clone();
                let (mode, ended) = (seen.clone(), Arc::clone(&count_ended));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = until_cut.wait_for(|mode| *mode == Mode::Cut) => {}
                        _ = pass(inner, target, mode) => {}
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            accepted,
            ended,
            mode,
        }
    }

    fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Cuts every connection, and refuses new ones until told otherwise.
    async fn cut(&self) {
        self.set(Mode::Cut);
        until("all connections are cut", || {
            self.ended.load(Ordering::Relaxed) == self.accepted()
        })
        .await;
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn client_is_connected(client: &ServiceBusClient) -> bool {
    format!("{client:?}").contains("connected: true")
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn pass(
    inner: TcpStream,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = inner.into_split();
    let (mut from_broker, mut to_broker) = TcpStream::connect(target).await?.into_split();
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_broker.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            if *mode.borrow() == Mode::Pass {
                to_client.write_all(&buffer[..count]).await?;
            }
        }
    };
    tokio::select! {
        ended = answers => ended,
        ended = tokio::io::copy(&mut from_client, &mut to_broker) => ended.map(drop),
    }
}

/// Waits for a broker's port to be free again, and takes it.
async fn restart_at(address: SocketAddr) -> Broker {
    let deadline = Instant::now() + SOON;
    loop {
        let config = BrokerConfig::new([QueueConfig::new("q")]).listen(address);
        match Broker::start(config, SystemClock::shared()) {
            Ok(broker) => return broker,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cut_connection_fails_every_call_at_once_and_the_next_calls_work_again() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let client = connect_with(&connection_string(proxy.address), with_retries(0)).await;
    send_numbers(&client, 0..3).await;
    let sender = client.create_sender("q").await.unwrap();
    let one = receiver(&client, prefetch(1)).await;
    let message = receive(&one, 1).await.remove(0);
    let empty = client.create_receiver("q", dead_letters()).await.unwrap();
    let waiting = tokio::spawn(async move { (empty.receive_messages(1, SOON).await, empty) });
    tokio::task::yield_now().await;

    let begun = Instant::now();
    proxy.set(Mode::Cut);
    let (result, empty) = waiting.await.unwrap();
    let error = result.unwrap_err();
    assert!(matches!(error, BusError::ConnectionLost { .. }), "{error}");
    for error in [
        one.complete_message(&message).await.unwrap_err(),
        one.receive_messages(1, SOON).await.unwrap_err(),
        sender.send_message(Message::new("x")).await.unwrap_err(),
        client.create_sender("q").await.unwrap_err(),
    ] {
        assert!(error.is_transient(), "{error}");
        assert!(
            !matches!(error, BusError::SendOutcomeUnknown { .. }),
            "{error}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(!client.is_closed());

    proxy.set(Mode::Pass);
    sender
        .send_message(Message::new("x").with_message_id("back"))
        .await
        .unwrap();
    let back = loop {
        let message = receive(&one, 1).await.remove(0);
        one.complete_message(&message).await.unwrap();
        if ids(std::slice::from_ref(&message)) == ["back"] {
            break message;
        }
    };
    assert_eq!(back.delivery_count, 1);
    assert!(
        empty
            .receive_messages(1, Duration::ZERO)
            .await
            .unwrap()
            .is_empty()
    );
    // The lock outlived the link that the message came over.
    one.complete_message(&message).await.unwrap();
    let error = one.complete_message(&message).await.unwrap_err();
    assert!(matches!(error, BusError::MessageLockLost { .. }), "{error}");
    client.close().await;
    let error = one.receive_messages(1, SOON).await.unwrap_err();
    assert!(matches!(error, BusError::Closed { .. }), "{error}");
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_broker_that_is_started_again_is_found_by_the_calls_that_wait_for_it() {
    let first = broker();
    let address = first.local_addr();
    let client = connect_with(&first.connection_string(), with_retries(200)).await;
    let sender = Arc::new(client.create_sender("q").await.unwrap());
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    sender
        .send_message(Message::new("lost with the broker"))
        .await
        .unwrap();
    first.stop().await;

    let waiting = {
        let sender = Arc::clone(&sender);
        tokio::spawn(async move {
            sender
                .send_message(Message::new("x").with_message_id("1"))
                .await
        })
    };
    tokio::task::yield_now().await;
    let second = restart_at(address).await;
    waiting.await.unwrap().unwrap();
    let messages = vec![
        Message::new("y").with_message_id("2"),
        Message::new("z").with_message_id("3"),
    ];
    sender.send_messages(messages).await.unwrap();
    let received = receive(&receiver, 3).await;
    assert_eq!(ids(&received), ["1", "2", "3"]);
    for result in receiver.complete_messages(&received).await.unwrap() {
        result.unwrap();
    }
    assert_eq!(second.counts("q").unwrap().active, 0);
}

/// Sends a message whose answer never comes because the connection is cut.
async fn send_into_silence(proxy: &Proxy, broker: &Broker, client: &ServiceBusClient) -> BusError {
    let sender = client.create_sender("q").await.unwrap();
    proxy.set(Mode::Mute);
    let sending = tokio::spawn(async move {
        sender
            .send_message(Message::new("x").with_message_id("1"))
            .await
    });
    until("the message arrives", || {
        broker.counts("q").unwrap().active > 0
    })
    .await;
    proxy.cut().await;
    proxy.set(Mode::Pass);
    match sending.await.unwrap() {
        Ok(()) => panic!("nobody could know"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_send_that_nobody_knows_the_outcome_of_says_so() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let client = connect_with(&connection_string(proxy.address), with_retries(5)).await;
    let error = send_into_silence(&proxy, &broker, &client).await;
    assert!(
        matches!(error, BusError::SendOutcomeUnknown { .. }),
        "{error}"
    );
    assert!(error.is_transient());
    assert_eq!(
        broker.counts("q").unwrap().active,
        1,
        "it was not sent again"
    );
}

#[tokio::test]
async fn so_does_a_scheduled_message() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let mut options = with_retries(5);
    options.try_timeout = Duration::from_millis(300);
    let client = connect_with(&connection_string(proxy.address), options).await;
    let sender = client.create_sender("q").await.unwrap();
    let later = SystemClock.now() + TimeDelta::hours(1);
    let one = || vec![Message::new("x")];
    sender.schedule_messages(one(), later).await.unwrap();
    proxy.set(Mode::Mute);
    let error = sender.schedule_messages(one(), later).await.unwrap_err();
    assert!(
        matches!(error, BusError::SendOutcomeUnknown { .. }),
        "{error}"
    );
    proxy.cut().await;
    let error = sender.schedule_messages(one(), later).await.unwrap_err();
    assert!(
        !matches!(error, BusError::SendOutcomeUnknown { .. }),
        "{error}"
    );
    proxy.set(Mode::Pass);
    sender.schedule_messages(one(), later).await.unwrap();
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    assert_eq!(receiver.peek_messages(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn it_is_sent_again_when_that_was_asked_for_and_the_message_has_an_id() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let mut options = with_retries(20);
    options.retry.resend_unknown = true;
    options.try_timeout = Duration::from_millis(500);
    let client = connect_with(&connection_string(proxy.address), options).await;
    let sender = client.create_sender("q").await.unwrap();
    proxy.set(Mode::Mute);
    let with_id = sender.send_message(Message::new("x").with_message_id("1"));
    let error = tokio::time::timeout(Duration::from_millis(300), with_id).await;
    assert!(error.is_err(), "no answer yet");
    let error = sender
        .send_message(Message::new("no id"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, BusError::SendOutcomeUnknown { .. }),
        "{error}"
    );
    assert_eq!(broker.counts("q").unwrap().active, 2);
    let again = tokio::spawn(async move {
        sender
            .send_message(Message::new("x").with_message_id("2"))
            .await
    });
    until("it is sent again", || {
        broker.counts("q").unwrap().active >= 4
    })
    .await;
    proxy.cut().await;
    proxy.set(Mode::Pass);
    again.await.unwrap().unwrap();
    assert!(broker.counts("q").unwrap().active > 4);
}

#[tokio::test]
async fn callers_that_do_not_pause_make_few_connections() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let client = connect_with(&connection_string(proxy.address), with_retries(2)).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let before = proxy.accepted();
    proxy.set(Mode::Cut);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        receiver.receive_messages(1, SOON).await.unwrap_err();
    }
    let made = proxy.accepted() - before;
    assert!((1..=20).contains(&made), "{made} connections in a second");
    proxy.set(Mode::Pass);
    send_numbers(&client, 0..1).await;
    assert_eq!(receive(&receiver, 1).await.len(), 1);
}

#[tokio::test]
async fn callers_that_wait_for_a_connection_share_its_failure() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let client = connect_with(&connection_string(proxy.address), with_retries(0)).await;
    let sender = Arc::new(client.create_sender("q").await.unwrap());
    proxy.cut().await;
    until("the loss is noticed", || !client_is_connected(&client)).await;
    let before = proxy.accepted();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let sender = Arc::clone(&sender);
        calls.spawn(async move { sender.send_message(Message::new("x")).await });
    }
    for result in calls.join_all().await {
        assert!(result.unwrap_err().is_transient());
    }
    let made = proxy.accepted() - before;
    assert!((1..=3).contains(&made), "{made} connections for 50 calls");
}

#[tokio::test]
async fn calls_go_on_soon_after_an_outage_however_long_the_pauses_have_grown() {
    let broker = broker();
    let proxy = Proxy::start(broker.local_addr()).await;
    let mut options = with_retries(0);
    options.retry.delay = Duration::from_mins(10);
    options.retry.max_delay = Duration::from_mins(10);
    let client = connect_with(&connection_string(proxy.address), options).await;
    let sender = client.create_sender("q").await.unwrap();
    proxy.cut().await;
    let failed = sender.send_message(Message::new("x")).await;
    assert!(failed.unwrap_err().is_transient());
    proxy.set(Mode::Pass);
    let begun = Instant::now();
    sender.send_message(Message::new("x")).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "the pauses are bounded by 5 s: {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_broker_that_stops_is_a_lost_connection() {
    let broker = start(
        BrokerConfig::new([QueueConfig::new("q")]),
        SystemClock::shared(),
    );
    let client = connect_with(&broker.connection_string(), with_retries(0)).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let waiting = tokio::spawn(async move { receiver.receive_messages(1, SOON).await });
    tokio::task::yield_now().await;
    broker.stop().await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = client.create_sender("q").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
