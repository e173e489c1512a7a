//! One call of the handler, whatever triggered it.
//!
//! A call has a time limit (`functionTimeout`), and what its end means for the handler is the
//! mode's decision: strict mode kills the process, as the real host does, and the default mode
//! closes the call's connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use nightshift_bindings::host_json::FunctionTimeout;
use nightshift_bindings::invocation::encode::EncodeError;
use nightshift_bindings::invocation::response::{Response, ResponseError};
use nightshift_bus::BusError;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{HostConfig, Mode};
use crate::handler::{Answer, CallError, HandlerClient, HandlerState, ReadyHandler, Taking};
use nightshift_connection::Connections;

/// The longest answer read in default mode. An answer without outputs has fifty bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long an invocation waits for a handler that starts.
const HANDLER_PATIENCE: Duration = Duration::from_secs(30);

/// In strict mode: how many times its time to start, which are three restarts and the start.
const STARTS_WAITED_FOR: u32 = 3 + 1;

/// How long after a broken connection the end of the handler may take to be noticed.
const CRASH_NOTICE: Duration = Duration::from_millis(250);

/// Which invocation a call belongs to.
pub(crate) const INVOCATION_ID: HeaderName =
    HeaderName::from_static("x-azure-functions-invocationid");

/// When the invocation is given up, in RFC 3339 (default mode).
const DEADLINE: HeaderName = HeaderName::from_static("x-nightshift-deadline");

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("a message's body is an AMQP value or sequence, which no function can be given")]
    UnboundBody,
    #[error("the messages cannot be encoded")]
    Encode(#[from] EncodeError),
    #[error("the request cannot be encoded")]
    EncodeRequest(#[source] serde_json::Error),
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
    #[error("the handler's answer has no usable output {name:?}: {what}")]
    Output { name: String, what: &'static str },
    #[error("the messages of the output {name:?} could not be sent to {entity}")]
    Send {
        name: String,
        entity: String,
        #[source]
        source: BusError,
    },
    #[error("the handler did not answer within functionTimeout ({0:?})")]
    TimedOut(Duration),
    #[error("the answer was not through within functionTimeout ({0:?})")]
    TooSlow(Duration),
    #[error("the host stopped before the handler answered")]
    HostStopped,
}

impl Failure {
    /// Whether it goes back to an `E`.
    pub(crate) fn is_from<E: std::error::Error + 'static>(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if error.is::<E>() {
                return true;
            }
            source = error.source();
        }
        false
    }
}

/// A request's body that turned out longer than allowed while it was passed on.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is longer than FUNCTIONS_REQUEST_BODY_SIZE_LIMIT allows")]
pub(crate) struct BodyTooLong;

/// A request's body of which nothing more came while it was passed on.
#[derive(Debug, thiserror::Error)]
#[error("nothing more of the request's body has come for {0:?}")]
pub(crate) struct BodyTooSlow(pub(crate) Duration);

/// What calls need.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) config: Arc<HostConfig>,
    pub(crate) client: HandlerClient,
    pub(crate) handler: watch::Receiver<HandlerState>,
    /// Stops the host, if the handler still starts.
    pub(crate) overdue: CancellationToken,
    /// What outputs are sent on.
    pub(crate) bus: Arc<Connections>,
}

impl Caller {
    pub(crate) fn mode(&self) -> Mode {
        self.config.settings.mode
    }

    /// Where the handler is now.
    pub(crate) fn ready_handler(&self) -> Result<ReadyHandler, Failure> {
        let state = self.handler.borrow();
        state.ready().cloned().ok_or(Failure::NotReady)
    }

    /// Where the handler is as soon as it is ready. In strict mode an invocation that has waited
    /// for too long stops the host, as in the real one.
    pub(crate) async fn awaited_handler(&self) -> Result<ReadyHandler, Failure> {
        let patience = match (self.mode(), &self.config.handler) {
            (Mode::Strict, Some(command)) => command.initialization_timeout * STARTS_WAITED_FOR,
            _ => HANDLER_PATIENCE,
        };
        let mut state = self.handler.clone();
        let ready = state.wait_for(|state| state.ready().is_some());
        match timeout(patience, ready).await {
            Ok(Ok(state)) => state.ready().cloned().ok_or(Failure::NotReady),
            Err(_) if self.mode() == Mode::Strict => {
                self.overdue.cancel();
                Err(Failure::NotReady)
            }
            _ => Err(Failure::NotReady),
        }
    }

    /// Posts an envelope to `function` and reads the answer.
    pub(crate) async fn post(
        &self,
        function: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        let is_strict = self.mode() == Mode::Strict;
        let (handler, taking) = if is_strict {
            let taking = Taking {
                max_bytes: usize::MAX,
                follows_redirects: true,
            };
            (self.awaited_handler().await?, taking)
        } else {
            let taking = Taking {
                max_bytes: MAX_ANSWER_BYTES,
                follows_redirects: false,
            };
            (self.ready_handler()?, taking)
        };
        let call = async {
            let call = self
                .client
                .post(handler.port, function, headers, body, taking);
            let judged = judge(&call.await?);
            if is_strict && matches!(judged, Err(Failure::Response(ResponseError::Empty))) {
                // The real host does not take this for an answer, and waits for one.
                std::future::pending::<()>().await;
            }
            Ok(judged)
        };
        self.limited(&handler, call).await?
    }

    /// `call` within `functionTimeout`.
    pub(crate) async fn limited<T>(
        &self,
        handler: &ReadyHandler,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, Failure> {
        let answer = match self.config.function_timeout {
            FunctionTimeout::Unlimited => call.await,
            FunctionTimeout::After(limit) => {
                let mut call = pin!(call);
                match timeout(limit, call.as_mut()).await {
                    Ok(answer) => answer,
                    // In strict mode the connection stays open until the handler is dead.
                    Err(_) => return Err(self.give_up(handler, limit).await),
                }
            }
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.let_supervisor_see(handler).await;
                Err(error.into())
            }
        }
    }

    /// The headers of an invocation.
    pub(crate) fn headers(&self, id: Uuid) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, INVOCATION_ID, &id.to_string());
        if self.mode() == Mode::Default
            && let FunctionTimeout::After(limit) = self.config.function_timeout
        {
            insert(
                &mut headers,
                DEADLINE,
                &instant(self.config.clock.now() + limit),
            );
        }
        headers
    }

    /// The call took too long. Dropping it closes its connection; strict mode kills the whole
    /// handler instead.
    async fn give_up(&self, handler: &ReadyHandler, limit: Duration) -> Failure {
        if self.mode() == Mode::Strict {
            handler.kill.cancel();
            self.let_supervisor_see(handler).await;
        }
        Failure::TimedOut(limit)
    }

    /// A broken connection usually means that the handler is dead. Its messages go back only once
    /// that is known: otherwise they would be received again at once, for the same dead handler,
    /// and use up their deliveries.
    async fn let_supervisor_see(&self, handler: &ReadyHandler) {
        let mut state = self.handler.clone();
        let is_gone =
            |state: &HandlerState| state.ready().is_none_or(|ready| ready.pid != handler.pid);
        // A handler that lives on has only closed its connection.
        let _ = timeout(CRASH_NOTICE, state.wait_for(is_gone)).await;
    }
}

/// Sets a header to a text that is known to be fit for one.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// An instant as the headers spell it.
pub(crate) fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
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
