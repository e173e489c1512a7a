//! The host against calling the handler directly, and against a bare reverse proxy.
//!
//! The handler is a hyper server that answers at once, so that what is measured is the host.

pub(crate) mod load;
mod role;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightshift_tests::{program, resident_bytes, usage};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

pub(crate) use self::load::connect;
pub(crate) use self::role::Role;
use crate::process::{BrokerProcess, Process, QUEUE, first_line, mebibytes};
use crate::report::{Bar, Section};

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an idle host is watched.
const IDLE: Duration = Duration::from_secs(20);

/// How often throughput is measured. The middle one counts.
const RUNS: usize = 5;

/// The HTTP function's name.
const FUNCTION: &str = "answer";

pub(crate) async fn measure() -> anyhow::Result<Section> {
    let mut section = Section::new("host", "Host, HTTP on loopback, requests of 256 bytes");
    rest(&mut section).await.context("at rest")?;
    latency(&mut section).await.context("latency")?;
    forwarding(&mut section).await.context("forwarding")?;
    Ok(section)
}

/// A host with a function of each kind and nothing to do.
async fn rest(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    let host = HostProcess::start(false, &broker.connection_string).await?;
    let pid = host.process.0.id();
    let before = usage(pid).context("the host is gone")?;
    let began = Instant::now();
    sleep(IDLE).await;
    let after = usage(pid).context("the host is gone")?;
    let busy = (after.cpu_seconds - before.cpu_seconds) / began.elapsed().as_secs_f64();
    let memory = mebibytes(resident_bytes(pid).context("the host is gone")?);
    let label = "at rest: a queue, a timer and an HTTP function";
    section.hold("rest_mib", memory, "MiB", label, Bar::AtMost(10.0));
    let label = "of one processor, at rest";
    section.hold(
        "idle_cpu_percent",
        busy * 100.0,
        "%",
        label,
        Bar::AtMost(0.2),
    );
    Ok(())
}

/// One call at a time, by turns directly, through the host and through a bare proxy.
async fn latency(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    let host = HostProcess::start(false, &broker.connection_string).await?;
    let (_handler, handler) = handler().await?;
    let (_proxy, proxy) = proxy(handler)?;
    let (direct_path, host_path) = (format!("/{FUNCTION}"), format!("/api/{FUNCTION}"));
    let address = host.address;
    let waits = tokio::task::spawn_blocking(move || {
        let mut waits = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            waits[0].extend(load::waits(handler, &direct_path)?);
            waits[1].extend(load::waits(address, &host_path)?);
            waits[2].extend(load::waits(proxy, &direct_path)?);
        }
        anyhow::Ok(waits)
    });
    let [direct, through, bare] = waits.await??.map(|mut waits| {
        waits.sort();
        move |hundredths: usize| waits[(waits.len() - 1) * hundredths / 100].as_secs_f64() * 1e6
    });
    let label = "median, calling the handler directly";
    section.tell("direct_p50_us", direct(50), "µs", label);
    let label = "median, through the host (envelope)";
    section.tell("host_p50_us", through(50), "µs", label);
    let label = "99th percentile, through the host";
    section.tell("host_p99_us", through(99), "µs", label);
    let label = "added by a bare hyper reverse proxy, median";
    section.tell("proxy_added_p50_us", bare(50) - direct(50), "µs", label);
    let label = "added by the host, median";
    let added = through(50) - direct(50);
    section.hold("added_p50_us", added, "µs", label, Bar::AtMost(150.0));
    Ok(())
}

/// Requests that are forwarded, many at a time.
async fn forwarding(section: &mut Section) -> anyhow::Result<()> {
    let broker = BrokerProcess::start(None)?;
    let host = HostProcess::start(true, &broker.connection_string).await?;
    let (_handler, handler) = handler().await?;
    let (_proxy, proxy) = proxy(handler)?;
    let path = format!("/api/{FUNCTION}");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bare.push(load::rate(proxy, &path).await?);
        ours.push(load::rate(host.address, &path).await?);
    }
    let [bare, ours] = [bare, ours].map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    let label = format!(
        "a bare hyper reverse proxy, {} connections",
        load::CONNECTIONS
    );
    section.tell("bare_proxy_per_second", bare, "requests/s", label);
    section.tell(
        "forwarded_per_second",
        ours,
        "requests/s",
        "forwarded by the host",
    );
    let label = "of the bare proxy";
    section.hold("ratio_to_proxy", ours / bare, "", label, Bar::AtLeast(0.6));
    Ok(())
}

/// A handler that no host has started.
async fn handler() -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let process = Role::Handler.start(address)?;
    listening(address).await?;
    Ok((process, address))
}

/// A bare reverse proxy before `handler`.
fn proxy(handler: SocketAddr) -> anyhow::Result<(Process, SocketAddr)> {
    let mut process = Role::Proxy.start(handler)?;
    let address = first_line(&mut process.0)?.trim().parse()?;
    Ok((process, address))
}

/// Our host with an app of three functions.
struct HostProcess {
    process: Process,
    address: SocketAddr,
    _root: TempDir,
}

impl HostProcess {
    async fn start(is_forwarding: bool, bus: &str) -> anyhow::Result<Self> {
        let root = tempfile::tempdir()?;
        write_app(root.path(), is_forwarding)?;
        let address = free_address()?;
        let process = Command::new(program("nightshift"))
            .args(["host", "start", "--app-root"])
            .arg(root.path())
            .env("Bus", bus)
            .env("NIGHTSHIFT_HOST_LISTEN", address.to_string())
            .env("NIGHTSHIFT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let process = Process(process);
        listening(address).await?;
        load::once(address, &format!("/api/{FUNCTION}")).await?;
        Ok(Self {
            process,
            address,
            _root: root,
        })
    }
}

fn write_app(root: &Path, is_forwarding: bool) -> anyhow::Result<()> {
    let host = serde_json::json!({
        "version": "2.0",
        "customHandler": {
            "description": {
                "defaultExecutablePath": std::env::current_exe()?,
                "arguments": [Role::Handler.name()],
            },
            "enableForwardingHttpRequest": is_forwarding,
        },
    });
    let trigger = serde_json::json!({
        "type": "httpTrigger", "direction": "in", "name": "req",
        "authLevel": "anonymous", "methods": ["post"],
    });
    let output = serde_json::json!({"type": "http", "direction": "out", "name": "res"});
    let queue = serde_json::json!({
        "type": "serviceBusTrigger", "direction": "in", "name": "message",
        "queueName": QUEUE, "connection": "Bus", "cardinality": "many", "dataType": "binary",
    });
    let timer = serde_json::json!({
        "type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 3 * * *",
    });
    fs::write(root.join("host.json"), host.to_string())?;
    for (name, bindings) in [
        (FUNCTION, vec![trigger, output]),
        ("work", vec![queue]),
        ("nightly", vec![timer]),
    ] {
        fs::create_dir(root.join(name))?;
        let function = serde_json::json!({ "bindings": bindings });
        fs::write(root.join(name).join("function.json"), function.to_string())?;
    }
    Ok(())
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until something listens on `address`.
pub(crate) async fn listening(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        ensure!(began.elapsed() < PATIENCE, "nothing listens on {address}");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
