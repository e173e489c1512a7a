//! A broker, an app, a handler, and a host between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_broker::{Broker, BrokerConfig, QueueConfig, QueueCounts};
use nightshift_bus::{ClientOptions, Message, ReceivedMessage, ReceiverOptions, ServiceBusClient};
use nightshift_runtime::{FunctionStats, Host, HostConfig};
use nightshift_settings::{Environment, MapSource, Source};
use nightshift_time::{SharedClock, SystemClock, TestClock};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::wire::{Reply, Wire, json};

/// Long enough for a busy machine; a test ends as soon as what it waits for has happened.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The queue with the messages for functions.
pub(super) const QUEUE: &str = "q";

/// The queue for what functions send.
const NEXT: &str = "next";

/// The function that has it as its trigger, `order` being the binding.
pub(super) const WORK: &str = "Orders-Work";

/// The function with an HTTP trigger `req`.
pub(super) const WEB: &str = "Web";

/// The function with a timer trigger `tick`.
pub(super) const TICK: &str = "Tick";

/// What the clocks of host and broker show where they stand still.
pub(super) const NOW: &str = "2026-11-20T17:09:00.1234500Z";

/// What a handler answers that has nothing to say.
pub(super) fn ok() -> Reply {
    json("{}")
}

/// `function.json` of a queue function whose trigger has the members `more`.
pub(super) fn queue(more: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "serviceBusTrigger", "direction": "in", "name": "order",
            "queueName": "{QUEUE}", "connection": "Bus"{more}}}]}}"#
    )
}

/// `function.json` of an HTTP function whose trigger has the members `more`, and which answers
/// through `res`.
pub(super) fn web(more: &str) -> String {
    web_with_output(more, r#""name": "res""#)
}

/// `function.json` of an HTTP function whose output has the members `output`.
pub(super) fn web_with_output(more: &str, output: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "httpTrigger", "direction": "in", "name": "req",
            "authLevel": "anonymous"{more}}},
            {{"type": "http", "direction": "out", {output}}}]}}"#
    )
}

/// `function.json` of a timer that runs when the host starts.
pub(super) fn timer(schedule: &str, more: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "timerTrigger", "direction": "in", "name": "tick",
            "schedule": "{schedule}", "runOnStartup": true{more}}}]}}"#
    )
}

/// One test's world; the host is started last.
pub(super) struct World {
    pub(super) wire: Wire,
    pub(super) broker: Broker,
    pub(super) root: TempDir,
    client: ServiceBusClient,
    clock: SharedClock,
    settings: Vec<(String, String)>,
    handler: String,
}

impl World {
    /// An app with one function, for a strict host, whose handler obeys `script`.
    pub(super) async fn new(name: &str, function: &str, script: Vec<Reply>) -> Self {
        Self::with_clock(name, function, script, SystemClock::shared()).await
    }

    /// The same, at [`NOW`] for ever.
    pub(super) async fn standing_still(name: &str, function: &str, script: Vec<Reply>) -> Self {
        let now: DateTime<Utc> = NOW.parse().unwrap();
        Self::with_clock(name, function, script, Arc::new(TestClock::new(now))).await
    }

    async fn with_clock(
        name: &str,
        function: &str,
        script: Vec<Reply>,
        clock: SharedClock,
    ) -> Self {
        let config = BrokerConfig::new([QUEUE, NEXT].map(QueueConfig::new));
        let broker = Broker::start(config, clock.clone()).unwrap();
        let connection = broker.connection_string().parse().unwrap();
        let client = ServiceBusClient::connect(&connection, ClientOptions::default());
        let wire = Wire::new(script).await;
        let handler = format!(
            r#""port": {}, "description": {{"defaultExecutablePath": "sleep",
                "arguments": ["infinity"]}}"#,
            wire.port
        );
        let world = Self {
            client: client.await.unwrap(),
            wire,
            broker,
            root: tempfile::tempdir().unwrap(),
            clock,
            settings: Vec::new(),
            handler,
        };
        world.function(name, function);
        world.host_json("", "");
        world
            .setting("NIGHTSHIFT_HOST_MODE", "strict")
            .setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0")
            .setting("PATH", &Environment.get("PATH").unwrap_or_default())
    }

    /// Adds a function.
    pub(super) fn function(&self, name: &str, function: &str) {
        self.write(&format!("{name}/function.json"), function);
    }

    /// Writes a file of the app.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The content of a file of the app; empty if there is none.
    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Gives the host a setting.
    pub(super) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds members to `host.json` and to its section `customHandler`.
    pub(super) fn host_json(&self, more: &str, handler: &str) {
        let text = format!(
            r#"{{"version": "2.0"{more}, "customHandler": {{{}{handler}}}}}"#,
            self.handler
        );
        self.write("host.json", &text);
    }

    /// Replaces the handler by a process of its own: `interpreter` with one of the fixtures.
    pub(super) fn program(mut self, interpreter: &str, fixture: &str) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handlers");
        fs::copy(fixtures.join(fixture), self.path(fixture)).unwrap();
        self.handler = format!(
            r#""description": {{"defaultExecutablePath": "{interpreter}",
                "arguments": ["{fixture}"]}}"#
        );
        self.host_json("", "");
        self
    }

    /// Replaces the process that does nothing by `sh` with a script.
    pub(super) fn shell(mut self, script: &str) -> Self {
        self.write("handler.sh", script);
        self.handler = format!(
            r#""port": {}, "description": {{"defaultExecutablePath": "sh",
                "arguments": ["handler.sh"]}}"#,
            self.wire.port
        );
        self.host_json("", "");
        self
    }

    /// The app as the host reads it.
    pub(super) fn load(&self) -> Result<HostConfig, String> {
        let bus = ("Bus".to_owned(), self.broker.connection_string());
        let source: MapSource = self.settings.iter().cloned().chain([bus]).collect();
        HostConfig::load(self.root.path(), &source).map_err(|problems| problems.to_string())
    }

    /// Starts the host and waits until it is ready.
    pub(super) async fn start(&self) -> Host {
        let host = self.start_unready();
        host.wait_until_ready(PATIENCE).await.unwrap();
        host
    }

    /// Starts the host.
    pub(super) fn start_unready(&self) -> Host {
        Host::start(self.load().unwrap(), self.clock.clone()).unwrap()
    }

    /// The settings of a host that is started as a process.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        settings.push(("Bus".to_owned(), self.broker.connection_string()));
        settings
    }

    /// Sends one message for each body.
    pub(super) async fn send(&self, bodies: &[&str]) {
        let message = |body: &&str| Message::new((*body).to_owned());
        self.send_messages(bodies.iter().map(message).collect())
            .await;
    }

    pub(super) async fn send_messages(&self, messages: Vec<Message>) {
        let sender = self.client.create_sender(QUEUE).await.unwrap();
        sender.send_messages(messages).await.unwrap();
        sender.close().await;
    }

    /// The bodies of everything that functions have sent.
    pub(super) async fn sent(&self) -> Vec<String> {
        let options = ReceiverOptions::default();
        let receiver = self.client.create_receiver(NEXT, options).await.unwrap();
        let messages = receiver.peek_messages(0, 100).await.unwrap();
        let body =
            |message: &ReceivedMessage| String::from_utf8(message.message.body.to_vec()).unwrap();
        messages.iter().map(body).collect()
    }

    pub(super) fn counts(&self) -> QueueCounts {
        self.broker.counts(QUEUE).unwrap()
    }

    /// Waits until the queue is empty, with nothing locked.
    pub(super) async fn drained(&self) {
        until("an empty queue", || {
            let counts = self.counts();
            counts.active == 0 && counts.locked == 0
        })
        .await;
    }
}

/// A function's counters.
pub(super) fn stats(host: &Host, function: &str) -> FunctionStats {
    host.stats().functions[function]
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
