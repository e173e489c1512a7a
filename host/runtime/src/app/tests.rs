use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightshift_settings::MapSource;
use tempfile::TempDir;

use super::*;

const BUS: &str = "Endpoint=sb://localhost:5672;SharedAccessKeyName=n;SharedAccessKey=k;\
                   UseDevelopmentEmulator=true";

const HOST_JSON: &str = r#"{"version": "2.0",
    "customHandler": {"description": {"defaultExecutablePath": "handler", "arguments": ["-p %P%"]}}}"#;

fn trigger(more: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "serviceBusTrigger", "name": "m", "queueName": "q",
            "connection": "Bus"{more}}}]}}"#
    )
}

/// An app root with the given files; `handler` is executable.
fn app(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let handler = root.path().join("handler");
    if handler.is_file() {
        fs::set_permissions(handler, fs::Permissions::from_mode(0o755)).unwrap();
    }
    root
}

fn load(root: &TempDir, settings: &[(&str, &str)]) -> Result<HostConfig, String> {
    let source: MapSource = settings.iter().copied().collect();
    let root_text = root.path().display().to_string();
    HostConfig::load(root.path(), &source)
        .map_err(|problems| problems.to_string().replace(&root_text, "APP"))
}

#[test]
fn an_app_is_loaded_with_its_names_resolved() {
    let dead = trigger(r#", "cardinality": "many""#).replace("\"q\"", "\"%Q%/$deadletterqueue\"");
    let root = app(&[
        ("host.json", HOST_JSON),
        ("handler", "#!"),
        ("orders-work/function.json", &trigger("")),
        ("graveyard/function.json", &dead),
        ("off/function.json", "not read"),
        ("assets/logo.txt", "no function"),
    ]);
    let settings = [
        ("Bus", BUS),
        ("Q", "orders"),
        ("P", "7"),
        ("AzureWebJobs_off_Disabled", "true"),
    ];
    let config = load(&root, &settings).unwrap();
    assert_eq!(config.function_names(), ["graveyard", "orders-work"]);
    assert_eq!(config.mode(), Mode::Default);
    let Function::ServiceBus(graveyard) = &config.functions[0] else {
        panic!()
    };
    assert_eq!(
        (graveyard.queue.as_str(), graveyard.sub_queue.is_some()),
        ("orders", true)
    );
    let handler = config.handler.unwrap();
    assert_eq!(handler.executable, root.path().join("handler"));
    assert_eq!(handler.arguments, ["-p", "7"]);
    assert_eq!(handler.working_directory, root.path());
}

#[test]
fn everything_wrong_comes_at_once() {
    let timer =
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 * * * * *"}]}"#;
    let web = r#"{"bindings": [{"type": "httpTrigger", "name": "req"}, {"type": "http", "name": "res"}]}"#;
    let root = app(&[
        (
            "host.json",
            &HOST_JSON.replace("\"2.0\",", "\"2.0\", \"functions\": [],"),
        ),
        ("1st/function.json", &trigger("")),
        ("broken/function.json", "{"),
        (
            "sessions/function.json",
            &trigger(r#", "isSessionsEnabled": true"#),
        ),
        ("timer/function.json", timer),
        (
            "unresolved/function.json",
            &trigger("").replace("\"q\"", "\"%NOPE%\""),
        ),
        ("web/function.json", web),
    ]);
    let settings = [
        ("NIGHTSHIFT_HOST_MODE", "loose"),
        ("NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT", "0"),
        ("NIGHTSHIFT_HOST_GRACE", "1"),
        ("NIGHTSHIFT_POSTGRES_URL", "not the host's business"),
    ];
    insta::assert_snapshot!(load(&root, &settings).unwrap_err(), @r#"
    10 problems with the function app:
      NIGHTSHIFT_HOST_MODE: cannot be "loose": expected default or strict
      NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT: expected 1 to 64, found 0
      NIGHTSHIFT_HOST_GRACE: is not a setting; did you mean NIGHTSHIFT_HOST_MODE?
      APP/1st/function.json: the folder's name is no function name: write a letter, then letters, digits, _ and - (128 at most, not "host")
      APP/broken/function.json:1:1: is not valid JSON: unterminated object
      APP/sessions/function.json:2:55: bindings[0].isSessionsEnabled: sessions are not supported by this host yet
      APP/unresolved/function.json:1:71: bindings[0].queueName: %NOPE% has no value: set NOPE
      APP/unresolved/function.json:2:27: bindings[0].connection: the connection Bus has no value: set Bus to a connection string, or Bus__fullyQualifiedNamespace to the name of a namespace
      APP/web/function.json:1:55: bindings[1].direction: is missing: write "direction": "out"
      APP/host.json: customHandler.description.defaultExecutablePath: there is no file "handler" in APP nor on PATH: build the handler first
    "#);
}

#[test]
fn a_bad_host_json_does_not_hide_the_functions_problems() {
    let root = app(&[
        ("host.json", r#"{"version": 2}"#),
        ("a/function.json", &trigger("")),
    ]);
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @r#"
    2 problems with the function app:
      APP/host.json:1:13: version: expected the text "2.0", found 2
      APP/a/function.json:2:27: bindings[0].connection: the connection Bus has no value: set Bus to a connection string, or Bus__fullyQualifiedNamespace to the name of a namespace
    "#);
}

#[test]
fn what_the_host_cannot_start_is_said_before_it_starts() {
    let function = ("a/function.json", &*trigger(""));
    let bus = [("Bus", BUS)];
    let root = app(&[("host.json", HOST_JSON), function]);
    insta::assert_snapshot!(load(&root, &bus).unwrap_err(), @r#"
    1 problem with the function app:
      APP/host.json: customHandler.description.defaultExecutablePath: there is no file "handler" in APP nor on PATH: build the handler first
    "#);
    let root = app(&[("host.json", r#"{"version": "2.0"}"#), function]);
    insta::assert_snapshot!(load(&root, &bus).unwrap_err(), @"
    1 problem with the function app:
      APP/host.json: customHandler: is missing: this host runs functions through a custom handler
    ");
    let root = app(&[("host.json", HOST_JSON), function, ("handler", "")]);
    fs::set_permissions(
        root.path().join("handler"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    insta::assert_snapshot!(load(&root, &bus).unwrap_err(), @"
    1 problem with the function app:
      APP/host.json: customHandler.description.defaultExecutablePath: APP/handler is not executable: run chmod +x APP/handler
    ");
    let root = app(&[function]);
    insta::assert_snapshot!(load(&root, &bus).unwrap_err(), @"
    1 problem with the function app:
      APP/host.json: cannot be read: No such file or directory (os error 2)
    ");
}

#[test]
fn strict_mode_has_one_batch_in_flight() {
    let root = app(&[("host.json", HOST_JSON)]);
    let settings = [
        ("NIGHTSHIFT_HOST_MODE", "strict"),
        ("NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT", "8"),
    ];
    let config = load(&root, &settings).unwrap();
    assert_eq!(
        (config.mode(), config.settings.batches_in_flight),
        (Mode::Strict, 1)
    );
    assert!(config.handler.is_none() && config.functions.is_empty());
}

#[test]
fn headers_that_http_does_not_allow_are_refused() {
    let root = app(&[(
        "host.json",
        r#"{"version": "2.0", "extensions": {"http": {"customHeaders":
            {"X-Fine": "y", "a b": "z", "c": "d\r\ne: f"}}}}"#,
    )]);
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @r#"
    2 problems with the function app:
      APP/host.json: extensions.http.customHeaders.a b: is no header that HTTP allows
      APP/host.json: extensions.http.customHeaders.c: is no header that HTTP allows
    "#);
}

#[test]
fn requests_are_answered_where_the_settings_say_or_if_a_function_needs_it() {
    let web = r#"{"bindings": [{"type": "httpTrigger", "name": "req"}]}"#;
    let with = app(&[
        ("host.json", HOST_JSON),
        ("handler", "#!"),
        ("web/function.json", web),
    ]);
    let without = app(&[("host.json", HOST_JSON)]);
    let address = |root: &TempDir, settings: &[(&str, &str)]| {
        let config = load(root, settings).unwrap();
        config.listen_address().map(|address| address.to_string())
    };
    assert_eq!(address(&with, &[]).as_deref(), Some("127.0.0.1:7071"));
    assert_eq!(address(&without, &[]), None);
    let urls = ("ASPNETCORE_URLS", "http://+:80");
    assert_eq!(address(&with, &[urls]).as_deref(), Some("0.0.0.0:80"));
    let own = ("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:9");
    assert_eq!(
        address(&without, &[urls, own]).as_deref(),
        Some("127.0.0.1:9")
    );
}
