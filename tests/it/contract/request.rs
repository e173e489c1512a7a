//! The request that every invocation is.

use uuid::Uuid;

use super::wire::{Reply, Seen, answer, json};
use super::world::{WEB, WORK, World, ok, queue, stats, web};
use crate::host::http_client::get;

/// The handler's requests for messages that come one after another.
async fn requests(count: usize) -> Vec<Seen> {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    let host = world.start().await;
    for number in 1..=count {
        world.send(&["hello"]).await;
        world.wire.call(number).await;
        world.drained().await;
    }
    host.stop().await;
    world.wire.calls()
}

async fn request() -> Seen {
    requests(1).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_post_over_http_1_1_to_the_loopback_address() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    let call = world.wire.call(1).await;
    assert!(call.line().starts_with("POST /") && call.line().ends_with(" HTTP/1.1"));
    let address = format!("127.0.0.1:{}", world.wire.port);
    assert_eq!(call.header("host"), Some(&*address));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_path_is_the_functions_name_as_the_folder_is_spelt() {
    assert_eq!(request().await.line(), "POST /Orders-Work HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_path_has_no_route_prefix() {
    let world = World::new(WEB, &web(r#", "route": "a/b""#), vec![ok()]).await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/a/b").await.status, 200);
    assert_eq!(world.wire.call(1).await.line(), "POST /Web HTTP/1.1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_content_type_is_json_in_utf_8() {
    let kind = "application/json; charset=utf-8";
    assert_eq!(request().await.header("content-type"), Some(kind));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_body_is_chunked_without_a_content_length() {
    let request = request().await;
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert_eq!(request.header("content-length"), None);
    assert!(request.framed.ends_with(b"\r\n0\r\n\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_connection_is_kept_for_the_next_one() {
    let requests = requests(3).await;
    let first = requests[0].connection;
    assert!(requests.iter().all(|request| request.connection == first));
    assert_eq!(requests[0].header("connection"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_authenticates_nobody() {
    let request = request().await;
    for name in ["authorization", "x-functions-key", "cookie"] {
        assert_eq!(request.header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_invocation_id_is_a_guid_of_its_own() {
    let requests = requests(2).await;
    let id = |seen: &Seen| -> Uuid {
        let text = seen.header("x-azure-functions-invocationid").unwrap();
        text.parse().unwrap()
    };
    assert_ne!(id(&requests[0]), id(&requests[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_hosts_version() {
    let request = request().await;
    let version = request.header("x-azure-functions-hostversion").unwrap();
    let numbers: Vec<&str> = version.split('.').collect();
    assert_eq!((numbers.len(), numbers[0]), (4, "4"), "{version}");
    assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_user_agent_is_the_host_with_that_version() {
    let request = request().await;
    let version = request.header("x-azure-functions-hostversion").unwrap();
    let agent = format!("Azure-Functions-Host/{version}");
    assert_eq!(request.header("user-agent"), Some(&*agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_carries_no_traceparent() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let host = world.start().await;
    let headers = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    crate::host::http_client::ask(&host, "GET /api/Web", headers, "").await;
    assert_eq!(world.wire.call(1).await.header("traceparent"), None);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_no_other_headers() {
    let expected = [
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
        "x-azure-functions-hostversion",
        "x-azure-functions-invocationid",
    ];
    assert_eq!(request().await.header_names(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_body_has_the_members_data_and_metadata_only() {
    let document = request().await.document();
    let members: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(members, ["Data", "Metadata"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_forgotten() {
    let cookie = answer(
        "200 OK",
        &["Content-Type: application/json", "Set-Cookie: a=b"],
        "{}",
    );
    let world = World::new(WORK, &queue(""), vec![cookie]).await;
    let host = world.start().await;
    for number in 1..=2 {
        world.send(&["hello"]).await;
        assert_eq!(world.wire.call(number).await.header("cookie"), None);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_keeps_the_method_is_followed_with_the_body() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let redirect = answer(status, &["Location: /elsewhere?x=1"], "");
        let world = World::new(WORK, &queue(""), vec![redirect, ok()]).await;
        world.send(&["hello"]).await;
        let host = world.start().await;
        world.drained().await;
        let calls = world.wire.calls();
        assert_eq!(calls[1].line(), "POST /elsewhere?x=1 HTTP/1.1");
        assert_eq!(calls[1].framed, calls[0].framed);
        assert_eq!(calls[1].header_names(), calls[0].header_names());
        assert_eq!(stats(&host, WORK).failures, 0, "{status}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_redirect_is_followed_with_a_get() {
    for status in ["301 Moved Permanently", "302 Found", "303 See Other"] {
        let redirect = answer(status, &["Location: elsewhere"], "");
        let world = World::new(WORK, &queue(""), vec![redirect, ok()]).await;
        world.send(&["hello"]).await;
        let host = world.start().await;
        world.drained().await;
        let calls = world.wire.calls();
        assert_eq!(calls[1].line(), "GET /elsewhere HTTP/1.1", "{status}");
        assert_eq!(calls[1].header("transfer-encoding"), None);
        assert_eq!(calls[1].header("content-type"), None);
        assert_eq!(stats(&host, WORK).failures, 0, "{status}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifty_first_redirect_fails_the_invocation() {
    let redirect = answer("307 Temporary Redirect", &["Location: /again"], "");
    let mut script = vec![redirect; 51];
    script.push(ok());
    let world = World::new(WORK, &queue(""), script).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let calls = world.wire.calls();
    assert_eq!((calls.len(), stats(&host, WORK).failures), (52, 1));
    assert_eq!(calls[51].line(), "POST /Orders-Work HTTP/1.1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_100_mb_is_taken_whole() {
    let filler = "x".repeat(100 * 1024 * 1024);
    let Reply::Bytes(answer) = json(&format!(
        r#"{{"filler": "{filler}", "Outputs": {{"res": "end"}}}}"#
    )) else {
        unreachable!()
    };
    let world = World::new(WEB, &web(""), vec![Reply::Bytes(answer)]).await;
    let host = world.start().await;
    let answer = get(&host, "/api/Web").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "end"));
    host.stop().await;
}
