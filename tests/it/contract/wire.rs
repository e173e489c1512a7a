//! A handler inside the test: every byte that the host sends is kept, every byte that it gets back
//! is the test's.
//!
//! The host starts a process that does nothing, and is told (`customHandler.port`) that it listens
//! where this server does. The probe of `/` is answered and not counted as a call.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::until;

/// What a call is answered with.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes as soon as the test opens the gate.
    Gated(Vec<u8>),
    /// The first bytes at once, the others as soon as the test opens the gate.
    InTwo(Vec<u8>, Vec<u8>),
    /// Nothing, until the host closes the connection.
    Never,
    /// Nothing: the connection is closed.
    Closed,
}

/// An answer with a JSON body.
pub(super) fn json(body: &str) -> Reply {
    answer("200 OK", &["Content-Type: application/json"], body)
}

/// An answer with these header lines.
pub(super) fn answer(status: &str, headers: &[&str], body: &str) -> Reply {
    let mut bytes = Vec::new();
    write!(bytes, "HTTP/1.1 {status}\r\n").unwrap();
    for header in headers {
        write!(bytes, "{header}\r\n").unwrap();
    }
    write!(bytes, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    Reply::Bytes(bytes)
}

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The request line and the header lines, each ended by `\r\n`.
    pub(super) head: String,
    /// The body with its framing.
    pub(super) framed: Vec<u8>,
    /// Which of the host's connections it came on.
    pub(super) connection: usize,
}

impl Seen {
    /// The request line.
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Every value of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a header that stands there at most once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied()
    }

    /// The headers' names in lower case, sorted.
    pub(super) fn header_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .headers()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.sort();
        names
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name, value.trim()))
        })
    }

    /// The body without its framing.
    pub(super) fn body(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// The body's bytes without its framing.
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.all("transfer-encoding").is_empty() {
            return self.framed.clone();
        }
        let (mut body, mut rest) = (Vec::new(), &self.framed[..]);
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16);
            let (chunk, tail) = rest[end + 2..].split_at(size.unwrap());
            body.extend_from_slice(chunk);
            rest = &tail[2..];
        }
        body
    }

    /// The body with every GUID spelt `GUID`.
    pub(super) fn masked(&self) -> String {
        let text = self.body();
        let is_guid = |window: &[u8]| {
            window.iter().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
        };
        let (mut masked, mut rest) = (String::new(), text.as_str());
        while let Some(start) = rest.as_bytes().windows(36).position(is_guid) {
            masked.push_str(&rest[..start]);
            masked.push_str("GUID");
            rest = &rest[start + 36..];
        }
        masked + rest
    }

    /// The body as a document.
    pub(super) fn document(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }
}

#[derive(Debug, Default)]
struct State {
    script: Vec<Reply>,
    calls: Vec<Seen>,
    probes: Vec<Seen>,
    connections: usize,
    /// Connections that the host closed while it was owed an answer.
    given_up: usize,
}

/// The handler.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
    gate: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

impl Wire {
    /// A handler that obeys `script`, a reply for each call; the last one is for all that follow.
    pub(super) async fn new(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            script,
            ..State::default()
        }));
        let (gate, opened) = watch::channel(false);
        Self {
            port: listener.local_addr().unwrap().port(),
            server: tokio::spawn(serve(listener, Arc::clone(&state), opened)),
            state,
            gate,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<Seen> {
        self.state().calls.clone()
    }

    /// The probes so far.
    pub(super) fn probes(&self) -> Vec<Seen> {
        self.state().probes.clone()
    }

    /// Connections that the host closed while it was owed an answer.
    pub(super) fn given_up(&self) -> usize {
        self.state().given_up
    }

    /// Waits for the call with this number, from 1.
    pub(super) async fn call(&self, number: usize) -> Seen {
        until(&format!("call {number}"), || {
            self.state().calls.len() >= number
        })
        .await;
        self.calls().swap_remove(number - 1)
    }

    /// Lets the gated answers go.
    pub(super) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Listens no more, and breaks off what is under way.
    pub(super) async fn shut(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, gate: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = lock(&state);
            state.connections += 1;
            state.connections
        };
        connections.spawn(converse(stream, number, Arc::clone(&state), gate.clone()));
    }
}

/// Answers the requests of one connection.
async fn converse(
    mut stream: TcpStream,
    connection: usize,
    state: Arc<Mutex<State>>,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = Vec::new();
    while let Some((head, framed)) = read_request(&mut stream, &mut buffer).await {
        let seen = Seen {
            head,
            framed,
            connection,
        };
        let reply = {
            let mut state = lock(&state);
            if seen.line() == "GET / HTTP/1.1" {
                state.probes.push(seen);
                answer("404 Not Found", &[], "")
            } else {
                let reply = state.script[state.calls.len().min(state.script.len() - 1)].clone();
                state.calls.push(seen);
                reply
            }
        };
        let written = match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await,
            Reply::Gated(bytes) => {
                let _ = gate.wait_for(|is_open| *is_open).await;
                stream.write_all(&bytes).await
            }
            Reply::InTwo(first, second) => {
                let _ = stream.write_all(&first).await;
                let _ = gate.wait_for(|is_open| *is_open).await;
                stream.write_all(&second).await
            }
            Reply::Never => {
                // Nothing else comes on this connection than its end.
                let _ = stream.read(&mut [0]).await;
                lock(&state).given_up += 1;
                return;
            }
            Reply::Closed => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The next request's head and framed body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let head = read_until(stream, buffer, b"\r\n\r\n").await?;
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let mut body = Vec::new();
        loop {
            let line = read_until(stream, buffer, b"\r\n").await?;
            let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            body.extend_from_slice(&line);
            body.extend_from_slice(&read_exactly(stream, buffer, size + 2).await?);
            if size == 0 {
                return Some((head, body));
            }
        }
    }
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    Some((head, read_exactly(stream, buffer, length).await?))
}

async fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(start) = buffer.windows(end.len()).position(|window| window == end) {
            let rest = buffer.split_off(start + end.len());
            return Some(std::mem::replace(buffer, rest));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    count: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < count {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let rest = buffer.split_off(count);
    Some(std::mem::replace(buffer, rest))
}
