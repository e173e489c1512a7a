//! Handlers that do everything wrong: each fault has an error of its own, and harms nothing else.

use std::time::{Duration, Instant};

use nightshift_runtime::HostExit;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::process::HostProcess;
use super::wire::{Reply, answer, json};
use super::world::{PATIENCE, WEB, WORK, World, ok, queue, stats, until, web};
use crate::host::http_client::{Answer, connect, connect_to, get, read};

const JSON: &str = "Content-Type: application/json";

const REQUEST: &[u8] = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

const ONE_SECOND: &str = r#", "functionTimeout": "00:00:01""#;

/// Answers that are wrong in both modes and for every trigger, and what is said of each.
fn wrong_answers() -> Vec<(Reply, &'static str)> {
    let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
    let last = |text: &str| Reply::Last(text.as_bytes().to_vec());
    vec![
        (last("garbage\r\n\r\n"), "the handler did not answer: "),
        (last("\0\u{1}\u{2}\r\n\r\n"), "the handler did not answer: "),
        (Reply::Closed, "the handler did not answer: "),
        (
            last(&format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(2_000_000)
            )),
            "the handler did not answer: ",
        ),
        (
            bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "the handler did not answer: ",
        ),
        (
            last("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"),
            "the handler's answer broke off: ",
        ),
        (
            last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
            "the handler's answer broke off: ",
        ),
        (
            answer("200 OK", &["Content-Type: text/plain"], "{}"),
            "the handler answered with content type \"text/plain\", where application/json is",
        ),
        (
            answer("200 OK", &[], "{}"),
            "the handler answered with content type \"none\"",
        ),
        (
            json("[]"),
            "the handler's answer is not an object with the members Outputs",
        ),
        (
            json("{\"Outputs\":"),
            "the handler's answer is not an object with the members Outputs",
        ),
        (
            json(r#"{"Logs": [{}]}"#),
            "the handler's answer is not an object with the members",
        ),
        (
            answer("404 Not Found", &[JSON], "{}"),
            "the handler answered with status 404 Not Found",
        ),
        (
            answer("500 No", &[JSON], "{}"),
            "the handler answered with status 500",
        ),
    ]
}

/// Answers that the default mode takes for wrong, or that only an HTTP function can give.
fn more_wrong_answers() -> Vec<(Reply, &'static str)> {
    vec![
        (
            json(""),
            "the handler answered with an empty body; answer a JSON object",
        ),
        (
            json("null"),
            "the handler answered with an empty body; answer a JSON object",
        ),
        (
            answer("307 Temporary Redirect", &["Location: /x", JSON], "{}"),
            "the handler answered with a redirect (307 Temporary Redirect), which this host",
        ),
        (
            json(&format!(
                "{{\"filler\": \"{}\"}}",
                "x".repeat(100 * 1024 * 1024)
            )),
            "the handler's answer is longer than 16777216 bytes",
        ),
        (
            json(r#"{"Outputs": {"res": {"statusCode": "fine"}}}"#),
            "the handler's answer has no usable output \"res\": statusCode is no number",
        ),
        (
            json(r#"{"Outputs": {"res": {"headers": {"a b": 1}}}}"#),
            "the handler's answer has no usable output \"res\": a header has a name or a value",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_answer_is_a_500_with_an_error_of_its_own_and_no_restart() {
    let mut cases = wrong_answers();
    cases.extend(more_wrong_answers());
    let mut script: Vec<Reply> = cases.iter().map(|case| case.0.clone()).collect();
    script.push(ok());
    let world = World::new(WEB, &web(""), script).await;
    let world = world.setting("NIGHTSHIFT_HOST_MODE", "default");
    let host = HostProcess::start(&world);
    let address = host.address().await;
    host.line("the host is ready").await;
    let ask = async || -> Answer {
        let mut caller = connect_to(address).await;
        caller.write_all(REQUEST).await.unwrap();
        read(&mut caller).await
    };
    let failures = || -> Vec<Value> {
        let is_failure = |line: &Value| line["message"] == "the invocation failed";
        host.lines().into_iter().filter(is_failure).collect()
    };
    for (index, (_, error)) in cases.iter().enumerate() {
        let answer = ask().await;
        assert_eq!((answer.status, &*answer.body), (500, ""), "{error}");
        until("the error", || failures().len() > index).await;
        let line = failures().swap_remove(index);
        assert!(
            line["error"].as_str().unwrap().starts_with(error),
            "{line}\n{error}"
        );
        assert_eq!(line["function.name"], WEB);
    }
    assert_eq!(ask().await.status, 200);
    let ready = host
        .lines()
        .into_iter()
        .filter(|line| line["message"] == "the handler is ready");
    assert_eq!(ready.count(), 1);
}

async fn gives_the_message_back(mode: &str, reply: Reply, error: &str) {
    let world = World::new(WORK, &queue(""), vec![reply, ok()]).await;
    let world = world.setting("NIGHTSHIFT_HOST_MODE", mode);
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let stats = stats(&host, WORK);
    assert_eq!(
        (stats.invocations, stats.failures),
        (2, 1),
        "{mode} {error}"
    );
    assert_eq!((world.counts().dead_letter, world.counts().removed), (0, 1));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_answer_gives_the_message_back() {
    let mut cases = JoinSet::new();
    for mode in ["strict", "default"] {
        for (reply, error) in wrong_answers() {
            cases.spawn(gives_the_message_back(mode, reply, error));
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

/// A call that is owed an answer, and a neighbour that gets one.
async fn call_and_neighbour(mode: &str, reply: Reply) -> (u16, u16, u64) {
    let world = World::new(WEB, &web(""), vec![reply, ok()]).await;
    let world = world.setting("NIGHTSHIFT_HOST_MODE", mode);
    world.host_json(ONE_SECOND, "");
    let host = world.start().await;
    let mut caller = connect(&host).await;
    caller.write_all(REQUEST).await.unwrap();
    world.wire.call(1).await;
    let neighbour = get(&host, "/api/Web").await.status;
    let begun = Instant::now();
    let status = read(&mut caller).await.status;
    assert!(begun.elapsed() < PATIENCE);
    let restarts = host.stats().handler.restarts;
    host.stop().await;
    (status, neighbour, restarts)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_a_500_after_function_timeout() {
    assert_eq!(
        call_and_neighbour("default", Reply::Never).await,
        (500, 200, 0)
    );
    let (status, neighbour, _) = call_and_neighbour("strict", Reply::Never).await;
    assert_eq!((status, neighbour), (500, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stands_still_is_a_500_after_function_timeout() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    let half = || Reply::InTwo(begun.to_vec(), b"}".to_vec());
    assert_eq!(call_and_neighbour("default", half()).await, (500, 200, 0));
    let (status, neighbour, _) = call_and_neighbour("strict", half()).await;
    assert_eq!((status, neighbour), (500, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_handler_is_refused_at_start_with_its_place() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    let described = |path: &str| {
        let text = format!(
            r#"{{"version": "2.0", "customHandler":
                {{"description": {{"defaultExecutablePath": "{path}"}}}}}}"#
        );
        world.write("host.json", &text);
        let root = world.root.path().display().to_string();
        world.load().unwrap_err().replace(&root, "APP")
    };
    world.write("not-executable", "#!/bin/sh\n");
    for (path, what) in [
        (
            "bin/absent",
            "APP/host.json: customHandler.description.defaultExecutablePath: there is no file \
             \"bin/absent\" in APP: build the handler first",
        ),
        (
            "",
            "customHandler.description.defaultExecutablePath: is empty: name the handler's",
        ),
        (
            "not-executable",
            "APP/not-executable is not executable: run chmod +x",
        ),
    ] {
        let problems = described(path);
        assert!(problems.contains(what), "{problems}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_cannot_be_run_is_told_so() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.write("handler", "#!/no/such/interpreter\n");
    let path = world.path("handler");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    let text = r#"{"version": "2.0", "customHandler":
        {"description": {"defaultExecutablePath": "handler"}}}"#;
    world.write("host.json", text);
    let host = world.start_unready();
    let exit = timeout(PATIENCE, host.wait()).await.unwrap();
    let HostExit::HandlerFailed(what) = exit else {
        panic!("{exit:?}")
    };
    assert!(what.contains("No such file or directory"), "{what}");
    assert!(what.contains(&path.display().to_string()), "{what}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_crashes_at_once_costs_no_message_and_is_tried_until_it_works() {
    let script = "[ -e fixed ] || exit 1\nexec sleep infinity\n";
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    let mut world = world
        .shell(script)
        .setting("NIGHTSHIFT_HOST_MODE", "default");
    world.wire.shut().await;
    world.send(&["hello"]).await;
    let host = world.start_unready();
    until("three restarts", || host.stats().handler.restarts >= 3).await;
    assert_eq!((world.counts().active, world.counts().locked), (1, 0));
    assert_eq!(get_page(&host, "/healthz/live").await, 200);
    assert_eq!(get_page(&host, "/healthz/ready").await, 503);
    world.write("fixed", "");
    world.wire.reopen();
    world.drained().await;
    let document = world.wire.call(1).await.document();
    assert_eq!(document["Metadata"]["DeliveryCount"], "1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_the_probe_with_garbage_is_told_so() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.host_json("", r#", "initializationTimeout": "00:00:00.2""#);
    world.wire.be_deaf_for(usize::MAX);
    let host = world.start_unready();
    let exit = timeout(PATIENCE, host.wait()).await.unwrap();
    let HostExit::HandlerFailed(what) = exit else {
        panic!("{exit:?}")
    };
    let place = format!("did not listen on 127.0.0.1:{} ", world.wire.port);
    assert!(what.contains(&place), "{what}");
    assert!(
        what.contains("what listens there did not answer GET /: "),
        "{what}"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_never_ready_costs_no_message_and_is_tried_again() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    let world = world.setting("NIGHTSHIFT_HOST_MODE", "default");
    world.host_json("", r#", "initializationTimeout": "00:00:00.2""#);
    world.wire.be_deaf_for(usize::MAX);
    world.send(&["hello"]).await;
    let host = world.start_unready();
    until("three restarts", || host.stats().handler.restarts >= 3).await;
    assert_eq!((world.counts().active, world.counts().locked), (1, 0));
    world.wire.be_deaf_for(0);
    world.drained().await;
    let document = world.wire.call(1).await.document();
    assert_eq!(document["Metadata"]["DeliveryCount"], "1");
    host.stop().await;
}

async fn get_page(host: &nightshift_runtime::Host, path: &str) -> u16 {
    timeout(Duration::from_secs(10), get(host, path))
        .await
        .unwrap()
        .status
}
