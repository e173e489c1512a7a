//! Messages that functions send by their outputs.

use std::time::Duration;

use nightshift_bus::ReceiverOptions;

use super::fixture::{Fixture, SECOND_QUEUE, connect, stats, until};
use super::http_client::get;

/// The members of an output to the second queue, called `name`.
fn output(name: &str, more: &str) -> String {
    format!(
        r#"{{"type": "serviceBus", "direction": "out", "name": "{name}", "queueName": "%SECOND%",
            "connection": "Bus"{more}}}"#
    )
}

/// A trigger's end with one more binding behind it.
fn and(binding: &str) -> String {
    // The fixture closes the last binding itself.
    format!("}}, {}", binding.trim_end_matches('}'))
}

async fn fixture(trigger: &str) -> Fixture {
    Fixture::new(trigger, "file")
        .await
        .setting("SECOND", SECOND_QUEUE)
}

/// Takes `count` messages from the second queue and returns their bodies in order.
async fn sent(fixture: &Fixture, count: usize) -> Vec<String> {
    let client = connect(&fixture.broker).await;
    let receiver = client
        .create_receiver(SECOND_QUEUE, ReceiverOptions::default())
        .await
        .unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let more = receiver
            .receive_messages(count, Duration::from_secs(30))
            .await
            .unwrap();
        assert!(!more.is_empty(), "only {bodies:?} came");
        for message in more {
            bodies.push(String::from_utf8(message.message.body.to_vec()).unwrap());
            receiver.complete_message(&message).await.unwrap();
        }
    }
    assert_eq!(fixture.broker.counts(SECOND_QUEUE).unwrap().active, 0);
    client.close().await;
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn each_element_of_an_output_is_sent_before_the_message_is_completed() {
    let bindings = and(&[output("First", ""), output("$return", "")].join(", "));
    let fixture = fixture(&bindings).await;
    fixture.write(
        "answer",
        r#"{"Outputs": {"first": ["a", {"b": 1}], "unknown": "x"}, "ReturnValue": "aGk="}"#,
    );
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    assert_eq!(sent(&fixture, 3).await, ["a", "{\"b\":1}", "aGk="]);
    assert_eq!(stats(&host).failures, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sends_by_the_members_of_what_it_returns_and_strict_mode_decodes_base64() {
    let trigger = r#", "cardinality": "many", "dataType": "string""#;
    let fixture = fixture(&format!("{trigger}{}", and(&output("out", ""))))
        .await
        .setting("NIGHTSHIFT_HOST_MODE", "strict");
    fixture.write("answer", r#"{"ReturnValue": {"out": "aGk="}}"#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    assert_eq!(sent(&fixture, 1).await, ["hi"]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_fails_the_invocation_and_nothing_is_lost() {
    let fixture = fixture(&and(&output("out", "")))
        .await
        .setting("SECOND", "nobody");
    fixture.write("answer", r#"{"Outputs": {"out": "x"}}"#);
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    until("a failed invocation", || stats(&host).failures > 0).await;
    fixture.write("answer", "{}");
    fixture.drained().await;
    let requests = fixture.requests();
    let count = requests.last().unwrap().metadata("DeliveryCount");
    assert_eq!(count, requests.len());
    assert!(requests.len() > 1);
    assert_eq!(fixture.counts().dead_letter, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_and_requests_send_too_and_a_failed_send_is_an_error_to_the_caller() {
    let bindings =
        |trigger: &str, output: &str| format!(r#"{{"bindings": [{trigger}, {output}]}}"#);
    let timer =
        r#"{"type": "timerTrigger", "name": "t", "schedule": "0 0 0 1 1 *", "runOnStartup": true}"#;
    let web = r#"{"type": "httpTrigger", "name": "req", "authLevel": "anonymous"}, {"type": "http", "direction": "out", "name": "res"}"#;
    let fixture = Fixture::with_functions(
        &[
            ("tick", &bindings(timer, &output("out", ""))),
            ("web", &bindings(web, &output("out", ""))),
            (
                "broken",
                &bindings(web, &output("out", "").replace("%SECOND%", "nobody")),
            ),
        ],
        "file",
    )
    .await
    .setting("SECOND", SECOND_QUEUE);
    let answer = r#"{"Outputs": {"out": "x", "res": {"statusCode": 201}}}"#;
    fixture.write("answer", answer);
    let host = fixture.start().await;
    assert_eq!(sent(&fixture, 1).await, ["x"]);
    assert_eq!(get(&host, "/api/web").await.status, 201);
    assert_eq!(sent(&fixture, 1).await, ["x"]);
    assert_eq!(get(&host, "/api/broken").await.status, 500);
    host.stop().await;
}

#[tokio::test]
async fn a_wrong_output_is_refused_with_its_place() {
    let wrong = output("out", "").replace("\"Bus\"", "\"Bos\"");
    let fixture = Fixture::new(&and(&wrong), "ok").await;
    let problems = fixture.load().unwrap_err().to_string();
    let lines: Vec<&str> = problems.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{problems}");
    assert!(
        lines[0].ends_with("bindings[1].queueName: %SECOND% has no value: set SECOND"),
        "{problems}"
    );
    assert!(
        lines[1].contains("bindings[1].connection: the connection Bos has no value"),
        "{problems}"
    );
}
