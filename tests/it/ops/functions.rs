//! Functions and schedules: paused, resumed, run, backfilled.

use super::*;

const SCHEDULE: &str = "housekeeping-schedule";

#[tokio::test]
async fn functions_are_listed_with_what_calls_them() {
    let console = Console::new().await;
    let functions = console.get("/functions").await.ok();
    let names = functions["items"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|item| item["name"].as_str().unwrap()).collect();
    assert!(
        names.is_sorted() && names.contains(&"admin-api"),
        "{names:?}"
    );
    let kind = |name: &str| {
        let mut items = functions["items"].as_array().unwrap().iter();
        let found = items.find(|item| item["name"] == name).unwrap();
        found["trigger"].clone()
    };
    assert_eq!(kind("plain-work")["queue"], "plain");
    assert_eq!(kind("holding-work")["has_sessions"], true);
    assert_eq!(kind(SCHEDULE)["kind"], "timer");
    assert_eq!(kind("admin-api")["route"], "ops/{*path}");
    let (kind, detail) = console.get("/functions/nothing").await.problem(404);
    assert_eq!(kind, "not-found");
    assert!(detail.contains("plain-work"), "{detail}");
    console.end().await;
}

#[tokio::test]
async fn a_function_is_paused_and_resumed_and_a_dry_run_changes_nothing() {
    let console = Console::new().await;
    let pause = "/functions/plain-work/pause";
    let said = console
        .post(pause, json!({"why": "just looking", "dry_run": true}))
        .await
        .ok();
    assert_eq!(
        (&said["changed"], &said["dry_run"]),
        (&json!(true), &json!(true))
    );
    assert!(said["queue"]["error"].is_string(), "no broker here: {said}");
    assert_eq!(console.audited().await, [""; 0]);
    assert_eq!(
        console
            .post(pause, json!({"why": "a bad deploy"}))
            .await
            .ok()["changed"],
        true
    );
    assert_eq!(
        console.post(pause, json!({"why": "again"})).await.ok()["changed"],
        false
    );
    let shown = console.get("/functions/plain-work").await.ok();
    assert_eq!(shown["paused"]["by"], "key:ada");
    assert_eq!(shown["paused"]["why"], "a bad deploy");
    console
        .deliver("plain-work", &[titled("a"), titled("b")])
        .await;
    let shown = console.get("/functions/plain-work").await.ok();
    assert_eq!(shown["waiting"], json!({"paused": 2}));
    let said = console
        .post("/functions/plain-work/resume", json!({"per_second": 10.0}))
        .await
        .ok();
    assert_eq!((&said["changed"], &said["held"]), (&json!(true), &json!(2)));
    assert_eq!(
        console.get("/functions/plain-work").await.ok()["waiting"],
        json!({"turn": 2})
    );
    assert_eq!(
        console.audited().await,
        [
            "key:ada function.pause plain-work",
            "key:ada function.pause plain-work",
            "key:ada function.resume plain-work",
        ]
    );
    let http = console
        .post("/functions/admin-api/pause", json!({"why": "x"}))
        .await;
    assert_eq!(http.problem(409).0, "conflict");
    for bad in [json!(0), json!(-1), json!(1e9), json!(1e-5)] {
        let said = console
            .post("/functions/plain-work/resume", json!({"per_second": bad}))
            .await;
        assert_eq!(said.problem(400).0, "bad-request");
    }
    console.end().await;
}

#[tokio::test]
async fn a_message_is_sent_once_for_each_request() {
    let console = Console::new().await;
    let payload: Value = serde_json::from_str(&notification(USER, "by hand")).unwrap();
    let run = json!({"payload": payload, "request": "night-1"});
    let path = "/functions/plain-work/run";
    let first = console.post(path, run.clone()).await.ok();
    assert_eq!(
        (&first["is_new"], &first["enqueued"]),
        (&json!(true), &json!(1))
    );
    let again = console.post(path, run).await.ok();
    assert_eq!(
        (&again["is_new"], &again["enqueued"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(first["key"], again["key"]);
    let sent = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    assert_eq!(sent.len(), 1);
    console.deliver("plain-work", &sent).await;
    let fate = format!("/messages/{}", first["key"].as_str().unwrap());
    assert_eq!(console.get(&fate).await.ok()["state"], "done");
    let refused = console
        .post(path, json!({"payload": {"no": "such thing"}}))
        .await;
    let (kind, detail) = refused.problem(400);
    assert_eq!(kind, "bad-request");
    assert!(
        detail.contains("plain-work would refuse this payload"),
        "{detail}"
    );
    assert_eq!(
        console.post(path, json!({})).await.problem(400).0,
        "bad-request"
    );
    assert_eq!(console.audited().await, ["key:ada function.run plain-work"]);
    console.end().await;
}

#[tokio::test]
async fn a_schedule_is_run_now_backfilled_and_paused() {
    let console = Console::new().await;
    let next = console
        .get(&format!("/schedules/{SCHEDULE}/next?count=3"))
        .await
        .ok();
    assert_eq!(next["runs"].as_array().unwrap().len(), 3);
    let run = format!("/functions/{SCHEDULE}/run");
    let unknown = console.post(&run, json!({})).await;
    assert_eq!(unknown.problem(404).0, "not-found", "it was never deployed");
    deploy(&console).await;
    let asked = json!({"request": "now-1"});
    assert_eq!(console.post(&run, asked.clone()).await.ok()["enqueued"], 1);
    assert_eq!(console.post(&run, asked).await.ok()["is_new"], false);
    let to = now() - chrono::TimeDelta::minutes(5);
    let from = to - chrono::TimeDelta::minutes(3);
    let backfill = format!("/functions/{SCHEDULE}/backfill");
    let mut asked = json!({"from": from, "to": to, "request": "fill-1", "dry_run": true});
    let dry = console.post(&backfill, asked.clone()).await.ok();
    assert_eq!(
        dry["enqueued"].as_u64().unwrap() + dry["buffered"].as_u64().unwrap(),
        3
    );
    asked["dry_run"] = json!(false);
    let filled = console.post(&backfill, asked.clone()).await.ok();
    assert_eq!(filled["buffered"], dry["buffered"]);
    assert_eq!(console.post(&backfill, asked).await.ok()["is_new"], false);
    let ticks = console.all(&format!("/schedules/{SCHEDULE}/ticks")).await;
    let kinds = |kind: &str| ticks.iter().filter(|tick| tick["kind"] == kind).count();
    assert_eq!((kinds("run-now"), kinds("backfill")), (1, 3), "{ticks:?}");
    let future = json!({"from": now(), "to": now() + chrono::TimeDelta::days(1)});
    assert_eq!(
        console.post(&backfill, future).await.problem(400).0,
        "bad-request"
    );
    let pause = format!("/functions/{SCHEDULE}/pause");
    let paused = console
        .post(&pause, json!({"why": "maintenance"}))
        .await
        .ok();
    assert_eq!(paused["ticks"].as_array().unwrap().len(), 5);
    let listed = console.get("/schedules").await.ok();
    assert!(listed["items"][0]["paused_at"].is_string(), "{listed}");
    let resume = format!("/functions/{SCHEDULE}/resume");
    assert_eq!(console.post(&resume, json!({})).await.ok()["changed"], true);
    assert_eq!(
        console.audited().await,
        [
            "key:ada schedule.run housekeeping-schedule",
            "key:ada schedule.backfill housekeeping-schedule",
            "key:ada schedule.pause housekeeping-schedule",
            "key:ada schedule.resume housekeeping-schedule",
        ]
    );
    console.end().await;
}

/// A wake-up, as after a deployment.
async fn deploy(console: &Console) {
    let call = nightshift_handler::Call::new(
        "deploy".to_owned(),
        Duration::from_secs(10),
        None,
        now(),
        tokio_util::sync::CancellationToken::new(),
    );
    let woken = console.app.invoke(SCHEDULE, b"{}", &call).await;
    woken.unwrap().unwrap();
    // The wake-up may have met a tick, whose turn is not this test's.
    sqlx::query("UPDATE nightshift.schedule_tick SET state = 'done', ended_at = now()")
        .execute(console.database.pool())
        .await
        .unwrap();
}
