//! Spans, and the context that ties those of several processes into one trace.
//!
//! A context travels as a W3C `traceparent`: in a message's application property, in the header of an
//! invocation, in a row of the outbox. Where nothing is exported no span is made, and contexts are handed
//! on as they came.
//!
//! | span | process | from | to |
//! |---|---|---|---|
//! | `queue.send` | whoever sends | before the send | accepted by the broker |
//! | `queue.wait` | broker | enqueued | handed out |
//! | `host.invoke` | host | received | settled |
//! | `function.run` | handler | read | answered |
//! | `function.call` | handler | a call to another system | its answer |
//! | `db.transaction` | handler | begin | commit |
//! | `function.effect` | handler | the function is called | it returns |
//! | `db.<entity>.<verb>`, `cache.<verb>` | handler | a statement, a script | its answer |
//!
//! The first four are children of the message's own context, or of the span that is around them, and
//! `function.run` links to the message's producer. A transaction of several messages is a trace of its own,
//! which links to the `function.run` of each, and each to it.

use std::sync::OnceLock;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, Status, TraceContextExt, Tracer};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use opentelemetry::KeyValue as Attribute;
pub use opentelemetry::trace::SpanKind as Kind;

/// The target of spans that are for traces alone: they cost nothing while nothing is exported.
pub const TRACE: &str = "nightshift_trace";

/// The target of spans that only say where log lines come from.
pub const LOG: &str = "nightshift_log";

/// The name of the property, or header, that carries a context.
pub const TRACEPARENT: &str = "traceparent";

/// The application properties in which producers hand on a context: the one of the W3C's specification for
/// AMQP, and the one of the older Azure SDKs.
pub const CONTEXT_PROPERTIES: [&str; 2] = [TRACEPARENT, "Diagnostic-Id"];

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// From now on spans go to `tracer`.
pub(crate) fn export_by(tracer: SdkTracer) {
    // The first one stays, as the first subscriber does.
    let _ = TRACER.set(tracer);
}

/// Whether spans are exported.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Makes `span`, which nothing has entered yet, a child of `parent`. A context that is none changes nothing.
pub fn follow(span: &Span, parent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = parse(parent) {
        // It has not begun, so that its parent can be set.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
}

/// Links `span` to the context `other`.
pub fn link(span: &Span, other: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = parse(other) {
        span.add_link(context);
    }
}

/// The context of `span`, for what follows from it; `None` if it is not exported.
pub fn context_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    text_of(span.context().span().span_context())
}

/// The context of the innermost span of this task.
pub fn current() -> Option<String> {
    is_on().then(|| context_of(&Span::current())).flatten()
}

/// The application properties of a message that follows from what this task does now, as JSON.
pub fn current_as_properties() -> String {
    let context = current();
    // It has no character that JSON would escape.
    context.map_or_else(
        || "{}".to_owned(),
        |context| format!("{{\"{TRACEPARENT}\":\"{context}\"}}"),
    )
}

/// A span that is known when it is over.
#[derive(Debug)]
pub struct Past<'a> {
    /// What it is called.
    pub name: &'static str,
    /// Whether it sent or received, or neither.
    pub kind: Kind,
    /// The context whose child it is.
    pub parent: &'a str,
    /// When it began.
    pub began: DateTime<Utc>,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Past<'_> {
    /// Exports it as a span that ends now, if its parent is a context.
    pub fn record(self) {
        let (Some(tracer), Some(parent)) = (TRACER.get(), parse(self.parent)) else {
            return;
        };
        let builder = SpanBuilder::from_name(self.name)
            .with_kind(self.kind)
            .with_start_time(SystemTime::from(self.began))
            .with_attributes(self.attributes);
        let parent = Context::new().with_remote_span_context(parent);
        let mut span = tracer.build_with_context(builder, &parent);
        if let Some(error) = self.error {
            span.set_status(Status::error(error));
        }
        span.end();
    }
}

/// The one header that is looked at.
struct Only<'a>(&'a str);

impl Extractor for Only<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

fn parse(text: &str) -> Option<SpanContext> {
    // The library takes shorter numbers for numbers, too.
    let lengths = text.split('-').map(str::len);
    if !lengths.take(4).eq([2, 32, 16, 2]) {
        return None;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Only(text));
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

fn text_of(context: &SpanContext) -> Option<String> {
    context.is_valid().then(|| {
        let (trace, span) = (context.trace_id(), context.span_id());
        format!("00-{trace}-{span}-{:02x}", context.trace_flags())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_and_written_alike() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(text_of(&parse(text).unwrap()).as_deref(), Some(text));
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00-1-2-3",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x\u{0}",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn without_an_exporter_nothing_is_made() {
        let span = tracing::info_span!(target: TRACE, "function.run");
        follow(
            &span,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        assert_eq!(context_of(&span), None);
        assert_eq!(current(), None);
    }
}
