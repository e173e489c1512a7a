//! `nightshift invoke` against the real host, and against none.

use nightshift_testkit::TestDatabase;
use nightshift_tests::{Stack, StackOptions};

use super::*;
use crate::walking_skeleton::until;

/// What the command says on standard error when it fails with 1.
fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(code(&output), 1, "{output:?}");
    text(&output.stderr)
}

#[test]
fn a_host_that_is_not_there_and_an_address_that_is_none_are_told() {
    let checkout = Checkout::new();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let host = format!("http://127.0.0.1:{port}");
    let away = failure(&mut checkout.nightshift(&["invoke", "sample-door", "--host", &host]));
    assert!(
        away.contains(&host) && away.contains("nightshift up"),
        "{away}"
    );
    let by_setting = failure(
        checkout
            .nightshift(&["invoke", "sample-door"])
            .env("NIGHTSHIFT_HOST_LISTEN", format!("0.0.0.0:{port}")),
    );
    assert!(by_setting.contains(&host), "{by_setting}");
    let malformed = ["invoke", "sample-door", "--host", "localhost:7071"];
    let malformed = failure(&mut checkout.nightshift(&malformed));
    assert!(malformed.contains("http://127.0.0.1:7071"), "{malformed}");
}

#[tokio::test]
async fn functions_are_called_and_what_is_wrong_is_told() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("host.master"), "correct-horse\n").unwrap();
    let mut app = nightshift_tests::App::of_checkout();
    app.environment = vec![("NIGHTSHIFT_HOST_KEYS_DIR", keys.path().into())];
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    stack.start_host().unwrap();
    let host = stack.http_address().await.unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let invoke = |arguments: &[&str]| {
        let mut command = nightshift(&project, &["invoke", "--host", &host]);
        command.args(arguments);
        command
    };
    let dispatch = "notifications-dispatch";
    let without = failure(&mut invoke(&[dispatch]));
    assert!(
        without.contains("wants a key") && without.contains("host.master"),
        "{without}"
    );
    let wrong = keys.path().join("wrong");
    std::fs::write(&wrong, "battery").unwrap();
    let refused = failure(invoke(&[dispatch, "--key-file"]).arg(&wrong));
    assert!(refused.contains("does not take this key"), "{refused}");
    let with_key = |arguments: &[&str]| {
        let mut command = invoke(arguments);
        command.env("NIGHTSHIFT_HOST_KEYS_DIR", keys.path());
        command
    };
    let unknown = failure(&mut with_key(&["notifications-dispach"]));
    assert!(
        unknown.contains("did you mean notifications-dispatch?"),
        "{unknown}"
    );
    let no_sample = failure(&mut with_key(&[dispatch, "--sample", "other"]));
    assert!(no_sample.contains("other.sample.json"), "{no_sample}");
    let called = with_key(&["--json", dispatch]).output().unwrap();
    assert_eq!(code(&called), 0, "{called:?}");
    let called: serde_json::Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(
        (&called["function"], &called["status"]),
        (&dispatch.into(), &202.into())
    );
    let body = keys.path().join("body.json");
    std::fs::write(
        &body,
        nightshift_testkit::notification(nightshift_testkit::USER, "mine"),
    )
    .unwrap();
    let mine = with_key(&[dispatch, "--data", body.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(code(&mine), 0, "{mine:?}");
    until(
        database.pool(),
        "SELECT count(*) FROM nightshift.notification",
        2,
    )
    .await;
    // An HTTP function's own refusal is shown as it is.
    let refused = with_key(&["admin-api"]).output().unwrap();
    assert_eq!(code(&refused), 1);
    let said = text(&refused.stdout);
    assert!(
        said.starts_with("GET /api/ops: 401 Unauthorized\n{"),
        "{said}"
    );
    stack.stop().unwrap();
    database.remove().await;
}
