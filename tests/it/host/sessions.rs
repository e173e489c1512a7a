//! Queues with sessions: each in its order, several side by side, given back.

use std::time::{Duration, Instant};

use nightshift_bus::{
    BusError, Message, ServiceBusClient, SessionReceiver, SessionReceiverOptions,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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

/// Accepts a session as soon as nobody has it.
async fn accept(client: &ServiceBusClient, id: &str) -> SessionReceiver {
    loop {
        let options = SessionReceiverOptions::default();
        match client.accept_session(QUEUE, id, options).await {
            Err(BusError::SessionCannotBeLocked { .. }) => tokio::task::yield_now().await,
            accepted => return accepted.unwrap(),
        }
    }
}

/// Has every message of a session delivered and abandoned as often as messages are tried together.
async fn fail_three_times(fixture: &Fixture, id: &str, count: usize) {
    let client = connect(&fixture.broker).await;
    let session = accept(&client, id).await;
    for _ in 0..3 {
        let mut messages = Vec::new();
        while messages.len() < count {
            let more = session.receive_messages(count - messages.len(), Duration::from_secs(20));
            messages.extend(more.await.unwrap());
        }
        session.abandon_messages(&messages).await.unwrap();
    }
    session.close().await;
    client.close().await;
}

/// A way to the broker that ends, for good, when the sender says so; and its connection string.
async fn way_that_can_be_cut(fixture: &Fixture) -> (watch::Sender<bool>, String) {
    let broker = fixture.broker.local_addr();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap();
    let (cut, is_cut) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut is_cut = is_cut.clone();
            tokio::spawn(async move {
                let pass = async {
                    let mut to = TcpStream::connect(broker).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut to).await
                };
                tokio::select! {
                    _ = is_cut.wait_for(|is_cut| *is_cut) => {}
                    _ = pass => {}
                }
            });
        }
    });
    let text = fixture.broker.connection_string();
    let text = text.replace(&broker.to_string(), &way.to_string());
    assert!(text.contains(&way.to_string()), "{text}");
    (cut, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_session_that_is_lost_in_mid_batch_nothing_more_is_begun() {
    let fixture = fixture(MANY, "wait").await;
    let (cut, way) = way_that_can_be_cut(&fixture).await;
    let fixture = fixture.setting("AzureWebJobsBus", &way);
    send(&fixture, &["a1", "a2", "a3"]).await;
    // Each is tried alone, one after the other.
    fail_three_times(&fixture, "a", 3).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    cut.send(true).unwrap();
    let client = connect(&fixture.broker).await;
    let thief = accept(&client, "a").await;
    fixture.go();
    until("the first to be finished in vain", || {
        stats(&host).lost_settlements > 0
    })
    .await;
    host.stop().await;
    assert_eq!(all_bodies(&fixture), ["a1"]);
    // Whoever has the session now goes on in its order.
    for name in ["a1", "a2", "a3"] {
        let next = thief.receive_messages(1, Duration::from_secs(20)).await;
        let next = next.unwrap().remove(0);
        assert_eq!(next.message.body, name.as_bytes());
        thief.complete_message(&next).await.unwrap();
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_ends_in_mid_batch() {
    let fixture = fixture(MANY, "ok").await;
    // Without renewal a turn is one call.
    options(
        &fixture,
        r#""maxConcurrentSessions": 1, "maxAutoLockRenewalDuration": "00:00:00""#,
    );
    send(&fixture, &["a1", "a2", "b1"]).await;
    fail_three_times(&fixture, "a", 2).await;
    fail_three_times(&fixture, "b", 1).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let all = all_bodies(&fixture);
    assert_eq!(of_session(&all, "a"), ["a1", "a2"]);
    assert_eq!(all[1], "b1", "{all:?}");
    let last = fixture.requests()[2].metadata("DeliveryCountArray");
    assert_eq!(last, serde_json::json!([4]), "an untried delivery counted");
    assert_eq!(stats(&host).lost_settlements, 0);
    host.stop().await;
}
