//! Microsoft's Python SDK against the broker: `tests/conformance/` run as a user would run it.
//!
//! The SDK is an outsider's idea of the protocol, so it finds what our own client, which shares
//! its codec with the broker, cannot.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_time::SystemClock;
use tokio::process::Command;

/// Names the folder with the packages of `tests/conformance/requirements.txt`.
const PYTHON_PATH: &str = "NIGHTSHIFT_TEST_PYTHONPATH";

/// Far above what the checks take together, so that a hang becomes a failure with its output.
const PATIENCE: Duration = Duration::from_mins(3);

fn queues() -> Vec<QueueConfig> {
    let plain = ["plain", "bodies", "competing", "asynchronous"].map(QueueConfig::new);
    let mut queues = plain.to_vec();
    queues.push(QueueConfig::new("short-lock").lock_duration(Duration::from_secs(1)));
    queues.push(QueueConfig::new("two-tries").max_delivery_count(2));
    queues.push(
        QueueConfig::new("expiring")
            .default_ttl(Duration::from_secs(1))
            .dead_letter_on_expiration(true),
    );
    queues
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_does_not_notice_that_this_is_not_the_service() {
    #[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
    let packages = std::env::var(PYTHON_PATH).unwrap_or_else(|_| {
        panic!(
            "{PYTHON_PATH} is not set; it names the folder into which `pip install --target <folder> \
             -r tests/conformance/requirements.txt` put the SDK (`make test` does this by itself)"
        )
    });
    let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = BrokerConfig::new(queues()).listen(free_port);
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let run = Command::new("python3")
        .arg(scripts.join("conformance.py"))
        .arg(broker.connection_string())
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 on PATH");
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

    for queue in queues() {
        let counts = broker
            .counts(&queue.name)
            .expect("a queue that was configured");
        let left = (counts.active, counts.locked, counts.dead_letter);
        assert_eq!(left, (0, 0, 0), "queue {} is not empty", queue.name);
    }
    broker.stop().await;
}
