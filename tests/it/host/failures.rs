//! Whatever the handler does wrong, no message is lost, and it comes again at once.

use super::fixture::{Fixture, stats, until};

/// The first answer is `word`, the second is good: the message must come twice.
async fn comes_again_after(word: &str, mode: &str) {
    let fixture = Fixture::new("", &format!("{word}\nok"))
        .await
        .setting("NIGHTSHIFT_HOST_MODE", mode);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let counts: Vec<_> = fixture
        .requests()
        .iter()
        .map(|request| request.metadata("DeliveryCount"))
        .collect();
    assert_eq!(counts, [1, 2], "{word}");
    let stats = stats(&host);
    assert_eq!((stats.invocations, stats.failures), (2, 1), "{word}");
    assert_eq!(fixture.counts().dead_letter, 0, "{word}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_answer_gives_the_message_back() {
    for word in [
        "status:500",
        "status:404",
        "empty",
        "null",
        "array",
        "text",
        "redirect",
    ] {
        comes_again_after(word, "default").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_gives_the_message_back_and_a_new_handler_gets_it() {
    for mode in ["default", "strict"] {
        comes_again_after("crash", mode).await;
        comes_again_after("exit:200", mode).await;
    }
    comes_again_after("exit:0", "default").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_comes_again_as_a_whole() {
    let trigger = r#", "cardinality": "many", "dataType": "binary""#;
    let fixture = Fixture::new(trigger, "status:500\nok").await;
    fixture.send(&["a", "b", "c"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests[0].batch_size(), 3);
    let again: usize = requests[1..]
        .iter()
        .map(super::fixture::Request::batch_size)
        .sum();
    assert_eq!(again, 3);
    for request in &requests[1..] {
        for count in request.metadata("DeliveryCountArray").as_array().unwrap() {
            assert_eq!(count, 2);
        }
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_data_type_needs_json_bodies() {
    let fixture = Fixture::new(r#", "cardinality": "many""#, "ok").await;
    fixture.send(&["not JSON"]).await;
    let host = fixture.start().await;
    // The broker gives up after ten deliveries; the handler was never asked.
    until("a dead letter", || fixture.counts().dead_letter == 1).await;
    assert!(fixture.requests().is_empty());
    assert_eq!(stats(&host).failures, 10);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_complete_a_success_leaves_the_message_locked() {
    let fixture = Fixture::new(r#", "autoCompleteMessages": false"#, "ok").await;
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    until("one invocation", || stats(&host).invocations == 1).await;
    let counts = fixture.counts();
    assert_eq!((counts.active, counts.locked), (0, 1));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_the_time_limit_is_cancelled_alone() {
    let fixture = Fixture::new("", "hang\nok").await;
    fixture.host_json(r#", "functionTimeout": "00:00:01""#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].pid(), requests[1].pid());
    assert_eq!(host.stats().handler.restarts, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_the_time_limit_kills_the_handler_in_strict_mode() {
    let fixture = Fixture::new("", "hang\nok")
        .await
        .setting("NIGHTSHIFT_HOST_MODE", "strict");
    fixture.host_json(r#", "functionTimeout": "00:00:01""#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].pid(), requests[1].pid());
    assert_eq!(host.stats().handler.restarts, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_cannot_work_now_costs_no_delivery_count() {
    for (mode, expected) in [("default", [1, 1, 1]), ("strict", [1, 2, 3])] {
        let fixture = Fixture::new("", "status:503\nstatus:503\nok")
            .await
            .setting("NIGHTSHIFT_HOST_MODE", mode);
        fixture.send(&["{}"]).await;
        let host = fixture.start().await;
        fixture.drained().await;
        let counts: Vec<_> = fixture
            .requests()
            .iter()
            .map(|request| request.metadata("DeliveryCount"))
            .collect();
        assert_eq!(counts, expected, "{mode}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_several_times_is_tried_alone() {
    let trigger = r#", "cardinality": "many", "dataType": "binary""#;
    let fixture = Fixture::new(trigger, "status:500\ncrash\nstatus:500\nok").await;
    fixture.send(&["a", "b", "c", "d"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let mut alone = 0;
    for request in fixture.requests() {
        let counts = request.metadata("DeliveryCountArray");
        let tries = counts[0].as_u64().unwrap();
        if tries > 3 {
            assert_eq!(request.batch_size(), 1);
            alone += 1;
        }
    }
    assert!(alone > 0, "no message was tried four times");
    assert_eq!(fixture.counts().dead_letter, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_refused_several_times_is_tried_alone() {
    let trigger = r#", "cardinality": "many", "dataType": "binary""#;
    let refused = 6;
    let script = "status:503\n".repeat(refused) + "ok";
    let fixture = Fixture::new(trigger, &script).await;
    fixture.send(&["a", "b"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    let mut refusals = std::collections::BTreeMap::<i64, u32>::new();
    let mut alone = 0;
    for (number, request) in fixture.requests().iter().enumerate() {
        let counts = request.metadata("DeliveryCountArray");
        assert!(counts.as_array().unwrap().iter().all(|count| *count == 1));
        let messages = request.metadata("SequenceNumberArray");
        for message in messages.as_array().unwrap() {
            let count = refusals.entry(message.as_i64().unwrap()).or_default();
            if *count >= 3 {
                assert_eq!(request.batch_size(), 1);
                alone += 1;
            }
            *count += u32::from(number < refused);
        }
    }
    assert!(alone > 0, "no message was tried four times");
    host.stop().await;
}
