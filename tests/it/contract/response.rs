//! The handler's answer.

use super::wire::{Reply, answer, json};
use super::world::{WEB, WORK, World, ok, queue, stats, web, web_with_output};
use crate::host::http_client::{Answer, ask, get};

/// What a caller gets of a handler that answers with `body`.
async fn caller_gets(body: &str) -> Answer {
    through(&web(""), body).await
}

async fn through(function: &str, body: &str) -> Answer {
    let world = World::new(WEB, function, vec![json(body)]).await;
    let host = world.start().await;
    let answer = get(&host, "/api/Web").await;
    host.stop().await;
    answer
}

async fn res(output: &str) -> Answer {
    caller_gets(&format!(r#"{{"Outputs": {{"res": {output}}}}}"#)).await
}

/// Whether an invocation that is answered so succeeds.
async fn succeeds(reply: Reply) -> bool {
    let world = World::new(WORK, &queue(""), vec![reply, ok()]).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let failures = stats(&host, WORK).failures;
    host.stop().await;
    assert_eq!(world.wire.calls().len() as u64, failures + 1);
    failures == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn any_status_from_200_to_299_is_a_success() {
    for status in ["200 OK", "201 Created", "202 Accepted", "299 Odd"] {
        assert!(succeeds(answer(status, &["Content-Type: application/json"], "{}")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_status_fails_the_invocation() {
    for status in ["400 Bad", "404 Not Found", "500 No", "503 Not Now"] {
        assert!(!succeeds(answer(status, &["Content-Type: application/json"], "{}")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_type_is_application_json_or_text_json() {
    for kind in [
        "application/json",
        "text/json",
        "Application/JSON; charset=utf-8",
    ] {
        let header = format!("Content-Type: {kind}");
        assert!(succeeds(answer("200 OK", &[&header], "{}")).await, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_or_none_fails_the_invocation() {
    for headers in [
        &["Content-Type: text/plain"][..],
        &["Content-Type: application/xml"],
        &[],
    ] {
        assert!(
            !succeeds(answer("200 OK", headers, "{}")).await,
            "{headers:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_fails_the_invocation() {
    for body in ["[]", "1", "\"a\"", "{", "<p>"] {
        assert!(!succeeds(json(body)).await, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_names_ignore_case() {
    assert_eq!(
        caller_gets(r#"{"OUTPUTS": {"RES": "a b"}}"#).await.body,
        "a b"
    );
    assert_eq!(
        caller_gets(r#"{"outputs": {"res": {"STATUSCODE": 404}}}"#)
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_unknown_members_are_ignored() {
    assert!(succeeds(json(r#"{"Extra": [1], "Outputs": {}}"#)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_may_be_missing() {
    assert!(succeeds(json("{}")).await);
    assert!(succeeds(json(r#"{"Logs": ["x"]}"#)).await);
    assert!(succeeds(json(r#"{"ReturnValue": 1}"#)).await);
    assert!(
        succeeds(json(
            r#"{"Outputs": null, "Logs": null, "ReturnValue": null}"#
        ))
        .await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_among_the_logs_breaks_the_answer() {
    assert!(!succeeds(json(r#"{"Logs": [{}]}"#)).await);
    assert!(!succeeds(json(r#"{"Logs": [[]]}"#)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_scalar_among_the_logs_is_a_line() {
    assert!(succeeds(json(r#"{"Logs": [1, true, null, "x"]}"#)).await);
}

/// The time-out fails the invocation and has killed the handler.
async fn is_waited_for(body: &str) {
    let world = World::new(WORK, &queue(""), vec![json(body), ok()]).await;
    world.host_json(r#", "functionTimeout": "00:00:01""#, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.wire.call(1).await;
    assert_eq!(stats(&host, WORK).running, 1, "{body:?}");
    world.drained().await;
    let restarts = host.stats().handler.restarts;
    assert_eq!((stats(&host, WORK).failures, restarts), (1, 1), "{body:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_or_null_is_waited_for_until_the_time_out() {
    tokio::join!(
        is_waited_for(""),
        is_waited_for("null"),
        is_waited_for("  null\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_without_a_binding_is_ignored() {
    let answer = caller_gets(r#"{"Outputs": {"other": "x", "res": "a b"}}"#).await;
    assert_eq!((answer.status, &*answer.body), (200, "a b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_output_that_happens_to_be_base64_is_decoded() {
    for (text, decoded) in [
        ("aGVsbG8=", "hello"),
        ("aG Vs\\nbG8=", "hello"),
        ("", ""),
        ("hello", "hello"),
        ("aGVsbG8", "aGVsbG8"),
    ] {
        assert_eq!(res(&format!("\"{text}\"")).await.body, decoded, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_output_of_a_binary_binding_is_not_decoded() {
    let function = web_with_output("", r#""name": "res", "dataType": "binary""#);
    let answer = through(&function, r#"{"Outputs": {"res": "aGVsbG8="}}"#).await;
    assert_eq!(answer.body, "aGVsbG8=");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_flags_are_taken_as_they_are() {
    assert_eq!(res("7").await.body, "7");
    assert_eq!(res("true").await.body, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_value_goes_to_the_binding_named_return() {
    let function = web_with_output("", r#""name": "$return""#);
    let body = r#"{"ReturnValue": {"statusCode": 202, "body": "r"}}"#;
    let answer = through(&function, body).await;
    assert_eq!((answer.status, &*answer.body), (202, "r"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_that_binding_its_properties_are_outputs() {
    let answer = caller_gets(r#"{"ReturnValue": {"res": {"statusCode": 202}}}"#).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_output_has_a_status_a_body_and_headers() {
    let answer = res(r#"{"statusCode": 418, "body": "tea", "headers": {"X-A": "b"}}"#).await;
    assert_eq!(
        (answer.status, &*answer.body, answer.header("x-a")),
        (418, "tea", Some("b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_status_code_may_be_a_text() {
    assert_eq!(res(r#"{"statusCode": "404"}"#).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_status_is_hidden_by_the_missing_status_code() {
    assert_eq!(res(r#"{"status": 404}"#).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_as_its_body_is_json_of_no_type() {
    let answer = res(r#"{"body": {"a": 1}}"#).await;
    assert_eq!(answer.body, r#"{"a":1}"#);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let typed = r#"{"body": {"a": 1}, "headers": {"content-type": "application/json"}}"#;
    assert_eq!(
        res(typed).await.header("content-type"),
        Some("application/json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_body_is_empty() {
    assert_eq!(res(r#"{"statusCode": 200}"#).await.body, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_http_output_is_an_empty_object() {
    let answer = caller_gets("{}").await;
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_header_in_two_spellings_one_is_left() {
    let world = World::new(
        WEB,
        &web(""),
        vec![json(
            r#"{"Outputs": {"res": {"headers": {"X-A": "1", "x-a": "2"}}}}"#,
        )],
    )
    .await;
    let host = world.start().await;
    let answer = get(&host, "/api/Web").await;
    assert_eq!(answer.all("x-a").len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_knows_no_cookies() {
    let answer = res(r#"{"body": "x", "cookies": [{"name": "a", "value": "b"}]}"#).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_negotiates_no_content() {
    let body = json(r#"{"Outputs": {"res": {"body": {"a": 1}}}}"#);
    let world = World::new(WEB, &web(""), vec![body]).await;
    let host = world.start().await;
    for accept in ["application/xml", "application/json", "text/html"] {
        let headers = format!("Accept: {accept}\r\n");
        let answer = ask(&host, "GET /api/Web", &headers, "").await;
        assert_eq!(answer.body, r#"{"a":1}"#);
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain"), "{accept} {kind}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_that_fails_is_a_500() {
    for reply in [
        answer("404 Not Found", &["Content-Type: application/json"], "{}"),
        answer("200 OK", &["Content-Type: text/plain"], "x"),
        Reply::Closed,
    ] {
        let world = World::new(WEB, &web(""), vec![reply]).await;
        let host = world.start().await;
        let answer = get(&host, "/api/Web").await;
        assert_eq!((answer.status, &*answer.body), (500, ""));
        host.stop().await;
    }
}
