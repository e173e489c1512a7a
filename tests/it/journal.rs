//! `nightshift broker --data` killed under load, again and again: what was confirmed to a client
//! stays so.
//!
//! Clients send, schedule, forward, send again and complete as fast as they can, and write down
//! what they were told. After each death the broker starts on the same folder. What a client was
//! not told may have happened or not; everything else must have.
//!
//! Other tests here take away its files and its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use nightshift_bus::{
    BusError, ClientOptions, Message, ReceivedMessage, Receiver, ReceiverOptions, RetryOptions,
    Sender, ServiceBusClient, SessionReceiverOptions,
};
use nightshift_tests::program;
use nightshift_time::SystemClock;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How often the broker is killed: in every test run, and in the long one.
const KILLS: u32 = 50;
const SOAK_KILLS: u32 = 200;

/// How long the clients work before it is.
const LIVES_MS: std::ops::Range<u64> = 50..150;

/// How often the broker may be too quick to be killed before its checkpoint is complete.
const TRIES: usize = 5;

/// While more than this waits to be received, the senders pause between two batches: it must all
/// come out at the end.
const BACKLOG: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

/// How long a checkpoint is looked out for in one life.
const LOOK: Duration = Duration::from_secs(3);

/// How long the last broker may take to hand out everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// `entry` forwards to `work`; `once` drops duplicates; `talks` has sessions.
const CONFIG: &str = r#"{"UserConfig": {"Namespaces": [{"Queues": [
    {"Name": "work", "Properties": {"MaxDeliveryCount": 2000}},
    {"Name": "entry", "Properties": {"ForwardTo": "work"}},
    {"Name": "once", "Properties": {"MaxDeliveryCount": 2000, "RequiresDuplicateDetection": true,
        "DuplicateDetectionHistoryTimeWindow": "PT1H"}},
    {"Name": "talks", "Properties": {"RequiresSession": true}}
]}]}}"#;

/// A broker process.
struct Process {
    child: Child,
    connection_string: String,
}

impl Process {
    fn start(folder: &Path) -> Self {
        Self::start_by(Command::new(program("nightshift")), folder)
    }

    /// One that may have so many files open.
    fn start_with_files(folder: &Path, files: u32) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(program("nightshift"));
        Self::start_by(shell, folder)
    }

    fn start_by(mut command: Command, folder: &Path) -> Self {
        let config = folder.join("Config.json");
        std::fs::write(&config, CONFIG).unwrap();
        let mut child = command
            .args(["--json", "broker", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--data")
            .arg(folder.join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let announced: serde_json::Value = serde_json::from_str(&line).unwrap();
        let connection_string = announced["connection_string"].as_str().unwrap().to_owned();
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self {
            child,
            connection_string,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A client that does not try again, nor wait before it says so: what it was not told, nobody
    /// was.
    async fn client(&self) -> ServiceBusClient {
        let options = ClientOptions {
            retry: RetryOptions {
                max_retries: 0,
                delay: Duration::from_millis(10),
                ..RetryOptions::default()
            },
            ..ClientOptions::default()
        };
        let connection = self.connection_string.parse().unwrap();
        ServiceBusClient::connect(&connection, options)
            .await
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails leaves nothing behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the clients were told, over all lives of the broker.
#[derive(Default)]
struct Ledger {
    accepted: BTreeSet<String>,
    completed: BTreeSet<String>,
    /// Completions that were asked for and not answered.
    uncertain: BTreeSet<String>,
    scheduled: u64,
    forwarded: u64,
    repeated: u64,
    states: BTreeMap<String, u64>,
}

impl Ledger {
    fn missing_count(&self) -> usize {
        let out = self.completed.len() + self.uncertain.len();
        self.accepted.len().saturating_sub(out)
    }

    /// What was accepted and has not come out.
    fn missing(&self) -> Vec<&String> {
        let out = |id: &&String| !self.completed.contains(*id) && !self.uncertain.contains(*id);
        self.accepted.iter().filter(out).collect()
    }
}

type Shared = Arc<Mutex<Ledger>>;

fn message(id: &str) -> Message {
    Message::new(id.to_owned()).with_message_id(id)
}

/// Sends batches to `queue` until the broker is gone.
async fn send(sender: Sender, prefix: String, ledger: Shared) {
    let forwarded = sender.entity() == "entry";
    for batch in 0.. {
        if ledger.lock().unwrap().missing_count() > BACKLOG {
            tokio::time::sleep(PAUSE).await;
        }
        let ids: Vec<String> = (0..20).map(|n| format!("{prefix}-{batch}-{n}")).collect();
        let messages = ids.iter().map(|id| message(id)).collect();
        if sender.send_messages(messages).await.is_err() {
            return;
        }
        let mut ledger = ledger.lock().unwrap();
        ledger.forwarded += if forwarded { 20 } else { 0 };
        ledger.accepted.extend(ids);
    }
}

/// Schedules messages for soon until the broker is gone.
async fn schedule(sender: Sender, prefix: String, ledger: Shared) {
    for batch in 0.. {
        let ids: Vec<String> = (0..5).map(|n| format!("{prefix}-{batch}-{n}")).collect();
        let messages = ids.iter().map(|id| message(id)).collect();
        let soon = SystemClock::shared().now() + TimeDelta::milliseconds(50 * (batch % 40));
        if sender.schedule_messages(messages, soon).await.is_err() {
            return;
        }
        let mut ledger = ledger.lock().unwrap();
        ledger.scheduled += 5;
        ledger.accepted.extend(ids);
    }
}

/// Sends to the queue without duplicates until the broker is gone: something new, then something
/// that was accepted before, in this life or another.
async fn repeat(sender: Sender, prefix: String, ledger: Shared) {
    for number in 0.. {
        let id = format!("once-{prefix}-{number}");
        if sender.send_message(message(&id)).await.is_err() {
            return;
        }
        let old = {
            let mut ledger = ledger.lock().unwrap();
            ledger.accepted.insert(id);
            let mut old: Vec<&String> = ledger
                .accepted
                .range("once-".to_owned().."once.".to_owned())
                .collect();
            let which = number * 7_919 % old.len();
            old.swap_remove(which).clone()
        };
        if sender.send_message(message(&old)).await.is_err() {
            return;
        }
        ledger.lock().unwrap().repeated += 1;
    }
}

/// Completes what comes until the broker is gone.
async fn complete(receiver: Receiver, ledger: Shared) {
    while let Ok(messages) = receiver
        .receive_messages(50, Duration::from_millis(50))
        .await
    {
        if complete_all(&receiver, &messages, &ledger).await.is_err() {
            return;
        }
    }
}

async fn complete_all(
    receiver: &Receiver,
    messages: &[ReceivedMessage],
    ledger: &Shared,
) -> Result<(), BusError> {
    let id = |message: &ReceivedMessage| message.message.message_id.clone().unwrap();
    {
        let mut ledger = ledger.lock().unwrap();
        for message in messages {
            let id = id(message);
            assert!(!ledger.completed.contains(&id), "{id} came back");
            // Until the answer is there.
            ledger.uncertain.insert(id);
        }
    }
    let results = receiver.complete_messages(messages).await?;
    let mut ledger = ledger.lock().unwrap();
    for (message, result) in messages.iter().zip(results) {
        let id = id(message);
        match result {
            Ok(()) => {
                ledger.uncertain.remove(&id);
                ledger.completed.insert(id);
            }
            // It is certain that it was not completed.
            Err(BusError::MessageLockLost { .. }) => drop(ledger.uncertain.remove(&id)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Counts in the state of a session until the broker is gone. What was confirmed is there at the
/// beginning.
async fn count(client: ServiceBusClient, ledger: Shared) {
    let options = SessionReceiverOptions::default();
    let Ok(session) = client.accept_session("talks", "s", options).await else {
        return;
    };
    let Ok(state) = session.get_session_state().await else {
        return;
    };
    let text = |state: Option<bytes::Bytes>| String::from_utf8(state?.to_vec()).ok();
    let mut number: u64 = text(state).map_or(0, |text| text.parse().unwrap());
    let confirmed = ledger.lock().unwrap().states.get("s").copied();
    assert!(number >= confirmed.unwrap_or(0), "{number} {confirmed:?}");
    loop {
        number += 1;
        let state = bytes::Bytes::from(number.to_string());
        if session.set_session_state(Some(state)).await.is_err() {
            return;
        }
        ledger.lock().unwrap().states.insert("s".to_owned(), number);
    }
}

/// One life of the broker, ended in the middle of everything.
async fn live(folder: &Path, number: u32, ledger: &Shared) {
    let process = Process::start(folder);
    let client = process.client().await;
    let mut work = JoinSet::new();
    for sender in 0..2 {
        let prefix = format!("m{number}-{sender}");
        let queue = ["work", "entry"][sender];
        let sender = client.create_sender(queue).await.unwrap();
        work.spawn(send(sender, prefix, Arc::clone(ledger)));
    }
    let sender = client.create_sender("work").await.unwrap();
    work.spawn(schedule(sender, format!("s{number}"), Arc::clone(ledger)));
    let sender = client.create_sender("once").await.unwrap();
    work.spawn(repeat(sender, number.to_string(), Arc::clone(ledger)));
    for queue in ["work", "once"] {
        let other = process.client().await;
        let receiver = other
            .create_receiver(queue, ReceiverOptions::default())
            .await;
        work.spawn(complete(receiver.unwrap(), Arc::clone(ledger)));
    }
    work.spawn(count(process.client().await, Arc::clone(ledger)));
    let random = Uuid::new_v4().as_u64_pair().1;
    let life_ms = LIVES_MS.start + random % (LIVES_MS.end - LIVES_MS.start);
    tokio::time::sleep(Duration::from_millis(life_ms)).await;
    process.kill();
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

/// Everything that is still there comes out.
async fn drain(folder: &Path, ledger: &Shared) {
    let process = Process::start(folder);
    let client = process.client().await;
    let mut receivers = Vec::new();
    for queue in ["work", "once"] {
        let receiver = client
            .create_receiver(queue, ReceiverOptions::default())
            .await;
        receivers.push(receiver.unwrap());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut idle = true;
        for receiver in &receivers {
            let wait = Duration::from_millis(200);
            let messages = receiver.receive_messages(500, wait).await.unwrap();
            idle &= messages.is_empty();
            complete_all(receiver, &messages, ledger).await.unwrap();
        }
        let missing = ledger.lock().unwrap().missing().len();
        if idle && missing == 0 {
            return;
        }
        if Instant::now() > deadline {
            let ledger = ledger.lock().unwrap();
            let some: Vec<_> = ledger.missing().into_iter().take(10).collect();
            panic!("{missing} accepted messages did not come, such as {some:?}");
        }
    }
}

/// Whether this is the long form.
fn is_long() -> bool {
    std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_under_load_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Shared::default();
    let kills = if is_long() { SOAK_KILLS } else { KILLS };
    for number in 0..kills {
        live(folder.path(), number, &ledger).await;
    }
    drain(folder.path(), &ledger).await;
    let ledger = ledger.lock().unwrap();
    // It was under load, and in every way.
    let done = [ledger.scheduled, ledger.forwarded, ledger.repeated];
    assert!(
        done.iter().all(|count| *count >= u64::from(kills)),
        "{done:?}"
    );
    assert!(ledger.states.contains_key("s") && !ledger.completed.is_empty());
}

/// Sends large messages and completes three of five until the broker is gone, so that a checkpoint is
/// worth while, and has much to hold.
async fn churn(sender: Sender, receiver: Receiver, prefix: String, ledger: Shared) {
    let body = vec![b'x'; 200 * 1024];
    for batch in 0.. {
        let ids: Vec<String> = (0..5).map(|n| format!("{prefix}-{batch}-{n}")).collect();
        let message = |id: &String| Message::new(body.clone()).with_message_id(id.clone());
        let messages = ids.iter().map(message).collect();
        if sender.send_messages(messages).await.is_err() {
            return;
        }
        ledger.lock().unwrap().accepted.extend(ids);
        let Ok(messages) = receive(&receiver, 3).await else {
            return;
        };
        if complete_all(&receiver, &messages, &ledger).await.is_err() {
            return;
        }
    }
}

/// So many messages, in as many calls as it takes.
async fn receive(receiver: &Receiver, count: usize) -> Result<Vec<ReceivedMessage>, BusError> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let left = count - messages.len();
        let came = receiver.receive_messages(left, PATIENCE).await?;
        assert!(!came.is_empty(), "{left} of {count} did not come");
        messages.extend(came);
    }
    Ok(messages)
}

/// The files of the journal, in order.
fn journal_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("data")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .filter(|name| name != "lock")
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_while_it_writes_a_checkpoint_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Shared::default();
    let is_writing = |folder: &Path| {
        let names = journal_files(folder);
        names.iter().any(|name| name.contains(".tmp"))
    };
    for number in 0..TRIES {
        let process = Process::start(folder.path());
        let client = process.client().await;
        let sender = client.create_sender("work").await.unwrap();
        let receiver = client.create_receiver("work", ReceiverOptions::default());
        let receiver = receiver.await.unwrap();
        let work = churn(sender, receiver, number.to_string(), Arc::clone(&ledger));
        let work = tokio::spawn(work);
        // A fast machine writes one between two looks.
        let deadline = Instant::now() + LOOK;
        while !is_writing(folder.path()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.kill();
        work.await.unwrap();
        if is_writing(folder.path()) {
            drain(folder.path(), &ledger).await;
            assert!(!is_writing(folder.path()), "what is left of it is removed");
            return;
        }
    }
    // The promises hold all the same; that a checkpoint is met is asked of the long form only.
    drain(folder.path(), &ledger).await;
    assert!(!is_long(), "no checkpoint was met in {TRIES} lives");
}

#[tokio::test]
async fn a_journal_that_has_grown_is_compacted_while_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let client = process.client().await;
    let sender = client.create_sender("work").await.unwrap();
    let options = ReceiverOptions::default();
    let receiver = client.create_receiver("work", options).await.unwrap();
    let names = || journal_files(folder.path());
    let body = vec![b'x'; 200 * 1024];
    let is_compact = |names: &[String]| {
        names.len() == 2 && names[0].starts_with("checkpoint-") && names[0][11..] == names[1][8..]
    };
    let deadline = Instant::now() + PATIENCE;
    let (mut sent, mut expected) = (0, 0);
    while !is_compact(&names()) {
        assert!(Instant::now() < deadline, "{sent} messages, {:?}", names());
        for _ in 0..4 {
            let message = Message::new(body.clone()).with_message_id(sent.to_string());
            sender.send_message(message).await.unwrap();
            sent += 1;
            expected += 1;
        }
        // One of them stays locked, and is there again after the start.
        let messages = receive(&receiver, 4).await.unwrap();
        for message in messages.iter().skip(1) {
            receiver.complete_message(message).await.unwrap();
            expected -= 1;
        }
    }
    process.kill();

    let process = Process::start(folder.path());
    let client = process.client().await;
    let receiver = client.create_receiver("work", ReceiverOptions::default());
    let receiver = receiver.await.unwrap();
    let mut left = 0;
    while left < expected {
        let messages = receiver.receive_messages(100, PATIENCE).await.unwrap();
        assert!(!messages.is_empty(), "{left} of {expected}");
        assert!(messages.iter().all(|message| message.message.body == body));
        left += messages.len();
    }
}

/// The first line of the answer to a health probe, if there is one.
fn health(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_would_use_up_the_files_stop_neither_the_journal_nor_the_probes() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_with_files(folder.path(), 200);
    let client = process.client().await;
    let sender = client.create_sender("work").await.unwrap();
    let address = process.connection_string.split(['/', ';']).nth(2).unwrap();
    let crowd: Vec<TcpStream> = (0..250)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // It may have been closed already.
            let _ = stream.write_all(b"AMQP\x03\x01\x00\x00");
            stream
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = health(address);
        if matches!(&answer, Ok(line) if line == "HTTP/1.1 200 OK") {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
    sender.send_message(message("one")).await.unwrap();
    drop(crowd);
}

#[test]
fn the_reason_is_told_when_the_folder_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let refused = || {
        let output = Command::new(program("nightshift"))
            .args([
                "broker",
                "--listen",
                "127.0.0.1:0",
                "--queue",
                "q",
                "--data",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let process = Process::start(folder.path());
    let text = refused();
    assert!(text.contains("another broker uses the folder"), "{text}");
    process.kill();

    let journal = data.join("journal-00000000000000000000.log");
    let mut content = std::fs::read(&journal).unwrap();
    content[20] ^= 1;
    std::fs::write(&journal, content).unwrap();
    let text = refused();
    assert!(
        text.contains("journal-00000000000000000000.log is damaged at byte 0"),
        "{text}"
    );

    std::fs::write(data.join("notes.txt"), "").unwrap();
    let text = refused();
    assert!(
        text.contains("notes.txt does not belong to a broker's journal"),
        "{text}"
    );
}
