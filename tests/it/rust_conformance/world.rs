//! What the checks share: a client, the spans that the queues are configured with, and reading a
//! queue until it has given what is expected.

use std::time::{Duration, Instant};

use nightshift_broker::QueueConfig;
use nightshift_bus::{
    BusError, ClientOptions, ConnectionString, Message, MessageState, ReceiveMode, ReceivedMessage,
    Receiver, ReceiverOptions, RetryOptions, Sender, ServiceBusClient, SessionReceiverOptions,
    SubQueue,
};

/// Long enough for anything that should happen.
const SOON: Duration = Duration::from_secs(30);

/// The spans that checks wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Lock duration of the queues with short locks.
    pub(super) lock: Duration,
    /// The window of duplicate detection.
    pub(super) window: Duration,
    /// The time to live of the queue that sets one.
    pub(super) time_to_live: Duration,
    /// Long enough for anything that should happen.
    pub(super) soon: Duration,
    /// How long to wait for a message that should not come.
    pub(super) briefly: Duration,
    /// How long a token lives that is to be renewed. The service's clock may differ from ours.
    pub(super) token_lifetime: Duration,
    /// Messages where many are sent.
    pub(super) many: usize,
}

fn named<'a>(queues: &'a mut [QueueConfig], name: &str) -> &'a mut QueueConfig {
    let found = queues.iter_mut().find(|queue| queue.name == name);
    found.unwrap_or_else(|| panic!("the file has no queue {name}"))
}

impl Timing {
    /// As the file says.
    pub(super) fn of_service(queues: &[QueueConfig]) -> Self {
        let mut queues = queues.to_vec();
        Self {
            lock: named(&mut queues, "rust-locks").lock_duration,
            window: named(&mut queues, "rust-duplicates")
                .duplicate_detection
                .expect("a window"),
            time_to_live: named(&mut queues, "rust-short-lived")
                .default_ttl
                .expect("a time to live"),
            soon: SOON,
            briefly: Duration::from_secs(3),
            token_lifetime: Duration::from_secs(45),
            many: 500,
        }
    }

    /// Shortens what the file says.
    pub(super) fn shortened(queues: &mut [QueueConfig]) -> Self {
        let short = Self {
            lock: Duration::from_secs(2),
            window: Duration::from_secs(3),
            time_to_live: Duration::from_secs(2),
            soon: SOON,
            briefly: Duration::from_millis(200),
            token_lifetime: Duration::from_secs(3),
            many: 2_000,
        };
        for name in ["rust-locks", "rust-session-locks"] {
            named(queues, name).lock_duration = short.lock;
        }
        named(queues, "rust-duplicates").duplicate_detection = Some(short.window);
        named(queues, "rust-short-lived").default_ttl = Some(short.time_to_live);
        short
    }
}

/// A broker, and how to use it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) connection_string: String,
    pub(super) client: ServiceBusClient,
    pub(super) timing: Timing,
}

/// A client that fails fast: a retry would hide what these checks look for.
pub(super) fn impatient() -> ClientOptions {
    ClientOptions {
        try_timeout: SOON,
        retry: RetryOptions {
            max_retries: 0,
            ..RetryOptions::default()
        },
        ..ClientOptions::default()
    }
}

impl World {
    pub(super) async fn new(connection_string: String, timing: Timing) -> Self {
        let client = connect(&connection_string, impatient())
            .await
            .expect("the broker takes a connection");
        Self {
            connection_string,
            client,
            timing,
        }
    }

    pub(super) async fn close(&self) {
        self.client.close().await;
    }

    /// A client with a connection of its own.
    pub(super) async fn another_client(&self) -> ServiceBusClient {
        let connected = connect(&self.connection_string, impatient()).await;
        connected.expect("the broker takes a connection")
    }

    pub(super) async fn sender(&self, queue: &str) -> Sender {
        self.client
            .create_sender(queue)
            .await
            .expect("the queue exists")
    }

    pub(super) async fn receiver(&self, queue: &str) -> Receiver {
        self.receiver_with(queue, ReceiverOptions::default()).await
    }

    pub(super) async fn receiver_with(&self, queue: &str, options: ReceiverOptions) -> Receiver {
        let created = self.client.create_receiver(queue, options).await;
        created.expect("the queue exists")
    }

    /// A receiver that takes messages away as it gets them.
    pub(super) async fn taker(&self, queue: &str) -> Receiver {
        let options = ReceiverOptions {
            mode: ReceiveMode::ReceiveAndDelete,
            ..ReceiverOptions::default()
        };
        self.receiver_with(queue, options).await
    }

    pub(super) async fn dead_letters(&self, queue: &str) -> Receiver {
        let options = ReceiverOptions {
            sub_queue: Some(SubQueue::DeadLetter),
            ..ReceiverOptions::default()
        };
        self.receiver_with(queue, options).await
    }

    /// Sends one message with the body `x` for each id.
    pub(super) async fn send(&self, queue: &str, ids: &[&str]) {
        let messages = ids.iter().map(|id| Message::new("x").with_message_id(*id));
        let sender = self.sender(queue).await;
        let sent = sender.send_messages(messages.collect()).await;
        sent.expect("the queue takes messages");
        sender.close().await;
    }

    /// Sends one message to a session for each id.
    pub(super) async fn send_to_session(&self, queue: &str, session: &str, ids: &[&str]) {
        let message = |id: &&str| {
            Message::new("x")
                .with_message_id(*id)
                .with_session_id(session)
        };
        let sender = self.sender(queue).await;
        let sent = sender
            .send_messages(ids.iter().map(message).collect())
            .await;
        sent.expect("the queue takes messages");
        sender.close().await;
    }

    /// Exactly `count` messages, however many calls it takes.
    pub(super) async fn take(&self, receiver: &Receiver, count: usize) -> Vec<ReceivedMessage> {
        let deadline = Instant::now() + self.timing.soon;
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let more = receiver
                .receive_messages(count - messages.len(), left)
                .await;
            let more = more.expect("the link stands");
            assert!(
                !more.is_empty(),
                "{} of {count} messages came",
                messages.len()
            );
            messages.extend(more);
        }
        messages
    }

    pub(super) async fn take_one(&self, receiver: &Receiver) -> ReceivedMessage {
        self.take(receiver, 1).await.remove(0)
    }

    /// Says that nothing comes.
    pub(super) async fn nothing_comes(&self, receiver: &Receiver) {
        let came = receiver.receive_messages(1, self.timing.briefly).await;
        let came = came.expect("the link stands");
        assert!(came.is_empty(), "{came:?}");
    }

    /// A connection string with another key, for the same place.
    pub(super) fn with_key(&self, key: &str) -> String {
        let parts = self.connection_string.split(';').map(|part| {
            if part.starts_with("SharedAccessKey=") {
                format!("SharedAccessKey={key}")
            } else {
                part.to_owned()
            }
        });
        parts.collect::<Vec<_>>().join(";")
    }

    /// Removes what an earlier run may have left in a queue.
    pub(super) async fn purge(&self, queue: &str) {
        let browser = self
            .client
            .create_receiver(queue, ReceiverOptions::default())
            .await;
        // A queue with sessions, or one that forwards, has no such receiver.
        if let Ok(browser) = browser {
            self.purge_hidden(queue, &browser).await;
            browser.close().await;
            drain(self.taker(queue).await, self.timing.briefly).await;
        }
        let options = SessionReceiverOptions {
            mode: ReceiveMode::ReceiveAndDelete,
            max_wait: self.timing.briefly,
            ..SessionReceiverOptions::default()
        };
        while let Ok(session) = self
            .client
            .accept_next_session(queue, options.clone())
            .await
        {
            while !session
                .receive_messages(1_000, self.timing.briefly)
                .await
                .expect("the session is held")
                .is_empty()
            {}
            session.close().await;
        }
        let options = ReceiverOptions {
            mode: ReceiveMode::ReceiveAndDelete,
            sub_queue: Some(SubQueue::DeadLetter),
            ..ReceiverOptions::default()
        };
        drain(
            self.receiver_with(queue, options).await,
            self.timing.briefly,
        )
        .await;
    }

    /// Removes scheduled and deferred messages.
    async fn purge_hidden(&self, queue: &str, browser: &Receiver) {
        let sender = self.sender(queue).await;
        let taker = self.taker(queue).await;
        let mut from = 0;
        loop {
            let found = browser
                .peek_messages(from, 100)
                .await
                .expect("the queue can be looked at");
            let Some(last) = found.last() else { break };
            from = last.sequence_number + 1;
            for message in &found {
                let number = [message.sequence_number];
                match message.state {
                    MessageState::Scheduled => {
                        drop(sender.cancel_scheduled_messages(&number).await);
                    }
                    MessageState::Deferred => drop(taker.receive_deferred_messages(&number).await),
                    _ => {}
                }
            }
        }
        sender.close().await;
        taker.close().await;
    }
}

async fn drain(taker: Receiver, briefly: Duration) {
    while !taker
        .receive_messages(1_000, briefly)
        .await
        .expect("the link stands")
        .is_empty()
    {}
    taker.close().await;
}

pub(super) async fn connect(
    connection_string: &str,
    options: ClientOptions,
) -> Result<ServiceBusClient, BusError> {
    let parsed: ConnectionString = connection_string.parse().expect("it is well-formed");
    ServiceBusClient::connect(&parsed, options).await
}

pub(super) async fn complete(receiver: &Receiver, messages: &[ReceivedMessage]) {
    let results = receiver.complete_messages(messages).await;
    for result in results.expect("the link stands") {
        result.expect("the lock stands");
    }
}

pub(super) fn id(message: &ReceivedMessage) -> &str {
    message.message.message_id.as_deref().unwrap_or_default()
}

pub(super) fn ids(messages: &[ReceivedMessage]) -> Vec<&str> {
    messages.iter().map(id).collect()
}

/// `"0"`, `"1"` and so on.
pub(super) fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

pub(super) fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
