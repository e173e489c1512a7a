//! `/metrics` in the text format of Prometheus.

use std::fmt::Write;

use tokio::time::Instant;

use crate::monitor::Monitor;
use crate::stats::FunctionStats;

/// A metric of each function: name, kind, help, value.
type FunctionMetric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&FunctionStats) -> f64,
);

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a float; counts stay far below 2^53"
)]
const FUNCTIONS: [FunctionMetric; 7] = [
    (
        "invocations_total",
        "counter",
        "Invocations that have ended.",
        |stats| stats.invocations as f64,
    ),
    (
        "failures_total",
        "counter",
        "Invocations that failed.",
        |stats| stats.failures as f64,
    ),
    ("running", "gauge", "Invocations under way.", |stats| {
        stats.running as f64
    }),
    (
        "seconds_total",
        "counter",
        "Time spent in ended invocations.",
        |stats| stats.total_duration.as_secs_f64(),
    ),
    (
        "messages_total",
        "counter",
        "Messages in ended invocations.",
        |stats| stats.messages as f64,
    ),
    (
        "lost_settlements_total",
        "counter",
        "Messages whose settlement the broker did not confirm.",
        |stats| stats.lost_settlements as f64,
    ),
    (
        "listening",
        "gauge",
        "Whether the function's trigger is connected.",
        |stats| f64::from(u8::from(stats.is_listening)),
    ),
];

/// All metrics.
pub(super) fn text(monitor: &Monitor) -> String {
    let stats = monitor.stats();
    let mut out = String::new();
    for (name, kind, help, value) in FUNCTIONS {
        head(&mut out, &format!("function_{name}"), kind, help);
        for (function, stats) in &stats.functions {
            // Function names have no character that a label would have to escape.
            let value = value(stats);
            let _ = writeln!(
                out,
                "nightshift_host_function_{name}{{function=\"{function}\"}} {value}"
            );
        }
    }
    let uptime = Instant::now().duration_since(monitor.begun).as_secs_f64();
    let is_ready = u8::from(stats.handler.pid.is_some());
    for (name, kind, help, value) in [
        (
            "handler_ready",
            "gauge",
            "Whether the handler answers.",
            is_ready.to_string(),
        ),
        (
            "handler_restarts_total",
            "counter",
            "Restarts of the handler.",
            stats.handler.restarts.to_string(),
        ),
        (
            "uptime_seconds",
            "gauge",
            "Time since the start of the host.",
            uptime.to_string(),
        ),
    ] {
        head(&mut out, name, kind, help);
        let _ = writeln!(out, "nightshift_host_{name} {value}");
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to memory cannot fail.
    let _ = writeln!(out, "# HELP nightshift_host_{name} {help}");
    let _ = writeln!(out, "# TYPE nightshift_host_{name} {kind}");
}
