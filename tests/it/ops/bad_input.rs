//! Requests that make no sense are told so, and change nothing.

use super::*;

#[tokio::test]
async fn queries_that_cannot_be_meant_are_refused_by_name() {
    let console = Console::new().await;
    for (path, part) in [
        ("/runs?limit=0", "limit must be 1 to 200"),
        ("/runs?limit=many", "limit: invalid digit"),
        ("/runs?limit=1&limit=2", "duplicate field `limit`"),
        ("/runs?sort=asc", "unknown field `sort`"),
        ("/runs?state=odd", "state: unknown variant `odd`"),
        ("/runs?from=yesterday", "from: "),
        (
            "/runs?from=-262143-01-01T00:00:00Z",
            "from must be in the years 1970 to 9999",
        ),
        (
            "/runs?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "must be before to",
        ),
        ("/runs?text=", "text must have 1 to 200 characters"),
        ("/runs?function=a%00b", "NUL"),
        (
            "/runs?cursor=abc",
            "cursor is none that this API has given out",
        ),
        ("/runs/xyz", "\"xyz\" is no key"),
        ("/messages?message_id=7", "message_id needs function"),
        (
            "/schedules/housekeeping-schedule/next?count=0",
            "count must be 1 to 1000",
        ),
    ] {
        let (kind, detail) = console.get(path).await.problem(400);
        assert_eq!(kind, "bad-request", "{path}");
        assert!(detail.contains(part), "{path}: {detail}");
    }
    console.end().await;
}

#[tokio::test]
async fn a_cursor_of_another_list_or_an_altered_one_is_refused() {
    let console = Console::new().await;
    let messages: Vec<TriggerMessage> = ["die 1", "die 2", "die 3"]
        .into_iter()
        .map(titled)
        .collect();
    console.deliver("plain-work", &messages).await;
    let page = console.get("/dead-letters?limit=1").await.ok();
    let cursor = page["next"].as_str().unwrap();
    console
        .get(&format!("/dead-letters?limit=2&cursor={cursor}"))
        .await
        .ok();
    let other = console
        .get(&format!("/dead-letters?reason=broken&cursor={cursor}"))
        .await;
    assert!(other.problem(400).1.contains("another list"));
    let other = console.get(&format!("/runs?cursor={cursor}")).await;
    assert!(other.problem(400).1.contains("another list"));
    let altered = console
        .get(&format!("/dead-letters?cursor={}", &cursor[1..]))
        .await;
    assert_eq!(altered.problem(400).0, "bad-request");
    console.end().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_and_change_nothing() {
    let console = Console::new().await;
    let path = "/functions/plain-work/pause";
    let long = "x".repeat(1001);
    for (body, part) in [
        (json!({"why": ""}), "why must say in 1 to 1000 characters"),
        (json!({"why": long}), "why must say in 1 to 1000 characters"),
        (json!({"why": 7}), "why: invalid type"),
        (json!({}), "missing field `why`"),
        (json!({"why": "x", "wy": 1}), "unknown field `wy`"),
        (json!([1]), "invalid"),
    ] {
        let (kind, detail) = console.post(path, body.clone()).await.problem(400);
        assert_eq!(kind, "bad-request", "{body}");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let send = |kind: &str, body: &'static [u8]| {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{ROOT}{path}"))
            .header("x-functions-key", ADMIN)
            .header("content-type", kind);
        console.send(request.body(Bytes::from_static(body)).unwrap())
    };
    let said = send("text/plain", b"{\"why\": \"x\"}").await;
    assert_eq!(said.problem(415).0, "unsupported-media-type");
    for body in [&b"{"[..], b"{\"why\": \"x\"} trailing", b"\xff", b"null"] {
        assert_eq!(
            send("application/json", body).await.problem(400).0,
            "bad-request"
        );
    }
    let long = Bytes::from(vec![b' '; (1 << 20) + 1]);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{ROOT}{path}"))
        .header("x-functions-key", ADMIN);
    let said = console.send(request.body(long).unwrap()).await;
    assert_eq!(said.problem(413).0, "too-large");
    let backslash = console
        .post(path, json!({"why": "a \\u0000 and a \0"}))
        .await;
    assert_eq!(backslash.ok()["changed"], true);
    let undo = json!({"function": "a\0", "why": "x"});
    let undo = console.post("/dead-letters/undo", undo).await;
    assert_eq!(undo.problem(404).0, "not-found");
    let (kind, detail) = console
        .ask(ADMIN, Method::DELETE, "/functions", &Value::Null)
        .await
        .problem(405);
    assert_eq!(kind, "method-not-allowed");
    assert!(detail.contains("takes GET, not DELETE"), "{detail}");
    assert_eq!(
        console.audited().await,
        ["key:ada function.pause plain-work"],
        "only what could be meant was done"
    );
    console.end().await;
}

#[tokio::test]
async fn while_the_database_is_away_what_needs_it_says_so_and_the_rest_answers() {
    let console = Console::new().await;
    console.database.pool().close().await;
    console.get("/openapi.json").await.ok();
    console.get("/settings").await.ok();
    let limits = console.get("/limits").await.ok();
    let error = limits["error"].as_str().unwrap();
    assert!(error.contains("the database cannot be used"), "{limits}");
    let health = console.get("/health").await.ok();
    assert_eq!(health["is_well"], false);
    assert_eq!(health["parts"][0]["name"], "database");
    assert!(
        health["parts"][0]["error"]
            .as_str()
            .unwrap()
            .contains("database"),
        "{health}"
    );
    let said = console.get("/runs").await;
    assert_eq!(said.response.headers()["retry-after"], "5");
    assert_eq!(said.problem(503).0, "unavailable");
    let said = console
        .post("/functions/plain-work/pause", json!({"why": "x"}))
        .await;
    assert_eq!(said.problem(503).0, "unavailable");
    console.database.remove().await;
}

#[tokio::test]
async fn what_the_database_is_too_slow_for_says_so_and_not_that_it_is_away() {
    let console = Console::new().await;
    let mut holding = console.database.pool().acquire().await.unwrap();
    for statement in [
        "BEGIN",
        "LOCK TABLE nightshift.dead_letter IN ACCESS EXCLUSIVE MODE",
    ] {
        sqlx::query(statement).execute(&mut *holding).await.unwrap();
    }
    let said = console.get("/dead-letters/groups").await;
    // To ask the same again would be as slow.
    assert!(!said.response.headers().contains_key("retry-after"));
    let (kind, detail) = said.problem(503);
    assert_eq!(kind, "unavailable");
    assert!(detail.contains("ask for less at a time"), "{detail}");
    sqlx::query("ROLLBACK")
        .execute(&mut *holding)
        .await
        .unwrap();
    drop(holding);
    console.get("/dead-letters/groups").await.ok();
    console.database.remove().await;
}
