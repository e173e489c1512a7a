//! `nightshift check`, on this project itself and on copies of it in which one name was changed in one
//! place.

use nightshift_tests::program;
use serde_json::Value;

use super::*;

/// The folder of this project.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Makes `to` a copy of the project's own files. What is the same already is not written again, so that a
/// copy that was built is not built anew.
pub(super) fn copy_project(to: &Path) {
    let mut wanted = Vec::new();
    collect(&project(), Path::new(""), &mut wanted);
    let mut there = Vec::new();
    if to.is_dir() {
        collect(to, Path::new(""), &mut there);
    }
    for stale in there.iter().filter(|file| !wanted.contains(file)) {
        std::fs::remove_file(to.join(stale)).unwrap();
        // Its folders go with their last file.
        for folder in stale.ancestors().skip(1) {
            if std::fs::remove_dir(to.join(folder)).is_err() {
                break;
            }
        }
    }
    for file in wanted {
        let text = std::fs::read(project().join(&file)).unwrap();
        let copy = to.join(&file);
        if std::fs::read(&copy).ok().as_ref() != Some(&text) {
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::write(copy, text).unwrap();
        }
    }
}

/// Every file below `root`, but for what is fetched or built.
pub(super) fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let name = entry.file_name().into_string().unwrap();
        let is_left_out = [
            "target",
            "node_modules",
            ".git",
            ".nightshift",
            "__pycache__",
        ];
        if is_left_out.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// A copy of the project of a test's own.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_project(folder.path());
        Self(folder)
    }

    fn replace(&self, file: &str, old: &str, new: &str) {
        let file = self.0.path().join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{} lacks {old}", file.display());
        std::fs::write(file, text.replacen(old, new, 1)).unwrap();
    }

    /// What `check` finds, without the page that is generated.
    fn found(&self) -> Vec<String> {
        let output = nightshift(self.0.path(), &["--json", "check"])
            .output()
            .unwrap();
        assert_eq!(code(&output), 1, "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = found["findings"].as_array().unwrap().iter();
        let places = found.map(|finding| {
            let file = finding["file"].as_str().unwrap();
            match finding["line"].as_u64() {
                Some(line) => format!("{file}:{line}"),
                None => file.to_owned(),
            }
        });
        places
            .filter(|place| !place.starts_with("docs/FUNCTIONS.md"))
            .collect()
    }
}

/// Where the first line of the project's `file` is that has `word`.
fn place(file: &str, word: &str) -> String {
    let text = std::fs::read_to_string(project().join(file)).unwrap();
    let before = text.lines().take_while(|line| !line.contains(word)).count();
    format!("{file}:{}", before + 1)
}

#[test]
fn this_project_agrees_with_itself_and_with_its_handler() {
    let handler = program("handler");
    let output = nightshift(&project(), &["check", "--handler"])
        .arg(handler)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "everything agrees\n");
}

#[test]
fn a_queue_that_is_renamed_in_one_place_names_the_others() {
    let copy = Copy::new();
    let file = "functions/notifications/dispatch/function.json";
    copy.replace(file, "\"notifications\"", "\"messages\"");
    assert_eq!(
        copy.found(),
        [
            place("README.md", "get_queue_sender("),
            place("docs/ARCHITECTURE.md", "queue `notifications`"),
            place(file, "queueName"),
            place("host/cli/src/up/round.rs", "const QUEUE"),
            place("shared/contract/src/notification.rs", "//! Queue"),
            place("tests/stack.rs", "queues: &["),
        ]
    );
}

#[test]
fn a_functions_folder_that_is_renamed_names_the_function() {
    let copy = Copy::new();
    let folder = copy.0.path().join("functions/housekeeping");
    std::fs::rename(folder.join("schedule"), folder.join("clock")).unwrap();
    assert_eq!(
        copy.found(),
        [
            place("docs/ARCHITECTURE.md", "`housekeeping-schedule`"),
            "functions/housekeeping/clock/function.json".to_owned(),
            place("functions/housekeeping/src/schedule.rs", "const NAME"),
        ]
    );
    let output = nightshift(copy.0.path(), &["check"]).output().unwrap();
    let said = text(&output.stdout);
    let expected = "NAME is \"housekeeping-schedule\"; expected the name of a folder functions/<job>/<door>; did you mean housekeeping-clock?: rename the folder or the NAME\n";
    assert!(said.contains(expected), "{said}");
    assert!(said.ends_with("4 things do not agree\n"), "{said}");
}

#[test]
fn a_schedule_that_is_changed_names_its_timer() {
    let copy = Copy::new();
    let source = "functions/housekeeping/src/schedule.rs";
    copy.replace(source, "cron: \"0 * * * * *\"", "cron: \"0 30 2 * * *\"");
    assert_eq!(
        copy.found(),
        [place(
            "functions/housekeeping/schedule/function.json",
            "\"schedule\""
        )]
    );
    copy.replace(source, "cron: \"0 30 2 * * *\"", "cron: \"0 30 25 * * *\"");
    assert_eq!(copy.found(), [place(source, "cron:")]);
}

#[test]
fn a_setting_that_is_renamed_is_named_where_it_is_read_and_where_it_is_listed() {
    let copy = Copy::new();
    let (table, code) = (
        "host/cli/src/commands/settings.rs",
        "shared/handler/src/settings.rs",
    );
    copy.replace(table, "NIGHTSHIFT_RELEASED_AT", "NIGHTSHIFT_DEPLOYED_AT");
    let found = copy.found();
    let in_file = |file: &str| found.iter().any(|place| place.starts_with(file));
    for file in [
        table,
        code,
        "docs/GUARANTEES.md",
        "host/broker/program/main.rs",
    ] {
        assert!(in_file(file), "{file} is not in {found:?}");
    }
    let copy = Copy::new();
    copy.replace(
        code,
        "\"NIGHTSHIFT_MAX_INVOCATION_BYTES\"",
        "\"NIGHTSHIFT_MAX_CALL\"",
    );
    let found = copy.found();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with(table) && found[1].starts_with(code),
        "{found:?}"
    );
}

#[test]
fn a_line_that_is_dropped_is_missed() {
    let copy = Copy::new();
    let line = "        .with_batch(nightshift_housekeeping::Work)?\n";
    copy.replace("functions/registry.rs", line, "");
    assert_eq!(copy.found(), ["functions/registry.rs"]);
    let copy = Copy::new();
    copy.replace("Cargo.toml", "\"functions/admin\", ", "");
    assert_eq!(copy.found(), ["Cargo.toml"]);
    let copy = Copy::new();
    copy.replace(
        "functions/housekeeping/work/function.json",
        "\"cardinality\": \"many\",\n",
        "",
    );
    assert_eq!(
        copy.found(),
        [place("functions/housekeeping/work/function.json", "    {")]
    );
}

#[test]
fn a_stale_page_is_written_anew() {
    let copy = Copy::new();
    copy.replace("docs/FUNCTIONS.md", "housekeeping", "something");
    let stale = nightshift(copy.0.path(), &["check"]).output().unwrap();
    assert_eq!(code(&stale), 1);
    let said = text(&stale.stdout);
    assert!(said.contains("run `nightshift check --write`"), "{said}");
    let written = nightshift(copy.0.path(), &["check", "--write"]).output();
    assert_eq!(code(&written.unwrap()), 0);
    let page = |root: &Path| std::fs::read_to_string(root.join("docs/FUNCTIONS.md")).unwrap();
    assert_eq!(page(copy.0.path()), page(&project()));
}
