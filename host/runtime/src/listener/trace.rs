//! What traces show of an invocation: one span for each of its messages, from their receipt to their
//! settlement.

use nightshift_bindings::invocation::TriggerMessage;
use nightshift_telemetry::trace::{self, CONTEXT_PROPERTIES, TRACE};
use tracing::Span;
use tracing::field::Empty;

use super::settle::Settlement;
use crate::app::ServiceBusFunction;

/// The spans of one invocation; none while nothing is exported.
pub(super) struct Spans(Vec<Span>);

impl Spans {
    /// `messages` are about to be handed to `function`.
    pub(super) fn begin(function: &ServiceBusFunction, messages: &[TriggerMessage]) -> Self {
        if !trace::is_on() {
            return Self(Vec::new());
        }
        let span = |message: &TriggerMessage| {
            let span = tracing::info_span!(
                target: TRACE,
                "host.invoke",
                otel.kind = "consumer",
                function.name = %function.name,
                messaging.destination.name = %function.entity,
                messaging.delivery_count = message.delivery_count,
                messaging.sequence_number = message.sequence_number,
                batch.size = messages.len(),
                settlement = Empty,
                otel.status_code = Empty,
            );
            let property = |name| message.application_properties.get(name)?.as_str();
            if let Some(parent) = CONTEXT_PROPERTIES.into_iter().find_map(property) {
                trace::follow(&span, parent);
            }
            span
        };
        Self(messages.iter().map(span).collect())
    }

    /// The context that the handler's own span of the message follows. A call for several messages is in
    /// several traces, and has none.
    pub(super) fn context(&self) -> Option<String> {
        match &self.0[..] {
            [span] => trace::context_of(span),
            _ => None,
        }
    }

    /// The messages are settled.
    pub(super) fn end(self, settlement: Settlement) {
        for span in self.0 {
            let (name, is_well) = match settlement {
                Settlement::Complete => ("complete", true),
                Settlement::Abandon => ("abandon", false),
                Settlement::Release => ("release", false),
            };
            span.record("settlement", name);
            if !is_well {
                span.record("otel.status_code", "ERROR");
            }
        }
    }
}
