//! What the process writes, and what its answers want logged.

use super::{STAYS, served};
use crate::contract::process::HostProcess;
use crate::contract::wire::{answer, json};
use crate::contract::world::{WORK, ok};

/// What the host logs of these lines.
async fn logged(script: &str, more: &str, message: &str) -> (String, String) {
    let world = served(&format!("{script}\n{STAYS}"), vec![ok()]).await;
    world.host_json("", more);
    let host = HostProcess::start(&world);
    let line = host.line(message).await;
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("level"), text("log.category"))
}

fn console(level: &str) -> (String, String) {
    (level.to_owned(), "Host.Function.Console".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_standard_output_is_information() {
    assert_eq!(
        logged("echo an error", "", "an error").await,
        console("INFO")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_standard_error_is_errors() {
    assert_eq!(
        logged("echo hello >&2", "", "hello").await,
        console("ERROR")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_on_its_standard_error_is_one() {
    assert_eq!(
        logged("echo a Warning >&2", "", "a Warning").await,
        console("WARN")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_the_systems_prefix_is_the_systems() {
    let logged = logged("echo LanguageWorkerConsoleLog hello", "", "hello").await;
    assert_eq!(logged, ("INFO".to_owned(), "Host.System".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_the_tools_prefix_is_the_tools() {
    let logged = logged("echo azfuncjsonlog:hello", "", "hello").await;
    assert_eq!(logged, ("INFO".to_owned(), "Host.Tooling".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_an_answer_are_information_of_their_invocation() {
    let replies = vec![
        answer(
            "500 No",
            &["Content-Type: application/json"],
            r#"{"Logs": ["lost"]}"#,
        ),
        json(r#"{"Logs": ["kept", "second"]}"#),
    ];
    let world = served(STAYS, replies).await;
    world.send(&["hello"]).await;
    let host = HostProcess::start(&world);
    let line = host.line("kept").await;
    host.line("second").await;
    assert_eq!(
        (&line["level"], &line["function.name"]),
        (&"INFO".into(), &WORK.into())
    );
    let id = world.wire.call(2).await;
    let id = id.header("x-azure-functions-invocationid").unwrap();
    assert_eq!(line["invocation.id"], id);
    assert!(host.lines().iter().all(|line| line["message"] != "lost"));
}
