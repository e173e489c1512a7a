//! HTTP functions: routes, keys, both ways to the handler, limits, and hostile requests.

use std::time::Duration;

use nightshift_runtime::{FunctionStats, Host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{Fixture, until};
use super::http_client::{ask, connect, get, raw, read};

const FORWARD: &str = "AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest";
const PROXY: &str = "AzureFunctionsJobHost__customHandler__enableProxyingHttpRequest";

/// A function with a trigger that has the members `more`, and an output.
fn web(more: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "httpTrigger", "direction": "in", "name": "req",
             "authLevel": "anonymous"{more}}},
            {{"type": "http", "direction": "out", "name": "res"}}]}}"#
    )
}

async fn one(more: &str, script: &str) -> Fixture {
    Fixture::with_functions(&[("web", &web(more))], script).await
}

fn stats(host: &Host) -> FunctionStats {
    host.stats().functions["web"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_handler_in_an_envelope_and_its_output_is_the_answer() {
    let fixture = one(
        r#", "route": "orders/{id:int}/{kind?}", "methods": ["post"]"#,
        "file",
    )
    .await;
    fixture.write(
        "answer",
        r#"{"Outputs": {"res": {"statusCode": 201, "body": {"made": 7}, "headers": {"X-A": "b"}}},
            "Logs": ["made"]}"#,
    );
    fixture
        .host_json(r#", "extensions": {"http": {"customHeaders": {"X-Frame-Options": "DENY"}}}"#);
    let host = fixture.start().await;
    let headers = "Content-Type: application/json\r\nX-Nightshift-Deadline: 1\r\n\
                   X-MS-Client-Principal: forged\r\nTraceparent: 00-1-2-01\r\n";
    let answer = ask(
        &host,
        "POST /api/Orders/7?a=1&a=2+3",
        headers,
        r#"{"n": 5}"#,
    )
    .await;
    assert_eq!(
        (answer.status, answer.json()["made"].as_i64()),
        (201, Some(7))
    );
    assert_eq!(answer.header("x-a"), Some("b"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let requests = fixture.requests();
    let request = &requests[0];
    assert_eq!((request.path(), request.method()), ("/web", "POST"));
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert_eq!(request.header("traceparent"), Some("00-1-2-01"));
    assert!(
        request
            .header("x-nightshift-deadline")
            .unwrap()
            .ends_with('Z')
    );
    let body = request.body();
    let req = &body["Data"]["req"];
    assert_eq!(req["Url"], "http://localhost/api/Orders/7?a=1&a=2+3");
    assert_eq!(req["Method"], "POST");
    assert_eq!(req["Query"]["a"], "1,2 3");
    assert_eq!(req["Params"], serde_json::json!({"id": "7", "kind": null}));
    assert_eq!(req["Headers"]["Content-Type"][0], "application/json");
    assert!(req["Headers"].get("X-Nightshift-Deadline").is_none());
    assert!(req["Headers"].get("X-Ms-Client-Principal").is_none());
    assert_eq!(req["Body"], r#"{"n": 5}"#);
    assert_eq!(body["Metadata"]["n"], "\"5\"");
    assert_eq!(body["Metadata"]["sys"]["MethodName"], "web");
    for path in [
        "/api/orders/x",
        "/api/orders",
        "/orders/7",
        "/api/orders/7/a/b",
        "/",
    ] {
        assert_eq!(
            ask(&host, &format!("POST {path}"), "", "").await.status,
            404,
            "{path}"
        );
    }
    assert_eq!(get(&host, "/api/orders/7").await.status, 404);
    assert_eq!(
        ask(&host, "POST /api/orders/7/new/", "", "").await.status,
        201
    );
    assert_eq!((stats(&host).invocations, stats(&host).failures), (2, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_is_a_500_and_one_that_dies_is_started_again() {
    let fixture = one("", "status:503\ntext\nempty\ncrash\nfile").await;
    fixture.write("answer", r#"{"Outputs": {"res": {"body": "back"}}}"#);
    let host = fixture.start().await;
    for _ in 0..4 {
        assert_eq!(get(&host, "/api/web").await.status, 500);
    }
    let answer = get(&host, "/api/web").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "back"));
    assert_eq!((stats(&host).invocations, stats(&host).failures), (5, 4));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_own_request_is_forwarded_and_the_answer_relayed() {
    for (switch, mode) in [
        (FORWARD, "default"),
        (FORWARD, "strict"),
        (PROXY, "default"),
        (PROXY, "strict"),
    ] {
        let fixture = one("", "raw:418")
            .await
            .setting(switch, "true")
            .setting("NIGHTSHIFT_HOST_MODE", mode);
        let host = fixture.start().await;
        let headers = "User-Agent: me\r\nConnection: X-Drop\r\nX-Drop: 1\r\nTE: trailers\r\n\
                       X-Azure-Functions-InvocationId: forged\r\nX-Keep: 1\r\n";
        let request = format!(
            "PUT /api/web?b=1&a=2&b=3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: 5\r\n{headers}\r\nhello"
        );
        let answer = raw(&host, &request).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (418, "raw"),
            "{switch} {mode}"
        );
        assert_eq!(answer.header("x-from"), Some("handler"));
        assert_eq!(answer.header("x-hop"), None);
        let requests = fixture.requests();
        let seen = &requests[0];
        let is_whole = switch == FORWARD && mode == "strict";
        let target = if is_whole {
            "/api/web?a=2&b=1%2C3"
        } else {
            "/api/web?b=1&a=2&b=3"
        };
        assert_eq!((seen.method(), seen.path()), ("PUT", target));
        assert_eq!(
            (seen.raw_body(), seen.header("x-keep")),
            ("hello", Some("1"))
        );
        assert_eq!(seen.header("host"), Some("localhost"));
        assert!(seen.header("x-drop").is_none() && seen.header("te").is_none());
        let ids = seen.all_headers("x-azure-functions-invocationid");
        assert_eq!(ids.len(), if is_whole { 2 } else { 1 });
        assert!(uuid::Uuid::parse_str(ids[ids.len() - 1]).is_ok());
        let agent = seen.header("user-agent").unwrap();
        if switch == FORWARD {
            assert!(agent.starts_with("me Azure-Functions-Host/"), "{agent}");
        } else {
            assert_eq!(agent, "me");
            assert_eq!(seen.header("x-ms-invocation-id"), Some(ids[0]));
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        }
        assert_eq!(
            stats(&host).failures,
            0,
            "the handler's own status is no failure"
        );
        // A head has no body, whatever its length says.
        assert_eq!(
            ask(&host, "HEAD /api/web", "", "")
                .await
                .header("content-length"),
            Some("3")
        );
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_arrives_except_where_the_real_host_loses_it() {
    for (forwards, mode, arrives) in [
        ("true", "default", true),
        ("true", "strict", false),
        ("false", "default", true),
        ("false", "strict", false),
    ] {
        let fixture = one("", "ok")
            .await
            .setting(FORWARD, forwards)
            .setting("NIGHTSHIFT_HOST_MODE", mode);
        let host = fixture.start().await;
        let chunked = "POST /api/web HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                       \r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(raw(&host, chunked).await.status, 200);
        let requests = fixture.requests();
        let found = if forwards == "true" {
            requests[0].raw_body() == "abcde"
        } else {
            requests[0].body()["Data"]["req"]["Body"] == "abcde"
        };
        assert_eq!(found, arrives, "{forwards} {mode}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_they_are_for() {
    let level = |level: &str| web("").replace("anonymous", level);
    let functions = [
        ("open", &*level("anonymous")),
        ("closed", &level("function")),
        ("master", &level("admin")),
    ];
    let fixture = Fixture::with_functions(&functions, "ok").await;
    for (name, key) in [
        ("host.master", "mm"),
        ("host.function.a", "hh"),
        ("functions.closed.b", "cc"),
    ] {
        fixture.write(&format!("keys/{name}"), key);
    }
    let folder = fixture.path("keys").display().to_string();
    let fixture = fixture.setting("NIGHTSHIFT_HOST_KEYS_DIR", &folder);
    let host = fixture.start().await;
    for (function, key, status) in [
        ("open", "", 200),
        ("open", "wrong", 200),
        ("closed", "", 401),
        ("closed", "wrong", 401),
        ("closed", "hh", 200),
        ("closed", "cc", 200),
        ("closed", "mm", 200),
        ("master", "hh", 401),
        ("master", "cc", 401),
        ("master", "mm", 200),
    ] {
        let header = format!("x-functions-key: {key}\r\n");
        let path = format!("GET /api/{function}");
        assert_eq!(
            ask(&host, &path, &header, "").await.status,
            status,
            "{function} {key}"
        );
        let path = format!("/api/{function}?code={key}");
        assert_eq!(get(&host, &path).await.status, status, "{function} {key}");
    }
    // The header wins over the query.
    let both = ask(
        &host,
        "GET /api/closed?code=cc",
        "x-functions-key: no\r\n",
        "",
    )
    .await;
    assert_eq!(both.status, 401);
    get(&host, "/api/closed?code=cc").await;
    let last = fixture.requests().pop().unwrap().body();
    let claims = &last["Data"]["req"]["Identities"][0]["Claims"];
    assert_eq!(
        (&claims[0]["Value"], &claims[1]["Value"]),
        (&"Function".into(), &"b".into())
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_only_this_machine_by_its_name_is_answered() {
    let fixture =
        Fixture::with_functions(&[("web", &web("").replace("anonymous", "admin"))], "ok").await;
    let host = fixture.start().await;
    assert_eq!(get(&host, "/api/web").await.status, 200);
    let rebound = "GET /api/web HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(raw(&host, rebound).await.status, 403);
    host.stop().await;
    let fixture = fixture.setting("NIGHTSHIFT_HOST_LISTEN", "0.0.0.0:0");
    let host = fixture.start().await;
    assert_eq!(get(&host, "/api/web").await.status, 401);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_outstanding_requests_are_refused_and_more_than_the_concurrent_ones_wait() {
    let fixture = one("", "wait").await;
    fixture.host_json(
        r#", "extensions": {"http": {"maxOutstandingRequests": 2, "maxConcurrentRequests": 1}}"#,
    );
    let host = fixture.start().await;
    let request = b"GET /api/web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut first = connect(&host).await;
    first.write_all(request).await.unwrap();
    fixture.requests_made(1).await;
    // One of the next two waits for its turn, and there is no place for the other.
    let (mut second, mut third) = (connect(&host).await, connect(&host).await);
    second.write_all(request).await.unwrap();
    third.write_all(request).await.unwrap();
    let refused = tokio::select! {
        answer = read(&mut second) => answer,
        answer = read(&mut third) => answer,
    };
    assert_eq!(refused.status, 429);
    assert_eq!(fixture.requests().len(), 1);
    fixture.go();
    assert_eq!(read(&mut first).await.status, 200);
    fixture.requests_made(2).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_its_call_along_but_not_in_strict_mode() {
    for (mode, forwards) in [
        ("default", "true"),
        ("default", "false"),
        ("strict", "false"),
    ] {
        let fixture = one("", if mode == "strict" { "wait" } else { "watch" })
            .await
            .setting(FORWARD, forwards)
            .setting("NIGHTSHIFT_HOST_MODE", mode);
        let host = fixture.start().await;
        let mut caller = connect(&host).await;
        let request = b"POST /api/web HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
        caller.write_all(request).await.unwrap();
        fixture.requests_made(1).await;
        drop(caller);
        if mode == "strict" {
            fixture.go();
            until("the call to end", || stats(&host).invocations == 1).await;
            assert_eq!(stats(&host).failures, 0);
        } else {
            until("the call to be cancelled", || fixture.path("gone").exists()).await;
            until("the call to end", || stats(&host).failures == 1).await;
        }
        assert_eq!(stats(&host).running, 0);
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_its_time_is_a_500_and_harms_no_other() {
    for forwards in ["false", "true"] {
        let fixture = one("", "hang\nok").await.setting(FORWARD, forwards);
        fixture.host_json(r#", "functionTimeout": "00:00:01""#);
        let host = fixture.start().await;
        let pid = host.handler_pid();
        assert_eq!(get(&host, "/api/web").await.status, 500);
        assert_eq!(get(&host, "/api/web").await.status, 200);
        assert_eq!(host.handler_pid(), pid);
        host.stop().await;
    }
}

/// More than the buffers of a connection hold.
const LARGE: usize = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_its_caller_does_not_read_ends_with_its_time() {
    for switch in [FORWARD, PROXY] {
        let fixture = one("", "file\nok").await.setting(switch, "true");
        fixture.write("answer", &"x".repeat(LARGE));
        fixture.host_json(
            r#", "functionTimeout": "00:00:01",
                "extensions": {"http": {"maxOutstandingRequests": 1}}"#,
        );
        let host = fixture.start().await;
        let mut idler = connect(&host).await;
        let request = b"GET /api/web HTTP/1.1\r\nHost: localhost\r\n\r\n";
        idler.write_all(request).await.unwrap();
        until("the call to end", || stats(&host).failures == 1).await;
        assert_eq!(stats(&host).running, 0);
        assert_eq!(get(&host, "/api/web").await.status, 200, "{switch}");
        let mut read = Vec::new();
        // Cut off, with or without a reset.
        let _ = idler.read_to_end(&mut read).await;
        assert!(read.len() < LARGE);
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_a_413_whether_its_length_is_said_or_not() {
    for forwards in ["false", "true"] {
        let fixture = one("", "ok")
            .await
            .setting(FORWARD, forwards)
            .setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "10");
        let host = fixture.start().await;
        assert_eq!(
            ask(&host, "POST /api/web", "", &"x".repeat(10))
                .await
                .status,
            200
        );
        assert_eq!(
            ask(&host, "POST /api/web", "", &"x".repeat(11))
                .await
                .status,
            413
        );
        let chunked = "POST /api/web HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                       \r\nb\r\n01234567890\r\n0\r\n\r\n";
        assert_eq!(raw(&host, chunked).await.status, 413, "{forwards}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_two_servers_could_read_differently_are_refused() {
    let fixture = one(r#", "route": "{*rest}""#, "ok")
        .await
        .setting(FORWARD, "true");
    let host = fixture.start().await;
    let smuggled = "GET /api/admin HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (head, body) in [
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"),
        ("Content-Length: +3\r\n", "abc"),
        ("Content-Length: 3, 3\r\n", "abc"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "0\r\n\r\n",
        ),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Host: other\r\n", ""),
        ("X-Folded: a\r\n b\r\n", ""),
    ] {
        let request =
            format!("POST /api/x HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}{smuggled}");
        let answer = raw(&host, &request).await;
        assert_eq!(answer.status, 400, "{head}");
    }
    for line in [
        "GET /api/x/../y HTTP/1.1\r\nHost: localhost",
        "GET /api/%2e%2e/y HTTP/1.1\r\nHost: localhost",
        "GET /api/%zz HTTP/1.1\r\nHost: localhost",
        "GET /api/x HTTP/1.1",
        "GET http://other/api/x HTTP/1.1\r\nHost: localhost",
        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost",
        "GET /api/x HTTP/1.1\r\nHost: a b",
    ] {
        let answer = raw(&host, &format!("{line}\r\n\r\n{smuggled}")).await;
        assert_eq!(answer.status, 400, "{line}");
    }
    assert!(fixture.requests().is_empty());
    // A length beside chunks does not count, and ends the connection with this answer, so nothing
    // behind it is taken for a request.
    for head in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let request =
            format!("POST /api/x HTTP/1.1\r\nHost: localhost\r\n{head}\r\n0\r\n\r\n{smuggled}");
        let answer = raw(&host, &request).await;
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let requests = fixture.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.path() == "/api/x"));
    assert!(
        requests
            .iter()
            .all(|request| request.all_headers("content-length").is_empty())
    );
    let mut stream = connect(&host).await;
    let long = format!(
        "GET /api/x HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(300_000)
    );
    // The host may close the connection before it has everything, and with it its answer.
    let _ = stream.write_all(long.as_bytes()).await;
    let _ = stream.read(&mut [0; 64]).await;
    assert_eq!(fixture.requests().len(), 2);
    assert_eq!(get(&host, "/api/x").await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_requests_under_way() {
    let fixture = one("", "wait").await;
    let host = fixture.start().await;
    let mut caller = connect(&host).await;
    let request = b"GET /api/web HTTP/1.1\r\nHost: localhost\r\n\r\n";
    caller.write_all(request).await.unwrap();
    fixture.requests_made(1).await;
    let address = host.http_address().unwrap();
    let stopping = tokio::spawn(host.stop());
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fixture.go();
    assert_eq!(read(&mut caller).await.status, 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_routed_is_refused_with_its_place() {
    let bodies = [
        web(r#", "route": "o/{id}", "methods": ["GET", "PUT"]"#),
        web(r#", "route": "O/{key?}", "methods": ["put"]"#),
        web(r#", "route": "o/{id}", "methods": ["POST"]"#),
        web(r#", "route": "x/{id:whole}""#),
        web(r#", "route": "Administer""#),
        web(r#", "route": "%NOPE%", "methods": []"#),
        web(r#", "methods": ["FETCH"]"#),
        web("").replace("\"http\"", "\"htpp\""),
    ];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let functions: Vec<(&str, &str)> = names
        .into_iter()
        .zip(bodies.iter().map(String::as_str))
        .collect();
    let fixture = Fixture::with_functions(&functions, "ok").await;
    let problems = fixture.load().unwrap_err().to_string();
    let root = format!(
        "{}/",
        fixture.path("").display().to_string().trim_end_matches('/')
    );
    let lines: Vec<&str> = problems.lines().skip(1).map(str::trim).collect();
    let expected = [
        "d/function.json:2:49: bindings[0].route: the parameter \"id\": there is no constraint \"whole\"",
        "e/function.json:2:49: bindings[0].route: must not begin with \"admin\"",
        "f/function.json:2:49: bindings[0].route: %NOPE% has no value: set NOPE",
        "g/function.json:2:52: bindings[0].methods[0]: there is no method \"FETCH\"; expected GET",
        "h/function.json:3:22: bindings[1].type: \"htpp\" is not supported by this host yet",
        "b/function.json:2:49: bindings[0].route: PUT api/O/{key?} is the route of the function a, too",
    ];
    assert_eq!(lines.len(), expected.len(), "{problems}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(&format!("{root}{expected}")),
            "{line}\n{expected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_64_kib_is_refused_however_it_is_made_up() {
    let fixture = one("", "ok").await;
    let host = fixture.start().await;
    let headers = |count: usize, length: usize| {
        let header = |n| format!("X-{n}: {}\r\n", "x".repeat(length));
        (0..count).map(header).collect::<String>()
    };
    let path = |length: usize| format!("GET /api/web?{} HTTP/1.1", "q".repeat(length));
    for (line, headers, is_fine) in [
        (path(1), headers(60, 1_000), true),
        (path(1), headers(70, 1_000), false),
        (path(1), headers(1, 70_000), false),
        (path(40_000), headers(20, 1_500), false),
    ] {
        let request = format!("{line}\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let status = raw(&host, &request).await.status;
        let expected = if is_fine { 200 } else { 431 };
        assert_eq!(status, expected, "{} bytes", request.len());
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_handler_need_no_function_json() {
    const HANDLER: &str = "AzureFunctionsJobHost__customHandler__http__";
    let route = format!("{HANDLER}routes__0__route");
    let level = format!("{HANDLER}defaultAuthorizationLevel");
    let fixture = Fixture::with_functions(&[], "ok")
        .await
        .setting(PROXY, "true")
        .setting(&route, "{*path}")
        .setting(&level, "anonymous")
        .setting("AzureFunctionsJobHost__extensions__http__routePrefix", "v1");
    let host = fixture.start().await;
    assert_eq!(get(&host, "/v1/any/thing?x=1").await.status, 200);
    assert_eq!(get(&host, "/other").await.status, 404);
    let requests = fixture.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].method(), requests[0].path()),
        ("GET", "/v1/any/thing?x=1")
    );
    assert_eq!(host.stats().functions["http-handler1"].invocations, 1);
    host.stop().await;
}
