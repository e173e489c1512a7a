//! Microsoft's SDKs against the broker: `tests/conformance/` run as a user would run it.
//!
//! An SDK is an outsider's idea of the protocol, so it finds what our own client, which shares its
//! codec with the broker, cannot.

mod features;
mod relay;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nightshift_broker::{Broker, BrokerConfig, QueueConfig, QueueStatus};
use nightshift_time::SystemClock;
use tempfile::TempDir;
use tokio::process::Command;

/// Far above what the checks take together, so that a hang becomes a failure with its output.
const PATIENCE: Duration = Duration::from_mins(6);

/// An SDK's checks, ready to be run.
struct Sdk {
    interpreter: &'static str,
    script: PathBuf,
    /// Where the packages are, for an interpreter that is told so.
    packages: Option<PathBuf>,
    /// What the names of its queues start with.
    prefix: &'static str,
    /// Its plain queues, besides those that every SDK needs.
    plain: &'static [&'static str],
    /// Where the script was copied to.
    _folder: Option<TempDir>,
}

impl Sdk {
    fn python() -> Self {
        let packages = packages(
            "NIGHTSHIFT_TEST_PYTHONPATH",
            "into which `pip install --target <folder> -r tests/conformance/python/requirements.txt` put the SDK",
        );
        Self {
            interpreter: "python3",
            script: conformance().join("python/conformance.py"),
            packages: Some(packages),
            prefix: "",
            plain: &["dead-letters", "competing", "asynchronous"],
            _folder: None,
        }
    }

    fn javascript() -> Self {
        let packages = packages(
            "NIGHTSHIFT_TEST_NODE_MODULES",
            "`node_modules` that `npm ci` made beside a copy of tests/conformance/javascript/package.json",
        );
        // An import is looked up beside the script: the suite is copied beside its packages.
        let folder = tempfile::tempdir().expect("a folder");
        let source = conformance().join("javascript");
        let script = folder.path().join("conformance.mjs");
        copy(&source.join("conformance.mjs"), &script);
        std::fs::create_dir(folder.path().join("checks")).expect("a folder");
        for check in std::fs::read_dir(source.join("checks")).expect("the checks") {
            let check = check.expect("a check");
            let target = folder.path().join("checks").join(check.file_name());
            copy(&check.path(), &target);
        }
        let link = folder.path().join("node_modules");
        std::os::unix::fs::symlink(packages, link).expect("a link");
        Self {
            interpreter: "node",
            script,
            packages: None,
            prefix: "js-",
            plain: &[],
            _folder: Some(folder),
        }
    }

    /// The command that runs the checks; what it is run against is still to be said.
    fn suite(&self) -> Command {
        let mut suite = Command::new(self.interpreter);
        suite.arg(&self.script);
        if let Some(packages) = &self.packages {
            suite
                .env("PYTHONPATH", packages)
                .env("PYTHONDONTWRITEBYTECODE", "1");
        }
        suite
    }

    /// The queues that the checks need, as they must be configured.
    fn queues(&self) -> Vec<QueueConfig> {
        let name = |name: &str| format!("{}{name}", self.prefix);
        let queue = |suffix: &str| QueueConfig::new(name(suffix));
        let sessions = |suffix: &str| queue(suffix).requires_session(true);
        let plain = [
            "sending",
            "bodies",
            "receiving",
            "errors",
            "scheduling",
            "peeking",
            "deferring",
            "plain",
            "forwarded",
            "buried",
        ];
        let special = [
            queue("short-lock").lock_duration(Duration::from_secs(4)),
            queue("detecting").duplicate_detection(Duration::from_secs(5)),
            queue("two-tries").max_delivery_count(2),
            queue("expiring")
                .default_ttl(Duration::from_secs(1))
                .dead_letter_on_expiration(true),
            sessions("sessions"),
            sessions("asynchronous-sessions"),
            sessions("short-sessions").lock_duration(Duration::from_secs(4)),
            queue("disabled").status(QueueStatus::Disabled),
            queue("forwarding").forward_to(name("forwarded")),
            queue("burying").forward_dead_letters_to(name("buried")),
        ];
        let plain = plain.iter().chain(self.plain).copied().map(queue);
        plain.chain(special).collect()
    }
}

/// A folder with packages, which `make test` names in the environment variable `name`.
fn packages(name: &str, how: &str) -> PathBuf {
    let folder = std::env::var_os(name).unwrap_or_else(|| {
        panic!("{name} is not set; it names the folder {how} (`make test` does this by itself)")
    });
    folder.into()
}

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// Runs checks to their end: how they ended, and all that they said.
async fn output(mut suite: Command) -> (ExitStatus, String) {
    let run = suite
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
    (output.status, format!("{text}\n{errors}"))
}

/// Runs all checks of an SDK; every one passes, and every queue is empty then.
async fn all_pass(sdk: Sdk) {
    let queues = sdk.queues();
    let config = BrokerConfig::new(queues.clone());
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");
    let mut suite = sdk.suite();
    suite.arg(broker.connection_string());
    let (status, text) = output(suite).await;
    assert!(status.success(), "{status}\n{text}");
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= 60, "only {passed} checks\n{text}");
    for queue in queues {
        let counts = broker
            .counts(&queue.name)
            .expect("a queue that was configured");
        let left = counts.accepted - counts.removed;
        assert_eq!(left, 0, "queue {} is not empty", queue.name);
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_does_not_notice_that_this_is_not_the_service() {
    all_pass(Sdk::python()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_does_not_notice_either() {
    all_pass(Sdk::javascript()).await;
}
