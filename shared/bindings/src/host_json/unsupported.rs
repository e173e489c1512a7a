//! Keys of `host.json` that mean something to the real host and nothing yet to this one.
//!
//! Only keys whose absence would make an app behave differently stand here; the many that tune
//! the real host's own machinery (health monitor, aggregator, sampling) are ignored.

use crate::document::{Document, Kind};
use crate::problem::ConfigProblem;

/// A key, and a value under which it changes nothing.
const KEYS: &[(&str, Option<&str>)] = &[
    ("httpWorker", None),
    ("configurationProfile", Some("default")),
    ("concurrency:dynamicConcurrencyEnabled", Some("false")),
    ("customHandler:description:defaultWorkerPath", None),
    ("customHandler:description:workerArguments", None),
    ("extensions:http:dynamicThrottlesEnabled", Some("false")),
    ("extensions:http:hsts:isEnabled", Some("false")),
    ("extensions:serviceBus:transportType", Some("amqptcp")),
    ("extensions:serviceBus:webProxy", None),
    (
        "extensions:serviceBus:enableCrossEntityTransactions",
        Some("false"),
    ),
    ("extensions:serviceBus:messageHandlerOptions", None),
    ("extensions:serviceBus:sessionHandlerOptions", None),
    ("extensions:serviceBus:batchOptions", None),
];

/// Every such key of `document` that is set to something else.
pub(super) fn find(document: &Document) -> Vec<ConfigProblem> {
    let mut found = Vec::new();
    for (path, harmless) in KEYS {
        let Some(entry) = document.get(path) else {
            continue;
        };
        let is_empty = match entry.kind {
            Kind::Object | Kind::Array => document.members(path).is_empty(),
            _ => entry.text.trim().is_empty(),
        };
        let is_harmless = harmless.is_some_and(|text| entry.text.trim().eq_ignore_ascii_case(text));
        if !is_empty && !is_harmless {
            found.push(document.problem(path, "is not supported by this host yet: remove it"));
        }
    }
    let handler_type = document.get("customHandler:type");
    if handler_type.is_some_and(|entry| !["http", "none"].contains(&entry.text.as_str())) {
        found.push(document.problem("customHandler:type", "expected \"http\""));
    }
    found
}
