//! Damaged requests, byte by byte, on real connections: whatever comes, the host answers in HTTP or
//! hangs up, soon, and goes on serving others.
//!
//! What a round sends depends on its number alone.

use std::sync::Arc;
use std::time::Duration;

use nightshift_fuzz::{damage, generator};
use nightshift_runtime::Host;
use rand::Rng as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fixture::Fixture;
use super::http_client::{ask, connect};

const USUAL_ROUNDS: u64 = 2_000;
const MOST_ROUNDS: u64 = 100_000;

/// Connections at a time.
const LANES: u64 = 16;

/// How long a connection may stay open whose client has said all it has to say.
const PATIENCE: Duration = Duration::from_secs(20);

const SEEDS: [&str; 6] = [
    "GET /api/web?a=1&b=%20 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    "POST /api/web HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
     Content-Length: 8\r\n\r\n{\"a\": 1}",
    "POST /api/web HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
     4\r\n{\"a\"\r\n4\r\n: 1}\r\n0\r\n\r\n",
    "GET /admin/host/status HTTP/1.1\r\nHost: 127.0.0.1\r\nx-functions-key: k\r\n\r\n",
    "PUT /api/web HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    "GET /api/web HTTP/1.0\r\n\r\nGET /api/web HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

const TELLING: [&str; 26] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    "HTTP/1.1",
    "HTTP/9.9",
    "Content-Length: 5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Host: evil\r\n",
    "Connection: close\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade\r\n",
    "%00",
    "%2e%2e/",
    "/../",
    "ffffffffffffffff\r\n",
    "0\r\n\r\n",
    "é",
    "\u{1}",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "x-functions-key: ",
];

/// A round here costs a connection, not a microsecond, so a soak has fewer of them.
fn rounds() -> u64 {
    nightshift_fuzz::rounds(USUAL_ROUNDS).min(MOST_ROUNDS)
}

/// A damaged request; one in eight has a very long piece as well.
fn damaged(round: u64) -> Vec<u8> {
    let mut random = generator(0, round);
    let mut request = SEEDS[random.random_range(0..SEEDS.len())]
        .as_bytes()
        .to_vec();
    damage(
        &mut random,
        &mut request,
        &TELLING.map(str::as_bytes),
        &SEEDS,
    );
    if random.random_ratio(1, 8) {
        let at = random.random_range(0..=request.len());
        let many = random.random_range(1..100_000);
        request.splice(at..at, std::iter::repeat_n(b'a', many));
    }
    request
}

/// Sends one round's request, says no more, and reads until the host hangs up.
async fn send(host: &Host, round: u64) {
    let mut stream = connect(host).await;
    let request = damaged(round);
    // The host may hang up in the middle, or reset behind its answer.
    let _ = stream.write_all(&request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let shown = || String::from_utf8_lossy(&request).into_owned();
    assert!(ended.is_ok(), "round {round} hangs: {:?}", shown());
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "round {round}: {:?} is answered by {:?}",
        shown(),
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_requests_are_answered_or_cut_off_and_harm_nobody() {
    let web = r#"{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req",
        "authLevel": "anonymous"}, {"type": "http", "direction": "out", "name": "res"}]}"#;
    let fixture = Fixture::with_functions(&[("web", web)], "ok").await;
    let host = Arc::new(fixture.start().await);
    let handler = host.handler_pid();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let host = Arc::clone(&host);
        lanes.spawn(async move {
            for round in (lane..rounds()).step_by(usize::try_from(LANES).unwrap()) {
                send(&host, round).await;
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    assert_eq!(ask(&host, "POST /api/web", "", "{}").await.status, 200);
    assert_eq!(host.handler_pid(), handler);
    Arc::into_inner(host).unwrap().stop().await;
}
