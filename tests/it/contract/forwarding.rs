//! `enableForwardingHttpRequest`: the caller's request for the handler, the handler's answer for
//! the caller.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::wire::{Reply, Seen, answer, json};
use super::world::{WEB, World, ok, stats, web};
use crate::host::http_client::{Answer, ask, connect, get, raw, read};

async fn world(script: Vec<Reply>) -> World {
    let world = World::new(WEB, &web(r#", "route": "web/{*rest}""#), script).await;
    world.host_json("", r#", "enableForwardingHttpRequest": true"#);
    world
}

/// What the handler gets of a request with extra header lines (each ended by `\r\n`) and a body.
async fn forwarded(line: &str, headers: &str, body: &str) -> Seen {
    let world = world(vec![ok()]).await;
    let host = world.start().await;
    ask(&host, line, headers, body).await;
    host.stop().await;
    world.wire.call(1).await
}

/// What the caller gets of an answer, and whether the invocation succeeded.
async fn relayed(reply: Reply) -> (Answer, bool) {
    let world = world(vec![reply]).await;
    let host = world.start().await;
    let answer = get(&host, "/api/web/x").await;
    let failures = stats(&host, WEB).failures;
    host.stop().await;
    (answer, failures == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_the_callers_with_its_prefix_and_query() {
    let seen = forwarded("GET /api/web/a%20b/c?x=1&y=2", "", "").await;
    assert_eq!(seen.line(), "GET /api/web/a%20b/c?x=1&y=2 HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_query_name_are_joined() {
    let seen = forwarded("GET /api/web/x?a=1&b=2&a=3", "", "").await;
    assert_eq!(seen.line(), "GET /api/web/x?a=1%2C3&b=2 HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_is_the_callers() {
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let seen = forwarded(&format!("{method} /api/web/x"), "", "").await;
        assert_eq!(seen.line(), format!("{method} /api/web/x HTTP/1.1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_are_the_callers_with_host_key_and_principal() {
    let headers = "X-A: 1\r\nx-functions-key: k\r\nX-MS-CLIENT-PRINCIPAL: p\r\n";
    let seen = forwarded("GET /api/web/x", headers, "").await;
    for (name, value) in [
        ("host", "localhost"),
        ("x-a", "1"),
        ("x-functions-key", "k"),
        ("x-ms-client-principal", "p"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_length_is_passed_on() {
    let seen = forwarded("POST /api/web/x", "Content-Type: a/b\r\n", "hello").await;
    assert_eq!(
        (seen.body().as_str(), seen.header("content-type")),
        ("hello", Some("a/b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_lost() {
    let world = world(vec![ok()]).await;
    let host = world.start().await;
    let request = "POST /api/web/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                   \r\n2\r\nhi\r\n0\r\n\r\n";
    assert_eq!(raw(&host, request).await.status, 200);
    assert_eq!(world.wire.call(1).await.body(), "");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocation_id_version_and_agent_are_added_to_the_callers() {
    let headers = "X-Azure-Functions-InvocationId: mine\r\n\
                   X-Azure-Functions-HostVersion: 1\r\nUser-Agent: me\r\n";
    let seen = forwarded("GET /api/web/x", headers, "").await;
    let ids = seen.all("x-azure-functions-invocationid");
    assert_eq!((ids.len(), ids[0]), (2, "mine"));
    assert!(uuid::Uuid::parse_str(ids[1]).is_ok());
    let versions = seen.all("x-azure-functions-hostversion");
    assert_eq!((versions.len(), versions[0]), (2, "1"));
    let agent = format!("me Azure-Functions-Host/{}", versions[1]);
    assert_eq!(seen.header("user-agent"), Some(&*agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_headers_and_body_of_the_answer_are_relayed() {
    let reply = answer(
        "418 I am",
        &["X-B: 1", "Set-Cookie: a", "Set-Cookie: b"],
        "tea",
    );
    let (answer, is_success) = relayed(reply).await;
    assert_eq!((answer.status, &*answer.body), (418, "tea"));
    assert_eq!(answer.header("x-b"), Some("1"));
    assert_eq!(answer.all("set-cookie"), ["a", "b"]);
    assert!(is_success);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_as_the_answer_means_nothing() {
    let body = r#"{"Outputs": {"res": {"statusCode": 404}}}"#;
    let (answer, _) = relayed(json(body)).await;
    assert_eq!((answer.status, &*answer.body), (200, body));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_relayed_when_it_is_whole() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
    let world = world(vec![Reply::InTwo(head, b"other".to_vec())]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let request = b"GET /api/web/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    world.wire.call(1).await;
    let early = timeout(Duration::from_millis(100), caller.read(&mut [0])).await;
    assert!(early.is_err(), "the caller got half an answer");
    world.wire.open_gate();
    assert_eq!(read(&mut caller).await.body, "firstother");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_relayed_and_not_followed() {
    let redirect = answer("302 Found", &["Location: /elsewhere"], "");
    let world = world(vec![redirect, ok()]).await;
    let host = world.start().await;
    let answer = get(&host, "/api/web/x").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("/elsewhere"))
    );
    assert_eq!(world.wire.calls().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_500_of_the_handler_is_no_failure() {
    let (answer, is_success) = relayed(answer("500 No", &[], "why")).await;
    assert_eq!((answer.status, &*answer.body), (500, "why"));
    assert!(is_success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_a_failure_and_a_500() {
    let mut world = world(vec![ok()]).await;
    let host = world.start().await;
    world.wire.shut().await;
    let answer = get(&host, "/api/web/x").await;
    assert_eq!((answer.status, &*answer.body), (500, ""));
    assert_eq!(stats(&host, WEB).failures, 1);
    host.stop().await;
}
