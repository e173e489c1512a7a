//! A private cluster: two servers, each with half of the slots.

use std::path::Path;
use std::time::{Duration, Instant};

use nightshift_settings::{Environment, Source};

use super::node::{Node, START, ask};
use super::program::find_or_fetch;
use super::{RedisVersion, shared_home};
use crate::servers::home::Home;
use crate::servers::process::ServerProcess;
use crate::servers::progress::Progress;
use crate::servers::{ServerError, Supervisor, hex, ports};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// The slots of each server, the last one excluded.
const SHARDS: [std::ops::Range<u16>; 2] = [0..SLOTS / 2, SLOTS / 2..SLOTS];

/// How often it is asked whether the servers have found each other.
const POLL: Duration = Duration::from_millis(50);

/// A running private cluster. Dropping it kills it.
#[derive(Debug)]
pub struct RedisCluster {
    ports: Vec<u16>,
    password: String,
    origin: String,
    processes: Vec<ServerProcess>,
}

impl RedisCluster {
    /// Finds or fetches the server, starts it twice, with its files in `folder`, and waits until the two
    /// are a cluster.
    ///
    /// # Errors
    /// When there is no server, or one does not start, or they do not become a cluster.
    pub async fn launch(
        settings: &dyn Source,
        home: &Home,
        folder: &Path,
        progress: &Progress,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        let program = find_or_fetch(RedisVersion::Found, settings, home, progress).await?;
        let password = hex::password();
        let mut cluster = Self {
            ports: Vec::new(),
            password: password.clone(),
            origin: program.origin.clone(),
            processes: Vec::new(),
        };
        std::fs::create_dir_all(folder).map_err(ServerError::file("create", folder))?;
        for _ in SHARDS {
            let (port, process) = ports::on_free_pair(async |port| {
                let node = Node {
                    program: &program,
                    folder,
                    run: folder.to_owned(),
                    log: folder.join(format!("redis-{port}.log")),
                    password: &password,
                    is_clustered: true,
                };
                node.start(port, supervisor).await
            })
            .await?;
            cluster.ports.push(port);
            cluster.processes.push(process);
        }
        cluster.join().await?;
        Ok(cluster)
    }

    /// Finds or fetches the server, once per checkout, and starts a cluster with its files in `folder` that
    /// ends with this value. For tests that a cluster of all would not survive.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub async fn start(folder: &Path) -> Result<Self, ServerError> {
        let home = shared_home(&Home::open(folder)?)?;
        let (quiet, nobody) = (Progress::quiet(), Supervisor::unattended());
        Self::launch(&Environment, &home, folder, &quiet, &nobody).await
    }

    /// Gives each its slots, makes them known to each other, and waits until both say that all is well.
    async fn join(&self) -> Result<(), ServerError> {
        for (epoch, (port, slots)) in (1..).zip(self.ports.iter().zip(SHARDS)) {
            let epoch = format!("{epoch}");
            self.order(*port, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await?;
            // Ranges of slots are for newer servers.
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter();
            let words: Vec<&str> = words.chain(slots.iter().map(String::as_str)).collect();
            self.order(*port, &words).await?;
        }
        for port in &self.ports[1..] {
            let port = port.to_string();
            let words = ["CLUSTER", "MEET", "127.0.0.1", &port];
            self.order(self.ports[0], &words).await?;
        }
        let deadline = Instant::now() + START;
        for port in &self.ports {
            loop {
                let state = self.order(*port, &["CLUSTER", "INFO"]).await?;
                if is_whole(&state) {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(ServerError::Machine(format!(
                        "the two Redis servers have not become a cluster within {} s; the one on port {port} says:\n{state}",
                        START.as_secs()
                    )));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn order(&self, port: u16, words: &[&str]) -> Result<String, ServerError> {
        let answer = ask(port, &self.password, words).await;
        answer.map_err(|error| {
            let order = words.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            ServerError::Machine(format!(
                "the Redis server on port {port} does not do {order}: {error}"
            ))
        })
    }

    /// The address of one of them, by which clients find the other. Holds the password.
    pub fn url(&self) -> String {
        self.url_of(self.ports[0])
    }

    /// The address of the one on `port`. Holds the password.
    pub fn url_of(&self, port: u16) -> String {
        format!("redis://:{}@{}", self.password, ports::loopback(port))
    }

    /// Their ports.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Where the program comes from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Gives the processes up to a caller that stops many servers in order.
    pub(crate) fn into_processes(self) -> Vec<ServerProcess> {
        self.processes
    }
}

/// Whether a server says that it knows both, that all slots have somebody, and that all is well.
fn is_whole(info: &str) -> bool {
    let says = |line: &str| info.lines().any(|said| said.trim_end() == line);
    says("cluster_state:ok")
        && says(&format!("cluster_slots_ok:{SLOTS}"))
        && says(&format!("cluster_known_nodes:{}", SHARDS.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_whole_when_all_is_well_with_all_of_it() {
        let info = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
                    cluster_known_nodes:2\r\ncluster_size:2\r\n";
        assert!(is_whole(info));
        for (what, instead) in [
            ("state:ok", "state:fail"),
            ("slots_ok:16384", "slots_ok:8192"),
            ("nodes:2", "nodes:1"),
        ] {
            assert!(!is_whole(&info.replace(what, instead)), "{instead}");
        }
        assert!(SHARDS[0].end == SHARDS[1].start && SHARDS[1].end == SLOTS);
    }
}
