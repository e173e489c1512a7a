//! Requests on connections that are kept, one at a time on each: some with a body, for the host, and some that
//! only read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Connections of the throughput measurement.
pub(crate) const CONNECTIONS: usize = 16;

/// How long throughput is measured each time, and how long before that nothing is counted.
const SPAN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

/// Requests of a latency measurement, and how many before them are not counted.
const REQUESTS: usize = 2_000;
const WARM_UP_REQUESTS: usize = 200;

/// A request to an address for a path.
type Make = fn(SocketAddr, &str) -> anyhow::Result<Request<Full<Bytes>>>;

/// How long each of many requests took, one after the other. One thread does all of it, so that the
/// processors are free for what is measured.
pub(super) fn waits(address: SocketAddr, path: &str) -> anyhow::Result<Vec<Duration>> {
    alone(address, path, post)
}

/// The same of requests that only read.
pub(crate) fn waits_of_gets(address: SocketAddr, path: &str) -> anyhow::Result<Vec<Duration>> {
    alone(address, path, get)
}

fn alone(address: SocketAddr, path: &str, make: Make) -> anyhow::Result<Vec<Duration>> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(timed(address, path, make))
}

async fn timed(address: SocketAddr, path: &str, make: Make) -> anyhow::Result<Vec<Duration>> {
    let mut connection = connect(address).await?;
    for _ in 0..WARM_UP_REQUESTS {
        ask(&mut connection, address, path, make).await?;
    }
    let mut waits = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        ask(&mut connection, address, path, make).await?;
        waits.push(began.elapsed());
    }
    Ok(waits)
}

/// Requests per second.
pub(super) async fn rate(address: SocketAddr, path: &str) -> anyhow::Result<f64> {
    rate_of(address, path, post).await
}

/// The same of requests that only read.
pub(crate) async fn rate_of_gets(address: SocketAddr, path: &str) -> anyhow::Result<f64> {
    rate_of(address, path, get).await
}

async fn rate_of(address: SocketAddr, path: &str, make: Make) -> anyhow::Result<f64> {
    let mut lanes = JoinSet::new();
    let from = Instant::now() + WARM_UP;
    let until = from + SPAN;
    for _ in 0..CONNECTIONS {
        let path = path.to_owned();
        lanes.spawn(async move {
            let mut connection = connect(address).await?;
            let mut counted = 0;
            while Instant::now() < until {
                ask(&mut connection, address, &path, make).await?;
                counted += usize::from(Instant::now() >= from);
            }
            anyhow::Ok(counted)
        });
    }
    let mut counted = 0;
    while let Some(lane) = lanes.join_next().await {
        counted += lane??;
    }
    Ok(crate::process::rate(counted, SPAN))
}

/// One request.
pub(super) async fn once(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    ask(&mut connect(address).await?, address, path, post).await?;
    Ok(())
}

/// How many bytes the answer to a request has that only reads.
pub(crate) async fn size(address: SocketAddr, path: &str) -> anyhow::Result<usize> {
    ask(&mut connect(address).await?, address, path, get).await
}

/// A connection to `address`.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn post(address: SocketAddr, path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    const BODY: [u8; 256] = [b'x'; 256];
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "text/plain");
    Ok(request.body(Full::new(Bytes::from_static(&BODY)))?)
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::builder()
        .uri(path)
        .header("host", address.to_string());
    Ok(request.body(Full::new(Bytes::new()))?)
}

/// Sends a request and reads its answer. Says how many bytes that has.
async fn ask(
    connection: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    path: &str,
    make: Make,
) -> anyhow::Result<usize> {
    let request = make(address, path)?;
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{address}{path} answered {status}");
    Ok(body.len())
}
