//! The host's HTTP server: functions and the host's own pages.
//!
//! One listener, HTTP/1.1, a task for each connection. What a hostile or broken client can do is
//! bounded here and in `guard`: connections are counted, headers have a size and a time limit, a
//! request whose framing two servers could read differently is refused before anything looks at
//! its path, and a client that does not read what it asked for is cut off. A connection that the client closes takes its call along (in strict mode the call
//! goes on, as in the real host).

mod access;
mod answer;
mod body;
mod envelope;
mod forward;
mod guard;
mod keys;
mod metrics;
mod pages;
mod patience;
mod run;
mod service;
mod streamed;
mod throttle;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use patience::{Patient, WRITE_PATIENCE};
pub(crate) use service::{HttpTarget, Service};

/// Where the host listens when nothing says otherwise: the port of the Functions tools.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7071);

/// The most connections at a time; more wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 8_192;

/// The most bytes of a request's line and headers.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a request's headers may take, and how long a connection may wait for a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after `accept` has failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connection on which a request came.
#[derive(Debug, Clone)]
struct Connection {
    peer: SocketAddr,
    /// Ends it at once, whatever is under way on it.
    cut: CancellationToken,
}

/// A server that has its port.
#[derive(Debug)]
pub(crate) struct HttpServer {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl HttpServer {
    /// Takes the port; must be called within a tokio runtime.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }

    /// Serves until `stop`, and then until every request is answered or `cancel`.
    pub(crate) async fn run(
        self,
        service: Arc<Service>,
        stop: CancellationToken,
        cancel: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                // Ended connections are forgotten as they end.
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&permits) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let service = Arc::clone(&service);
                    let (stop, cancel) = (stop.clone(), cancel.clone());
                    connections.spawn(async move {
                        serve(stream, service, stop, cancel).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> io::Result<((TcpStream, SocketAddr), OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        // Answers are small; without this they would wait for acknowledgements.
        stream.set_nodelay(true)?;
        Ok(((stream, peer), permit))
    }
}

async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    service: Arc<Service>,
    stop: CancellationToken,
    cancel: CancellationToken,
) {
    let cut = CancellationToken::new();
    let from = Connection {
        peer,
        cut: cut.clone(),
    };
    let answer = service_fn(move |request| Arc::clone(&service).answer(request, from.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_PATIENCE)), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = cut.cancelled() => return,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = cancel.cancelled() => return,
            () = cut.cancelled() => return,
        }
    };
    if let Err(error) = ended {
        // Somebody else's broken connection: for those who look for it.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
