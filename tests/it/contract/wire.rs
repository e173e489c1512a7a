//! A handler inside the test: every byte that the host sends is kept, every byte that it gets back
//! is the test's.
//!
//! The host starts a process that does nothing, and is told (`customHandler.port`) that it listens
//! where this server does. The probe of `/` is answered and not counted as a call.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

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
    /// These bytes, and then the connection is closed.
    Last(Vec<u8>),
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
    probes: Vec<(Instant, Seen)>,
    /// How many more probes are left without an answer.
    deaf_for: usize,
    /// Every byte that came, in its order.
    arrived: Vec<u8>,
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
    server: JoinHandle<()>,
    /// Holds the port while nobody listens.
    reserved: Option<TcpSocket>,
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
            reserved: None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<Seen> {
        self.state().calls.clone()
    }

    /// The probes so far, and when each came.
    pub(super) fn probes(&self) -> Vec<(Instant, Seen)> {
        self.state().probes.clone()
    }

    /// Closes the connections of the next `count` probes without an answer.
    pub(super) fn be_deaf_for(&self, count: usize) {
        self.state().deaf_for = count;
    }

    /// Every byte that came so far, as text.
    pub(super) fn arrived(&self) -> String {
        String::from_utf8_lossy(&self.state().arrived).into_owned()
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

    /// Listens no more, and breaks off what is under way. The port stays taken, so that nobody
    /// else's server answers there.
    pub(super) async fn shut(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        // A process that another test has just started has a copy of the listener until it runs its
        // own program.
        until("the listener to be gone", || {
            socket.bind(([127, 0, 0, 1], self.port).into()).is_ok()
        })
        .await;
        self.reserved = Some(socket);
    }

    /// Listens again.
    pub(super) fn reopen(&mut self) {
        let listener = self.reserved.take().unwrap().listen(1_024).unwrap();
        let (state, gate) = (Arc::clone(&self.state), self.gate.subscribe());
        self.server = tokio::spawn(serve(listener, state, gate));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, gate: watch::Receiver<bool>) {
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = lock(&state);
            state.connections += 1;
            state.connections
        };
        let conversation = Conversation {
            stream,
            buffer: Vec::new(),
            state: Arc::clone(&state),
        };
        conversations.spawn(conversation.run(number, gate.clone()));
    }
}

/// One connection.
struct Conversation {
    stream: TcpStream,
    buffer: Vec<u8>,
    state: Arc<Mutex<State>>,
}

impl Conversation {
    /// Answers requests until the end of the connection.
    async fn run(mut self, connection: usize, gate: watch::Receiver<bool>) {
        while let Some((head, framed)) = self.request().await {
            let seen = Seen {
                head,
                framed,
                connection,
            };
            let reply = self.reply(seen);
            if self.answer(reply, gate.clone()).await.is_none() {
                return;
            }
        }
    }

    fn reply(&self, seen: Seen) -> Reply {
        let mut state = lock(&self.state);
        if seen.line() != "GET / HTTP/1.1" {
            let reply = state.script[state.calls.len().min(state.script.len() - 1)].clone();
            state.calls.push(seen);
            return reply;
        }
        state.probes.push((Instant::now(), seen));
        if state.deaf_for > 0 {
            state.deaf_for -= 1;
            return Reply::Closed;
        }
        // Closed, so that calls never meet a connection that is being shut.
        Reply::Last(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n".to_vec())
    }

    /// `None` when the connection is over.
    async fn answer(&mut self, reply: Reply, mut gate: watch::Receiver<bool>) -> Option<()> {
        match reply {
            Reply::Bytes(bytes) => self.write(&bytes).await,
            Reply::Gated(bytes) => {
                gate.wait_for(|is_open| *is_open).await.ok()?;
                self.write(&bytes).await
            }
            Reply::InTwo(first, second) => {
                self.write(&first).await?;
                gate.wait_for(|is_open| *is_open).await.ok()?;
                self.write(&second).await
            }
            Reply::Last(bytes) => {
                self.write(&bytes).await?;
                None
            }
            Reply::Never => {
                // Nothing else comes on this connection than its end.
                let _ = self.stream.read(&mut [0]).await;
                lock(&self.state).given_up += 1;
                None
            }
            Reply::Closed => None,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// The next request's head and framed body; `None` at the end of the connection.
    async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n").await?).unwrap();
        let lower = head.to_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            loop {
                let line = self.read_until(b"\r\n").await?;
                let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                body.extend_from_slice(&line);
                body.extend_from_slice(&self.read_exactly(size + 2).await?);
                if size == 0 {
                    return Some((head, body));
                }
            }
        }
        let mut lines = lower.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.trim().parse().unwrap());
        Some((head, self.read_exactly(length).await?))
    }

    async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let mut windows = self.buffer.windows(end.len());
            if let Some(start) = windows.position(|window| window == end) {
                return Some(self.take(start + end.len()));
            }
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Some(self.take(count))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    async fn fill(&mut self) -> Option<()> {
        let before = self.buffer.len();
        let count = self.stream.read_buf(&mut self.buffer).await.ok()?;
        lock(&self.state)
            .arrived
            .extend_from_slice(&self.buffer[before..]);
        (count > 0).then_some(())
    }
}
