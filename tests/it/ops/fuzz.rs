//! The API against its own description: whatever a client sends, it gets an answer that the description
//! knows, and never one that says that the API has failed.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use nightshift_bus::Message;
use nightshift_settings::{Environment, Source};
use nightshift_tests::{App, Stack, StackOptions};
use tokio::process::Command;

use super::*;

/// How many requests are made up for each operation and phase: in every test run, and in the long one.
const EXAMPLES: u32 = 12;
const SOAK_EXAMPLES: u32 = 1_000;

/// What the fuzzer looks at. Not what becomes of methods that nobody describes: the host answers those, as
/// the Azure host does, and nobody comes here; nor what becomes of wrong keys: after ten of them nobody would be
/// heard any more.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,\
    missing_required_header";

/// Dead letters and runs.
async fn something_to_find(stack: &Stack, database: &TestDatabase) {
    let (client, sender) = stack.sender().await.unwrap();
    let broken = ["", "{}", "[1]", "{\"schema_version\": 9}"].map(Message::new);
    sender.send_messages(broken.to_vec()).await.unwrap();
    client.close().await;
    let pool = database.pool();
    let count = || sqlx::query_scalar("SELECT count(*) FROM nightshift.dead_letter");
    while count().fetch_one(pool).await.unwrap_or(0_i64) < 4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::query(
        "INSERT INTO nightshift.run (key, function, progress, report)
         SELECT gen_random_uuid(), 'some-work', '[1, \"two\"]', '{\"done\": true}'
         FROM generate_series(1, 5)",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_fuzzer_gets_no_answer_that_the_description_does_not_know() {
    let database = TestDatabase::create().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let app = App {
        environment: vec![
            ("NIGHTSHIFT_HOST_LISTEN", address.to_string().into()),
            (
                "NIGHTSHIFT_OPS_KEYS",
                format!("fuzzer:Admin:{ADMIN}").into(),
            ),
        ],
        ..App::of_checkout()
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    stack.start_host().unwrap();
    stack.handler_pid(None).await.unwrap();
    something_to_find(&stack, &database).await;
    let packages = Environment
        .get("NIGHTSHIFT_TEST_PYTHONPATH")
        .expect("NIGHTSHIFT_TEST_PYTHONPATH names the folder with schemathesis: run `make test`");
    let is_long = Environment.get("NIGHTSHIFT_TEST_SOAK").is_some();
    let examples = if is_long { SOAK_EXAMPLES } else { EXAMPLES };
    let root = format!("http://{address}{ROOT}");
    let folder = tempfile::tempdir().unwrap();
    let fuzzed = Command::new("python3")
        .args([
            "-m",
            "schemathesis.cli",
            "run",
            &format!("{root}/openapi.json"),
        ])
        .args([
            "--url",
            &root,
            "--header",
            &format!("x-functions-key: {ADMIN}"),
        ])
        .args(["--checks", CHECKS, "--max-examples", &examples.to_string()])
        .args([
            "--wait-for-schema",
            "30",
            "--continue-on-failure",
            "--no-color",
        ])
        .args(["--generation-database", "none", "--warnings", "off"])
        .args(["--generation-with-security-parameters", "false"])
        .env("PYTHONPATH", packages)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&fuzzed.stdout);
    let why = String::from_utf8_lossy(&fuzzed.stderr);
    assert!(fuzzed.status.success(), "{said}{why}");
    println!("{said}");
    stack.stop().unwrap();
    database.remove().await;
}
