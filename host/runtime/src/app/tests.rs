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
        (graveyard.entity.as_str(), graveyard.sub_queue.is_some()),
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
            &trigger(r#", "isSessionsEnabled": true"#).replace("\"q\"", "\"q/$DeadLetterQueue\""),
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
    11 problems with the function app:
      NIGHTSHIFT_HOST_MODE: cannot be "loose": expected default or strict
      NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT: expected 1 to 64, found 0
      NIGHTSHIFT_HOST_GRACE: is not a setting; did you mean NIGHTSHIFT_HOST_MODE?
      APP/1st/function.json: the folder's name is no function name: write a letter, then letters, digits, _ and - (128 at most, not "host")
      APP/broken/function.json:1:1: is not valid JSON: unterminated object
      APP/sessions/function.json:2:55: bindings[0].isSessionsEnabled: a dead-letter queue has no sessions, even that of a queue with sessions
      APP/sessions/function.json:2:27: bindings[0].connection: the connection Bus has no value: set Bus to a connection string, or Bus__fullyQualifiedNamespace to the name of a namespace
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
    let without = app(&[
        ("host.json", HOST_JSON),
        (
            "local.settings.json",
            r#"{"Host": {"LocalHttpPort": 7072}}"#,
        ),
    ]);
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

#[test]
fn local_settings_count_where_the_environment_says_nothing() {
    let web = r#"{"bindings": [{"type": "httpTrigger", "name": "req"}]}"#;
    let local = format!(
        r#"{{"IsEncrypted": false, "Host": {{"LocalHttpPort": 7072, "CORS": "*"}},
            "Values": {{"Q": "theirs", "BUS": "hidden", "P": "7",
                "NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT": 3,
                "AzureFunctionsJobHost__functionTimeout": "00:00:09",
                "AzureWebJobs.off.Disabled": "1"}},
            "ConnectionStrings": {{"Second": "{BUS}"}}}}"#
    );
    let second = trigger("")
        .replace("\"Bus\"", "\"Second\"")
        .replace("\"q\"", "\"%Q%\"");
    let root = app(&[
        ("host.json", HOST_JSON),
        ("handler", "#!"),
        ("local.settings.json", &local),
        ("first/function.json", &trigger("")),
        ("second/function.json", &second),
        ("off/function.json", "not read"),
        ("web/function.json", web),
    ]);
    let config = load(&root, &[("Bus", BUS), ("q", "ours")]).unwrap();
    assert_eq!(config.function_names(), ["first", "second", "web"]);
    let Function::ServiceBus(second) = &config.functions[1] else {
        panic!()
    };
    assert_eq!(second.entity, "ours");
    assert_eq!(config.settings.batches_in_flight, 3);
    let limit = FunctionTimeout::After(std::time::Duration::from_secs(9));
    assert_eq!(config.function_timeout, limit);
    assert_eq!(config.handler.as_ref().unwrap().arguments, ["-p", "7"]);
    let listen = config.listen_address().unwrap();
    assert_eq!(listen.to_string(), "127.0.0.1:7072");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("Host.CORS: is not used"));
    // The handler gets what the host has, each name once.
    let of = |name: &str| {
        let found = config.environment.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("P"), ["7"]);
    assert_eq!((of("q"), of("Q")), (vec!["ours"], vec![]));
    assert_eq!(of("ConnectionStrings__Second"), [BUS]);
    let address = |name: &str, value: &str| {
        let settings = [("Bus", BUS), (name, value)];
        load(&root, &settings).unwrap().listen_address().unwrap()
    };
    assert_eq!(address("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:9").port(), 9);
    assert_eq!(address("ASPNETCORE_URLS", "http://+:8").port(), 8);
}

#[test]
fn local_settings_that_cannot_be_read_are_a_problem() {
    let root = app(&[
        ("host.json", HOST_JSON),
        (
            "local.settings.json",
            r#"{"IsEncrypted": true, "Values": {"A": "x"}}"#,
        ),
    ]);
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @"
    1 problem with the function app:
      APP/local.settings.json:1:17: IsEncrypted: is true, and this host cannot decrypt: write the values in plain text (`func settings decrypt` does it) and set it to false
    ");
    fs::remove_file(root.path().join("local.settings.json")).unwrap();
    fs::create_dir(root.path().join("local.settings.json")).unwrap();
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @"
    1 problem with the function app:
      APP/local.settings.json: cannot be read: Is a directory (os error 21)
    ");
}

#[test]
fn functions_are_disabled_in_both_spellings_and_others_are_not() {
    let root = app(&[
        ("host.json", HOST_JSON),
        ("a/function.json", "not read"),
        ("B-c/function.json", "not read"),
    ]);
    let names = |settings: &[(&str, &str)]| {
        load(&root, settings).map(|config| config.function_names().len())
    };
    let dotted = [
        ("azurewebjobs.A.disabled", "TRUE"),
        ("AzureWebJobs.B-c.Disabled", "1"),
    ];
    assert_eq!(names(&dotted), Ok(0));
    let lined = [
        ("AzureWebJobs_a_Disabled", "true"),
        ("AZUREWEBJOBS_B-C_DISABLED", "True"),
    ];
    assert_eq!(names(&lined), Ok(0));
    let other = [
        ("AzureWebJobs_a_Disabled", "yes"),
        ("AzureWebJobs.B-c.Disabled", "0"),
    ];
    assert!(names(&other).unwrap_err().starts_with("2 problems"));
}

#[test]
fn a_retry_policy_belongs_to_the_function_or_to_all_timers() {
    let own =
        r#", "retry": {"strategy": "fixedDelay", "maxRetryCount": 1, "delayInterval": "00:00:01"}"#;
    let timer =
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "1.00:00:00"}]}"#;
    let with = |text: &str| text.trim_end_matches('}').to_owned() + "}]" + own + "}";
    let of = |text: &str| with(text.trim_end().trim_end_matches("]}"));
    let root = app(&[
        (
            "host.json",
            &HOST_JSON.replace(
                "\"2.0\",",
                r#""2.0", "retry": {"strategy": "exponentialBackoff", "maxRetryCount": -1,
                    "minimumInterval": "00:00:01", "maximumInterval": "00:01:00"},"#,
            ),
        ),
        ("handler", "#!"),
        ("own/function.json", &of(timer)),
        ("plain/function.json", timer),
        ("queue/function.json", &of(&trigger(""))),
    ]);
    let config = load(&root, &[("Bus", BUS)]).unwrap();
    let counts = config
        .functions
        .iter()
        .filter_map(|function| match function {
            Function::Timer(timer) => Some(timer.retry.as_ref().unwrap().max_retry_count),
            _ => None,
        });
    assert_eq!(counts.collect::<Vec<_>>(), [Some(1), None]);
    assert_eq!(config.warnings.len(), 1);
    assert!(
        config.warnings[0].contains("queue/function.json:2:"),
        "{:?}",
        config.warnings
    );
    assert!(config.warnings[0].contains("retry: is applied to timers only"));
}

#[test]
fn a_subscription_is_received_from_by_its_path() {
    let of = |name: &str| {
        trigger("").replace(
            "\"queueName\": \"q\"",
            &format!("\"topicName\": \"%T%\", \"subscriptionName\": \"{name}\""),
        )
    };
    let root = app(&[
        ("host.json", HOST_JSON),
        ("handler", "#!"),
        ("dead/function.json", &of("all/$DeadLetterQueue")),
        ("live/function.json", &of("%S%")),
    ]);
    let config = load(&root, &[("Bus", BUS), ("T", "events"), ("S", "all")]).unwrap();
    for (function, is_dead) in config.functions.iter().zip([true, false]) {
        let Function::ServiceBus(function) = function else {
            panic!()
        };
        assert_eq!(function.entity, "events/Subscriptions/all");
        assert_eq!(function.sub_queue.is_some(), is_dead);
    }
    let problems = load(&root, &[("Bus", BUS)]).unwrap_err();
    assert!(
        problems.contains("bindings[0].subscriptionName: %S% has no value"),
        "{problems}"
    );
    assert_eq!(
        problems
            .matches("bindings[0].topicName: %T% has no value")
            .count(),
        2
    );
}

#[test]
fn routes_of_the_handler_are_functions_without_files() {
    let host_json = |section: &str| {
        HOST_JSON.replace(
            "\"customHandler\": {",
            &format!("\"customHandler\": {{{section}, "),
        )
    };
    let routes = r#""enableProxyingHttpRequest": true, "http": {"defaultAuthorizationLevel": "Admin",
        "routes": [{"route": "/a/{*rest}", "authorizationLevel": "anonymous"}, {"route": "%B%"}]}"#;
    let root = app(&[("host.json", &host_json(routes)), ("handler", "#!")]);
    let config = load(&root, &[("B", "b")]).unwrap();
    assert_eq!(config.function_names(), ["http-handler1", "http-handler2"]);
    let functions: Vec<String> = config
        .functions
        .iter()
        .map(|function| match function {
            Function::Http(web) => format!(
                "{} {:?} {:?} {}",
                web.route,
                web.auth_level,
                web.mode,
                web.methods.len()
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        functions,
        ["api/a/{*rest} Anonymous Proxy 7", "api/b Admin Proxy 7"]
    );
    let settings = [("B", "b"), ("AzureWebJobs.http-handler2.Disabled", "1")];
    assert_eq!(
        load(&root, &settings).unwrap().function_names(),
        ["http-handler1"]
    );
    let listed = [
        ("B", "b"),
        ("AzureFunctionsJobHost__functions__0", "HTTP-handler2"),
    ];
    let config = load(&root, &listed).unwrap();
    assert_eq!(config.function_names(), ["http-handler2"]);
    let mixed = app(&[
        ("host.json", &host_json(routes)),
        ("handler", "#!"),
        ("x/function.json", "{}"),
    ]);
    let problems = load(&mixed, &[("B", "b")]).unwrap_err();
    assert!(
        problems.contains("APP/host.json: customHandler.http.routes: an app has either"),
        "{problems}"
    );
    let wrong = r#""http": {"defaultAuthorizationLevel": "nobody", "routes": [{"path": "a"}]}"#;
    let root = app(&[("host.json", &host_json(wrong)), ("handler", "#!")]);
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @r#"
    2 problems with the function app:
      APP/host.json:2:61: customHandler.http.defaultAuthorizationLevel: expected "anonymous" or "function" or "admin", found "nobody"
      APP/host.json:2:82: customHandler.http.routes[0].route: is missing: write a route, such as "{*path}"
    "#);
    let wrong = r#""http": {"routes": [{"route": "/"}, {"route": "a//b"}, {"route": "{a}/{A}"},
        {"route": "%NOPE%"}, {"route": "admin/x"}, {"route": "same"}, {"route": "Same"}]}"#;
    let root = app(&[("host.json", &host_json(wrong)), ("handler", "#!")]);
    insta::assert_snapshot!(load(&root, &[]).unwrap_err(), @r#"
    6 problems with the function app:
      APP/host.json (customHandler.http.routes[0]): the route is empty: write {*path} for every path
      APP/host.json (customHandler.http.routes[1]): has an empty segment: write it without // and without a slash at its ends
      APP/host.json (customHandler.http.routes[2]): has two parameters called "A"
      APP/host.json (customHandler.http.routes[3]): %NOPE% has no value: set NOPE
      APP/host.json (customHandler.http.routes[4]): must not begin with "admin", which is the host's own
      APP/host.json (customHandler.http.routes[6]): GET api/Same is the route of the function http-handler6, too
    "#);
}

#[test]
fn log_levels_that_are_not_applied_are_told() {
    let host_json = r#"{"version": "2.0", "logging": {"logLevel": {"default": "Debug"}}}"#;
    let root = app(&[("host.json", host_json)]);
    let warnings = load(&root, &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("logging.logLevel: is not applied"));
}
