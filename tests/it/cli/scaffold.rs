//! `nightshift new`: a job of each kind is written into a copy of this project, built, tested, run with
//! the whole stack, and called.

use nightshift_testkit::TestDatabase;
use nightshift_tests::{App, Stack, StackOptions, program};

use super::check::copy_project;
use super::*;
use crate::walking_skeleton::until;

/// What the program of the copy's handler is called beside the project's own programs.
const HANDLER: &str = "handler-with-new-jobs";

/// What the names of our crates and programs begin with.
const OURS: [&str; 5] = ["nightshift", "handler", "it-", "bench", "chaos"];

/// The jobs, and how they are asked for.
const JOBS: [&[&str]; 3] = [
    &["new", "reminders", "--queue", "reminder-wishes"],
    &["new", "daily-count", "--timer", "0 30 4 * * *"],
    &["new", "waiting-room", "--http", "waiting/{room?}"],
];

/// The copy is always at the same place, so that it is built once.
fn prepare() -> PathBuf {
    let target = program("nightshift");
    let (beside, target) = (target.parent().unwrap(), target.ancestors().nth(2).unwrap());
    let copy = target.join("copy-with-new-jobs");
    copy_project(&copy);
    for arguments in JOBS {
        let output = nightshift(&copy, arguments).output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("Next:\n  1. "), "{output:?}");
    }
    // Cargo must not take our crates for the copy's, but those of others are the same.
    for folder in ["deps", "build", ".fingerprint"] {
        link(
            &beside.join(folder),
            &copy.join("target/debug").join(folder),
        );
    }
    copy
}

/// Makes hard links in `to` to what is in `from` and not ours.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let is_ours = OURS.iter().any(|ours| {
            let name = name.strip_prefix("lib").unwrap_or(&name);
            name.starts_with(ours)
        });
        let new = to.join(&name);
        if is_ours || new.is_file() {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &new);
        } else {
            // A file that cannot be linked is built again.
            let _ = std::fs::hard_link(entry.path(), new);
        }
    }
}

/// Runs cargo in the copy.
fn cargo(copy: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(arguments)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env("SQLX_OFFLINE", "true")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}:\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[tokio::test]
async fn a_new_job_of_each_kind_is_built_tested_run_and_called() {
    let copy = prepare();
    cargo(
        &copy,
        &["build", "--offline", "-p", "nightshift-functions", "--bins"],
    );
    let packages = JOBS.map(|arguments| format!("nightshift-{}", arguments[1]));
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    let test = ["test", "--offline", "--lib"].into_iter().chain(packages);
    cargo(&copy, &test.collect::<Vec<_>>());
    let handler = program("nightshift").with_file_name(HANDLER);
    std::fs::copy(copy.join("target/debug/handler"), &handler).unwrap();
    let agreed = nightshift(&copy, &["check", "--handler"])
        .arg(&handler)
        .output()
        .unwrap();
    assert_eq!(code(&agreed), 0, "{}", text(&agreed.stdout));

    let database = TestDatabase::create().await;
    let app = App {
        source: copy.clone(),
        handler: HANDLER,
        ..App::of_checkout()
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    stack.start_host().unwrap();
    let host = stack.http_address().await.unwrap();
    let invoke = |arguments: &[&str]| {
        let output = nightshift(&copy, &["invoke", "--host", &host])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{output:?}");
        text(&output.stdout)
    };
    // Twice within a second: two messages, as two reminders are wanted.
    invoke(&["reminders-work"]);
    invoke(&["reminders-work", "--sample"]);
    let reminders = "SELECT count(*) FROM nightshift.notification
        WHERE title = 'A reminder from reminders'";
    until(database.pool(), reminders, 2).await;
    let looked = invoke(&["daily-count-schedule"]);
    assert!(looked.contains("it looks at what is due"), "{looked}");
    invoke(&["daily-count-work"]);
    let counted = || std::fs::read_to_string(stack.log()).unwrap();
    wait_until("the dead are counted", || {
        counted().contains("daily-count has counted")
    });
    let answer = invoke(&["waiting-room-api", "--param", "room=7"]);
    assert_eq!(answer, "GET /api/waiting/7: 200 OK\n{\"waiting\":0}\n");
    stack.stop().unwrap();
    database.remove().await;
}

#[test]
fn a_dry_run_and_a_refusal_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    copy_project(folder.path());
    let files = || {
        let mut all = Vec::new();
        super::check::collect(folder.path(), Path::new(""), &mut all);
        all.sort();
        let texts = all
            .iter()
            .map(|file| std::fs::read(folder.path().join(file)).unwrap());
        (all.clone(), texts.collect::<Vec<_>>())
    };
    let before = files();
    let run = |arguments: &[&str]| nightshift(folder.path(), arguments).output().unwrap();
    let dry = run(&["--json", "new", "token-cleanup", "--queue", "--dry-run"]);
    assert_eq!(code(&dry), 0, "{dry:?}");
    let dry: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(dry["functions"], serde_json::json!(["token-cleanup-work"]));
    assert_eq!(dry["is_written"], false);
    let changed = dry["files"].as_array().unwrap().len();
    assert_eq!(changed, 11, "{dry}");
    let shown = run(&[
        "new",
        "token-cleanup",
        "--timer",
        "0 0 3 * * *",
        "--dry-run",
    ]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("create functions/token-cleanup/src/work.rs\n  + //!"),
        "{shown}"
    );
    assert!(shown.ends_with("nothing was written\n"), "{shown}");
    for (arguments, status) in [
        (&["new", "admin", "--queue"][..], 1),
        (&["new", "a", "--timer", "0 0 3 * *"], 1),
        (&["new", "a", "--http", "admin/x"], 1),
        (&["new", "A", "--http"], 1),
        (&["new", "a"], 2),
        (&["new", "a", "--http", "--queue"], 2),
    ] {
        assert_eq!(code(&run(arguments)), status, "{arguments:?}");
    }
    assert_eq!(files(), before);
}
