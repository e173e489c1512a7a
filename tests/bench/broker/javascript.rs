//! The same with Microsoft's JavaScript SDK, in a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::{BODY_BYTES, Speed};
use crate::process::{BrokerProcess, QUEUE};

const SCRIPT: &str = "sdk.mjs";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    send_ms: f64,
    receive_ms: f64,
}

pub(super) async fn there_and_back(
    broker: &BrokerProcess,
    count: usize,
    in_flight: usize,
) -> anyhow::Result<Speed> {
    let packages = std::env::var_os("NIGHTSHIFT_TEST_NODE_MODULES")
        .context("NIGHTSHIFT_TEST_NODE_MODULES is not set; `make bench` does this by itself")?;
    // An import is looked up beside the script: the script is copied beside its packages.
    let folder = tempfile::tempdir()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/broker");
    std::fs::copy(source.join(SCRIPT), folder.path().join(SCRIPT))?;
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules"))?;
    let output = Command::new("node")
        .arg(folder.path().join(SCRIPT))
        .args([&broker.connection_string, QUEUE])
        .args([count, in_flight, BODY_BYTES].map(|number| number.to_string()))
        .kill_on_drop(true)
        .output()
        .await
        .context("node cannot be run")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the SDK failed: {errors}");
    let times: Times = serde_json::from_slice(&output.stdout)?;
    let milliseconds = |ms: f64| Duration::from_secs_f64(ms / 1_000.0);
    Ok(Speed::of(
        count,
        milliseconds(times.send_ms),
        milliseconds(times.receive_ms),
    ))
}
