//! Microsoft's SDKs against the broker: `tests/conformance/` run as a user would run it.
//!
//! An SDK is an outsider's idea of the protocol, so it finds what our own client, which shares its
//! codec with the broker, cannot.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_time::SystemClock;
use tokio::process::Command;

/// Far above what the checks take together, so that a hang becomes a failure with its output.
const PATIENCE: Duration = Duration::from_mins(3);

fn plain(names: &[&str]) -> Vec<QueueConfig> {
    names.iter().copied().map(QueueConfig::new).collect()
}

/// The queues that every suite needs besides plain ones.
fn special(prefix: &str) -> [QueueConfig; 7] {
    let queue = |name: &str| QueueConfig::new(format!("{prefix}{name}"));
    [
        queue("plain"),
        queue("sessions").requires_session(true),
        queue("short-sessions")
            .requires_session(true)
            .lock_duration(Duration::from_secs(2)),
        queue("short-lock").lock_duration(Duration::from_secs(2)),
        queue("detecting").duplicate_detection(Duration::from_secs(5)),
        queue("two-tries").max_delivery_count(2),
        queue("expiring")
            .default_ttl(Duration::from_secs(1))
            .dead_letter_on_expiration(true),
    ]
}

/// A folder with packages, which `make test` names in the environment variable `name`.
fn packages(name: &str, how: &str) -> PathBuf {
    let folder = std::env::var_os(name).unwrap_or_else(|| {
        panic!("{name} is not set; it names the folder {how} (`make test` does this by itself)")
    });
    folder.into()
}

/// Runs a suite against a broker with `queues`; every check passes, and every queue is empty then.
async fn run(mut suite: Command, queues: Vec<QueueConfig>) {
    let config = BrokerConfig::new(queues.clone());
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");
    let run = suite
        .arg(broker.connection_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the interpreter on PATH");
    let output = tokio::time::timeout(PATIENCE, run.wait_with_output());
    let output = output
        .await
        .expect("the checks to end")
        .expect("the checks' output");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    for queue in queues {
        let counts = broker
            .counts(&queue.name)
            .expect("a queue that was configured");
        let left = counts.accepted - counts.removed;
        assert_eq!(left, 0, "queue {} is not empty", queue.name);
    }
    broker.stop().await;
}

fn suite(interpreter: &str, script: &Path) -> Command {
    let mut suite = Command::new(interpreter);
    suite.arg(script);
    suite
}

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_does_not_notice_that_this_is_not_the_service() {
    let packages = packages(
        "NIGHTSHIFT_TEST_PYTHONPATH",
        "into which `pip install --target <folder> -r tests/conformance/python/requirements.txt` put the SDK",
    );
    let mut suite = suite("python3", &conformance().join("python/conformance.py"));
    suite
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut queues = plain(&[
        "sending",
        "bodies",
        "receiving",
        "dead-letters",
        "errors",
        "competing",
        "asynchronous",
        "scheduling",
        "peeking",
        "deferring",
    ]);
    queues.extend(special(""));
    run(suite, queues).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_does_not_notice_either() {
    let packages = packages(
        "NIGHTSHIFT_TEST_NODE_MODULES",
        "`node_modules` that `npm ci` made beside a copy of tests/conformance/javascript/package.json",
    );
    // An import is looked up beside the script: the suite is copied beside its packages.
    let folder = tempfile::tempdir().expect("a folder");
    let source = conformance().join("javascript");
    copy(
        &source.join("conformance.mjs"),
        &folder.path().join("conformance.mjs"),
    );
    std::fs::create_dir(folder.path().join("checks")).expect("a folder");
    for check in std::fs::read_dir(source.join("checks")).expect("the checks") {
        let check = check.expect("a check");
        copy(
            &check.path(),
            &folder.path().join("checks").join(check.file_name()),
        );
    }
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).expect("a link");
    let suite = suite("node", &folder.path().join("conformance.mjs"));
    let mut queues = plain(&[
        "js-sending",
        "js-bodies",
        "js-receiving",
        "js-errors",
        "js-scheduling",
        "js-peeking",
        "js-deferring",
    ]);
    queues.extend(special("js-"));
    run(suite, queues).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
