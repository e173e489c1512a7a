//! What traces and log lines show of an invocation: `function.run`, of each message or of the whole.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use nightshift_telemetry::trace::{self, LOG, TRACE};
use tracing::Instrument;
use tracing::field::Empty;

/// What a trace shows of a message while an invocation has it. It says once how that ended, when it is over:
/// attributes do not replace each other.
#[derive(Debug)]
pub(crate) struct MessageSpan {
    span: tracing::Span,
    /// How it has ended as far as is committed, and what was wrong.
    ended: Mutex<Option<(&'static str, Option<&'static str>)>>,
}

impl MessageSpan {
    /// The span of a message, which has fields for its end.
    pub(crate) fn new(span: tracing::Span) -> Self {
        Self {
            span,
            ended: Mutex::default(),
        }
    }

    /// The span itself.
    pub(crate) fn get(&self) -> &tracing::Span {
        &self.span
    }

    /// Another commit has said how it ended. `error` is a reason and nothing that may quote the message.
    pub(crate) fn end(&self, outcome: &'static str, error: Option<&'static str>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = Some((outcome, error));
    }
}

impl Drop for MessageSpan {
    fn drop(&mut self) {
        if self.span.is_disabled() {
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (outcome, error) = ended.unwrap_or(("unsettled", Some("the message comes again")));
        self.span.record("outcome", outcome);
        if let Some(error) = error {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("otel.status_description", error);
        }
    }
}

/// One invocation that is no message's.
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
