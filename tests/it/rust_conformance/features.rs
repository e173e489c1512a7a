//! The suite notices what is missing: with a feature switched off, the check that is named for it
//! fails.
//!
//! What a queue can be configured without is left out of its configuration. The rest is switched
//! off on the way: a relay between client and broker spells the feature's name wrong, so the broker
//! does not know what it is asked for.

use std::net::SocketAddr;

use nightshift_broker::QueueConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a check waits for that is to fail. It is longer than it would have to wait if it passed.
const BRIEFLY: Duration = Duration::from_secs(6);
/// What one waits for that is to pass.
const AMPLY: Duration = Duration::from_secs(30);

/// How a feature is switched off.
enum Without {
    /// By the configuration of the queues.
    Setting(fn(&mut QueueConfig)),
    /// By a name that arrives misspelt.
    Name(&'static str),
    /// By letting everybody in.
    Key,
}

use Without::{Key, Name, Setting};

/// Each feature with the check that must fail without it.
const FEATURES: &[(&str, Without, &str, &str)] = &[
    (
        "lock expiry",
        Setting(|q| q.lock_duration = Duration::from_mins(5)),
        "locks",
        "a_lock_that_ends_makes_the_message_available_again",
    ),
    (
        "delivery limit",
        Setting(|q| q.max_delivery_count = 1_000),
        "dead letters",
        "too_many_deliveries_make_a_dead_letter",
    ),
    (
        "time to live of the queue",
        Setting(|q| q.default_ttl = None),
        "expiry",
        "the_queue_sets_the_life_of_messages_that_do_not",
    ),
    (
        "dead-lettering on expiration",
        Setting(|q| q.dead_letter_on_expiration = false),
        "expiry",
        "a_message_that_is_too_old_becomes_a_dead_letter",
    ),
    (
        "duplicate detection",
        Setting(|q| q.duplicate_detection = None),
        "duplicates",
        "a_message_whose_id_was_seen_is_accepted_and_dropped",
    ),
    (
        "sessions",
        Setting(|q| q.requires_session = false),
        "sessions",
        "a_session_gets_its_own_messages_in_their_order",
    ),
    (
        "forwarding",
        Setting(|q| q.forward_to = None),
        "forwarding",
        "a_forwarded_message_arrives_with_all_that_it_carried",
    ),
    (
        "forwarding of dead letters",
        Setting(|q| q.forward_dead_letters_to = None),
        "forwarding",
        "a_dead_letter_is_forwarded_with_its_reason",
    ),
    ("keys", Key, "errors", "a_wrong_key_is_refused"),
    (
        "scheduling",
        Name("schedule-message"),
        "scheduling",
        "a_scheduled_message_comes_at_its_time_and_not_before",
    ),
    (
        "scheduling by annotation",
        Name("x-opt-scheduled-enqueue-time"),
        "scheduling",
        "a_message_that_carries_its_time_is_scheduled_by_a_plain_send",
    ),
    (
        "cancelling",
        Name("cancel-scheduled-message"),
        "scheduling",
        "a_cancelled_message_never_comes_and_cannot_be_cancelled_twice",
    ),
    (
        "peeking",
        Name("peek-message"),
        "peeking",
        "peeking_takes_and_locks_nothing",
    ),
    (
        "lock renewal",
        Name("renew-lock"),
        "locks",
        "a_renewed_lock_outlasts_the_queues_lock_duration",
    ),
    (
        "receiving by number",
        Name("receive-by-sequence-number"),
        "deferring",
        "a_deferred_message_comes_by_its_number_only_and_with_a_lock",
    ),
    (
        "settling by token",
        Name("update-disposition"),
        "deferring",
        "many_deferred_messages_are_received_and_settled_at_once",
    ),
    (
        "properties to modify",
        Name("properties-to-modify"),
        "deferring",
        "deferring_changes_and_adds_properties",
    ),
    (
        "reasons of dead letters",
        Name("DeadLetterReason"),
        "dead letters",
        "a_dead_letter_has_its_reason_and_all_that_it_carried",
    ),
    (
        "sub-queues",
        Name("$DeadLetterQueue"),
        "dead letters",
        "a_dead_letter_may_fail_as_often_as_it_likes",
    ),
    (
        "session filters",
        Name("session-filter"),
        "sessions",
        "the_next_session_is_one_that_has_messages",
    ),
    (
        "time-outs of searches",
        Name("microsoft:timeout"),
        "sessions",
        "a_search_for_a_session_ends_when_there_is_none",
    ),
    (
        "session lock renewal",
        Name("renew-session-lock"),
        "session locks",
        "a_renewed_session_lock_outlasts_the_queues_lock_duration",
    ),
    (
        "reading session state",
        Name("get-session-state"),
        "sessions",
        "state_is_kept_with_the_session",
    ),
    (
        "writing session state",
        Name("set-session-state"),
        "sessions",
        "state_is_kept_with_the_session",
    ),
    (
        "listing sessions",
        Name("get-message-sessions"),
        "sessions",
        "sessions_with_messages_are_listed",
    ),
];

/// Passes everything on, with one name misspelt on its way to the broker.
async fn relay(target: SocketAddr, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, target, name));
        }
    });
    address
}

async fn pass(client: TcpStream, target: SocketAddr, name: &'static str) {
    let Ok(broker) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let outward = async {
        let mut buffer = vec![0; 64 * 1024];
        // A client writes a frame at once, so a name is whole in what one read brings.
        while let Ok(count) = from_client.read(&mut buffer).await
            && count > 0
        {
            misspell(&mut buffer[..count], name.as_bytes());
            if to_broker.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        _ = tokio::io::copy(&mut from_broker, &mut to_client) => {}
    }
}

/// Puts another letter in the middle of every occurrence of `name`: its length stays.
fn misspell(octets: &mut [u8], name: &[u8]) {
    let mut at = 0;
    while at + name.len() <= octets.len() {
        if octets[at..].starts_with(name) {
            octets[at + name.len() / 2] = b'?';
        }
        at += 1;
    }
}

/// Whether a check passes on a broker without a feature, waiting so long for what should come.
async fn passes_without(without: &Without, check: &Check, soon: Duration) -> bool {
    let mut queues = config_file().queues;
    let mut timing = Timing::shortened(&mut queues);
    timing.soon = soon;
    if let Setting(change) = without {
        queues.iter_mut().for_each(change);
    }
    let mut config = BrokerConfig::new(queues);
    if !matches!(without, Key) {
        config = config.access_key(key());
    }
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");
    let mut connection_string = broker.connection_string();
    if let Name(name) = without {
        let direct = broker.local_addr();
        let relayed = relay(direct, name).await;
        connection_string = connection_string.replace(&direct.to_string(), &relayed.to_string());
        assert!(
            connection_string.contains(&relayed.to_string()),
            "{connection_string}"
        );
    }
    let world = World::new(connection_string, timing).await;
    let passed = tokio::spawn((check.run)(world.clone())).await.is_ok();
    world.close().await;
    broker.stop().await;
    passed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_checks_notice_a_feature_that_is_switched_off() {
    let mut brokers = JoinSet::new();
    for (feature, without, module, name) in FEATURES {
        let (_, checks) = MODULES
            .iter()
            .find(|(found, _)| found == module)
            .expect(module);
        let check = checks.iter().find(|check| check.name == *name).expect(name);
        brokers.spawn(async move {
            let passed = passes_without(without, check, BRIEFLY).await;
            passed.then(|| format!("{feature}: {name}"))
        });
    }
    let blind: Vec<String> = brokers.join_all().await.into_iter().flatten().collect();
    assert!(blind.is_empty(), "not noticed: {blind:#?}");
}

/// The relay by itself does no harm, so what fails behind it fails for the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_checks_pass_behind_a_relay_that_misspells_nothing() {
    for module in ["sending", "peeking", "deferring"] {
        let (_, checks) = MODULES
            .iter()
            .find(|(found, _)| *found == module)
            .expect(module);
        for check in *checks {
            let passed = passes_without(&Name("a name that nobody says"), check, AMPLY).await;
            assert!(passed, "{module}: {}", check.name);
        }
    }
}

#[test]
fn every_occurrence_is_misspelt_and_nothing_else() {
    let mut octets = *b"peek, peek-message, peek-message";
    misspell(&mut octets, b"peek-message");
    assert_eq!(&octets, b"peek, peek-m?ssage, peek-m?ssage");
}
