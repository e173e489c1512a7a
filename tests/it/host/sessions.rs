//! Queues with sessions: each in its order, several side by side, given back.

use std::time::{Duration, Instant};

use nightshift_bus::{Message, SessionReceiverOptions};

use super::fixture::{Fixture, QUEUE, Request, connect, stats, until};
use super::http_client::get;

const ONE: &str = r#", "isSessionsEnabled": true"#;
const MANY: &str = r#", "isSessionsEnabled": true, "cardinality": "many", "dataType": "string""#;

async fn fixture(trigger: &str, script: &str) -> Fixture {
    Fixture::with_queues(trigger, script, |queue| queue.requires_session(true)).await
}

/// Sends messages such as `a1`, whose session is the first letter.
async fn send(fixture: &Fixture, names: &[&str]) {
    let message = |name: &&str| Message::new(name.to_string()).with_session_id(&name[..1]);
    fixture
        .send_messages(names.iter().map(message).collect())
        .await;
}

fn options(fixture: &Fixture, section: &str) {
    fixture.host_json(&format!(
        r#", "extensions": {{"serviceBus": {{{section}}}}}"#
    ));
}

/// The bodies of an invocation.
fn bodies(request: &Request) -> Vec<String> {
    let data = request.body()["Data"]["orders"]
        .as_str()
        .unwrap()
        .to_owned();
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    match data {
        serde_json::Value::Array(bodies) => {
            let text = |body: &serde_json::Value| body.as_str().unwrap().to_owned();
            bodies.iter().map(text).collect()
        }
        body => vec![body.as_str().unwrap().to_owned()],
    }
}

fn all_bodies(fixture: &Fixture) -> Vec<String> {
    fixture.requests().iter().flat_map(bodies).collect()
}

fn of_session(names: &[String], session: &str) -> Vec<String> {
    let mut names = names.to_vec();
    names.retain(|name| name.starts_with(session));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_is_the_next_one_of_its_session_again() {
    let fixture = fixture(ONE, "ok\nstatus:500\nstatus:503\nok").await;
    options(
        &fixture,
        r#""maxConcurrentSessions": 1, "prefetchCount": 10"#,
    );
    send(&fixture, &["a1", "a2", "a3"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    assert_eq!(all_bodies(&fixture), ["a1", "a2", "a2", "a2", "a3"]);
    let request = &fixture.requests()[1];
    assert_eq!(request.body()["Metadata"]["SessionId"], "\"a\"");
    let stats = stats(&host);
    assert_eq!((stats.failures, stats.lost_settlements), (2, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_worked_on_side_by_side_and_each_in_its_order() {
    let fixture = fixture(ONE, "wait").await;
    send(&fixture, &["a1", "a2", "a3", "b1", "b2", "c1"]).await;
    let host = fixture.start().await;
    fixture.requests_made(3).await;
    let mut first = all_bodies(&fixture);
    first.sort();
    assert_eq!(first, ["a1", "b1", "c1"]);
    fixture.go();
    fixture.drained().await;
    let all = all_bodies(&fixture);
    assert_eq!(of_session(&all, "a"), ["a1", "a2", "a3"]);
    assert_eq!(of_session(&all, "b"), ["b1", "b2"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_at_a_time_and_the_next_when_it_is_empty() {
    let fixture = fixture(ONE, "wait").await;
    options(
        &fixture,
        r#""maxConcurrentSessions": 1, "sessionIdleTimeout": "00:00:00.05""#,
    );
    send(&fixture, &["a1", "b1", "a2"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    fixture.go();
    fixture.drained().await;
    assert_eq!(all_bodies(&fixture), ["a1", "a2", "b1"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_calls_for_one_session_run_beside_each_other() {
    let fixture = fixture(ONE, "wait").await;
    options(&fixture, r#""maxConcurrentCallsPerSession": 2"#);
    send(&fixture, &["a1", "a2", "a3"]).await;
    let host = fixture.start().await;
    fixture.requests_made(2).await;
    until("the third message to wait", || fixture.counts().locked == 2).await;
    assert_eq!(fixture.requests().len(), 2);
    fixture.go();
    fixture.drained().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_belongs_to_one_session_and_comes_again_as_it_was() {
    for mode in ["default", "strict"] {
        let fixture = fixture(MANY, "status:500\nok")
            .await
            .setting("NIGHTSHIFT_HOST_MODE", mode);
        options(
            &fixture,
            r#""maxConcurrentSessions": 1, "sessionIdleTimeout": "00:00:00.05""#,
        );
        send(&fixture, &["a1", "b1", "a2", "b2", "a3"]).await;
        let host = fixture.start().await;
        fixture.drained().await;
        let batches: Vec<_> = fixture.requests().iter().map(bodies).collect();
        let (a, b) = (vec!["a1", "a2", "a3"], vec!["b1", "b2"]);
        assert_eq!(batches, [a.clone(), a, b], "{mode}");
        let sessions = fixture.requests()[0].metadata("SessionIdArray");
        assert_eq!(sessions, serde_json::json!(["a", "a", "a"]));
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_message_that_fails_alone_nothing_of_its_batch_goes_on() {
    let fixture = fixture(MANY, "status:500\nstatus:500\nstatus:500\nstatus:500\nok").await;
    send(&fixture, &["a1", "a2"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    // Three times together; then alone, and the second is not tried before the first is done.
    let batches: Vec<_> = fixture.requests().iter().map(bodies).collect();
    let both = vec!["a1", "a2"];
    assert_eq!(batches[..3], [both.clone(), both.clone(), both]);
    assert_eq!(batches[3..], [vec!["a1"], vec!["a1"], vec!["a2"]]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_session_is_renewed_while_it_is_held() {
    let lock = Duration::from_secs(1);
    let change =
        |queue: nightshift_broker::QueueConfig| queue.requires_session(true).lock_duration(lock);
    let fixture = Fixture::with_queues(ONE, "wait", change).await;
    send(&fixture, &["a1"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let begun = Instant::now();
    until("three locks to pass", || {
        assert_eq!(fixture.requests().len(), 1);
        begun.elapsed() > 3 * lock
    })
    .await;
    fixture.go();
    fixture.drained().await;
    assert_eq!(fixture.requests().len(), 1);
    assert_eq!(stats(&host).lost_settlements, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_had_its_turn_is_given_back() {
    let fixture = fixture(ONE, "ok").await;
    // Without renewal a turn is one message.
    options(
        &fixture,
        r#""maxConcurrentSessions": 1, "maxAutoLockRenewalDuration": "00:00:00""#,
    );
    send(&fixture, &["a1", "a2", "b1", "b2", "a3"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let all = all_bodies(&fixture);
    assert_eq!(of_session(&all, "a"), ["a1", "a2", "a3"]);
    assert_eq!(of_session(&all, "b"), ["b1", "b2"]);
    let a_last = all.iter().position(|name| name == "a3").unwrap();
    let b_first = all.iter().position(|name| name == "b1").unwrap();
    assert!(b_first < a_last, "{all:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_sessions_back_with_what_was_not_worked_on() {
    let fixture = fixture(ONE, "wait").await;
    send(&fixture, &["a1", "a2", "b1"]).await;
    let host = fixture.start().await;
    fixture.requests_made(2).await;
    let stopping = tokio::spawn(host.stop());
    fixture.go();
    stopping.await.unwrap();
    let counts = fixture.counts();
    assert_eq!((counts.active, counts.locked, counts.removed), (1, 0, 2));
    let client = connect(&fixture.broker).await;
    let options = SessionReceiverOptions::default();
    let session = client.accept_session(QUEUE, "a", options).await.unwrap();
    let left = session
        .receive_messages(1, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(
        (&*left[0].message.body, left[0].delivery_count),
        (&b"a2"[..], 1)
    );
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_handler_breaks_no_order() {
    let fixture = fixture(ONE, "ok\ncrash\nok").await;
    send(&fixture, &["a1", "a2", "a3"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    assert_eq!(all_bodies(&fixture), ["a1", "a2", "a2", "a3"]);
    assert_eq!(host.stats().handler.restarts, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_counts_the_messages_of_all_sessions() {
    let fixture = fixture(ONE, "wait")
        .await
        .setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0");
    options(&fixture, r#""maxConcurrentSessions": 1"#);
    send(&fixture, &["a1", "a2", "b1", "c1"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let backlog = get(&host, "/admin/host/backlog").await;
    assert_eq!((backlog.status, &backlog.json()["total"]), (200, &4.into()));
    fixture.go();
    fixture.drained().await;
    host.stop().await;
}
