//! Several hosts at once, and hosts that come and go under load.
//!
//! What "once" means for a message: its *effect* happens once although it may be delivered again. It
//! is delivered again only when the host that worked on it died; here the handler's effect is a file
//! that can be created once, and `crash.rs` does the same with the real handler and its database.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::Child;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_broker::QueueConfig;
use nightshift_bus::Message;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fixture::{Fixture, until};

/// How many messages one host works on at a time.
const IN_FLIGHT: usize = 8;

const QUEUE: &str = r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m", "queueName": "orders",
    "connection": "Bus"}]}"#;

const BATCHES: &str = r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m",
    "queueName": "orders", "connection": "Bus", "cardinality": "many", "dataType": "binary"}]}"#;

const SESSIONS: &str = r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m",
    "queueName": "orders", "connection": "Bus", "isSessionsEnabled": true}]}"#;

const TIMER: &str =
    r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "*/1 * * * * *"}]}"#;

/// The number of sessions, over which messages are dealt out in turn.
const SESSION_COUNT: usize = 12;

/// A world with `functions` whose calls take `delay` seconds, and `count` messages with ids, which
/// have sessions if the first function wants them.
async fn fixture(functions: &[(&str, &str)], delay: &str, lock: Duration, count: usize) -> Fixture {
    let fixture = idle_fixture(functions, delay, lock).await;
    send(&fixture, 0..count, functions[0].1 == SESSIONS).await;
    fixture
}

/// The same without messages.
async fn idle_fixture(functions: &[(&str, &str)], delay: &str, lock: Duration) -> Fixture {
    let has_sessions = functions[0].1 == SESSIONS;
    let change = |queue: QueueConfig| queue.lock_duration(lock).requires_session(has_sessions);
    let fixture = Fixture::with_queues("", "", change).await;
    std::fs::remove_dir_all(fixture.path(super::fixture::FUNCTION)).unwrap();
    for (name, text) in functions {
        fixture.write(&format!("{name}/function.json"), text);
    }
    let handlers = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handlers");
    let recorder = std::fs::read_to_string(handlers.join("recorder.py")).unwrap();
    fixture.write("recorder.py", &recorder);
    fixture.write("delay", delay);
    fixture.write(
        "host.json",
        &format!(
            r#"{{"version": "2.0", "customHandler": {{"description": {{
                "defaultExecutablePath": "python3", "arguments": ["recorder.py"]}}}},
                "extensions": {{"serviceBus": {{"maxConcurrentCalls": {IN_FLIGHT},
                    "maxMessageBatchSize": {IN_FLIGHT}, "prefetchCount": 50,
                    "sessionIdleTimeout": "00:00:00.05"}}}}}}"#
        ),
    );
    fixture
}

async fn send(fixture: &Fixture, numbers: Range<usize>, has_sessions: bool) {
    let message = |n: usize| {
        let message = Message::new("{}").with_message_id(format!("m{n:05}"));
        if has_sessions {
            message.with_session_id((n % SESSION_COUNT).to_string())
        } else {
            message
        }
    };
    fixture.send_messages(numbers.map(message).collect()).await;
}

/// The whole lines of a file of the app.
fn lines(fixture: &Fixture, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(fixture.path(name)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}

/// How often each message was delivered.
fn deliveries(fixture: &Fixture) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in lines(fixture, "deliveries") {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn end(host: &mut Child, signal: Signal) -> std::process::ExitStatus {
    let pid = Pid::from_raw(i32::try_from(host.id()).unwrap());
    kill(pid, signal).unwrap();
    host.wait().unwrap()
}

/// A run of the timer as the handler saw it.
struct Tick {
    due: DateTime<Utc>,
    /// A moment after the run had begun.
    seen: DateTime<Utc>,
    /// The handler's process, of which each host has its own.
    process: String,
}

fn ticks(fixture: &Fixture) -> Vec<Tick> {
    let tick = |line: &String| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        Tick {
            due: word().parse().unwrap(),
            seen: word().parse().unwrap(),
            process: word().to_owned(),
        }
    };
    lines(fixture, "ticks").iter().map(tick).collect()
}

/// Of the seconds none has two ticks, and none is left out but between two hosts, or because it was
/// over before the run in front of it could begin, which a busy machine is free to do.
fn assert_each_second_once(ticks: &[Tick], kills: usize) {
    let mut changes = 0;
    for (before, after) in ticks.iter().zip(&ticks[1..]) {
        assert!(after.due > before.due, "{} twice or late", after.due);
        if after.process == before.process {
            let latest = before.due.max(before.seen) + TimeDelta::seconds(1);
            let (before, after) = (before.due, after.due);
            assert!(after <= latest, "none between {before} and {after}");
        } else {
            changes += 1;
        }
    }
    assert!(
        changes <= kills,
        "the timer changed its host {changes} times"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_killed_in_turn_run_each_tick_once_and_each_effect_happens_once() {
    const ROUND: usize = 300;
    const KILLS: usize = 6;
    const MESSAGES: usize = ROUND * KILLS;
    let functions = [("work", QUEUE), ("tick", TIMER)];
    let fixture = idle_fixture(&functions, "0.002", Duration::from_secs(5)).await;
    let mut hosts: Vec<Child> = (0..3).map(|_| fixture.start_process()).collect();
    for kill in 0..KILLS {
        // Of whichever host has the timer now.
        let before = lines(&fixture, "ticks").len();
        until("two ticks", || lines(&fixture, "ticks").len() > before + 1).await;
        // Each round has messages of its own, so that the host is killed while there is work.
        let before = lines(&fixture, "deliveries").len();
        send(&fixture, kill * ROUND..(kill + 1) * ROUND, false).await;
        until("deliveries", || {
            lines(&fixture, "deliveries").len() >= before + ROUND / 4
        })
        .await;
        let host = &mut hosts[kill % 3];
        end(host, Signal::SIGKILL);
        *host = fixture.start_process();
    }
    fixture.drained().await;
    for host in &mut hosts {
        end(host, Signal::SIGKILL);
    }
    let effects = std::fs::read_dir(fixture.path("effects")).unwrap().count();
    assert_eq!((effects, deliveries(&fixture).len()), (MESSAGES, MESSAGES));
    assert_eq!(fixture.counts().dead_letter, 0);
    // Only what a killed host worked on came again.
    let again = deliveries(&fixture)
        .values()
        .map(|count| count - 1)
        .sum::<usize>();
    assert!(
        again <= KILLS * IN_FLIGHT,
        "{again} messages were delivered again"
    );
    assert_each_second_once(&ticks(&fixture), KILLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_stopped_under_load_finishes_what_it_has_and_hands_over_the_rest() {
    const MESSAGES: usize = 1_500;
    for function in [QUEUE, BATCHES, SESSIONS] {
        let functions = [("work", function)];
        let fixture = fixture(&functions, "0.005", Duration::from_mins(1), MESSAGES).await;
        let mut stops = 0;
        while fixture.counts().active + fixture.counts().locked > 0 {
            let mut host = fixture.start_process();
            let before = lines(&fixture, "deliveries").len();
            let enough = (before + MESSAGES / 5).min(MESSAGES);
            until("a part of the messages", || {
                lines(&fixture, "deliveries").len() >= enough
            })
            .await;
            let begun = std::time::Instant::now();
            assert_eq!(end(&mut host, Signal::SIGTERM).code(), Some(0));
            // Far below the grace of 30 s: the calls take milliseconds.
            assert!(begun.elapsed() < Duration::from_secs(20));
            assert_eq!(fixture.counts().locked, 0, "something was not given back");
            stops += 1;
        }
        assert!(stops > 2, "{stops}");
        let counts = deliveries(&fixture);
        assert_eq!(counts.len(), MESSAGES);
        assert!(
            counts.values().all(|count| *count == 1),
            "a finished message came again"
        );
        assert_eq!(fixture.counts().dead_letter, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keep_their_order_while_their_hosts_are_killed() {
    const MESSAGES: usize = 1_200;
    const KILLS: usize = 4;
    let functions = [("work", SESSIONS)];
    let fixture = fixture(&functions, "0.002", Duration::from_secs(2), MESSAGES).await;
    let mut hosts: Vec<Child> = (0..3).map(|_| fixture.start_process()).collect();
    for kill in 0..KILLS {
        let before = lines(&fixture, "deliveries").len();
        until("deliveries", || {
            lines(&fixture, "deliveries").len() >= before + MESSAGES / (KILLS + 2)
        })
        .await;
        let host = &mut hosts[kill % 3];
        end(host, Signal::SIGKILL);
        *host = fixture.start_process();
    }
    fixture.drained().await;
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for id in lines(&fixture, "deliveries") {
        let number: usize = id[1..].parse().unwrap();
        // What was delivered before may come again, with everything behind it still to come.
        if seen.insert(number) {
            let before = last.insert(number % SESSION_COUNT, number);
            let expected = number.checked_sub(SESSION_COUNT);
            assert_eq!(before, expected, "{id} overtook or was left behind");
        }
    }
    assert_eq!(seen.len(), MESSAGES);
    assert_eq!(fixture.counts().dead_letter, 0);
    for host in &mut hosts {
        end(host, Signal::SIGKILL);
    }
}
