//! `GET /health` on the broker's own port, as the official emulator answers it on another.
//!
//! The first octet tells who is there: an AMQP client begins with its protocol header, whose first
//! letter no HTTP method has. A probe gets one answer and the connection ends. Probes are answered
//! when all places are taken, and while the broker stops, since that is when one wants to know.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::broker::Shared;

/// The longest request, and how long it may take to come and its answer to go.
const MAX_REQUEST: usize = 8 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is at the other end of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Amqp,
    Http,
}

/// Looks who is there. `None` when the client says nothing in time, or has gone.
pub(super) async fn caller(stream: &TcpStream, patience: Duration) -> Option<Caller> {
    let mut first = [0];
    let peeked = timeout(patience, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return None;
    }
    let is_method = first[0].is_ascii_uppercase() && first[0] != b'A';
    Some(if is_method {
        Caller::Http
    } else {
        Caller::Amqp
    })
}

/// Serves a connection for which there is no place: answers a probe, hangs up on anybody else.
pub(crate) async fn serve_probe(mut stream: TcpStream, shared: &Shared) {
    if caller(&stream, PATIENCE).await == Some(Caller::Http) {
        answer(&mut stream, shared).await;
    }
}

/// Answers one request.
pub(super) async fn answer(stream: &mut TcpStream, shared: &Shared) {
    match timeout(PATIENCE, exchange(stream, shared)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %error, "a health probe was lost"),
        Err(_) => tracing::debug!("a health probe took too long"),
    }
}

async fn exchange(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|octets| octets == b"\r\n\r\n") {
        let room = MAX_REQUEST - request.len();
        let mut part = (&mut *stream).take(u64::try_from(room).unwrap_or(0));
        if part.read_buf(&mut request).await? == 0 {
            // It ended early, or is too long.
            return stream.shutdown().await;
        }
    }
    let response = response(&request, shared.stop.is_cancelled());
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn response(request: &[u8], is_stopping: bool) -> String {
    let line = request.split(|octet| *octet == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split(' ');
    let [method, target] = [(); 2].map(|()| words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/health") if is_stopping => (
            "503 Service Unavailable",
            r#"{"status":"unhealthy","message":"the broker is stopping"}"#,
        ),
        ("GET" | "HEAD", "/health") => (
            "200 OK",
            r#"{"status":"healthy","message":"the broker is serving"}"#,
        ),
        _ => (
            "404 Not Found",
            r#"{"message":"this is an AMQP broker; over HTTP it answers GET /health"}"#,
        ),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str, is_stopping: bool) -> String {
        let response = response(request.as_bytes(), is_stopping);
        response.split("\r\n").next().unwrap().to_owned()
    }

    #[test]
    fn health_is_told_and_nothing_else_is_found() {
        for (request, expected) in [
            ("GET /health HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET /health?x HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
            ("HEAD /health HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
            ("POST /health HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
            ("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
            ("GET\r\n\r\n", "HTTP/1.1 404 Not Found"),
            ("\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ] {
            assert_eq!(status(request, false), expected, "{request:?}");
        }
        let stopping = status("GET /health HTTP/1.1\r\n\r\n", true);
        assert_eq!(stopping, "HTTP/1.1 503 Service Unavailable");
    }

    #[test]
    fn the_body_has_the_length_that_is_told_and_a_head_has_none() {
        let whole = response(b"GET /health HTTP/1.1\r\n\r\n", false);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let only_head = response(b"HEAD /health HTTP/1.1\r\n\r\n", false);
        assert_eq!(only_head, format!("{head}\r\n\r\n"));
    }
}
