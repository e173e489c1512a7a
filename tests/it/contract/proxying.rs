//! `enableProxyingHttpRequest`: a reverse proxy in front of the handler.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::wire::{Reply, Seen, answer};
use super::world::{WEB, World, ok, stats, until, web};
use crate::host::http_client::{ask, connect, get, read};

const REQUEST: &[u8] = b"GET /api/web/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn world(script: Vec<Reply>) -> World {
    let world = World::new(WEB, &web(r#", "route": "web/{*rest}""#), script).await;
    world.host_json("", r#", "enableProxyingHttpRequest": true"#);
    world
}

/// What the handler gets of a request with extra header lines (each ended by `\r\n`) and a body.
async fn proxied(line: &str, headers: &str, body: &str) -> Seen {
    let world = world(vec![ok()]).await;
    let host = world.start().await;
    ask(&host, line, headers, body).await;
    host.stop().await;
    world.wire.call(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn path_and_query_are_untouched() {
    let target = "/api/web/a%20b?a=1&b=2&a=3&c=%2c";
    let seen = proxied(&format!("GET {target}"), "", "").await;
    assert_eq!(seen.line(), format!("GET {target} HTTP/1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_wins_over_forwarding() {
    let world = world(vec![ok()]).await;
    let both = r#", "enableProxyingHttpRequest": true, "enableForwardingHttpRequest": true"#;
    world.host_json("", both);
    let host = world.start().await;
    get(&host, "/api/web/x?a=1&a=2").await;
    let seen = world.wire.call(1).await;
    assert_eq!(seen.line(), "GET /api/web/x?a=1&a=2 HTTP/1.1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_about_the_connection_stay_behind() {
    let headers = "Connection: X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-A: 1\r\n";
    let seen = proxied("GET /api/web/x", headers, "").await;
    for name in ["connection", "x-mine", "te", "keep-alive"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-a"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_told_in_x_forwarded_headers() {
    let seen = proxied("GET /api/web/x", "", "").await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invocation_ids_and_version_replace_the_callers() {
    let headers = "X-Azure-Functions-InvocationId: mine\r\nX-Azure-Functions-HostVersion: 1\r\n\
                   x-ms-invocation-id: mine\r\n";
    let seen = proxied("GET /api/web/x", headers, "").await;
    let id = seen.header("x-azure-functions-invocationid").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok());
    assert_eq!(seen.header("x-ms-invocation-id"), Some(id));
    assert_ne!(seen.header("x-azure-functions-hostversion"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_agent_is_kept() {
    let seen = proxied("GET /api/web/x", "User-Agent: me\r\n", "").await;
    assert_eq!(seen.header("user-agent"), Some("me"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_is_streamed() {
    let world = world(vec![ok()]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let head = "POST /api/web/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(b"5\r\nfirst\r\n").await.unwrap();
    until("the first part", || world.wire.arrived().contains("first")).await;
    caller.write_all(b"5\r\nother\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut caller).await.status, 200);
    assert_eq!(world.wire.call(1).await.body(), "firstother");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_streamed() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
    let world = world(vec![Reply::InTwo(head, b"other".to_vec())]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    caller.write_all(REQUEST).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"first") {
        assert!(caller.read_buf(&mut got).await.unwrap() > 0);
    }
    world.wire.open_gate();
    caller.read_to_end(&mut got).await.unwrap();
    assert!(got.ends_with(b"firstother"));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_500_of_the_handler_is_no_failure() {
    let world = world(vec![answer("500 No", &[], "why")]).await;
    let host = world.start().await;
    let answer = get(&host, "/api/web/x").await;
    assert_eq!((answer.status, &*answer.body), (500, "why"));
    assert_eq!(stats(&host, WEB).failures, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_relayed_and_not_followed() {
    let redirect = answer("302 Found", &["Location: /elsewhere"], "");
    let world = world(vec![redirect, ok()]).await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/web/x").await.status, 302);
    assert_eq!(world.wire.calls().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_again() {
    let mut world = world(vec![ok()]).await;
    let host = world.start().await;
    world.wire.shut().await;
    let mut caller = connect(&host).await;
    caller.write_all(REQUEST).await.unwrap();
    until("the call", || stats(&host, WEB).running == 1).await;
    world.wire.reopen();
    assert_eq!(read(&mut caller).await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_tries_with_growing_pauses_it_is_a_500() {
    let mut world = world(vec![ok()]).await;
    let host = world.start().await;
    world.wire.shut().await;
    let begun = Instant::now();
    assert_eq!(get(&host, "/api/web/x").await.status, 500);
    // 50, 100, 200 and six times 250 ms, and 250 ms in which a crash would be noticed. Nobody sees a
    // refused connection, so the tries themselves are counted in the tests of the host's forwarding.
    assert!(begun.elapsed() >= Duration::from_millis(2_100));
    assert_eq!(stats(&host, WEB).failures, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_begins_is_a_500() {
    let world = world(vec![Reply::Closed]).await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/web/x").await.status, 500);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_ends_the_call() {
    let world = world(vec![Reply::Never]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    caller.write_all(REQUEST).await.unwrap();
    world.wire.call(1).await;
    drop(caller);
    until("the end of the call", || world.wire.given_up() == 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_kills_the_handler_in_the_middle_of_its_answer() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
    let world = world(vec![Reply::InTwo(head, b"other".to_vec()), ok()]).await;
    world.host_json(
        r#", "functionTimeout": "00:00:01""#,
        r#", "enableProxyingHttpRequest": true"#,
    );
    let host = world.start().await;
    let answer = get(&host, "/api/web/x").await;
    assert_eq!((answer.status, &*answer.body), (200, "first"));
    until("a restart", || host.stats().handler.restarts == 1).await;
    assert_eq!(get(&host, "/api/web/x").await.status, 200);
    host.stop().await;
}
