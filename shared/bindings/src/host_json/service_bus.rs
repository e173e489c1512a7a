//! The `extensions.serviceBus` section, as version 5 of the extension reads it.

use std::time::Duration;

use crate::reader::Reader;

/// How Service Bus triggers receive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceBusOptions {
    /// How many messages to hold beyond those being processed; 0 by default.
    pub prefetch_count: u32,
    /// Whether the host completes the messages of a successful invocation; true by default.
    pub auto_complete_messages: bool,
    /// Concurrent invocations of a function with `cardinality: one`; when not given, 16 for each
    /// processor.
    pub max_concurrent_calls: Option<u32>,
    /// The most messages of one invocation with `cardinality: many`; 1,000 by default.
    pub max_message_batch_size: u32,
    /// How many messages an invocation waits for; 1 by default.
    pub min_message_batch_size: u32,
    /// How long it waits for them; 30 seconds by default.
    pub max_batch_wait_time: Duration,
    /// How long the locks of single messages are renewed while they are worked on; 5 minutes by
    /// default, [`Duration::MAX`] for without end.
    pub max_auto_lock_renewal_duration: Duration,
    /// Sessions worked on at a time by a function with `isSessionsEnabled`; 8 by default.
    pub max_concurrent_sessions: u32,
    /// Concurrent invocations for each of them; 1 by default.
    pub max_concurrent_calls_per_session: u32,
    /// How long an empty session is waited on before the next is taken; when not given, as long as
    /// one try of the client takes.
    pub session_idle_timeout: Option<Duration>,
    /// How calls to the broker are tried again.
    pub client_retry: ClientRetryOptions,
}

/// The section `clientRetryOptions`: how the client's own calls are tried again, which has nothing
/// to do with invocations that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientRetryOptions {
    /// Whether pauses grow (`exponential`, the default) or stay (`fixed`).
    pub pauses_grow: bool,
    /// How long one try may take; one minute by default.
    pub try_timeout: Duration,
    /// The first pause; 0.8 seconds by default.
    pub delay: Duration,
    /// The longest pause; one minute by default.
    pub max_delay: Duration,
    /// How often a call is tried again; 3 by default.
    pub max_retries: u32,
}

impl Default for ClientRetryOptions {
    fn default() -> Self {
        Self {
            pauses_grow: true,
            try_timeout: Duration::from_mins(1),
            delay: Duration::from_millis(800),
            max_delay: Duration::from_mins(1),
            max_retries: 3,
        }
    }
}

impl Default for ServiceBusOptions {
    fn default() -> Self {
        Self {
            prefetch_count: 0,
            auto_complete_messages: true,
            max_concurrent_calls: None,
            max_message_batch_size: 1_000,
            min_message_batch_size: 1,
            max_batch_wait_time: Duration::from_secs(30),
            max_auto_lock_renewal_duration: Duration::from_mins(5),
            max_concurrent_sessions: 8,
            max_concurrent_calls_per_session: 1,
            session_idle_timeout: None,
            client_retry: ClientRetryOptions::default(),
        }
    }
}

/// The extension's own upper bound of `maxBatchWaitTime`.
const LONGEST_BATCH_WAIT: Duration = Duration::from_secs(150);

/// 32-bit signed in the extension.
const MAX_COUNT: u32 = i32::MAX as u32;

/// What the extension writes for "without end": one millisecond less than nothing.
const INFINITE: [&str; 2] = ["-00:00:00.0010000", "-00:00:00.001"];

/// The most tries and the longest pause and time of one try that the client's options allow.
const MAX_RETRIES: u32 = 100;
const LONGEST_DELAY: Duration = Duration::from_mins(5);
const LONGEST_TRY: Duration = Duration::from_hours(1);

fn path(key: &str) -> String {
    format!("extensions:serviceBus:{key}")
}

pub(super) fn read(reader: &mut Reader<'_>) -> ServiceBusOptions {
    let defaults = ServiceBusOptions::default();
    let wait = path("maxBatchWaitTime");
    let max_batch_wait_time = reader
        .time_span(&wait)
        .unwrap_or(defaults.max_batch_wait_time);
    if max_batch_wait_time > LONGEST_BATCH_WAIT {
        reader.problem(&wait, "expected at most \"00:02:30\"");
    }
    let mut number = |key: &str, min: u32| reader.number(&path(key), min, MAX_COUNT);
    let options = ServiceBusOptions {
        prefetch_count: number("prefetchCount", 0).unwrap_or(defaults.prefetch_count),
        max_concurrent_calls: number("maxConcurrentCalls", 1),
        max_message_batch_size: number("maxMessageBatchSize", 1)
            .unwrap_or(defaults.max_message_batch_size),
        min_message_batch_size: number("minMessageBatchSize", 1)
            .unwrap_or(defaults.min_message_batch_size),
        max_batch_wait_time,
        max_concurrent_sessions: number("maxConcurrentSessions", 1)
            .unwrap_or(defaults.max_concurrent_sessions),
        max_concurrent_calls_per_session: number("maxConcurrentCallsPerSession", 1)
            .unwrap_or(defaults.max_concurrent_calls_per_session),
        auto_complete_messages: reader.boolean(
            &path("autoCompleteMessages"),
            defaults.auto_complete_messages,
        ),
        max_auto_lock_renewal_duration: read_renewal(reader),
        session_idle_timeout: reader.time_span(&path("sessionIdleTimeout")),
        client_retry: read_client_retry(reader),
    };
    let (min, max) = (
        options.min_message_batch_size,
        options.max_message_batch_size,
    );
    if min > 1 && min >= max {
        let what = format!("expected less than maxMessageBatchSize ({max}), found {min}");
        reader.problem(&path("minMessageBatchSize"), what);
    }
    options
}

fn read_renewal(reader: &mut Reader<'_>) -> Duration {
    let path = path("maxAutoLockRenewalDuration");
    let text = reader.peek(&path).map(str::trim);
    if text.is_some_and(|text| INFINITE.contains(&text)) {
        return Duration::MAX;
    }
    let default = ServiceBusOptions::default().max_auto_lock_renewal_duration;
    reader.time_span(&path).unwrap_or(default)
}

fn read_client_retry(reader: &mut Reader<'_>) -> ClientRetryOptions {
    let at = |key: &str| path(&format!("clientRetryOptions:{key}"));
    let defaults = ClientRetryOptions::default();
    let modes = [("exponential", true), ("fixed", false)];
    let mut span = |key: &str, default: Duration, longest: Duration, is_zero_fine: bool| {
        let path = at(key);
        let found = reader.time_span(&path).unwrap_or(default);
        if found > longest || found.is_zero() && !is_zero_fine {
            let least = if is_zero_fine {
                ""
            } else {
                "more than nothing and "
            };
            let longest = longest.as_secs() / 60;
            let what = format!("expected {least}at most {longest} minutes");
            reader.problem(&path, what);
        }
        found
    };
    ClientRetryOptions {
        try_timeout: span("tryTimeout", defaults.try_timeout, LONGEST_TRY, false),
        delay: span("delay", defaults.delay, LONGEST_DELAY, true),
        max_delay: span("maxDelay", defaults.max_delay, LONGEST_TRY, true),
        pauses_grow: reader.choice(&at("mode"), &modes).unwrap_or(true),
        max_retries: reader
            .number(&at("maxRetries"), 0, MAX_RETRIES)
            .unwrap_or(defaults.max_retries),
    }
}
