//! A broker with two queues, an app with one function, and a host between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nightshift_broker::{Broker, BrokerConfig, QueueConfig, QueueCounts};
use nightshift_bus::{ClientOptions, Message, ServiceBusClient};
use nightshift_runtime::{FunctionStats, Host, HostConfig, HostProblems};
use nightshift_settings::{Environment, MapSource, Source};
use nightshift_time::SystemClock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The function's name.
pub(super) const FUNCTION: &str = "orders-work";

/// The queue's name.
pub(super) const QUEUE: &str = "orders";

/// Another queue, which no trigger listens on.
pub(super) const SECOND_QUEUE: &str = "notes";

/// Long enough for a busy machine; every test ends as soon as what it waits for has happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// One test's world. The host is started last, so that messages can already wait.
pub(super) struct Fixture {
    pub(super) broker: Broker,
    root: TempDir,
    settings: Vec<(String, String)>,
    client: ServiceBusClient,
}

impl Fixture {
    /// A world whose trigger has the JSON members `trigger` besides queue and connection, and whose
    /// handler obeys `script`.
    pub(super) async fn new(trigger: &str, script: &str) -> Self {
        Self::with_queues(trigger, script, |queue| queue).await
    }

    /// The same, with both queues changed.
    pub(super) async fn with_queues(
        trigger: &str,
        script: &str,
        change: impl Fn(QueueConfig) -> QueueConfig,
    ) -> Self {
        let queues = [QUEUE, SECOND_QUEUE].map(|name| change(QueueConfig::new(name)));
        let broker = Broker::start(BrokerConfig::new(queues), SystemClock::shared()).unwrap();
        let client = connect(&broker).await;
        let root = tempfile::tempdir().unwrap();
        let fixture = Self {
            broker,
            root,
            settings: Vec::new(),
            client,
        };
        let handlers = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handlers");
        fs::copy(handlers.join("scripted.py"), fixture.path("scripted.py")).unwrap();
        fs::create_dir(fixture.path(FUNCTION)).unwrap();
        let function = format!(
            r#"{{"bindings": [{{"type": "serviceBusTrigger", "direction": "in", "name": "orders",
                "queueName": "%QUEUE%", "connection": "Bus"{trigger}}}]}}"#
        );
        fs::write(fixture.path(FUNCTION).join("function.json"), function).unwrap();
        fixture.host_json("");
        fixture.script(script);
        fixture
            .setting("QUEUE", QUEUE)
            .setting("PATH", &Environment.get("PATH").unwrap_or_default())
    }

    /// A world whose only functions are `functions`, each with its `function.json`, and whose host
    /// answers requests.
    pub(super) async fn with_functions(functions: &[(&str, &str)], script: &str) -> Self {
        let fixture = Self::new("", script).await;
        fs::remove_dir_all(fixture.path(FUNCTION)).unwrap();
        for (name, text) in functions {
            fixture.write(&format!("{name}/function.json"), text);
        }
        fixture.setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0")
    }

    /// Writes a file of the app.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives the host a setting.
    pub(super) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds members to `host.json`.
    pub(super) fn host_json(&self, more: &str) {
        let text = format!(
            r#"{{"version": "2.0", "customHandler": {{"description": {{
                "defaultExecutablePath": "python3", "arguments": ["scripted.py"]}}}}{more}}}"#
        );
        fs::write(self.path("host.json"), text).unwrap();
    }

    /// Replaces the handler's script.
    pub(super) fn script(&self, script: &str) {
        fs::write(self.path("script"), script).unwrap();
    }

    /// Lets handlers that obey `wait` go on.
    pub(super) fn go(&self) {
        fs::write(self.path("go"), "").unwrap();
    }

    /// Starts the host and waits until it listens.
    pub(super) async fn start(&self) -> Host {
        let host = self.start_unready();
        host.wait_until_ready(PATIENCE).await.unwrap();
        host
    }

    /// Starts the host.
    pub(super) fn start_unready(&self) -> Host {
        Host::start(self.load().unwrap(), SystemClock::shared()).unwrap()
    }

    /// Reads the app as the host does.
    pub(super) fn load(&self) -> Result<HostConfig, HostProblems> {
        let bus = ("Bus".to_owned(), self.broker.connection_string());
        let source: MapSource = self.settings.iter().cloned().chain([bus]).collect();
        HostConfig::load(self.root.path(), &source)
    }

    /// Starts the host as a process of its own.
    pub(super) fn start_process(&self) -> Child {
        Command::new(nightshift_tests::program("nightshift"))
            .args(["host", "start", "--app-root"])
            .arg(self.root.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("Bus", self.broker.connection_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Sends one message for each body, as one batch.
    pub(super) async fn send(&self, bodies: &[&str]) {
        self.send_messages(
            bodies
                .iter()
                .map(|body| Message::new(body.to_string()))
                .collect(),
        )
        .await;
    }

    pub(super) async fn send_messages(&self, messages: Vec<Message>) {
        let sender = self.client.create_sender(QUEUE).await.unwrap();
        sender.send_messages(messages).await.unwrap();
        sender.close().await;
    }

    pub(super) fn counts(&self) -> QueueCounts {
        self.broker.counts(QUEUE).unwrap()
    }

    /// Everything the handler was asked to do so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        let text = fs::read_to_string(self.path("requests")).unwrap_or_default();
        // The last line may still be being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| Request(serde_json::from_str(line).unwrap()))
            .collect()
    }

    /// Waits until the handler was asked `count` times.
    pub(super) async fn requests_made(&self, count: usize) -> Vec<Request> {
        until(&format!("{count} requests"), || {
            self.requests().len() >= count
        })
        .await;
        self.requests()
    }

    /// Waits until the queue is empty, with nothing locked.
    pub(super) async fn drained(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts();
            if counts.active == 0 && counts.locked == 0 {
                return;
            }
            let requests = self.requests().len();
            assert!(
                Instant::now() < deadline,
                "the queue is not empty after {PATIENCE:?} and {requests} requests: {counts:?}"
            );
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

/// One POST as the handler saw it.
pub(super) struct Request(Value);

impl Request {
    pub(super) fn path(&self) -> &str {
        self.0["path"].as_str().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.0["headers"][name].as_str()
    }

    pub(super) fn method(&self) -> &str {
        self.0["method"].as_str().unwrap()
    }

    /// Every value of a header.
    pub(super) fn all_headers(&self, name: &str) -> Vec<&str> {
        let list = self.0["header_list"].as_array().unwrap();
        list.iter()
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str().unwrap())
            .collect()
    }

    /// The body as it came.
    pub(super) fn raw_body(&self) -> &str {
        self.0["body"].as_str().unwrap()
    }

    pub(super) fn body(&self) -> Value {
        serde_json::from_str(self.0["body"].as_str().unwrap()).unwrap()
    }

    pub(super) fn pid(&self) -> u64 {
        self.0["pid"].as_u64().unwrap()
    }

    /// The metadata member `name`, decoded once more.
    pub(super) fn metadata(&self, name: &str) -> Value {
        serde_json::from_str(self.body()["Metadata"][name].as_str().unwrap()).unwrap()
    }

    /// The number of messages of a batch.
    pub(super) fn batch_size(&self) -> usize {
        self.metadata("SequenceNumberArray")
            .as_array()
            .unwrap()
            .len()
    }
}

/// A client of the broker.
pub(super) async fn connect(broker: &Broker) -> ServiceBusClient {
    let connection_string = broker.connection_string().parse().unwrap();
    ServiceBusClient::connect(&connection_string, ClientOptions::default())
        .await
        .unwrap()
}

/// The function's counters.
pub(super) fn stats(host: &Host) -> FunctionStats {
    host.stats().functions[FUNCTION]
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        sleep(Duration::from_millis(2)).await;
    }
}
