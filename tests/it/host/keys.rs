//! The keys API.

use std::time::{Duration, Instant};

use nightshift_runtime::Host;
use serde_json::json;

use super::fixture::Fixture;
use super::http_client::{Answer, ask};

const WEB: &str = r#"{"bindings": [{"type": "httpTrigger", "name": "req"},
    {"type": "http", "direction": "out", "name": "res"}]}"#;

/// A host whose master key is `mm`.
async fn host() -> (Fixture, Host) {
    let fixture = Fixture::with_functions(&[("one", WEB), ("two", WEB)], "ok").await;
    fixture.write("keys/host.master", "mm");
    let folder = fixture.path("keys").display().to_string();
    let fixture = fixture.setting("NIGHTSHIFT_HOST_KEYS_DIR", &folder);
    let host = fixture.start().await;
    (fixture, host)
}

async fn admin(host: &Host, line: &str, body: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let line = format!("{method} /admin/{path}");
    ask(host, &line, "x-functions-key: mm\r\n", body).await
}

/// The status of a call of `function` with `key`.
async fn call(host: &Host, function: &str, key: &str) -> u16 {
    let headers = format!("x-functions-key: {key}\r\n");
    let line = format!("GET /api/{function}");
    ask(host, &line, &headers, "").await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_set_listed_and_taken_away() {
    let (fixture, host) = host().await;
    let none = admin(&host, "GET host/functionkeys", "").await;
    assert_eq!((none.status, none.json()), (200, json!({"keys": []})));
    let made = admin(&host, "POST host/keys/Default", "").await;
    assert_eq!(
        (made.status, &made.json()["name"]),
        (201, &json!("Default"))
    );
    let every = made.json()["value"].as_str().unwrap().to_owned();
    let set = admin(
        &host,
        "PUT functions/ONE/keys/own",
        r#"{"name": "own", "value": "k1"}"#,
    )
    .await;
    assert_eq!(
        (set.status, set.json()),
        (201, json!({"name": "own", "value": "k1"}))
    );
    for (function, key, status) in [
        ("one", "k1", 200),
        ("two", "k1", 401),
        ("one", &every, 200),
        ("two", &every, 200),
        ("two", "mm", 200),
        ("two", "none", 401),
    ] {
        assert_eq!(call(&host, function, key).await, status, "{function} {key}");
    }
    let again = admin(&host, "POST host/functionkeys/default", "").await;
    assert_eq!(again.status, 200);
    assert_ne!(again.json()["value"], every.as_str());
    assert_eq!(call(&host, "one", &every).await, 401);
    let list = admin(&host, "GET functions/one/keys", "").await.json();
    assert_eq!(list, json!({"keys": [{"name": "own", "value": "k1"}]}));
    let one = admin(&host, "GET functions/one/keys/OWN", "").await.json();
    assert_eq!(one["value"], "k1");
    let files = |name: &str| std::fs::read_to_string(fixture.path("keys").join(name));
    assert_eq!(files("functions.one.own").unwrap(), "k1");
    let gone = admin(&host, "DELETE functions/one/keys/own", "").await;
    assert_eq!(gone.status, 204);
    assert!(files("functions.one.own").is_err());
    assert_eq!(call(&host, "one", "k1").await, 401);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_can_be_changed_and_not_removed() {
    let (_fixture, host) = host().await;
    let shown = admin(&host, "GET host/systemkeys/_master", "").await;
    assert_eq!(shown.json()["value"], "mm");
    assert_eq!(
        admin(&host, "DELETE host/systemkeys/_master", "")
            .await
            .status,
        400
    );
    let changed = admin(&host, "POST host/systemkeys/_master", "").await;
    assert_eq!(changed.status, 200);
    assert_eq!(admin(&host, "GET host/status", "").await.status, 401);
    let headers = format!(
        "x-functions-key: {}\r\n",
        changed.json()["value"].as_str().unwrap()
    );
    let status = ask(&host, "GET /admin/host/status", &headers, "").await;
    assert_eq!(status.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_needs_the_master_key() {
    let (_fixture, host) = host().await;
    for (line, body, status) in [
        ("GET host/functionkeys/none", "", 404),
        ("DELETE host/functionkeys/none", "", 404),
        ("GET functions/none/keys", "", 404),
        ("PUT functions/none/keys/a", r#"{"value": "v"}"#, 404),
        ("POST host/keys", "", 405),
        ("PATCH host/keys/a", "", 405),
        ("GET host/keys/a/b", "", 404),
        ("POST host/keys/a%2Fb", "", 400),
        ("POST host/keys/.hidden", "", 400),
        ("PUT host/keys/a", "", 400),
        ("PUT host/keys/a", "[]", 400),
        ("PUT host/keys/a", r#"{"value": null}"#, 400),
        ("PUT host/keys/a", r#"{"value": "a b"}"#, 400),
        ("PUT host/keys/a", r#"{"value": ""}"#, 400),
        ("DELETE host/keys/_a", "", 400),
        ("PUT host/keys/_a", r#"{"value": "v"}"#, 400),
        ("POST functions/one/keys/_master", "", 400),
        ("PUT host/systemkeys/_a", r#"{"value": "v"}"#, 400),
    ] {
        assert_eq!(
            admin(&host, line, body).await.status,
            status,
            "{line} {body}"
        );
    }
    for line in ["GET /admin/host/keys", "POST /admin/functions/one/keys/a"] {
        assert_eq!(ask(&host, line, "", "").await.status, 401);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_there_are_no_keys_to_keep() {
    let fixture = Fixture::with_functions(&[("one", WEB)], "ok").await;
    let host = fixture.start().await;
    let answer = ask(&host, "POST /admin/host/keys/a", "", "").await;
    assert_eq!(answer.status, 409);
    assert!(answer.body.contains("NIGHTSHIFT_HOST_KEYS_DIR"));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_put_into_the_folder_are_found_and_lost_again() {
    let (fixture, host) = host().await;
    assert_eq!(call(&host, "one", "late").await, 401);
    fixture.write("keys/host.function.late", "late\n");
    becomes(&host, 200).await;
    fixture.write("keys/host.function.late", "over\n");
    becomes(&host, 401).await;
    fixture.write("keys/host.function.late", "late\n");
    becomes(&host, 200).await;
    std::fs::remove_file(fixture.path("keys/host.function.late")).unwrap();
    becomes(&host, 401).await;
    host.stop().await;
}

/// Waits until a call with the key `late` is answered with `status`.
async fn becomes(host: &Host, status: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while call(host, "one", "late").await != status {
        assert!(
            Instant::now() < deadline,
            "the answer does not become {status}"
        );
    }
}
