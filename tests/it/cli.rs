//! The `nightshift` command as a process: exit codes, what it prints, and above all what it leaves
//! behind when it ends, in order or not.
//!
//! Each test works in a checkout of its own that has just enough files to be taken for one. What
//! a stack's parts do together is tested elsewhere, and in `sample`; here cargo and the function app are
//! stand-ins.

mod check;
mod invoke;
mod plan;
mod sample;
mod scaffold;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nightshift_cli::servers::{Postgres, PostgresOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// A folder that passes for a checkout, and that other accounts can reach.
struct Checkout(TempDir);

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let checkout = Self(folder);
        checkout.write("Cargo.toml", "");
        checkout.write("functions/registry.rs", "");
        let function = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in", "name": "m",
            "queueName": "notifications", "connection": "ServiceBusConnection"}]}"#;
        checkout.write("functions/sample/door/function.json", function);
        checkout.write("host.json", "{\"version\": \"2.0\"}");
        checkout
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A program in place of cargo.
    fn script(&self, name: &str, lines: &str) -> PathBuf {
        let file = self.write(name, &format!("#!/bin/sh\n{lines}\n"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// The command in this checkout, without any setting of the surroundings.
    fn nightshift(&self, arguments: &[&str]) -> Command {
        nightshift(&self.path(), arguments)
    }

    /// `up` with servers that need no fetching: Redis and storage are somebody else's, and never
    /// asked.
    fn up(&self, cargo: &Path) -> Command {
        let mut command = self.nightshift(&["up", "--once"]);
        command
            .env("CARGO", cargo)
            .env("NIGHTSHIFT_REDIS_URL", "redis://127.0.0.1:1")
            .env("AzureWebJobsStorage", "UseDevelopmentStorage=true");
        command
    }

    /// Every process that works in this checkout or names it on its command line.
    fn processes(&self) -> Vec<(i32, String)> {
        let path = self.path();
        let name = path.to_string_lossy().into_owned();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            (line.contains(&name) || folder.starts_with(&path)).then_some((pid, line))
        })
        .collect()
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.processes(), [], "processes are left");
    }

    fn wait_until_nothing_is_left(&self) {
        wait_until("the last process has ended", || self.processes().is_empty());
    }
}

/// The command in `folder`, without any setting of the surroundings.
fn nightshift(folder: &Path, arguments: &[&str]) -> Command {
    let program = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("nightshift");
    assert!(
        program.is_file(),
        "{} is missing; `make test` builds it",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["ServiceBusConnection", "AzureWebJobsStorage"].contains(&text.as_ref());
        if ours || text.starts_with("NIGHTSHIFT_") {
            command.env_remove(name);
        }
    }
    command
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn help_documents_the_exit_codes_and_nonsense_ends_with_2() {
    let checkout = Checkout::new();
    let help = checkout.nightshift(&["--help"]).output().unwrap();
    assert_eq!(code(&help), 0);
    assert!(text(&help.stdout).contains("Exit codes:"));
    for nonsense in [
        &["nonsense"][..],
        &["broker", "--nonsense"],
        &["send", "q"],
        &["servers", "exec"],
    ] {
        assert_eq!(
            code(&checkout.nightshift(nonsense).output().unwrap()),
            2,
            "{nonsense:?}"
        );
    }
}

#[test]
fn settings_are_listed_without_their_secrets_and_misspelt_ones_refused() {
    let checkout = Checkout::new();
    let url = "postgres://user:hunter2@db/app";
    let listed = checkout
        .nightshift(&["settings"])
        .env("NIGHTSHIFT_POSTGRES_URL", url)
        .output()
        .unwrap();
    assert_eq!(code(&listed), 0);
    let table = text(&listed.stdout);
    assert!(
        table.contains("NIGHTSHIFT_POSTGRES_URL") && !table.contains("hunter2"),
        "{table}"
    );
    let json = checkout
        .nightshift(&["settings", "--json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["settings"].as_array().unwrap().len() > 10);
    let misspelt = checkout
        .nightshift(&["settings"])
        .env("NIGHTSHIFT_POSTGRES_ULR", url)
        .output()
        .unwrap();
    assert_eq!(code(&misspelt), 64);
    let problems = text(&misspelt.stderr);
    assert!(problems.contains("NIGHTSHIFT_POSTGRES_ULR") && !problems.contains("hunter2"));
}

#[test]
fn broken_settings_end_with_64_before_anything_is_started() {
    let checkout = Checkout::new();
    let refused = checkout
        .nightshift(&["up", "--once"])
        .env("NIGHTSHIFT_POSTGRES_URL", "mysql:/root:hunter2")
        .env("ServiceBusConnection", "nonsense")
        .env("NIGHTSHIFT_LGO", "info")
        .output()
        .unwrap();
    assert_eq!(code(&refused), 64);
    let problems = text(&refused.stderr);
    assert_eq!(
        problems.lines().count(),
        4,
        "a heading and three problems: {problems}"
    );
    assert!(!problems.contains("hunter2"));
    assert!(!checkout.path().join(".nightshift").exists());
}

#[test]
fn outside_a_checkout_up_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Checkout::new()
        .nightshift(&["up"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("not inside a checkout"));
}

#[test]
fn an_error_late_in_the_start_leaves_nothing_running() {
    let checkout = Checkout::new();
    let program = checkout.script("target/handler", "exit 1");
    let artifact = format!(
        "{{\"target\":{{\"name\":\"handler\"}},\"executable\":\"{}\"}}",
        program.display()
    );
    let cargo = checkout.script("cargo", &format!("echo '{artifact}'"));
    checkout.write("host.json", "this is no JSON");
    let failed = checkout.up(&cargo).output().unwrap();
    let (said, why) = (text(&failed.stdout), text(&failed.stderr));
    assert_eq!(code(&failed), 1, "{said}{why}");
    assert!(
        said.contains("broker     port"),
        "the servers had been started: {said}"
    );
    assert!(why.contains("host") && why.contains("host.json"), "{why}");
    checkout.assert_nothing_is_left();
    // The data is still there, in good order: a second start finds it and gets as far.
    assert_eq!(code(&checkout.up(&cargo).output().unwrap()), 1);
    checkout.assert_nothing_is_left();
}

#[test]
fn a_second_stack_in_one_checkout_is_refused_and_a_signal_ends_the_first() {
    let checkout = Checkout::new();
    let cargo = checkout.script("cargo", "exec sleep 600");
    let mut first = checkout.up(&cargo).stdout(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(first.stdout.take().unwrap());
    let migrated = log
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("sample users"));
    assert!(migrated);
    let second = checkout.up(&cargo).output().unwrap();
    assert_eq!(code(&second), 1);
    assert!(text(&second.stderr).contains("runs already"), "{second:?}");
    assert!(
        checkout
            .processes()
            .iter()
            .any(|(_, line)| line.contains("sleep 600"))
    );
    signal(&first, Signal::SIGTERM);
    assert_eq!(first.wait().unwrap().code(), Some(143));
    checkout.assert_nothing_is_left();
}

#[test]
fn stacks_that_start_at_the_same_moment_find_a_port_for_each_broker() {
    // All want AMQP's own port. The database never answers, so that each start gets this far.
    let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:p@{}/app", database.local_addr().unwrap());
    let mut stacks: Vec<_> = (0..6)
        .map(|_| {
            let checkout = Checkout::new();
            let cargo = checkout.script("cargo", "exec sleep 600");
            let mut command = checkout.up(&cargo);
            command.env("NIGHTSHIFT_POSTGRES_URL", &url);
            let stack = command.stdout(Stdio::piped()).spawn().unwrap();
            (checkout, stack)
        })
        .collect();
    for (checkout, stack) in &mut stacks {
        let log = BufReader::new(stack.stdout.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("broker     port")));
        signal(stack, Signal::SIGTERM);
        // What it still says must have a reader.
        lines.for_each(drop);
        stack.wait().unwrap();
        checkout.assert_nothing_is_left();
    }
}

#[test]
fn nothing_survives_a_killed_stack() {
    let checkout = Checkout::new();
    let pid_file = checkout.path().join(".nightshift/postgres/postmaster.pid");
    // Ending the build would end the stack: it lasts until Postgres runs, however long that takes,
    // or until the stack is gone.
    let build = format!(
        "while kill -0 $PPID && ! test -e {}; do sleep 0.1; done; exec sleep 5",
        pid_file.display()
    );
    let cargo = checkout.script("cargo", &build);
    let mut stack = checkout.up(&cargo).stdout(Stdio::null()).spawn().unwrap();
    wait_until("Postgres runs", || pid_file.exists());
    signal(&stack, Signal::SIGKILL);
    stack.wait().unwrap();
    checkout.wait_until_nothing_is_left();
}

#[test]
fn exec_hands_on_addresses_and_exit_code_and_ends_what_is_left_behind() {
    let checkout = Checkout::new();
    let script = "setsid sleep 600 & test -n \"$NIGHTSHIFT_TEST_POSTGRES\" || exit 1; exit 7";
    let ended = checkout
        .nightshift(&[
            "servers", "exec", "--with", "postgres", "--", "sh", "-c", script,
        ])
        .output()
        .unwrap();
    assert_eq!(code(&ended), 7, "{ended:?}");
    checkout.assert_nothing_is_left();
    let left: Vec<_> = std::fs::read_dir(checkout.path().join(".nightshift"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("test-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn exec_tells_of_signals_and_of_missing_commands() {
    let checkout = Checkout::new();
    let exec = ["servers", "exec", "--with", "postgres", "--"];
    let killed = checkout
        .nightshift(&exec)
        .args(["sh", "-c", "kill -9 $$"])
        .output()
        .unwrap();
    assert_eq!(code(&killed), 137, "{killed:?}");
    let missing = checkout
        .nightshift(&exec)
        .arg("/nonexistent/program")
        .output()
        .unwrap();
    assert_eq!(code(&missing), 1);
    assert!(text(&missing.stderr).contains("/nonexistent/program"));
    checkout.assert_nothing_is_left();
}

#[test]
fn exec_hands_on_signals() {
    let checkout = Checkout::new();
    let ready = checkout.path().join("ready");
    let script = format!(
        "trap 'exit 9' TERM; touch {}; while :; do sleep 0.1; done",
        ready.display()
    );
    let mut exec = checkout
        .nightshift(&[
            "servers", "exec", "--with", "postgres", "--", "sh", "-c", &script,
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the command runs", || ready.exists());
    signal(&exec, Signal::SIGTERM);
    assert_eq!(exec.wait().unwrap().code(), Some(9));
    checkout.assert_nothing_is_left();
}

#[test]
fn a_message_is_sent_to_a_broker_process() {
    let checkout = Checkout::new();
    let mut broker = checkout
        .nightshift(&[
            "--json",
            "broker",
            "--listen",
            "127.0.0.1:0",
            "--queue",
            "orders",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(broker.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let announced: serde_json::Value = serde_json::from_str(&first).unwrap();
    let connection = announced["connection_string"].as_str().unwrap();
    let body = checkout.write("body.json", "{}");
    let send = |queue: &str| {
        checkout
            .nightshift(&[
                "--json",
                "send",
                queue,
                body.to_str().unwrap(),
                "--count",
                "3",
            ])
            .env("ServiceBusConnection", connection)
            .output()
            .unwrap()
    };
    let sent = send("orders");
    assert_eq!(code(&sent), 0, "{sent:?}");
    let sent: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(sent["sent"], 3);
    let unknown = send("nowhere");
    assert_eq!(code(&unknown), 1);
    assert!(text(&unknown.stderr).contains("nowhere"), "{unknown:?}");
    signal(&broker, Signal::SIGTERM);
    assert_eq!(broker.wait().unwrap().code(), Some(0));
    let absent = checkout
        .nightshift(&["send", "orders", "-"])
        .output()
        .unwrap();
    assert_eq!(code(&absent), 64);
}

#[test]
fn a_broker_for_other_machines_needs_a_key() {
    let refused = Checkout::new()
        .nightshift(&["broker", "--listen", "0.0.0.0:0", "--queue", "q"])
        .output()
        .unwrap();
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("key"), "{refused:?}");
}

#[tokio::test]
async fn a_durable_cluster_survives_a_kill_on_the_same_port() {
    let checkout = Checkout::new();
    let data_dir = checkout.path().join("cluster/postgres");
    let options = PostgresOptions {
        data_dir,
        durable: true,
        port: None,
    };
    let mut postgres = Postgres::start(options).await.unwrap();
    let (url, port, pid) = (postgres.url(), postgres.port(), postgres.pid());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create table kept as select 42 as answer")
        .execute(&mut connection)
        .await
        .unwrap();
    postgres.kill();
    assert!(
        sqlx::query("select 1")
            .execute(&mut connection)
            .await
            .is_err()
    );
    postgres.restart().await.unwrap();
    assert_eq!(postgres.port(), port);
    assert_ne!(postgres.pid(), pid);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let answer: i32 = sqlx::query_scalar("select answer from kept")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(answer, 42);
    connection.close().await.unwrap();
    postgres.stop().await;
    checkout.assert_nothing_is_left();
}

#[test]
fn a_malformed_connection_string_is_explained_without_its_key() {
    let checkout = Checkout::new();
    let body = checkout.write("body.json", "{}");
    for broken in [
        "Endpoint=nonsense;SharedAccessKeyName=a;SharedAccessKey=hunter2",
        "SharedAccessKey=hunter2",
        "hunter2",
    ] {
        let output = checkout
            .nightshift(&["send", "q", body.to_str().unwrap()])
            .env("ServiceBusConnection", broken)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("ServiceBusConnection"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
