//! Every key of `host.json` that this host acts on, overridden by a setting.

use super::*;

const FILE: &str = r#"{"version": "2.0",
    "customHandler": {"description": {"defaultExecutablePath": "h"}}}"#;

/// How a value of the file is shown.
type Shown = fn(&HostJson) -> String;

/// Keys, values, and what the values make of the file.
const CASES: &[(&str, &str, Shown, &str)] = &[
    (
        "functionTimeout",
        "00:00:09",
        |h| format!("{:?}", h.function_timeout),
        "After(9s)",
    ),
    ("functions__0", "f", |h| h.functions.join(","), "f"),
    (
        "logging__logLevel__Function.f",
        "none",
        |h| format!("{:?}", h.log_levels),
        r#"{"function.f": "None"}"#,
    ),
    (
        "singleton__lockPeriod",
        "00:00:20",
        |h| format!("{:?}", h.singleton.lock_period),
        "20s",
    ),
    (
        "singleton__listenerLockPeriod",
        "00:00:30",
        |h| format!("{:?}", h.singleton.listener_lock_period),
        "30s",
    ),
    (
        "singleton__listenerLockRecoveryPollingInterval",
        "00:00:02",
        |h| format!("{:?}", h.singleton.listener_lock_recovery_polling_interval),
        "Some(2s)",
    ),
    (
        "singleton__lockAcquisitionTimeout",
        "00:00:03",
        |h| format!("{:?}", h.singleton.lock_acquisition_timeout),
        "Some(3s)",
    ),
    (
        "singleton__lockAcquisitionPollingInterval",
        "00:00:04",
        |h| format!("{:?}", h.singleton.lock_acquisition_polling_interval),
        "4s",
    ),
    (
        "customHandler__description__defaultExecutablePath",
        "x",
        |h| handler(h).description.default_executable_path.clone(),
        "x",
    ),
    (
        "customHandler__description__arguments__0",
        "a",
        |h| handler(h).description.arguments.join(","),
        "a",
    ),
    (
        "customHandler__description__workingDirectory",
        "w",
        |h| format!("{:?}", handler(h).description.working_directory),
        r#"Some("w")"#,
    ),
    (
        "customHandler__description__workerDirectory",
        "d",
        |h| format!("{:?}", handler(h).description.worker_directory),
        r#"Some("d")"#,
    ),
    (
        "customHandler__description__useStdErrorStreamForErrorsOnly",
        "false",
        |h| handler(h).description.stderr_is_errors_only.to_string(),
        "false",
    ),
    (
        "customHandler__enableForwardingHttpRequest",
        "true",
        |h| format!("{:?}", handler(h).http_mode),
        "Forward",
    ),
    (
        "customHandler__enableProxyingHttpRequest",
        "true",
        |h| format!("{:?}", handler(h).http_mode),
        "Proxy",
    ),
    (
        "customHandler__http__routes__0__route",
        "r",
        |h| format!("{:?}", handler(h).routes),
        r#"[HandlerRoute { route: "r", auth_level: Function }]"#,
    ),
    (
        "customHandler__port",
        "9",
        |h| format!("{:?}", handler(h).port),
        "Some(9)",
    ),
    (
        "customHandler__initializationTimeout",
        "00:00:05",
        |h| format!("{:?}", handler(h).initialization_timeout),
        "5s",
    ),
    (
        "extensions__serviceBus__prefetchCount",
        "7",
        |h| h.service_bus.prefetch_count.to_string(),
        "7",
    ),
    (
        "extensions__serviceBus__autoCompleteMessages",
        "False",
        |h| h.service_bus.auto_complete_messages.to_string(),
        "false",
    ),
    (
        "extensions__serviceBus__maxAutoLockRenewalDuration",
        "00:01:00",
        |h| format!("{:?}", h.service_bus.max_auto_lock_renewal_duration),
        "60s",
    ),
    (
        "extensions__serviceBus__maxConcurrentCalls",
        "3",
        |h| format!("{:?}", h.service_bus.max_concurrent_calls),
        "Some(3)",
    ),
    (
        "extensions__serviceBus__maxConcurrentSessions",
        "4",
        |h| h.service_bus.max_concurrent_sessions.to_string(),
        "4",
    ),
    (
        "extensions__serviceBus__maxConcurrentCallsPerSession",
        "5",
        |h| h.service_bus.max_concurrent_calls_per_session.to_string(),
        "5",
    ),
    (
        "extensions__serviceBus__sessionIdleTimeout",
        "00:00:06",
        |h| format!("{:?}", h.service_bus.session_idle_timeout),
        "Some(6s)",
    ),
    (
        "extensions__serviceBus__maxMessageBatchSize",
        "8",
        |h| h.service_bus.max_message_batch_size.to_string(),
        "8",
    ),
    (
        "extensions__serviceBus__minMessageBatchSize",
        "9",
        |h| h.service_bus.min_message_batch_size.to_string(),
        "9",
    ),
    (
        "extensions__serviceBus__maxBatchWaitTime",
        "00:00:10",
        |h| format!("{:?}", h.service_bus.max_batch_wait_time),
        "10s",
    ),
    (
        "extensions__serviceBus__clientRetryOptions__mode",
        "fixed",
        |h| h.service_bus.client_retry.pauses_grow.to_string(),
        "false",
    ),
    (
        "extensions__serviceBus__clientRetryOptions__tryTimeout",
        "00:00:11",
        |h| format!("{:?}", h.service_bus.client_retry.try_timeout),
        "11s",
    ),
    (
        "extensions__serviceBus__clientRetryOptions__delay",
        "00:00:12",
        |h| format!("{:?}", h.service_bus.client_retry.delay),
        "12s",
    ),
    (
        "extensions__serviceBus__clientRetryOptions__maxDelay",
        "00:00:13",
        |h| format!("{:?}", h.service_bus.client_retry.max_delay),
        "13s",
    ),
    (
        "extensions__serviceBus__clientRetryOptions__maxRetries",
        "14",
        |h| h.service_bus.client_retry.max_retries.to_string(),
        "14",
    ),
    (
        "extensions__http__routePrefix",
        "v1",
        |h| h.http.route_prefix.clone(),
        "v1",
    ),
    (
        "extensions__http__maxOutstandingRequests",
        "15",
        |h| format!("{:?}", h.http.max_outstanding_requests),
        "Some(15)",
    ),
    (
        "extensions__http__maxConcurrentRequests",
        "16",
        |h| format!("{:?}", h.http.max_concurrent_requests),
        "Some(16)",
    ),
    (
        "extensions__http__enableChunkedRequestBinding",
        "true",
        |h| h.http.binds_chunked_bodies.to_string(),
        "true",
    ),
    (
        "extensions__http__customHeaders__X-A",
        "b",
        |h| format!("{:?}", h.http.custom_headers),
        r#"[("x-a", "b")]"#,
    ),
];

fn handler(host: &HostJson) -> &CustomHandler {
    host.custom_handler.as_ref().unwrap()
}

#[test]
fn every_key_can_be_overridden_by_a_setting() {
    let plain = parse(FILE).unwrap();
    for (key, value, shown, expected) in CASES {
        let setting = (format!("{OVERRIDE_PREFIX}{key}"), (*value).to_owned());
        let read = HostJson::parse(Path::new("host.json"), FILE, [setting]).unwrap();
        assert_eq!(shown(&read), *expected, "{key}");
        assert_ne!(shown(&read), shown(&plain), "{key}");
    }
    let retry = [
        ("strategy", "fixedDelay"),
        ("maxRetryCount", "2"),
        ("delayInterval", "00:00:01"),
    ];
    let retry =
        retry.map(|(key, value)| (format!("{OVERRIDE_PREFIX}retry__{key}"), value.to_owned()));
    let read = HostJson::parse(Path::new("host.json"), FILE, retry).unwrap();
    assert_eq!(read.retry.unwrap().max_retry_count, Some(2));
    let infinite = (
        format!("{OVERRIDE_PREFIX}extensions__serviceBus__maxAutoLockRenewalDuration"),
        "-00:00:00.0010000".to_owned(),
    );
    let read = HostJson::parse(Path::new("host.json"), FILE, [infinite]).unwrap();
    assert_eq!(
        read.service_bus.max_auto_lock_renewal_duration,
        Duration::MAX
    );
}
