//! A bad night, put right with the command line alone: a release that refuses five thousand orders for three
//! reasons, reports that were missed while nothing ran, a restore that hangs.
//!
//! What the commands print on the way is what docs/OPERATIONS.md shows.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use nightshift_bus::Message;
use nightshift_testkit::TestDatabase;
use nightshift_tests::night::{RELEASE, SCHEMA};
use nightshift_tests::{App, Stack, StackOptions, program};
use regex::Regex;
use serde_json::{Value, json};
use sqlx::Executor;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// How many orders the bad release refuses for each of its reasons, and how many nobody can read.
const COUPONS: u32 = 3_000;
const PRICES: u32 = 1_995;
const UNREADABLE: u32 = 5;
const ALL: u32 = COUPONS + PRICES + UNREADABLE;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Nothing has run for ten minutes, as far as the ledger knows.
const OUTAGE: &str = "UPDATE nightshift.schedule SET cursor_at = cursor_at - interval '10 minutes'";

/// The operator: commands, and what they have printed.
struct Operator {
    url: String,
    shown: Vec<(String, String)>,
}

impl Operator {
    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(program("nightshift"))
            .args(arguments)
            .env("NIGHTSHIFT_API_URL", &self.url)
            .env("NIGHTSHIFT_API_KEY", KEY)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command says as JSON.
    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[&["--json"], arguments].concat());
        let said = String::from_utf8(output.stdout).unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{why}");
        serde_json::from_str(&said).unwrap()
    }

    /// Does something whose screen the documentation shows.
    fn does(&mut self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{why}");
        let quoted = arguments.iter().map(|argument| {
            if argument.contains(' ') {
                format!("'{argument}'")
            } else {
                (*argument).to_owned()
            }
        });
        let typed = quoted.collect::<Vec<_>>().join(" ");
        self.shown.push((typed, said.clone()));
        said
    }

    /// Asks until `is_so`.
    async fn until(&self, arguments: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.command(&[&["--json"], arguments].concat());
            let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            if is_so(&said) {
                return said;
            }
            assert!(Instant::now() < deadline, "{arguments:?}: {output:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn items(said: &Value) -> &[Value] {
    said["items"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap()
}

/// The orders of the night: as the producer sends them.
fn orders() -> impl Iterator<Item = Message> {
    let order = |number: u32| {
        let mut order = json!({ "schema_version": 1, "number": number, "cents": 100 });
        if number <= COUPONS {
            order["coupon"] = json!(format!("SPRING{number}"));
        } else if number > COUPONS + PRICES {
            // A producer that writes prices as texts.
            order["cents"] = json!("1.00");
        }
        order
    };
    (1..=ALL).map(move |number| {
        let body = order(number).to_string();
        Message::new(body).with_message_id(format!("order-{number}"))
    })
}

async fn booked(database: &TestDatabase) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(DISTINCT number) FROM night.booked")
        .fetch_one(database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn one_person_puts_a_bad_night_right_with_the_command_line() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("release");
    std::fs::write(&release, "bad").unwrap();
    let (mut stack, mut operator) = begin(&database, &release).await;
    database.pool().execute(SCHEMA).await.unwrap();
    stack.start_host().unwrap();
    send(&stack).await;
    let count = |said: &Value| {
        items(said)
            .iter()
            .map(|group| group["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    operator
        .until(&["dead", "groups"], |said| count(said) == u64::from(ALL))
        .await;
    operator
        .until(&["runs", "--state", "running"], |said| {
            items(said).len() == 1
        })
        .await;

    // The bad release is taken back; while nothing runs, reports are missed.
    stack.kill_host().unwrap();
    database.pool().execute(OUTAGE).await.unwrap();
    std::fs::write(&release, "good").unwrap();
    stack.start_host().unwrap();
    let missed = [
        "ticks",
        "reports-schedule",
        "--state",
        "skipped",
        "--most",
        "3",
    ];
    let missed = operator.until(&missed, |said| items(said).len() == 3).await;

    let status = operator.command(&["status"]);
    let status = String::from_utf8(status.stdout).unwrap();
    for part in [
        "database  true",
        "broker    true",
        "orders-work",
        "unknown-coupon",
    ] {
        assert!(status.contains(part), "{part} is not in\n{status}");
    }
    operator.does(&["dead", "groups"]);
    redrive_what_the_release_refused(&mut operator);
    edit_what_nobody_can_read(&mut operator, folder.path());
    let deadline = Instant::now() + PATIENCE;
    while booked(&database).await != (i64::from(ALL), i64::from(ALL)) {
        assert!(Instant::now() < deadline, "{:?}", booked(&database).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(items(&operator.ask(&["dead", "groups"])), [Value::Null; 0]);
    backfill(&mut operator, &database, &missed).await;
    cancel_the_restore(&mut operator).await;
    let restores = give_more_room(&mut operator, &stack).await;
    let audit = operator.does(&["audit", "--most", "10"]);
    for done in [
        "dead-letters.redrive",
        "dead-letter.edit",
        "schedule.backfill",
        "message.cancel",
        "rate.set",
        "places.set",
    ] {
        assert!(audit.contains(done), "{done} is not in\n{audit}");
    }
    let verdict = operator.does(&["audit", "--verify"]);
    assert!(verdict.starts_with("the record is whole"), "{verdict}");
    take_the_room_back(&operator, &restores);
    stack.stop().unwrap();
    database.remove().await;
    compare_with_the_documentation(&operator.shown);
}

async fn begin(database: &TestDatabase, release: &Path) -> (Stack, Operator) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let app = App {
        source: Path::new(env!("CARGO_MANIFEST_DIR")).join("night/app"),
        handler: "night-handler",
        queues: &["orders", "reports", "restores"],
        session_queues: &[],
        environment: vec![
            ("NIGHTSHIFT_HOST_LISTEN", address.to_string().into()),
            ("NIGHTSHIFT_OPS_KEYS", format!("ada:Admin:{KEY}").into()),
            (RELEASE, release.into()),
        ],
        broker_data: None,
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 5,
    };
    let stack = Stack::prepare_app(options, app).await.unwrap();
    let operator = Operator {
        url: format!("http://{address}/api/ops"),
        shown: Vec::new(),
    };
    (stack, operator)
}

async fn send(stack: &Stack) {
    let (client, sender) = stack.sender_to("orders").await.unwrap();
    let all: Vec<Message> = orders().collect();
    for portion in all.chunks(500) {
        sender.send_messages(portion.to_vec()).await.unwrap();
    }
    client.close().await;
    let (client, sender) = stack.sender_to("restores").await.unwrap();
    let restore = json!({ "schema_version": 1, "number": 1, "cents": 0 }).to_string();
    sender
        .send_message(Message::new(restore).with_message_id("restore-1"))
        .await
        .unwrap();
    client.close().await;
}

/// What the release before had refused decodes, and is sent again whole.
fn redrive_what_the_release_refused(operator: &mut Operator) {
    let redrive = ["dead", "redrive", "--reason", "unknown-coupon"];
    let dry = operator.does(&[&redrive[..], &["--dry-run"]].concat());
    assert!(dry.starts_with("3000 letters would be sent again"), "{dry}");
    let sent = operator.does(&redrive);
    assert!(sent.starts_with("3000 letters sent again"), "{sent}");
    let sent = operator.does(&["dead", "redrive", "--reason", "no-price"]);
    assert!(sent.starts_with("1995 letters sent again"), "{sent}");
}

/// What no release can read is mended, letter by letter.
fn edit_what_nobody_can_read(operator: &mut Operator, folder: &Path) {
    let letters = operator.ask(&["dead", "list"]);
    assert_eq!(items(&letters).len(), UNREADABLE as usize);
    operator.does(&["dead", "list", "--most", "2"]);
    let file = folder.join("order.json");
    let named = file.to_str().unwrap().to_owned();
    for (n, letter) in items(&letters).iter().enumerate() {
        let key = text(letter, "key");
        let shown = operator.ask(&["dead", "show", key]);
        let mut payload = shown["payload"].clone();
        payload["cents"] = json!(100);
        std::fs::write(&file, payload.to_string()).unwrap();
        let edit = [
            "dead",
            "edit",
            key,
            "--payload",
            &named,
            "--why",
            "prices are whole cents",
        ];
        if n == 0 {
            operator.does(&["dead", "show", key]);
            operator.does(&edit);
        } else {
            operator.ask(&edit);
        }
    }
    let sent = operator.does(&["dead", "redrive", "--function", "orders-work"]);
    assert!(sent.starts_with("5 letters sent again"), "{sent}");
}

/// The reports that were missed are written after all, each once.
async fn backfill(operator: &mut Operator, database: &TestDatabase, missed: &Value) {
    let [newest, .., oldest] = items(missed) else {
        panic!("{missed}")
    };
    let due = |tick: &Value| -> DateTime<Utc> { text(tick, "due").parse().unwrap() };
    let (from, to) = (due(oldest), due(newest) + Duration::from_secs(2));
    let ticks = i64::try_from(items(missed).len()).unwrap();
    operator.does(&[
        "ticks",
        "reports-schedule",
        "--state",
        "skipped",
        "--most",
        "3",
    ]);
    let [from_text, to_text] = [from, to].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let backfill = [
        "backfill",
        "reports-schedule",
        "--from",
        &from_text,
        "--to",
        &to_text,
        "--request",
        "night",
    ];
    operator.does(&backfill);
    assert_eq!(
        operator.ask(&backfill)["is_new"],
        false,
        "asked twice, done once"
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        let written: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM night.reported WHERE due_at >= $1 AND due_at < $2",
        )
        .bind(from)
        .bind(to)
        .fetch_one(database.pool())
        .await
        .unwrap();
        if written == ticks {
            return;
        }
        assert!(Instant::now() < deadline, "{written} of {ticks}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The restore has been taken over by the new host's handler, and hangs there.
async fn cancel_the_restore(operator: &mut Operator) {
    let running = operator
        .until(&["runs", "--state", "running"], |said| {
            items(said).len() == 1
        })
        .await;
    let key = text(&items(&running)[0], "key").to_owned();
    operator.does(&["runs", "--state", "running"]);
    operator.does(&["cancel", &key, "--why", "it hangs since the deployment"]);
    let run = operator.ask(&["runs", &key]);
    assert_eq!(
        (&run["state"], run["ended"].is_string()),
        (&json!("cancelled"), true)
    );
    operator.does(&["messages", &key]);
}

/// The archive takes more reports than the code says, and there is a second spare server: of two restores
/// that hang one waits for a place, until there are two of them. Returns what runs then.
async fn give_more_room(operator: &mut Operator, stack: &Stack) -> Value {
    let (client, sender) = stack.sender_to("restores").await.unwrap();
    for number in 2..=3 {
        let restore = json!({ "schema_version": 1, "number": number, "cents": 0 }).to_string();
        let restore = Message::new(restore).with_message_id(format!("restore-{number}"));
        sender.send_message(restore).await.unwrap();
    }
    client.close().await;
    let queued = ["messages", "--reason", "queued"];
    operator.until(&queued, |said| items(said).len() == 1).await;
    let dry = [
        "limits",
        "set-places",
        "restore-work",
        "2",
        "--why",
        "a second spare server",
        "--dry-run",
    ];
    let dry = operator.ask(&dry);
    assert_eq!(
        (&dry["before"], &dry["after"], &dry["waiting"]),
        (&json!(1), &json!(2), &json!(1))
    );
    operator.does(&[
        "limits",
        "set",
        "archive",
        "--count",
        "100",
        "--per",
        "1s",
        "--why",
        "the archive has more room",
    ]);
    operator.does(&[
        "limits",
        "set-places",
        "restore-work",
        "2",
        "--why",
        "a second spare server",
    ]);
    let running = ["runs", "--state", "running"];
    let running = operator
        .until(&running, |said| items(said).len() == 2)
        .await;
    let shown = operator.does(&["limits"]);
    for part in ["10 in 1s, burst 10", "100 in 1s, burst 10", "key:ada"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    running
}

/// As before, and the restores do not hang any more.
fn take_the_room_back(operator: &Operator, restores: &Value) {
    for reset in [["reset", "archive"], ["reset-places", "restore-work"]] {
        let said = operator.ask(&["limits", reset[0], reset[1]]);
        assert_eq!(said["changed"], true, "{said}");
    }
    let wrong = operator.command(&["limits", "set", "archiv", "--count", "1", "--per", "1s"]);
    let why = String::from_utf8_lossy(&wrong.stderr);
    assert!(why.contains("did you mean archive?"), "{why}");
    for run in items(restores) {
        operator.ask(&["cancel", text(run, "key"), "--why", "the night is over"]);
    }
}

/// What differs from night to night, as the documentation has it.
fn normal(shown: &str) -> String {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut text = shown.to_owned();
    for (pattern, length) in [(r"\b[0-9a-f]{32}\b", 32), (r"\b[0-9a-f]{64}\b", 64)] {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern
            .replace_all(&text, |found: &regex::Captures<'_>| {
                let n = keys.len();
                let key = keys.entry(found[0].to_owned());
                key.or_insert_with(|| format!("{:0<length$}", format!("{:x}c0ffee", n + 1)))
                    .clone()
            })
            .into_owned();
    }
    let time = Regex::new(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z").unwrap();
    let text = time.replace_all(&text, "2026-11-22T03:00:00Z");
    // Who met which order first, how many ticks an outage took, and where files are.
    let mut text = text.into_owned();
    for (pattern, instead) in [
        (r"order \d+:", "order 2026:"),
        (r"SPRING\d+", "SPRING2026"),
        (r"order-\d+", "order-4996"),
        (r#"("number"): ?\d+"#, "$1: 4996"),
        (r"(running +\S+ +)\d", "${1}2"),
        // A run whose process was killed has one failed try more, once it is taken over.
        (r#"("attempt":) ?\d+"#, "${1}0"),
        (r"/\S*/order\.json", "order.json"),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, instead).into_owned();
    }
    text
}

/// The screens in docs/OPERATIONS.md are those of this night.
fn compare_with_the_documentation(shown: &[(String, String)]) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let written = std::fs::read_to_string(&page).unwrap();
    let mut now = written.clone();
    let screens = shown.iter().map(|(typed, said)| format!("{typed}\n{said}"));
    let whole = screens.collect::<Vec<_>>().join("\u{1}");
    let whole = normal(&whole);
    for screen in whole.split('\u{1}') {
        let (typed, said) = screen.split_once('\n').unwrap();
        let said: String = said
            .lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect();
        let block = format!("```console\n$ nightshift {typed}\n{said}```\n");
        let start = format!("```console\n$ nightshift {typed}\n");
        let Some(begin) = now.find(&start) else {
            panic!("docs/OPERATIONS.md does not show `nightshift {typed}`:\n{block}");
        };
        let length = now[begin + 3..].find("```\n").unwrap() + 3 + 4;
        now.replace_range(begin..begin + length, &block);
    }
    if std::env::var_os("NIGHTSHIFT_TEST_BLESS").is_some() {
        std::fs::write(&page, &now).unwrap();
        return;
    }
    for (line, (was, is)) in written.lines().zip(now.lines()).enumerate() {
        assert_eq!(
            was,
            is,
            "docs/OPERATIONS.md, line {}: to rewrite the screens, set NIGHTSHIFT_TEST_BLESS=1",
            line + 1
        );
    }
    assert_eq!(written.len(), now.len(), "docs/OPERATIONS.md");
}
