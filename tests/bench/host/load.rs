//! Requests on connections that are kept, one at a time on each.

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
pub(super) const CONNECTIONS: usize = 16;

/// How long throughput is measured each time, and how long before that nothing is counted.
const SPAN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

/// Requests of a latency measurement, and how many before them are not counted.
const REQUESTS: usize = 2_000;
const WARM_UP_REQUESTS: usize = 200;

/// How long each of many requests took, one after the other. One thread does all of it, so that the
/// processors are free for what is measured.
pub(super) fn waits(address: SocketAddr, path: &str) -> anyhow::Result<Vec<Duration>> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(timed(address, path))
}

async fn timed(address: SocketAddr, path: &str) -> anyhow::Result<Vec<Duration>> {
    let mut connection = connect(address).await?;
    for _ in 0..WARM_UP_REQUESTS {
        ask(&mut connection, address, path).await?;
    }
    let mut waits = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        ask(&mut connection, address, path).await?;
        waits.push(began.elapsed());
    }
    Ok(waits)
}

/// Requests per second.
pub(super) async fn rate(address: SocketAddr, path: &str) -> anyhow::Result<f64> {
    let mut lanes = JoinSet::new();
    let from = Instant::now() + WARM_UP;
    let until = from + SPAN;
    for _ in 0..CONNECTIONS {
        let path = path.to_owned();
        lanes.spawn(async move {
            let mut connection = connect(address).await?;
            let mut counted = 0;
            while Instant::now() < until {
                ask(&mut connection, address, &path).await?;
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
    ask(&mut connect(address).await?, address, path).await
}

/// A connection to `address`.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(
    connection: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<()> {
    const BODY: [u8; 256] = [b'x'; 256];
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "text/plain")
        .body(Full::new(Bytes::from_static(&BODY)))?;
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    ensure!(status.is_success(), "{address}{path} answered {status}");
    Ok(())
}
