//! The programs that are measured, each a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nightshift_bus::{ClientOptions, ConnectionString, ServiceBusClient};
use nightshift_tests::program;
use serde_json::Value;

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed; it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our broker with one queue.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    process: Process,
    pub(crate) connection_string: String,
    /// Where it listens.
    pub(crate) address: String,
    /// From the start of the process until it said where it listens.
    pub(crate) start: Duration,
}

/// The queue's name.
pub(crate) const QUEUE: &str = "bench";

impl BrokerProcess {
    /// Starts it, in memory or with a journal in `data`.
    pub(crate) fn start(data: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(program("nightshift"));
        command
            .args(["--json", "broker", "--listen", "127.0.0.1:0"])
            .args(["--queue", QUEUE])
            .args(["--lock-seconds", "300"])
            .env("NIGHTSHIFT_LOG", "warn");
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        let began = Instant::now();
        let mut process = Process(command.stdout(Stdio::piped()).spawn()?);
        let line = first_line(&mut process.0)?;
        let start = began.elapsed();
        let announced: Value =
            serde_json::from_str(&line).with_context(|| format!("the broker said {line:?}"))?;
        let connection_string = announced["connection_string"].as_str();
        let connection_string = connection_string.context("no connection string")?;
        let address = announced["listening"].as_str().context("no address")?;
        Ok(Self {
            address: address.to_owned(),
            connection_string: connection_string.to_owned(),
            process,
            start,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub(crate) async fn client(&self) -> anyhow::Result<ServiceBusClient> {
        let connection: ConnectionString = self.connection_string.parse()?;
        Ok(ServiceBusClient::connect(&connection, ClientOptions::default()).await?)
    }
}

/// The first line that a process with piped output prints; the rest is thrown away.
pub(crate) fn first_line(process: &mut Child) -> anyhow::Result<String> {
    let output = process.stdout.take().context("the process has no output")?;
    let mut output: BufReader<ChildStdout> = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line)?;
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Ok(line)
}

#[expect(clippy::cast_precision_loss, reason = "a memory size fits")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How many of something there are in a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
pub(crate) fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
