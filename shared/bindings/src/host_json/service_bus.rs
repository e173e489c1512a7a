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
        }
    }
}

/// The extension's own upper bound of `maxBatchWaitTime`.
const LONGEST_BATCH_WAIT: Duration = Duration::from_secs(150);

/// 32-bit signed in the extension.
const MAX_COUNT: u32 = i32::MAX as u32;

pub(super) fn read(reader: &mut Reader<'_>) -> ServiceBusOptions {
    const SECTION: &str = "extensions:serviceBus";
    let defaults = ServiceBusOptions::default();
    let path = |key: &str| format!("{SECTION}:{key}");
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
        auto_complete_messages: reader.boolean(
            &path("autoCompleteMessages"),
            defaults.auto_complete_messages,
        ),
        max_batch_wait_time,
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
