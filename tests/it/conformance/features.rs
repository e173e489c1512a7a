//! Every feature of the broker is looked at by a check: without the feature, that check fails.
//!
//! What the configuration can take away is taken away there; the rest by a relay that changes what
//! clients say. Each run is one check of one SDK against a broker of its own.

use nightshift_broker::{Broker, BrokerConfig, QueueConfig, QueueStatus};
use nightshift_time::SystemClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::relay::{Relay, Without};
use super::{Sdk, output};

/// How many checks run at a time. They wait more than they work.
const AT_A_TIME: usize = 6;

/// How a feature is taken away.
#[derive(Clone, Copy)]
enum How {
    Queues(fn(QueueConfig) -> QueueConfig),
    Broker(fn(&mut BrokerConfig)),
    Relay(Without),
}

/// A feature, how it is taken away, and the checks that notice, with an SDK's own words where it
/// has them.
struct Feature {
    name: &'static str,
    how: How,
    python: Option<&'static str>,
    javascript: Option<&'static str>,
}

/// A feature whose checks have the same name in both languages.
const fn both(name: &'static str, how: How, check: &'static str) -> Feature {
    Feature {
        name,
        how,
        python: Some(check),
        javascript: Some(check),
    }
}

const fn each(
    name: &'static str,
    how: How,
    python: &'static str,
    javascript: &'static str,
) -> Feature {
    Feature {
        name,
        how,
        python: Some(python),
        javascript: Some(javascript),
    }
}

fn without_ttl(mut queue: QueueConfig) -> QueueConfig {
    queue.default_ttl = None;
    queue
}

fn without_detection(mut queue: QueueConfig) -> QueueConfig {
    queue.duplicate_detection = None;
    queue
}

fn without_forwarding(mut queue: QueueConfig) -> QueueConfig {
    queue.forward_to = None;
    queue
}

fn without_forwarding_of_dead_letters(mut queue: QueueConfig) -> QueueConfig {
    queue.forward_dead_letters_to = None;
    queue
}

const FEATURES: &[Feature] = &[
    both(
        "duplicate detection",
        How::Queues(without_detection),
        "duplicates: a message whose id was seen within the window is accepted and dropped",
    ),
    both(
        "sessions",
        How::Queues(|queue| queue.requires_session(false)),
        "sessions: the receiver of a named session gets its messages in order and no others",
    ),
    each(
        "time to live",
        How::Queues(without_ttl),
        "dead_letters: a message that outlives its time becomes a dead letter where the queue says so",
        "deadLetters: a message that outlives its time becomes a dead letter where the queue says so",
    ),
    each(
        "dead-lettering on expiration",
        How::Queues(|queue| queue.dead_letter_on_expiration(false)),
        "dead_letters: a message that outlives its time becomes a dead letter where the queue says so",
        "deadLetters: a message that outlives its time becomes a dead letter where the queue says so",
    ),
    each(
        "max delivery count",
        How::Queues(|queue| queue.max_delivery_count(1_000_000)),
        "dead_letters: a message that fails max-delivery-count times becomes a dead letter with the \
         broker's reason",
        "deadLetters: a message that fails max-delivery-count times becomes a dead letter with the \
         broker's reason",
    ),
    both(
        "ends of message locks",
        How::Queues(|queue| queue.lock_duration(Duration::from_mins(5))),
        "locks: a lock that ends makes the message available again, with one more delivery counted",
    ),
    each(
        "ends of session locks",
        How::Queues(|queue| queue.lock_duration(Duration::from_mins(5))),
        "sessions: after the lock has ended, settling, renewing and state are errors, and the \
         message comes again",
        "sessions: after the lock has ended settling is an error, and the message comes again",
    ),
    both(
        "forwarding",
        How::Queues(without_forwarding),
        "forwarding: a message sent to a queue that forwards arrives at its target, with its first \
         number",
    ),
    both(
        "forwarding of dead letters",
        How::Queues(without_forwarding_of_dead_letters),
        "forwarding: a dead letter is forwarded with its reason and names its queue",
    ),
    both(
        "disabled queues",
        How::Queues(|queue| queue.status(QueueStatus::Active)),
        "errors: a queue that is disabled is an error for senders and receivers, at once",
    ),
    each(
        "messages of several frames",
        How::Broker(|config| config.max_message_size = 100_000),
        "bodies: a body of 250 KiB, which takes several frames, comes back byte for byte",
        "bodies: 250 KiB, which take several frames, come back",
    ),
    both(
        "batches",
        How::Relay(Without::Batches),
        "sending: a list of messages arrives in its order",
    ),
    both(
        "completing",
        How::Relay(Without::Completing),
        "receiving: a receiver gets no more messages than it asked for",
    ),
    both(
        "abandoning",
        How::Relay(Without::Abandoning),
        "receiving: an abandoned message comes back with one more delivery counted",
    ),
    both(
        "deferring",
        How::Relay(Without::Deferring),
        "deferring: an abandoned deferred message stays deferred",
    ),
    each(
        "dead-lettering",
        How::Relay(Without::DeadLettering),
        "dead_letters: a dead-lettered message is in the dead-letter queue with its reason and all \
         it carried",
        "deadLetters: a dead-lettered message is in the dead-letter queue with its reason and all \
         it carried",
    ),
    each(
        "receive-and-delete",
        How::Relay(Without::ReceiveAndDelete),
        "receiving: receive-and-delete removes on delivery and cannot be settled",
        "receiving: receive-and-delete removes on delivery",
    ),
    Feature {
        name: "drain",
        how: How::Relay(Without::Drain),
        // The Python SDK never drains.
        python: None,
        javascript: Some(
            "receiving: a receive call that ends gives its credit back and keeps its link",
        ),
    },
    both(
        "peeking",
        How::Relay(Without::Operation("com.microsoft:peek-message")),
        "peeking: peeking goes on where it ended, and takes nothing",
    ),
    both(
        "scheduling",
        How::Relay(Without::Operation("com.microsoft:schedule-message")),
        "scheduling: a list of messages is scheduled at once and comes in its order",
    ),
    both(
        "scheduling by annotation",
        How::Relay(Without::Operation("x-opt-scheduled-enqueue-time")),
        "scheduling: a message that carries its time is scheduled by a plain send and by a batch",
    ),
    both(
        "cancelling",
        How::Relay(Without::Operation("com.microsoft:cancel-scheduled-message")),
        "scheduling: a cancelled message never comes, and cannot be cancelled twice",
    ),
    both(
        "receiving deferred messages",
        How::Relay(Without::Operation(
            "com.microsoft:receive-by-sequence-number",
        )),
        "deferring: a deferred message comes by its number only, with its lock, and can be completed",
    ),
    both(
        "settling by lock token",
        How::Relay(Without::Operation("com.microsoft:update-disposition")),
        "deferring: a deferred message can be dead-lettered with a reason",
    ),
    both(
        "renewing message locks",
        How::Relay(Without::Operation("com.microsoft:renew-lock")),
        "locks: a renewed lock lasts longer than the queue's lock duration",
    ),
    both(
        "renewing session locks",
        How::Relay(Without::Operation("com.microsoft:renew-session-lock")),
        "sessions: renewing the session keeps it, with the messages that are held, beyond the lock \
         duration",
    ),
    each(
        "setting session states",
        How::Relay(Without::Operation("com.microsoft:set-session-state")),
        "sessions: the state of a session is kept for its next owner, and can be removed",
        "sessions: the state of a session is kept for its next owner, and can be replaced",
    ),
    each(
        "getting session states",
        How::Relay(Without::Operation("com.microsoft:get-session-state")),
        "sessions: the state of a session is kept for its next owner, and can be removed",
        "sessions: the state of a session is kept for its next owner, and can be replaced",
    ),
];

/// Runs the check `only` of an SDK against a broker without a feature. It has to fail.
async fn must_fail(sdk: Arc<Sdk>, name: &'static str, how: How, only: &'static str) {
    let mut config = BrokerConfig::new(sdk.queues());
    match how {
        How::Queues(change) => {
            config.queues = config.queues.into_iter().map(change).collect();
        }
        How::Broker(change) => change(&mut config),
        How::Relay(_) => {}
    }
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");
    let mut connection_string = broker.connection_string();
    let relay = match how {
        How::Relay(without) => Some(Relay::start(broker.local_addr(), without).await),
        How::Queues(_) | How::Broker(_) => None,
    };
    if let Some(relay) = &relay {
        let port = broker.local_addr().port();
        connection_string =
            connection_string.replace(&format!(":{port};"), &format!(":{};", relay.address.port()));
    }
    let mut suite = sdk.suite();
    suite.arg(connection_string).args(["--only", only]);
    let (status, text) = output(suite).await;
    let expected = format!("FAILED {only} (");
    assert!(
        status.code() == Some(1) && text.contains(&expected),
        "without {name} this check should fail: {only}\n{status}\n{text}"
    );
    drop(relay);
    broker.stop().await;
}

async fn every_feature_is_looked_at(sdk: Sdk, check: fn(&Feature) -> Option<&'static str>) {
    let sdk = Arc::new(sdk);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut runs = JoinSet::new();
    for feature in FEATURES {
        let Some(only) = check(feature) else { continue };
        let (sdk, places) = (Arc::clone(&sdk), Arc::clone(&places));
        let (name, how) = (feature.name, feature.how);
        runs.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            must_fail(sdk, name, how, only).await;
        });
    }
    // A panic of one goes on here.
    runs.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_feature_a_check_of_the_python_sdk_fails() {
    every_feature_is_looked_at(Sdk::python(), |feature| feature.python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_feature_a_check_of_the_javascript_sdk_fails() {
    every_feature_is_looked_at(Sdk::javascript(), |feature| feature.javascript).await;
}
