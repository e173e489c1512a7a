//! The host's own pages.

use std::time::Duration;

use nightshift_bus::Message;
use nightshift_time::{Clock, SystemClock};
use serde_json::json;

use super::fixture::{FUNCTION, Fixture, QUEUE, connect, until};
use super::http_client::{ask, get, raw};

/// A host with a function that messages trigger, and pages.
async fn fixture(script: &str) -> Fixture {
    Fixture::new("", script)
        .await
        .setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0")
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_host_tells_its_state_and_its_numbers() {
    let fixture = fixture("ok\nstatus:500\nok").await;
    fixture.send(&["{}", "{}"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let status = get(&host, "/admin/host/status").await.json();
    assert_eq!(
        (&status["state"], &status["version"]),
        (&"Running".into(), &"4.1052.200.0".into())
    );
    assert!(status["processUptime"].is_u64() && status["instanceId"].is_string());
    for request in ["GET /admin/host/ping", "POST /admin/host/ping"] {
        let answer = ask(&host, request, "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    assert_eq!(get(&host, "/healthz/live").await.status, 200);
    assert_eq!(get(&host, "/healthz/ready").await.status, 200);
    assert_eq!(
        get(&host, "/admin/functions").await.json()[0]["name"],
        FUNCTION
    );
    let path = format!("/admin/functions/{FUNCTION}/status");
    assert_eq!(
        get(&host, &path).await.json()["errors"],
        serde_json::json!([])
    );
    for path in [
        "/admin/functions/none",
        "/admin/elsewhere",
        "/admin",
        "/healthz",
        "/",
    ] {
        assert_eq!(get(&host, path).await.status, 404, "{path}");
    }
    let metrics = get(&host, "/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        "# TYPE nightshift_host_function_invocations_total counter",
        "nightshift_host_function_invocations_total{function=\"orders-work\"} 3",
        "nightshift_host_function_failures_total{function=\"orders-work\"} 1",
        "nightshift_host_function_messages_total{function=\"orders-work\"} 3",
        "nightshift_host_function_running{function=\"orders-work\"} 0",
        "nightshift_host_function_listening{function=\"orders-work\"} 1",
        "nightshift_host_handler_ready 1",
    ] {
        assert!(
            metrics.body.lines().any(|found| found == line),
            "{line}\n{}",
            metrics.body
        );
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_run_by_hand() {
    let fixture = fixture("ok").await;
    let host = fixture.start().await;
    let path = format!("POST /admin/functions/{FUNCTION}");
    let answer = ask(&host, &path, JSON, r#"{"input": "{\"id\": 7}"}"#).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    let requests = fixture.requests_made(1).await;
    let data = requests[0].body()["Data"]["orders"].clone();
    assert_eq!(data, serde_json::json!(r#""{\"id\": 7}""#));
    for (path, headers, body, status) in [
        (&*path, JSON, "", 400),
        (&path, JSON, "null", 400),
        (&path, JSON, "{\"input\": 7}", 400),
        (&path, "", "{\"input\": \"\"}", 415),
        ("POST /admin/functions/none", JSON, "{}", 404),
    ] {
        assert_eq!(
            ask(&host, path, headers, body).await.status,
            status,
            "{path} {body}"
        );
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_receives_nothing_more_and_finishes_what_is_under_way() {
    let fixture = fixture("wait").await;
    fixture.host_json(r#", "extensions": {"serviceBus": {"maxConcurrentCalls": 1}}"#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let state = async || get(&host, "/admin/host/drain/status").await.json()["state"].clone();
    assert_eq!(state().await, "Disabled");
    assert_eq!(
        ask(&host, "POST /admin/host/drain", "", "").await.status,
        202
    );
    assert_eq!(state().await, "InProgress");
    assert_eq!(get(&host, "/healthz/ready").await.status, 503);
    assert_eq!(get(&host, "/healthz/live").await.status, 200);
    fixture.send(&["{}"]).await;
    fixture.go();
    until("the drain to end", || {
        host.stats().functions[FUNCTION].running == 0
    })
    .await;
    assert_eq!(state().await, "Completed");
    until("the first message to be completed", || {
        fixture.counts().removed == 1
    })
    .await;
    assert_eq!((fixture.counts().active, fixture.requests().len()), (1, 1));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_need_the_master_key_but_health_needs_none() {
    let fixture = fixture("ok").await;
    fixture.write("keys/host.master", "mm");
    fixture.write("keys/host.function.a", "hh");
    let folder = fixture.path("keys").display().to_string();
    let fixture = fixture.setting("NIGHTSHIFT_HOST_KEYS_DIR", &folder);
    let host = fixture.start().await;
    for path in [
        "/admin/host/status",
        "/admin/functions",
        "/metrics",
        "/admin/none",
    ] {
        assert_eq!(get(&host, path).await.status, 401, "{path}");
        assert_eq!(
            get(&host, &format!("{path}?code=hh")).await.status,
            401,
            "{path}"
        );
        assert_ne!(
            get(&host, &format!("{path}?code=mm")).await.status,
            401,
            "{path}"
        );
    }
    assert_eq!(
        ask(&host, "POST /admin/host/drain", "", "").await.status,
        401
    );
    for path in ["/admin/host/ping", "/healthz/live", "/healthz/ready"] {
        assert_eq!(get(&host, path).await.status, 200, "{path}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_web_page_may_use_the_admin_pages() {
    let fixture = fixture("ok").await;
    let host = fixture.start().await;
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(
        ask(&host, "POST /admin/host/drain", origin, "")
            .await
            .status,
        403
    );
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(raw(&host, rebound).await.status, 403);
    assert_eq!(get(&host, "/healthz/ready").await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_counts_what_waits_and_what_is_worked_on() {
    let fixture = fixture("wait").await;
    fixture.host_json(r#", "extensions": {"serviceBus": {"maxConcurrentCalls": 1}}"#);
    fixture.send(&["{}"; 120]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let backlog = get(&host, "/admin/host/backlog").await.json();
    assert_eq!(
        (&backlog["total"], &backlog["functions"][FUNCTION]),
        (&120.into(), &120.into())
    );
    fixture.go();
    fixture.drained().await;
    assert_eq!(get(&host, "/admin/host/backlog").await.json()["total"], 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_5000_messages_are_looked_at_for_the_backlog() {
    let fixture = fixture("wait").await;
    let client = connect(&fixture.broker).await;
    let sender = client.create_sender(QUEUE).await.unwrap();
    let later = SystemClock.now() + Duration::from_hours(24);
    for _ in 0..10 {
        let messages = (0..499).map(|_| Message::new("later")).collect();
        sender.schedule_messages(messages, later).await.unwrap();
    }
    fixture.send(&["{}"; 30]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let backlog = get(&host, "/admin/host/backlog").await;
    assert_eq!(backlog.status, 200, "{backlog:?}");
    assert_eq!(backlog.json()["total"], 10);
    fixture.go();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_whose_broker_is_away_is_named_in_the_backlog() {
    // Nobody listens there once the listener is gone.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = away.local_addr().unwrap();
    drop(away);
    let fixture = fixture("wait").await.setting(
        "Away",
        &format!(
            "Endpoint=sb://{address};SharedAccessKeyName=n;SharedAccessKey=k;\
             UseDevelopmentEmulator=true"
        ),
    );
    fixture.write(
        "lost/function.json",
        r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m", "queueName": "q",
            "connection": "Away"}]}"#,
    );
    fixture.send(&["{}"; 7]).await;
    let host = fixture.start_unready();
    until("the server", || host.http_address().is_some()).await;
    let backlog = get(&host, "/admin/host/backlog").await;
    assert_eq!(backlog.status, 200, "{backlog:?}");
    assert_eq!(
        (&backlog.json()["functions"], &backlog.json()["failed"]),
        (&json!({FUNCTION: 7}), &json!(["lost"]))
    );
    fixture.go();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_host_resumes() {
    let fixture = fixture("ok").await;
    let host = fixture.start().await;
    assert_eq!(
        ask(&host, "POST /admin/host/drain", "", "").await.status,
        202
    );
    until("the listener to stop", || {
        !host.stats().functions[FUNCTION].is_listening
    })
    .await;
    fixture.send(&["{}"]).await;
    assert_eq!(fixture.counts().active, 1);
    let resumed = ask(&host, "POST /admin/host/resume", "", "").await;
    assert_eq!(
        (resumed.status, &resumed.json()["state"]),
        (200, &"Running".into())
    );
    fixture.drained().await;
    assert_eq!(fixture.requests().len(), 1);
    let status = get(&host, "/admin/host/drain/status").await.json();
    assert_eq!(status["state"], "Disabled");
    assert_eq!(get(&host, "/healthz/ready").await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_offline_and_comes_back() {
    let web = r#"{"bindings": [{"type": "httpTrigger", "name": "req", "authLevel": "anonymous"},
        {"type": "http", "direction": "out", "name": "res"}]}"#;
    let timer =
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "*/1 * * * * *"}]}"#;
    let fixture = Fixture::with_functions(&[("web", web), ("tick", timer)], "ok").await;
    let host = fixture.start().await;
    let set = async |state: &str| {
        let body = format!("\"{state}\"");
        ask(&host, "PUT /admin/host/state", JSON, &body)
            .await
            .status
    };
    assert_eq!(set("sleeping").await, 400);
    assert_eq!(
        ask(&host, "PUT /admin/host/state", JSON, "{}").await.status,
        400
    );
    assert_eq!(set("Running").await, 200);
    assert_eq!(get(&host, "/api/web").await.status, 200);
    assert_eq!(set("offline").await, 202);
    assert_eq!(set("offline").await, 200);
    assert_eq!(get(&host, "/api/web").await.status, 503);
    assert_eq!(
        get(&host, "/admin/host/status").await.json()["state"],
        "Offline"
    );
    assert_eq!(get(&host, "/healthz/ready").await.status, 503);
    assert_eq!(
        ask(&host, "POST /admin/host/resume", "", "").await.status,
        409
    );
    until("the timer to be left alone", || {
        !host.stats().functions["tick"].is_listening
    })
    .await;
    let ticks = host.stats().functions["tick"].invocations;
    assert_eq!(set("running").await, 202);
    assert_eq!(get(&host, "/api/web").await.status, 200);
    until("the timer to go on", || {
        host.stats().functions["tick"].invocations > ticks
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_runs_by_hand() {
    let fixture = fixture("wait").await;
    let host = fixture.start().await;
    let path = format!("POST /admin/functions/{FUNCTION}");
    assert_eq!(ask(&host, &path, JSON, "{}").await.status, 202);
    fixture.requests_made(1).await;
    let address = host.http_address().unwrap();
    let stopping = tokio::spawn(host.stop());
    // The server goes first; the run is still under way.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    fixture.go();
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, stopping)
        .await
        .unwrap()
        .unwrap();
    assert!(fixture.path("done").exists());
}
