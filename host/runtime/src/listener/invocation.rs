//! One invocation: from received messages to success or failure.
//!
//! A failure is told once, here, with the function, the invocation's id and what was wrong; the
//! messages then go back to the broker. Nothing of a message's content is ever logged.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use nightshift_bindings::function_json::Cardinality;
use nightshift_bindings::host_json::FunctionTimeout;
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::encode::{EncodeError, Envelope};
use nightshift_bindings::invocation::response::{Response, ResponseError};
use nightshift_telemetry::causes;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Listener;
use super::settle::Settlement;
use crate::app::Mode;
use crate::handler::{Answer, CallError, HandlerState, ReadyHandler};

/// The longest answer read in default mode. An answer without outputs has fifty bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long after a broken connection the end of the handler may take to be noticed.
const CRASH_NOTICE: Duration = Duration::from_millis(250);

/// When the invocation is given up, in RFC 3339 (default mode).
const DEADLINE: &str = "x-nightshift-deadline";

/// When the first lock of its messages ends, in RFC 3339 (default mode).
const LOCKED_UNTIL: &str = "x-nightshift-locked-until";

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("a message's body is an AMQP value or sequence, which no function can be given")]
    UnboundBody,
    #[error("the messages cannot be encoded")]
    Encode(#[from] EncodeError),
    #[error("the handler is not ready")]
    NotReady,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the handler answered with a redirect ({0}), which this host does not follow")]
    Redirect(StatusCode),
    #[error("the handler answered with status {0}; what went wrong is in its own log")]
    Status(StatusCode),
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error("the handler did not answer within functionTimeout ({0:?})")]
    TimedOut(Duration),
    #[error("the host stopped before the handler answered")]
    HostStopped,
}

impl Failure {
    /// Whether the same messages may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::UnboundBody | Self::Encode(_))
    }

    /// What becomes of the messages. A failed delivery counts only where a message may be at fault:
    /// a message that is delivered too often is dead. The real host knows no such difference.
    pub(super) fn settlement(&self, mode: Mode) -> Settlement {
        let is_innocent = match self {
            Self::NotReady | Self::HostStopped => true,
            Self::Status(status) => *status == StatusCode::SERVICE_UNAVAILABLE,
            _ => false,
        };
        if is_innocent && mode == Mode::Default {
            Settlement::Release
        } else {
            Settlement::Abandon
        }
    }
}

/// Messages on their way to the handler.
pub(super) struct Invocation<'a> {
    listener: &'a Listener,
    id: Uuid,
    messages: &'a [TriggerMessage],
    locked_until: Option<DateTime<Utc>>,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(
        listener: &'a Listener,
        messages: &'a [TriggerMessage],
        locked_until: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            listener,
            id: Uuid::new_v4(),
            messages,
            locked_until,
        }
    }

    /// Calls the handler. `cancel` gives up at once.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Result<(), Failure> {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = self.call() => outcome,
            () = cancel.cancelled() => Err(Failure::HostStopped),
        };
        let function = &self.listener.function.name;
        let count = self.messages.len();
        self.listener
            .counters
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
            function.name = %self.listener.function.name,
            invocation.id = %self.id,
            invocation.messages = self.messages.len(),
            error = causes(failure),
            "{what}"
        );
    }

    async fn call(&self) -> Result<Response, Failure> {
        let body = self.encode()?;
        let handler = self
            .listener
            .handler
            .borrow()
            .ready()
            .cloned()
            .ok_or(Failure::NotReady)?;
        let headers = self.headers();
        let limit = match self.listener.mode() {
            Mode::Default => MAX_ANSWER_BYTES,
            Mode::Strict => usize::MAX,
        };
        let function = &self.listener.function.name;
        let call = self
            .listener
            .client
            .post(handler.port, function, headers, body, limit);
        let answer = match self.listener.config.function_timeout {
            FunctionTimeout::Unlimited => call.await,
            FunctionTimeout::After(limit) => match timeout(limit, call).await {
                Ok(answer) => answer,
                Err(_) => return Err(self.give_up(&handler, limit).await),
            },
        };
        match answer {
            Ok(answer) => judge(&answer),
            Err(error) => {
                self.let_supervisor_see(&handler).await;
                Err(error.into())
            }
        }
    }

    /// The call took too long. Dropping it has closed its connection; strict mode kills the whole
    /// handler, too.
    async fn give_up(&self, handler: &ReadyHandler, limit: Duration) -> Failure {
        if self.listener.mode() == Mode::Strict {
            handler.kill.cancel();
            self.let_supervisor_see(handler).await;
        }
        Failure::TimedOut(limit)
    }

    /// A broken connection usually means that the handler is dead. Its messages go back only once
    /// that is known: otherwise they would be received again at once, for the same dead handler,
    /// and use up their deliveries.
    async fn let_supervisor_see(&self, handler: &ReadyHandler) {
        let mut state = self.listener.handler.clone();
        let is_gone =
            |state: &HandlerState| state.ready().is_none_or(|ready| ready.pid != handler.pid);
        // A handler that lives on has only closed its connection.
        let _ = timeout(CRASH_NOTICE, state.wait_for(is_gone)).await;
    }

    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let function = &self.listener.function;
        let envelope = Envelope {
            function: &function.name,
            binding: &function.binding,
            data_type: function.data_type,
            now: self.listener.config.clock.now(),
            random: Uuid::new_v4(),
        };
        match (function.cardinality, self.messages) {
            (Cardinality::One, [message]) => Ok(envelope.encode_single(message)),
            _ => envelope.encode_batch(self.messages),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut insert = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        insert("x-azure-functions-invocationid", self.id.to_string());
        if self.listener.mode() == Mode::Default {
            let instant = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
            if let FunctionTimeout::After(limit) = self.listener.config.function_timeout {
                insert(DEADLINE, instant(self.listener.config.clock.now() + limit));
            }
            if let Some(locked_until) = self.locked_until {
                insert(LOCKED_UNTIL, instant(locked_until));
            }
        }
        headers
    }
}

/// Success is a 2xx status with a JSON object.
fn judge(answer: &Answer) -> Result<Response, Failure> {
    if answer.status.is_redirection() {
        return Err(Failure::Redirect(answer.status));
    }
    if !answer.status.is_success() {
        return Err(Failure::Status(answer.status));
    }
    Ok(Response::parse(
        answer.content_type.as_deref(),
        &answer.body,
    )?)
}
