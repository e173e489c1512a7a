//! A host as a process of its own, whose log can be read.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::world::{World, until};

/// A running host; it is killed when dropped.
pub(super) struct HostProcess {
    child: Child,
    log: PathBuf,
}

impl HostProcess {
    /// Starts the host of `world`.
    pub(super) fn start(world: &World) -> Self {
        let log = world.path("host.log");
        let child = Command::new(nightshift_tests::program("nightshift"))
            .args(["host", "start", "--app-root"])
            .arg(world.root.path())
            .envs(world.environment())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Where it answers requests.
    pub(super) async fn address(&self) -> SocketAddr {
        let line = self.line("requests are answered").await;
        line["http.address"].as_str().unwrap().parse().unwrap()
    }

    /// What the host has logged so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        // The last line may still be being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for a line whose message is `message`.
    pub(super) async fn line(&self, message: &str) -> Value {
        let find = || {
            self.lines()
                .into_iter()
                .find(|line| line["message"] == message)
        };
        until(message, || find().is_some()).await;
        find().unwrap()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
