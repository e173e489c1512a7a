//! How many messages, how many at a time.

use std::time::{Duration, Instant};

use nightshift_bus::ReceiverOptions;

use super::fixture::{Fixture, QUEUE, Request, connect, stats, until};

const MANY: &str = r#", "cardinality": "many", "dataType": "binary""#;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_are_each_completed_once() {
    let fixture = Fixture::new(MANY, "ok").await;
    fixture.host_json(r#", "extensions": {"serviceBus": {"prefetchCount": 1000}}"#);
    let bodies: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    fixture
        .send(&bodies.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let host = fixture.start().await;
    fixture.drained().await;
    until("all invocations to be counted", || {
        stats(&host).messages >= 10_000
    })
    .await;
    let mut seen: Vec<i64> = fixture
        .requests()
        .iter()
        .flat_map(|request| {
            let numbers = request.metadata("SequenceNumberArray");
            numbers
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_i64().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=10_000));
    assert_eq!(fixture.counts().removed, 10_000);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_to_its_count_and_its_bytes() {
    let fixture = Fixture::new(MANY, "ok")
        .await
        .setting("NIGHTSHIFT_HOST_BATCH_BYTES", "1000");
    fixture.host_json(r#", "extensions": {"serviceBus": {"maxMessageBatchSize": 3}}"#);
    let large = "x".repeat(600);
    let huge = "x".repeat(5_000);
    let mut bodies = vec![large.as_str(), &large, &huge, &large];
    bodies.extend(["s"; 7]);
    fixture.send(&bodies).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let requests = fixture.requests();
    assert!(requests.iter().all(|request| request.batch_size() <= 3));
    assert_eq!(requests.iter().map(Request::batch_size).sum::<usize>(), 11);
    for request in &requests {
        let bodies = request.body()["Data"]["orders"]
            .as_str()
            .unwrap()
            .to_owned();
        let bodies: Vec<String> = serde_json::from_str(&bodies).unwrap();
        let bytes: usize = bodies.iter().map(|body| body.len() / 4 * 3).sum();
        assert!(
            bodies.len() == 1 || bytes <= 1_000,
            "{} bodies, {bytes} bytes",
            bodies.len()
        );
    }
    host.stop().await;
}

/// Sends two messages, the second when the first is being worked on, and says whether the second
/// is worked on at the same time.
async fn second_runs_beside_first(trigger: &str, mode: &str) -> bool {
    let fixture = Fixture::new(trigger, "wait\nwait\nok")
        .await
        .setting("NIGHTSHIFT_HOST_MODE", mode);
    fixture.host_json(r#", "extensions": {"serviceBus": {"maxConcurrentCalls": 2}}"#);
    let host = fixture.start().await;
    fixture.send(&["1"]).await;
    fixture.requests_made(1).await;
    fixture.send(&["2"]).await;
    if trigger == MANY && mode == "strict" {
        // It must stay in the queue, so there is nothing to wait for but a third, fetched by
        // nobody either.
        fixture.send(&["3"]).await;
        until("two waiting messages", || fixture.counts().active == 2).await;
    } else {
        fixture.requests_made(2).await;
    }
    let count = fixture.requests().len();
    fixture.go();
    fixture.drained().await;
    host.stop().await;
    count == 2
}

#[tokio::test(flavor = "multi_thread")]
async fn two_batches_are_in_flight_by_default_and_one_in_strict_mode() {
    assert!(second_runs_beside_first(MANY, "default").await);
    assert!(!second_runs_beside_first(MANY, "strict").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_messages_run_beside_each_other_up_to_the_limit() {
    assert!(second_runs_beside_first("", "default").await);
    assert!(second_runs_beside_first("", "strict").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_is_waited_for() {
    let fixture = Fixture::new(MANY, "ok").await;
    fixture.host_json(
        r#", "extensions": {"serviceBus":
            {"minMessageBatchSize": 3, "maxBatchWaitTime": "00:00:30"}}"#,
    );
    let host = fixture.start().await;
    fixture.send(&["1"]).await;
    until("the first message to be taken", || {
        fixture.counts().locked == 1
    })
    .await;
    fixture.send(&["2"]).await;
    until("the second message to be taken", || {
        fixture.counts().locked == 2
    })
    .await;
    assert!(fixture.requests().is_empty());
    fixture.send(&["3"]).await;
    fixture.drained().await;
    assert_eq!(
        fixture
            .requests()
            .iter()
            .map(Request::batch_size)
            .collect::<Vec<_>>(),
        [3]
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_is_not_waited_for_beyond_its_time_nor_at_the_end() {
    let fixture = Fixture::new(MANY, "ok").await;
    let section = |wait| {
        format!(
            r#", "extensions": {{"serviceBus":
                {{"minMessageBatchSize": 3, "maxBatchWaitTime": "{wait}"}}}}"#
        )
    };
    fixture.host_json(&section("00:00:00.2"));
    let host = fixture.start().await;
    fixture.send(&["1"]).await;
    fixture.drained().await;
    host.stop().await;
    fixture.host_json(&section("00:02:00"));
    let host = fixture.start().await;
    fixture.send(&["2"]).await;
    until("the message to be taken", || fixture.counts().locked == 1).await;
    host.stop().await;
    let counts = fixture.counts();
    assert_eq!(counts.locked, 0);
    assert_eq!(counts.active + fixture.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_single_message_is_renewed_while_it_is_worked_on() {
    let lock = Duration::from_secs(1);
    let fixture = Fixture::with_queues("", "wait", |queue| queue.lock_duration(lock)).await;
    fixture.send(&["{}"]).await;
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
async fn without_renewal_a_lock_ends_and_the_message_comes_again() {
    let lock = Duration::from_secs(1);
    let fixture = Fixture::with_queues("", "wait", |queue| queue.lock_duration(lock)).await;
    fixture
        .host_json(r#", "extensions": {"serviceBus": {"maxAutoLockRenewalDuration": "00:00:00"}}"#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    let requests = fixture.requests_made(2).await;
    assert_eq!(requests[1].metadata("DeliveryCount"), 2);
    fixture.go();
    fixture.drained().await;
    host.stop().await;
}

/// Has every message delivered and abandoned as often as messages are tried together.
async fn fail_three_times(fixture: &Fixture, count: usize) {
    let client = connect(&fixture.broker).await;
    let options = ReceiverOptions::default();
    let receiver = client.create_receiver(QUEUE, options).await.unwrap();
    for _ in 0..3 {
        let mut messages = Vec::new();
        while messages.len() < count {
            let more = receiver.receive_messages(count - messages.len(), Duration::from_secs(20));
            messages.extend(more.await.unwrap());
        }
        receiver.abandon_messages(&messages).await.unwrap();
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_worked_on_at_once_goes_back_untried() {
    let fixture = Fixture::new(MANY, "wait").await;
    let count = 8;
    fixture.send(&["x"; 8]).await;
    fail_three_times(&fixture, count).await;
    let host = fixture.start().await;
    // Each is tried alone now, in two places. The lock of none runs out while it waits for one.
    fixture.requests_made(2).await;
    until("the others to be back", || {
        let counts = fixture.counts();
        (counts.active, counts.locked) == (count - 2, 2)
    })
    .await;
    fixture.go();
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), count);
    for request in &requests {
        let counts = request.metadata("DeliveryCountArray");
        assert_eq!(counts, serde_json::json!([4]));
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_lock_ended_while_it_waited_is_left_out_until_it_comes_again() {
    let lock = Duration::from_secs(1);
    let fixture = Fixture::with_queues("", "wait", |queue| queue.lock_duration(lock)).await;
    fixture.host_json(
        r#", "extensions": {"serviceBus": {"prefetchCount": 10, "maxConcurrentCalls": 1}}"#,
    );
    fixture.send(&["1", "2"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    until("both to be fetched", || fixture.counts().locked == 2).await;
    let begun = Instant::now();
    until("the second lock to end", || begun.elapsed() > lock).await;
    fixture.go();
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), 2, "the second was worked on twice");
    assert!(requests[1].metadata("DeliveryCount").as_u64() > Some(1));
    assert_eq!(stats(&host).lost_settlements, 0);
    host.stop().await;
}
