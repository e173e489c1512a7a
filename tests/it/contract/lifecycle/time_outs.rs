//! Calls that take too long, and callers that do not wait.

use tokio::io::AsyncWriteExt;

use super::{STAYS, is_alive, scripted, served};
use crate::contract::wire::Reply;
use crate::contract::world::{WEB, WORK, World, ok, stats, until, web};
use crate::host::http_client::{connect, get, read};

const ONE_SECOND: &str = r#", "functionTimeout": "00:00:01""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_fails_the_invocation_and_kills_the_handler() {
    let world = served(STAYS, vec![Reply::Never, ok()]).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.drained().await;
    assert!(!is_alive(pid));
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (1, 1));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_fails_every_call_in_flight() {
    let world = scripted("hang\nhang\nok").await;
    world.host_json(ONE_SECOND, "");
    let host = world.start().await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut first = connect(&host).await;
    first.write_all(request).await.unwrap();
    until("the first call", || {
        world.read("requests").lines().count() == 1
    })
    .await;
    let mut second = connect(&host).await;
    second.write_all(request).await.unwrap();
    let (first, second) = tokio::join!(read(&mut first), read(&mut second));
    assert_eq!((first.status, second.status), (500, 500));
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    assert_eq!(host.stats().handler.restarts, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_time_out_the_handler_gets_the_same_port() {
    let world = scripted("hang\nok").await;
    world.host_json(ONE_SECOND, "");
    let host = world.start().await;
    let port = host.stats().handler.port;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    assert_eq!(
        (host.stats().handler.port, host.stats().handler.restarts),
        (port, 1)
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_are_not_counted_as_errors() {
    let mut replies = vec![Reply::Never; 3];
    replies.push(ok());
    let world = served(STAYS, replies).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (3, 3));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_out_reaches_a_handler_alive() {
    let world = served(STAYS, vec![Reply::Never, ok()]).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    until("the connection's end", || {
        let is_dead = !is_alive(pid);
        let is_closed = world.wire.given_up() == 1;
        assert!(is_dead || !is_closed, "the connection was closed first");
        is_closed
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_that_goes_away_reaches_the_handler() {
    let Reply::Bytes(good) = ok() else {
        unreachable!()
    };
    let world = World::new(WEB, &web(""), vec![Reply::Gated(good)]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let request = b"POST /api/Web HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
    caller.write_all(request).await.unwrap();
    world.wire.call(1).await;
    drop(caller);
    world.wire.open_gate();
    until("the call's end", || stats(&host, WEB).invocations == 1).await;
    assert_eq!(stats(&host, WEB).failures, 0);
    host.stop().await;
}
