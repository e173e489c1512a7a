use super::*;

mod overrides;

fn parse(text: &str) -> Result<HostJson, ConfigProblems> {
    HostJson::parse(Path::new("host.json"), text, [])
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let host = parse(r#"{"version": "2.0"}"#).unwrap();
    assert_eq!(
        host.function_timeout,
        FunctionTimeout::After(Duration::from_mins(30))
    );
    assert_eq!(host.custom_handler, None);
    assert_eq!(host.service_bus, ServiceBusOptions::default());
    assert!(host.functions.is_empty() && host.unsupported.is_empty());
}

#[test]
fn a_full_file_is_read_with_comments_and_any_case() {
    let host = parse(
        r#"{ // our app
          "Version": "2.0", "functionTimeout": "00:05:00", "functions": ["a", "b"],
          "customHandler": {
            "description": { "defaultExecutablePath": "handler", "arguments": ["--x", "%Y%"],
                             "workingDirectory": "bin" },
            "enableForwardingHttpRequest": true, "initializationTimeout": "00:00:05"
          },
          "extensions": { "serviceBus": { "PREFETCHCOUNT": 100, "maxConcurrentCalls": "4",
            "maxMessageBatchSize": 500, "minMessageBatchSize": 10, "maxBatchWaitTime": "00:00:01",
            "autoCompleteMessages": false, "clientRetryOptions": {"mode": "fixed"} } },
          "extensionBundle": { "id": "Microsoft.Azure.Functions.ExtensionBundle",
                               "version": "[4.*, 5.0.0)" },
          "logging": { "logLevel": { "default": "Warning", "Function.a.User": "trace" } },
          "somethingNew": [1, 2]
        }"#,
    )
    .unwrap();
    assert_eq!(
        host.function_timeout,
        FunctionTimeout::After(Duration::from_mins(5))
    );
    assert_eq!(host.functions, ["a", "b"]);
    let handler = host.custom_handler.unwrap();
    assert_eq!(handler.description.default_executable_path, "handler");
    assert_eq!(handler.description.arguments, ["--x", "%Y%"]);
    assert_eq!(
        handler.description.working_directory.as_deref(),
        Some("bin")
    );
    assert!(handler.description.stderr_is_errors_only);
    assert_eq!(handler.http_mode, HttpMode::Forward);
    assert_eq!(handler.initialization_timeout, Duration::from_secs(5));
    let expected = ServiceBusOptions {
        prefetch_count: 100,
        auto_complete_messages: false,
        max_concurrent_calls: Some(4),
        max_message_batch_size: 500,
        min_message_batch_size: 10,
        max_batch_wait_time: Duration::from_secs(1),
        client_retry: ClientRetryOptions {
            pauses_grow: false,
            ..ClientRetryOptions::default()
        },
        ..ServiceBusOptions::default()
    };
    assert_eq!(host.service_bus, expected);
    assert_eq!(host.extension_bundle.unwrap().version, "[4.*, 5.0.0)");
    assert_eq!(host.log_levels["function.a.user"], "Trace");
}

#[test]
fn settings_override_keys_and_array_elements() {
    let settings = [
        ("AzureFunctionsJobHost__functionTimeout", "-1"),
        (
            "azurefunctionsjobhost__customhandler__description__arguments__1",
            "two",
        ),
        (
            "AzureFunctionsJobHost__extensions__serviceBus__prefetchCount",
            "7",
        ),
        ("Other", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let text = r#"{"version": "2.0", "functionTimeout": "00:01:00", "customHandler":
        {"description": {"defaultExecutablePath": "h", "arguments": ["one"]}}}"#;
    let host = HostJson::parse(Path::new("host.json"), text, settings).unwrap();
    assert_eq!(host.function_timeout, FunctionTimeout::Unlimited);
    assert_eq!(
        host.custom_handler.unwrap().description.arguments,
        ["one", "two"]
    );
    assert_eq!(host.service_bus.prefetch_count, 7);
}

#[test]
fn arguments_may_be_an_array_in_a_text() {
    let text = r#"{"version": "2.0", "customHandler": {"description":
        {"defaultExecutablePath": "h", "arguments": "[\"a b\", \"c\"]"}}}"#;
    let host = parse(text).unwrap();
    assert_eq!(
        host.custom_handler.unwrap().description.arguments,
        ["a b", "c"]
    );
}

#[test]
fn every_wrong_value_is_reported_at_once_with_its_place() {
    let problems = parse(
        r#"{
  "version": "1.0",
  "functionTimeout": "00:00:00",
  "functions": "all",
  "customHandler": { "description": { "arguments": [1] } },
  "extensions": { "serviceBus": {
    "prefetchCount": -1, "maxConcurrentCalls": {}, "maxMessageBatchSize": 5,
    "minMessageBatchSize": 5, "maxBatchWaitTime": "5m", "autoCompleteMessages": "perhaps" } },
  "logging": { "logLevel": { "default": "Loud" } }
}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    host.json:2:14: version: expected the text "2.0", found "1.0"
    host.json:3:22: functionTimeout: expected at least one second ("00:00:01"), or "-1" for no limit
    host.json:4:16: functions: expected an array of texts, found "all"
    host.json:5:37: customHandler.description.defaultExecutablePath: is missing: name the handler's executable
    host.json:5:53: customHandler.description.arguments[0]: expected a text, found 1
    host.json:8:51: extensions.serviceBus.maxBatchWaitTime: expected a time span such as "00:05:00" (hours:minutes:seconds) or "1.00:00:00", found "5m"
    host.json:7:22: extensions.serviceBus.prefetchCount: expected a whole number from 0 to 2147483647, found -1
    host.json:7:48: extensions.serviceBus.maxConcurrentCalls: expected a whole number from 1 to 2147483647, found an object
    host.json:8:81: extensions.serviceBus.autoCompleteMessages: expected true or false, found "perhaps"
    host.json:8:28: extensions.serviceBus.minMessageBatchSize: expected less than maxMessageBatchSize (5), found 5
    host.json:9:41: logging.logLevel.default: expected one of Trace, Debug, Information, Warning, Error, Critical, None, found "Loud"
    "#);
}

#[test]
fn a_missing_version_is_said_to_be_missing() {
    insta::assert_snapshot!(parse("{}").unwrap_err(), @r#"host.json: version: is missing: write "version": "2.0""#);
}

#[test]
fn what_the_host_cannot_do_yet_is_collected_by_name() {
    let host = parse(
        r#"{"version": "2.0", "httpWorker": {"description": {}}, "configurationProfile": "default",
            "concurrency": {"dynamicConcurrencyEnabled": true},
            "customHandler": {"description": {"defaultExecutablePath": "h"}, "http": {"routes": []}},
            "extensions": {"serviceBus": {"transportType": "amqpWebSockets", "webProxy": ""}}}"#,
    )
    .unwrap();
    let lines: Vec<String> = host.unsupported.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    host.json:1:34: httpWorker: is not supported by this host yet: remove it
    host.json:2:58: concurrency.dynamicConcurrencyEnabled: is not supported by this host yet: remove it
    host.json:4:60: extensions.serviceBus.transportType: is not supported by this host yet: remove it
    ");
}

#[test]
fn the_http_section_is_read_and_its_faults_are_named() {
    let host = parse(
        r#"{"version": "2.0", "customHandler": {"enableProxyingHttpRequest": true,
            "enableForwardingHttpRequest": true, "description": {"defaultExecutablePath": "h"}},
            "extensions": {"http": {"routePrefix": "/v1/", "maxOutstandingRequests": 5,
            "maxConcurrentRequests": -1, "customHeaders": {"X-Frame-Options": "DENY"}}}}"#,
    )
    .unwrap();
    let expected = HttpOptions {
        route_prefix: "v1".to_owned(),
        max_outstanding_requests: Some(5),
        custom_headers: vec![("x-frame-options".to_owned(), "DENY".to_owned())],
        ..HttpOptions::default()
    };
    assert_eq!(host.http, expected);
    assert_eq!(host.custom_handler.unwrap().http_mode, HttpMode::Proxy);
    let problems = parse(
        r#"{"version": "2.0", "extensions": {"http": {"routePrefix": "a//b",
            "maxOutstandingRequests": 0, "maxConcurrentRequests": "many"}}}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    host.json:2:39: extensions.http.maxOutstandingRequests: expected at least 1, or -1 for no limit, found 0
    host.json:2:67: extensions.http.maxConcurrentRequests: expected a whole number from -1 to 2147483647, found "many"
    host.json:1:59: extensions.http.routePrefix: has an empty segment: write it without // and without a slash at its ends
    "#);
}

#[test]
fn spans_beyond_what_can_be_are_refused() {
    let problems = parse(
        r#"{"version": "2.0",
            "singleton": {"lockPeriod": "00:02:00", "listenerLockPeriod": "00:00:01",
                "lockAcquisitionPollingInterval": "00:00:00.1"},
            "extensions": {"serviceBus": {"maxAutoLockRenewalDuration": "-00:01:00",
                "maxConcurrentSessions": 0, "sessionIdleTimeout": "soon",
                "clientRetryOptions": {"mode": "never", "tryTimeout": "00:00:00",
                    "delay": "01:00:00", "maxRetries": 1000}}}}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    host.json:5:42: extensions.serviceBus.maxConcurrentSessions: expected a whole number from 1 to 2147483647, found 0
    host.json:4:73: extensions.serviceBus.maxAutoLockRenewalDuration: expected a time span of zero or more, found "-00:01:00"
    host.json:5:67: extensions.serviceBus.sessionIdleTimeout: expected a time span such as "00:05:00" (hours:minutes:seconds) or "1.00:00:00", found "soon"
    host.json:6:71: extensions.serviceBus.clientRetryOptions.tryTimeout: expected more than nothing and at most 60 minutes
    host.json:7:30: extensions.serviceBus.clientRetryOptions.delay: expected at most 5 minutes
    host.json:6:48: extensions.serviceBus.clientRetryOptions.mode: expected "exponential" or "fixed", found "never"
    host.json:7:56: extensions.serviceBus.clientRetryOptions.maxRetries: expected a whole number from 0 to 100, found 1000
    host.json:2:41: singleton.lockPeriod: expected "00:00:15" to "00:01:00"
    host.json:2:75: singleton.listenerLockPeriod: expected "00:00:15" to "00:01:00"
    host.json:3:51: singleton.lockAcquisitionPollingInterval: expected at least half a second ("00:00:00.5")
    "#);
}
