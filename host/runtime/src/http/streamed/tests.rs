//! Answers that nobody reads.

use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::http1 as client;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::http::throttle::Place;
use crate::stats::Counters;

/// Short beside any machine's hiccup for the lower bounds that are asserted.
const PATIENCE: Duration = Duration::from_millis(50);

/// An answer's body that begins with `first` and has ten bytes, and where the others belong.
async fn answer() -> (Incoming, DuplexStream) {
    let (near, mut far) = duplex(1_024);
    let (mut sender, connection) = client::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::new(http_body_util::Empty::<Bytes>::new());
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    far.read_u8().await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        .await
        .unwrap();
    (answer.await.unwrap().unwrap().into_body(), far)
}

fn streamed(body: Incoming, counters: &Arc<Counters>, limits: Limits) -> StreamedBody {
    StreamedBody::new(body, Run::begin("f", counters, Place::default()), limits)
}

fn limits(deadline: Option<Duration>, idle: Duration) -> (Limits, [CancellationToken; 2]) {
    let tokens = [CancellationToken::new(), CancellationToken::new()];
    let [kill, cut] = tokens.clone();
    let limits = Limits {
        deadline: deadline.map(|limit| (Instant::now() + limit, limit)),
        idle: Some(idle),
        kill: Some(kill),
        cut,
    };
    (limits, tokens)
}

#[tokio::test]
async fn an_answer_that_stands_still_is_cut_off_without_a_kill() {
    let (body, _far) = answer().await;
    let counters = Arc::default();
    let (limits, [kill, cut]) = limits(None, PATIENCE);
    let mut body = streamed(body, &counters, limits);
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "first"
    );
    cut.cancelled().await;
    assert!(!kill.is_cancelled());
    assert_eq!(
        (counters.snapshot().running, counters.snapshot().failures),
        (0, 1)
    );
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_at_its_deadline_and_kills_the_handler() {
    let (body, _far) = answer().await;
    let counters = Arc::default();
    let (limits, [kill, cut]) = limits(Some(PATIENCE), Duration::from_hours(1));
    let body = streamed(body, &counters, limits);
    assert_eq!(counters.snapshot().running, 1);
    cut.cancelled().await;
    assert!(kill.is_cancelled());
    assert_eq!(
        (counters.snapshot().running, counters.snapshot().failures),
        (0, 1)
    );
    drop(body);
    assert_eq!(counters.snapshot().failures, 1);
}

#[tokio::test]
async fn an_answer_that_is_read_to_its_end_is_watched_no_more() {
    let (body, mut far) = answer().await;
    let counters = Arc::default();
    let hour = Duration::from_hours(1);
    let (limits, [kill, cut]) = limits(Some(hour), hour);
    let mut body = streamed(body, &counters, limits);
    far.write_all(b"other").await.unwrap();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    assert_eq!(
        (counters.snapshot().running, counters.snapshot().failures),
        (0, 0)
    );
    assert!(body.watch.is_none() && !kill.is_cancelled() && !cut.is_cancelled());
}
