//! Messages that an answer sends through a `serviceBus` output.

use super::wire::{Reply, answer, json};
use super::world::{WORK, World, ok, queue, stats};

/// `function.json` of a queue function whose output to the queue `next` has the members `output`.
fn function(output: &str) -> String {
    let binding = format!(
        r#", {{"type": "serviceBus", "direction": "out", "queueName": "next",
            "connection": "Bus", {output}}}]}}"#
    );
    queue("").replace("]}", &binding)
}

/// The bodies of what is sent for the handler's replies to one message, and how many invocations
/// failed.
async fn sent_by(output: &str, script: Vec<Reply>) -> (Vec<String>, u64) {
    let world = World::new(WORK, &function(output), script).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let failures = stats(&host, WORK).failures;
    host.stop().await;
    (world.sent().await, failures)
}

async fn sent(body: &str) -> Vec<String> {
    let (bodies, failures) = sent_by(r#""name": "next""#, vec![json(body)]).await;
    assert_eq!(failures, 0);
    bodies
}

async fn next(value: &str) -> Vec<String> {
    sent(&format!(r#"{{"Outputs": {{"next": {value}}}}}"#)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_a_message() {
    assert_eq!(next(r#""hello world""#).await, ["hello world"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_a_message_for_each_element() {
    assert_eq!(next(r#"["a b", "c d"]"#).await, ["a b", "c d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_looks_like_an_array_is_a_message_for_each_element() {
    assert_eq!(next(r#""[\"a b\", \"c d\"]""#).await, ["a b", "c d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_its_json() {
    let bodies = next(r#"{"a": [1, 2]}"#).await;
    assert_eq!(bodies.len(), 1);
    let document: serde_json::Value = serde_json::from_str(&bodies[0]).unwrap();
    assert_eq!(document, serde_json::json!({"a": [1, 2]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_happens_to_be_base64_is_decoded() {
    assert_eq!(next(r#""aGVsbG8=""#).await, ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_a_binary_binding_is_not_decoded() {
    let reply = json(r#"{"Outputs": {"next": "aGVsbG8="}}"#);
    let binding = r#""name": "next", "dataType": "binary""#;
    assert_eq!(
        sent_by(binding, vec![reply]).await,
        (vec!["aGVsbG8=".to_owned()], 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_value_goes_to_the_binding_named_return() {
    let reply = json(r#"{"ReturnValue": "a b", "Outputs": {"next": "c d"}}"#);
    let bodies = sent_by(r#""name": "$return""#, vec![reply]).await;
    assert_eq!(bodies, (vec!["a b".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_that_binding_its_properties_are_outputs() {
    assert_eq!(sent(r#"{"ReturnValue": {"next": "a b"}}"#).await, ["a b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_without_a_binding_sends_nothing() {
    assert!(sent(r#"{"Outputs": {"other": "a b"}}"#).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_a_failed_invocation_are_not_sent() {
    let failed = answer(
        "500 No",
        &["Content-Type: application/json"],
        r#"{"Outputs": {"next": "a b"}}"#,
    );
    let bodies = sent_by(r#""name": "next""#, vec![failed, ok()]).await;
    assert_eq!(bodies, (Vec::new(), 1));
}
