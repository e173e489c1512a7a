//! What traces and log lines show of an invocation that is no message's.

use std::future::Future;

use nightshift_telemetry::trace::{self, LOG, TRACE};
use tracing::Instrument;
use tracing::field::Empty;

/// One invocation: `function.run`.
#[derive(Debug)]
pub(crate) struct Span {
    of_trace: tracing::Span,
    of_lines: tracing::Span,
}

impl Span {
    /// The invocation of `function` by a trigger of this `kind`, in the trace of the caller's context `parent`.
    pub(crate) fn of(function: &str, kind: &str, parent: Option<&str>) -> Self {
        let of_trace = tracing::info_span!(
            target: TRACE,
            "function.run",
            otel.kind = "server",
            function.name = function,
            trigger.kind = kind,
            otel.status_code = Empty,
            otel.status_description = Empty,
        );
        if let Some(parent) = parent {
            trace::follow(&of_trace, parent);
        }
        let of_lines = tracing::info_span!(
            target: LOG,
            "function.run",
            function.name = function,
            trigger.kind = kind,
            traceparent = trace::context_of(&of_trace),
        );
        Self { of_trace, of_lines }
    }

    /// What the invocation does.
    pub(crate) fn around<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        work.instrument(self.of_trace.clone())
            .instrument(self.of_lines.clone())
    }

    /// How it ended.
    pub(crate) fn end(self, error: Option<String>) {
        if let Some(error) = error {
            self.of_trace.record("otel.status_code", "ERROR");
            self.of_trace.record("otel.status_description", error);
        }
    }
}
