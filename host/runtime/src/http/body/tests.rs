//! Bodies that stand still.

use std::convert::Infallible;

use hyper::Request;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;
use crate::http::throttle::Place;
use crate::stats::Counters;

/// Short beside any machine's hiccup for the lower bounds that are asserted.
const PATIENCE: Duration = Duration::from_millis(50);

/// A request's body of ten bytes, and where they have to be written.
async fn request() -> (Incoming, DuplexStream) {
    let (near, mut far) = duplex(1_024);
    let (sender, body) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.lock().unwrap().take().unwrap();
        sender.send(request.into_body()).unwrap();
        std::future::pending::<Result<Response<ReplyBody>, Infallible>>()
    });
    tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(near), service));
    far.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
        .await
        .unwrap();
    (body.await.unwrap(), far)
}

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

#[tokio::test]
async fn a_request_stands_still_when_nothing_has_come_for_its_patience() {
    let (body, mut far) = request().await;
    let mut body = SharedBody::new(body, 100);
    let begun = Instant::now();
    far.write_all(b"first").await.unwrap();
    let watched = body.clone();
    let standing = tokio::spawn(async move { watched.stands_still(PATIENCE).await });
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    standing.await.unwrap();
    assert!(begun.elapsed() >= PATIENCE);
}

#[tokio::test]
async fn an_answer_that_stands_still_breaks_off_without_a_kill() {
    let (body, _far) = answer().await;
    let (counters, kill) = (Arc::default(), CancellationToken::new());
    let limits = Limits {
        deadline: None,
        idle: Some(PATIENCE),
        kill: Some(kill.clone()),
    };
    let mut body = streamed(body, &counters, limits);
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "first"
    );
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<TooSlow>(), "{error}");
    assert!(!kill.is_cancelled());
}

#[tokio::test]
async fn an_answer_beyond_its_deadline_breaks_off_and_kills_the_handler() {
    let (body, _far) = answer().await;
    let (counters, kill) = (Arc::default(), CancellationToken::new());
    let limits = Limits {
        deadline: Some(Instant::now() + PATIENCE),
        idle: Some(Duration::from_hours(1)),
        kill: Some(kill.clone()),
    };
    let mut body = streamed(body, &counters, limits);
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<TooSlow>() && kill.is_cancelled());
}
