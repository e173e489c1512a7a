//! Our own client over every feature of a broker: named checks, against our broker in `make test`
//! and against a real namespace when `NIGHTSHIFT_TEST_SERVICE_BUS` holds a connection string.
//!
//! ```sh
//! NIGHTSHIFT_TEST_SERVICE_BUS='Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…' \
//!     cargo test -p nightshift-tests --test it conformance::rust -- --nocapture
//! ```
//!
//! The namespace (standard tier or above) must have the queues of
//! `tests/conformance/rust/Config.json`, with the properties given there; the rule needs the
//! rights to send and to listen. Nothing else may use them: they are emptied first. With the Azure
//! command line, one queue is made like this, each property of the file being an option:
//!
//! ```sh
//! az servicebus queue create --resource-group G --namespace-name N --name rust-sessions \
//!     --enable-session true --lock-duration PT5S
//! ```
//!
//! Against our own broker the same file is served, with its spans shortened, since it need not
//! keep to the service's smallest ones. Every check runs in both places; there is no list of
//! exceptions. A check is an async function whose name is what it finds out; it has its queue to
//! itself and leaves it empty. Modules run side by side, the checks of one one after the other.

mod bodies;
mod competing;
mod connections;
mod dead_letters;
mod deferring;
mod duplicates;
mod errors;
mod expiry;
mod features;
mod forwarding;
mod locks;
mod peeking;
mod receiving;
mod scheduling;
mod sending;
mod session_locks;
mod sessions;
mod settling;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use nightshift_broker::{AccessKey, Broker, BrokerConfig, ConfigFile};
use nightshift_time::SystemClock;
use tokio::task::JoinSet;

use world::{Timing, World};

/// The environment variable that names a real namespace.
const SERVICE: &str = "NIGHTSHIFT_TEST_SERVICE_BUS";

/// What a suite of this purpose must not fall below.
const FEWEST_CHECKS: usize = 60;

/// One thing to find out.
struct Check {
    name: &'static str,
    run: fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Names the checks of a module.
macro_rules! checks {
    ($($check:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[$(super::Check {
            name: stringify!($check),
            run: |world| Box::pin($check(world)),
        }),+];
    };
}
use checks;

const MODULES: [(&str, &[Check]); 17] = [
    ("bodies", bodies::CHECKS),
    ("competing", competing::CHECKS),
    ("connections", connections::CHECKS),
    ("dead letters", dead_letters::CHECKS),
    ("deferring", deferring::CHECKS),
    ("duplicates", duplicates::CHECKS),
    ("errors", errors::CHECKS),
    ("expiry", expiry::CHECKS),
    ("forwarding", forwarding::CHECKS),
    ("locks", locks::CHECKS),
    ("peeking", peeking::CHECKS),
    ("receiving", receiving::CHECKS),
    ("scheduling", scheduling::CHECKS),
    ("sending", sending::CHECKS),
    ("session locks", session_locks::CHECKS),
    ("sessions", sessions::CHECKS),
    ("settling", settling::CHECKS),
];

fn config_file() -> ConfigFile {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/rust/Config.json");
    ConfigFile::read(&file).unwrap_or_else(|error| panic!("{error}"))
}

/// Without a key a broker would take any.
fn key() -> AccessKey {
    AccessKey {
        name: "conformance".to_owned(),
        key: "a-key-of-the-suite".to_owned(),
    }
}

/// Runs the checks of one module, and returns the names of those that failed.
async fn run(module: &'static str, checks: &'static [Check], world: World) -> Vec<String> {
    let mut failed = Vec::new();
    for check in checks {
        let begun = Instant::now();
        let name = format!("{module}: {}", check.name.replace('_', " "));
        // A task of its own turns a panic into a result.
        let outcome = tokio::spawn((check.run)(world.clone())).await;
        let seconds = begun.elapsed().as_secs_f64();
        let verdict = if outcome.is_ok() { "ok    " } else { "FAILED" };
        println!("{verdict} {name} ({seconds:.2} s)");
        if outcome.is_err() {
            failed.push(name);
        }
    }
    failed
}

async fn run_all(world: &World) {
    let mut modules = JoinSet::new();
    for (module, checks) in MODULES {
        modules.spawn(run(module, checks, world.clone()));
    }
    let failed = modules.join_all().await.concat();
    let count: usize = MODULES.iter().map(|(_, checks)| checks.len()).sum();
    println!("{} of {count} checks passed", count - failed.len());
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[test]
fn rust_has_enough_checks_and_each_has_its_own_name() {
    let names = MODULES.iter().flat_map(|(_, checks)| checks.iter());
    let names: Vec<&str> = names.map(|check| check.name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(names.len() >= FEWEST_CHECKS, "{} checks", names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_client_and_broker_agree_on_every_feature() {
    let queues = config_file().queues;
    if let Some(connection_string) = std::env::var_os(SERVICE) {
        let text = connection_string.into_string();
        let text = text.unwrap_or_else(|_| panic!("{SERVICE} is not text"));
        let world = World::new(text, Timing::of_service(&queues)).await;
        for queue in &queues {
            world.purge(&queue.name).await;
        }
        run_all(&world).await;
        return;
    }
    let mut queues = queues;
    let timing = Timing::shortened(&mut queues);
    let config = BrokerConfig::new(queues.clone()).access_key(key());
    let broker = Broker::start(config, SystemClock::shared()).expect("a broker on a free port");
    let world = World::new(broker.connection_string(), timing).await;
    run_all(&world).await;
    world.close().await;
    for queue in queues {
        let counts = broker.counts(&queue.name).expect("a queue of the file");
        let left = counts.accepted - counts.removed;
        assert_eq!(left, 0, "queue {} is not empty", queue.name);
    }
    let stopped = tokio::time::timeout(Duration::from_secs(30), broker.stop()).await;
    stopped.expect("the broker stops");
}
