//! One invocation: from received messages to success or failure.
//!
//! A failure is told once, here, with the function, the invocation's id and what was wrong; the
//! messages then go back to the broker. Nothing of a message's content is ever logged.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName};
use nightshift_bindings::function_json::Cardinality;
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::encode::{EncodeError, Envelope};
use nightshift_bindings::invocation::response::Response;
use nightshift_telemetry::causes;
use nightshift_telemetry::trace::TRACEPARENT;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::settle::Settlement;
use crate::app::{Mode, ServiceBusFunction};
use crate::call::{Caller, Failure, insert, instant};
use crate::stats::Counters;

/// When the first lock of its messages ends, in RFC 3339 (default mode).
const LOCKED_UNTIL: HeaderName = HeaderName::from_static("x-nightshift-locked-until");

/// The trace context of the call (default mode).
const CONTEXT: HeaderName = HeaderName::from_static(TRACEPARENT);

impl Failure {
    /// Whether the same messages may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::UnboundBody | Self::Encode(_))
    }

    /// Whether the handler said that it cannot work now.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// What becomes of the messages. A failed delivery counts only where a message may be at fault:
    /// a message that is delivered too often is dead. The real host knows no such difference.
    pub(super) fn settlement(&self, mode: Mode) -> Settlement {
        let is_innocent = matches!(self, Self::NotReady | Self::HostStopped) || self.is_refusal();
        if is_innocent && mode == Mode::Default {
            Settlement::Release
        } else {
            Settlement::Abandon
        }
    }
}

/// Messages on their way to the handler.
pub(super) struct Invocation<'a> {
    caller: &'a Caller,
    function: &'a ServiceBusFunction,
    counters: &'a Arc<Counters>,
    id: Uuid,
    messages: &'a [TriggerMessage],
    locked_until: Option<DateTime<Utc>>,
    traceparent: Option<String>,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(
        caller: &'a Caller,
        function: &'a ServiceBusFunction,
        counters: &'a Arc<Counters>,
        messages: &'a [TriggerMessage],
        locked_until: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            caller,
            function,
            counters,
            id: Uuid::new_v4(),
            messages,
            locked_until,
            traceparent: None,
        }
    }

    /// The same invocation, as a part of the trace of the context `traceparent`.
    pub(super) fn within(self, traceparent: Option<String>) -> Self {
        Self {
            traceparent,
            ..self
        }
    }

    /// Calls the handler. `cancel` gives up at once.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Result<(), Failure> {
        let begun = Instant::now();
        let _running = self.counters.invocation_began();
        let outcome = tokio::select! {
            outcome = self.call() => outcome,
            () = cancel.cancelled() => Err(Failure::HostStopped),
        };
        let function = &self.function.name;
        let count = self.messages.len();
        self.counters
            .invocation_ended(count, outcome.is_err(), begun.elapsed());
        match outcome {
            Ok(response) => {
                for line in &response.logs {
                    tracing::info!(function.name = %function, invocation.id = %self.id, "{line}");
                }
                Ok(())
            }
            Err(failure) => {
                self.tell(&failure, "the invocation failed");
                Err(failure)
            }
        }
    }

    /// Says why the invocation failed.
    pub(super) fn tell(&self, failure: &Failure, what: &str) {
        tracing::warn!(
            function.name = %self.function.name,
            invocation.id = %self.id,
            invocation.messages = self.messages.len(),
            error = causes(failure),
            "{what}"
        );
    }

    async fn call(&self) -> Result<Response, Failure> {
        let body = self.encode()?;
        let (caller, function) = (self.caller, self.function);
        let response = caller.post(&function.name, self.headers(), body).await?;
        caller.send_outputs(&function.outputs, &response).await?;
        Ok(response)
    }

    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let function = self.function;
        let envelope = Envelope {
            function: &function.name,
            binding: &function.binding,
            data_type: function.data_type,
            now: self.caller.config.clock.now(),
            random: Uuid::new_v4(),
        };
        match (function.cardinality, self.messages) {
            (Cardinality::One, [message]) => Ok(envelope.encode_single(message)),
            _ => envelope.encode_batch(self.messages),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.caller.headers(self.id);
        if self.caller.mode() == Mode::Default
            && let Some(locked_until) = self.locked_until
        {
            insert(&mut headers, LOCKED_UNTIL, &instant(locked_until));
        }
        if self.caller.mode() == Mode::Default
            && let Some(context) = &self.traceparent
        {
            insert(&mut headers, CONTEXT, context);
        }
        headers
    }
}
