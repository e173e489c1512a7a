//! Bodies that stand still.

use std::convert::Infallible;

use hyper::Request;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;

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
async fn a_body_that_the_handler_waits_for_in_vain_breaks_off() {
    let (body, mut far) = request().await;
    let mut body = PromptBody {
        patience: PATIENCE,
        ..PromptBody::new(SharedBody::new(body, 100))
    };
    far.write_all(b"first").await.unwrap();
    // Nobody asks for it in all this time, which is not the caller's fault.
    tokio::time::sleep(PATIENCE * 2).await;
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<BodyTooSlow>(), "{error}");
}
