//! How soon a handler that is just started commits its first row, and what it holds when it rests.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightshift_bindings::function_json::DataType;
use nightshift_bindings::invocation::encode::Envelope;
use nightshift_testkit::{message, notification};
use nightshift_tests::{program, resident_bytes, usage, user_id};
use nightshift_time::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use uuid::Uuid;

use crate::process::{Process, mebibytes};

/// How often a handler is started. The middle one counts.
const RUNS: usize = 9;

/// How long a handler rests.
const REST: Duration = Duration::from_secs(15);

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The function that is called.
const FUNCTION: &str = "notifications-dispatch";

/// What was measured of the handler of this repository.
#[derive(Debug)]
pub(crate) struct Start {
    /// From the start of its process to the answer that its first message is done, in milliseconds.
    pub(crate) first_row_ms: f64,
    pub(crate) rest: Rest,
}

/// What a handler needs when there is nothing to do.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Resident memory after [`REST`].
    pub(crate) mib: f64,
    /// Of one processor, during [`REST`].
    pub(crate) cpu_percent: f64,
}

/// Starts handlers against the database at `url`, each with a message at once.
pub(crate) async fn measure(url: &str, bus: &str) -> anyhow::Result<Start> {
    let mut waits_ms = Vec::with_capacity(RUNS);
    let mut last = None;
    for _ in 0..RUNS {
        drop(last.take());
        let began = Instant::now();
        let (mut handler, address) = handler(url, bus)?;
        let handler = Process(handler.spawn()?);
        invoke(address).await?;
        waits_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        last = Some(handler);
    }
    waits_ms.sort_by(f64::total_cmp);
    let handler = last.context("no handler was started")?;
    Ok(Start {
        first_row_ms: waits_ms[RUNS / 2],
        rest: rest(handler.0.id()).await?,
    })
}

/// What the handler `pid`, which was just started or used, needs when there is nothing to do.
pub(crate) async fn rest(pid: u32) -> anyhow::Result<Rest> {
    // It is about to look at its schedules and into the outbox.
    sleep(Duration::from_secs(1)).await;
    let before = usage(pid).context("the handler is gone")?;
    sleep(REST).await;
    let after = usage(pid).context("the handler is gone")?;
    let busy = (after.cpu_seconds - before.cpu_seconds) / REST.as_secs_f64();
    let memory = resident_bytes(pid).context("the handler is gone")?;
    Ok(Rest {
        mib: mebibytes(memory),
        cpu_percent: busy * 100.0,
    })
}

/// The handler of this repository, to be started, and where it will answer.
pub(crate) fn handler(url: &str, bus: &str) -> anyhow::Result<(Command, SocketAddr)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut handler = Command::new(program("handler"));
    handler
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", address.port().to_string())
        .env("NIGHTSHIFT_POSTGRES_URL", url)
        .env("ServiceBusConnection", bus)
        .stdout(Stdio::null());
    Ok((handler, address))
}

/// Has one notification delivered.
async fn invoke(address: SocketAddr) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let envelope = Envelope {
        function: FUNCTION,
        binding: "messages",
        data_type: DataType::Binary,
        now,
        random: Uuid::new_v4(),
    };
    let id = Uuid::new_v4().to_string();
    let body = notification(&user_id(1), "The first");
    let body = envelope.encode_batch(&[message(&id, body, now).build()])?;
    let head = format!(
        "POST /{FUNCTION} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "the handler answered {answer}"
    );
    Ok(())
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(Duration::from_micros(200)).await,
        }
    }
}
