//! Who watches a schedule from outside is told how its ticks end: after the commit, once, and in a way that
//! holds nothing up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use nightshift_job::RequestId;
use nightshift_postgres::schedule::{LastEnd, last_ends, pause, run_now};
use nightshift_settings::{MapSource, Reader};
use nightshift_tests::{App, Stack, StackOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::runtime::processes::metrics;
use crate::walking_skeleton::until;

/// Longer than a ping and its three tries may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How somebody who watches answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16),
    /// Not at all, and keeps the connection.
    Never,
}

/// One who watches schedules.
#[derive(Debug)]
struct Watcher {
    address: SocketAddr,
    /// What was asked for, and when.
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Watcher {
    /// Answers as `answers` say, and then with 200.
    async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let mut answers: VecDeque<Answer> = answers.iter().copied().collect();
        let written = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let path = read_path(&mut stream).await;
                written.lock().unwrap().push((path, Instant::now()));
                match answers.pop_front().unwrap_or(Answer::Status(200)) {
                    Answer::Never => kept.push(stream),
                    Answer::Status(status) => {
                        let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What a process is set to that tells this one of both ends of the tests' schedule.
    fn settings(&self) -> PingSettings {
        let (well, failed) = (self.url("/well"), self.url("/failed"));
        let name = Clocked::NAME;
        settings(&format!("{name}={well},{name}:failed={failed}"))
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Waits until it was asked `count` times, and returns for what.
    async fn told(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while self.asked().len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.asked()
    }
}

async fn read_path(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.strip_prefix("GET ").unwrap().split(' ').next();
    path.unwrap().to_owned()
}

fn settings(pings: &str) -> PingSettings {
    let source: MapSource = [
        ("NIGHTSHIFT_PINGS", pings),
        ("NIGHTSHIFT_PING_NETWORKS", "127.0.0.1"),
    ]
    .into_iter()
    .collect();
    let mut reader = Reader::new(&source);
    let settings = PingSettings::read(&mut reader, || vec![Clocked::NAME.to_owned()]);
    reader.finish(&[]).unwrap();
    settings
}

async fn world(schedule: Schedule, pings: PingSettings) -> World {
    let world = World::with_pings(schedule, pings).await;
    world.look("09:30:00", Occasion::Start).await;
    world
}

/// How a schedule stands by now.
async fn last_end(world: &World) -> LastEnd {
    let mut connection = world.database.pool().acquire().await.unwrap();
    let mut ends = last_ends(&mut connection).await.unwrap();
    assert_eq!(ends.len(), 1);
    ends.remove(0)
}

#[tokio::test]
async fn a_tick_that_ends_well_is_told_once_however_often_its_message_comes() {
    let watcher = Watcher::start(&[]).await;
    let world = world(HOURLY, watcher.settings()).await;
    world.wake("10:00:00").await;
    let message = world.message().await;
    // It waits for another try, which is no end.
    world.deliver(&message, Mode::Fail).await;
    let copy = world.message().await;
    world.deliver(&copy, Mode::Complete).await;
    assert_eq!(watcher.told(1).await, ["/well"]);
    world.deliver(&copy, Mode::Complete).await;
    world.deliver(&message, Mode::Complete).await;
    // There was nothing to do, and that is well, too.
    world.wake("11:00:00").await;
    world.deliver(&world.message().await, Mode::Skip).await;
    assert_eq!(watcher.told(2).await, ["/well", "/well"]);
    world.end().await;
}

#[tokio::test]
async fn a_tick_that_dies_is_told_as_failed_and_never_as_well() {
    let watcher = Watcher::start(&[]).await;
    let world = world(HOURLY, watcher.settings()).await;
    for (now, mode) in [
        ("10:00:00", Mode::Refuse),
        ("11:00:00", Mode::Complete),
        ("12:00:00", Mode::Refuse),
    ] {
        world.wake(now).await;
        world.deliver(&world.message().await, mode).await;
    }
    let told = watcher.told(3).await;
    assert_eq!(told, ["/failed", "/well", "/failed"]);
    world.end().await;
}

#[tokio::test]
async fn who_wants_to_know_of_good_ends_only_is_told_nothing_of_others() {
    let watcher = Watcher::start(&[]).await;
    let pings = settings(&format!("{}={}", Clocked::NAME, watcher.url("/token")));
    let world = world(
        Schedule {
            overlap: Overlap::Skip,
            ..HOURLY
        },
        pings,
    )
    .await;
    world.wake("10:00:00").await;
    // While it hangs, each next one is skipped, which is not what the schedule is for.
    world.wake("11:00:00").await;
    assert_eq!(world.ticks().await, ["10:00 enqueued", "11:00 skipped"]);
    world.deliver(&world.message().await, Mode::Refuse).await;
    assert_eq!(last_end(&world).await.ended_well, None);
    // Nobody wants this one: it waits for another try, and an operator ends it.
    world.wake("12:00:00").await;
    world.deliver(&world.message().await, Mode::Fail).await;
    let key: Uuid = sqlx::query_scalar("SELECT key FROM nightshift.open_message")
        .fetch_one(world.database.pool())
        .await
        .unwrap();
    let mut tx = world.database.pool().begin().await.unwrap();
    let cancelled = world
        .registry
        .cancel(&mut tx, nightshift_job::JobKey(key), "the test");
    cancelled.await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(last_end(&world).await.ended_well, None);
    world.messages().await;
    world.wake("13:00:00").await;
    world.deliver(&world.message().await, Mode::Complete).await;
    assert_eq!(watcher.told(1).await, ["/token"]);
    let states = [
        "10:00 failed",
        "11:00 skipped",
        "12:00 skipped",
        "13:00 done",
    ];
    assert_eq!(world.ticks().await, states);
    world.end().await;
}

#[tokio::test]
async fn a_tick_whose_work_is_split_is_told_at_its_very_end() {
    let watcher = Watcher::start(&[]).await;
    let world = world(HOURLY, watcher.settings()).await;
    world.wake("10:00:00").await;
    world.deliver(&world.message().await, Mode::Split).await;
    world.deliver(&world.message().await, Mode::Complete).await;
    let finish = world.message().await;
    assert_eq!(
        (watcher.asked(), last_end(&world).await.ended_well),
        (vec![], None)
    );
    world.deliver(&finish, Mode::Complete).await;
    assert_eq!(watcher.told(1).await, ["/well"]);
    assert_eq!(world.ticks().await, ["10:00 done"]);
    world.end().await;
}

#[tokio::test]
async fn one_who_does_not_take_a_ping_is_told_three_times_with_growing_pauses() {
    let watcher = Watcher::start(&[Answer::Status(500), Answer::Status(301)]).await;
    let world = world(HOURLY, watcher.settings()).await;
    for now in ["10:00:00", "11:00:00", "12:00:00"] {
        world.wake(now).await;
        world.deliver(&world.message().await, Mode::Complete).await;
        if now == "10:00:00" {
            watcher.told(1).await;
        }
    }
    // Those that have ended in the meantime are told together.
    assert_eq!(watcher.told(4).await, ["/well"; 4]);
    let asked: Vec<Instant> = watcher
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(_, at)| *at)
        .collect();
    let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_secs(2), "{pauses:?}");
    assert!(pauses[1] >= Duration::from_secs(10), "{pauses:?}");
    assert!(pauses[2] < Duration::from_secs(2), "{pauses:?}");
    world.end().await;
}

#[tokio::test]
async fn one_who_never_answers_holds_nothing_up() {
    let watcher = Watcher::start(&[Answer::Never]).await;
    let world = world(HOURLY, watcher.settings()).await;
    let begun = Instant::now();
    for now in ["10:00:00", "11:00:00", "12:00:00", "13:00:00"] {
        world.wake(now).await;
        world.deliver(&world.message().await, Mode::Complete).await;
    }
    let took = begun.elapsed();
    assert_eq!(world.ran().len(), 4);
    assert_eq!(watcher.told(1).await, ["/well"]);
    // Otherwise the answer would have been waited for.
    assert!(took < Duration::from_secs(10), "{took:?}");
    // It is given up after ten seconds, and told again.
    watcher.told(2).await;
    let asked = watcher.asked.lock().unwrap().clone();
    assert!(
        asked[1].1 - asked[0].1 >= Duration::from_secs(12),
        "{asked:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn when_a_schedule_last_ended_well_is_known_and_when_it_should_have_again() {
    let world = World::undeployed(HOURLY).await;
    world.look("09:30:00", Occasion::Start).await;
    assert_eq!(last_end(&world).await.ended_well, None);
    assert!(last_end(&world).await.next_due.is_some());
    world.wake("10:00:00").await;
    let message = world.message().await;
    world.set_clock(at("10:07:00")).await;
    world.deliver(&message, Mode::Complete).await;
    let stands = |ended: &str, due: &str| LastEnd {
        function: Clocked::NAME.to_owned(),
        ended_well: Some(at(ended)),
        next_due: Some(at(due)),
    };
    assert_eq!(last_end(&world).await, stands("10:07:00", "11:00:00"));
    // One that dies changes nothing until it is done after all.
    world.wake("11:00:00").await;
    let message = world.message().await;
    world.deliver(&message, Mode::Refuse).await;
    world.wake("12:00:00").await;
    assert_eq!(last_end(&world).await, stands("10:07:00", "11:00:00"));
    world.deliver(&world.message().await, Mode::Complete).await;
    assert_eq!(last_end(&world).await, stands("12:00:00", "13:00:00"));
    world.end().await;
}

const DONE: &str = "SELECT count(*) FROM nightshift.schedule_tick
    WHERE state = 'done' AND function = 'housekeeping-schedule'";
const KNOWN: &str =
    "SELECT count(*) FROM nightshift.schedule WHERE function = 'housekeeping-schedule'";
const HOUSEKEEPING: &str = "housekeeping-schedule";

/// Has the housekeeping run now, and no more by itself.
async fn run_housekeeping(database: &TestDatabase, request: &str) {
    let request = RequestId::new(request).unwrap();
    let mut tx = database.pool().begin().await.unwrap();
    pause(&mut tx, HOUSEKEEPING).await.unwrap();
    run_now(&mut tx, HOUSEKEEPING, &request, &body)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_is_killed_before_its_ping_loses_that_ping_and_nothing_else() {
    let watcher = Watcher::start(&[Answer::Never]).await;
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let pings = format!("{HOUSEKEEPING}={}", watcher.url("/token"));
    let app = App {
        environment: vec![
            ("NIGHTSHIFT_PINGS", pings.into()),
            ("NIGHTSHIFT_PING_NETWORKS", "127.0.0.0/8".into()),
        ],
        ..App::of_checkout()
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    stack.start_host().unwrap();
    until(database.pool(), KNOWN, 1).await;
    run_housekeeping(&database, "first").await;
    until(database.pool(), DONE, 1).await;
    // It was asked, and has taken nothing yet.
    watcher.told(1).await;
    let killed = stack.handler_pid(None).await.unwrap();
    kill(
        Pid::from_raw(i32::try_from(killed).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    stack.handler_pid(Some(killed)).await.unwrap();
    run_housekeeping(&database, "second").await;
    until(database.pool(), DONE, 2).await;
    watcher.told(2).await;

    // What the new process shows of both is what the database knows.
    let ended: DateTime<Utc> = sqlx::query_scalar(
        "SELECT min(ended_at) FROM nightshift.schedule_tick WHERE state = 'done' AND function = $1",
    )
    .bind(HOUSEKEEPING)
    .fetch_one(database.pool())
    .await
    .unwrap();
    let address = stack.http_address().await.unwrap();
    let address = address.trim_start_matches("http://").parse().unwrap();
    let sent =
        format!("nightshift_pings_total{{schedule=\"{HOUSEKEEPING}\",outcome=\"sent\"}} 1\n");
    let deadline = Instant::now() + PATIENCE;
    let mut page = metrics(address).await;
    while !page.contains(&sent) {
        assert!(Instant::now() < deadline, "{page}");
        page = metrics(address).await;
    }
    let gauge = |name: &str| -> f64 {
        let name = format!("nightshift_{name}_timestamp_seconds");
        let is_its = |line: &&str| {
            line.starts_with(&name) && (line.contains(HOUSEKEEPING) || !line.contains("schedule="))
        };
        let line = page.lines().find(is_its);
        let number = line.and_then(|line| line.rsplit(' ').next());
        let number = number.unwrap_or_else(|| panic!("{name} is not in\n{page}"));
        number.parse().unwrap()
    };
    let (well, due) = (gauge("schedule_ended_well"), gauge("schedule_next_due"));
    let seconds = |at: DateTime<Utc>| f64::from(u32::try_from(at.timestamp()).unwrap());
    assert!((well - seconds(ended)).abs() < 1.0, "{well} {ended}");
    assert!(
        due > well && due <= well + 60.0 && due % 60.0 == 0.0,
        "{due} {well}"
    );
    assert!(gauge("heartbeat") > well, "{page}");
    let log = std::fs::read_to_string(stack.log()).unwrap();
    assert!(!log.contains("/token"), "{log}");
    assert_eq!(watcher.asked(), ["/token"; 2]);
    stack.stop().unwrap();
    database.remove().await;
}
