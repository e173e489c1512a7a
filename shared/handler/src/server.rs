//! The HTTP surface that the host sees: a readiness probe, one path per function, and what is counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{FutureExt, Stream, StreamExt, pin_mut};
use nightshift_bindings::invocation::response::{CONTENT_TYPE, SUCCESS};
use nightshift_crashpoint::CrashPoint;
use nightshift_telemetry::trace::TRACEPARENT;
use nightshift_telemetry::{causes, metrics};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use crate::call::{Call, InvocationFailed};
use crate::drain::drain_until;
use crate::registry::{Registry, RegistryError};
use crate::settings::HandlerSettings;
use crate::shutdown;

/// The host's id of an invocation.
const INVOCATION_ID: &str = "x-azure-functions-invocationid";

/// When our own host gives the call up, as RFC 3339; other hosts do not send it.
const DEADLINE: &str = "x-nightshift-deadline";

/// When the first lock of the call's messages ends, likewise: what is not answered by then is
/// delivered to somebody else.
const LOCKED_UNTIL: &str = "x-nightshift-locked-until";

/// How long before the locks end an answer must be on its way, to settle the messages in time.
const SETTLEMENT_MARGIN: TimeDelta = TimeDelta::seconds(1);

/// How long a process works for its host alone after its start, so that the first message, for which
/// it may have been started, does not share processor and database with the look at what else there is.
const HEAD_START: Duration = Duration::from_millis(250);

/// Why a handler could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The app on disk does not fit this binary.
    #[error(transparent)]
    App(#[from] RegistryError),
    /// The port could not be bound, or signals not be watched.
    #[error("cannot serve on {address}")]
    Io {
        /// The address that the host asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A handler process.
#[derive(Debug)]
pub struct Handler {
    registry: Arc<Registry>,
    settings: HandlerSettings,
    stopping: CancellationToken,
}

impl Handler {
    /// A handler for `registry`.
    pub fn new(registry: Registry, settings: HandlerSettings) -> Self {
        Self {
            registry: Arc::new(registry),
            settings,
            stopping: CancellationToken::new(),
        }
    }

    /// Answers the host until the process is asked to stop, then finishes what is under way.
    pub async fn serve(self) -> Result<(), ServeError> {
        if let Some(app_root) = &self.settings.app_root {
            self.registry.check_app(app_root)?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.settings.port));
        let io = |source| ServeError::Io { address, source };
        let listener = TcpListener::bind(address).await.map_err(io)?;
        tracing::info!(server.address = %address, functions = ?self.registry.names(), "handler is listening");
        let outbox = self.registry.outbox().clone();
        let background = self.background();
        let stopping = self.stopping.clone();
        let watches_stdin = self.settings.exits_on_stdin_eof;
        let stop = async move {
            if let Err(error) = shutdown::requested(watches_stdin).await {
                tracing::error!(%error, "signals cannot be watched; stopping");
            }
            stopping.cancel();
        };
        warp::serve(routes(Arc::new(self)))
            .incoming(listener)
            .graceful(stop)
            .run()
            .await;
        for work in background {
            // It has only ended early if it panicked, which the log says.
            let _ = work.await;
        }
        outbox.close().await;
        Ok(())
    }

    /// Starts what a handler does of its own accord, until it stops.
    fn background(&self) -> [JoinHandle<()>; 3] {
        let (registry, outbox) = (&self.registry, self.registry.outbox());
        let stopping = || self.stopping.clone();
        let sweeper = {
            let (outbox, places, stopping) = (outbox.clone(), registry.places(), stopping());
            || async move { outbox.sweep_until(&places, stopping).await }
        };
        let schedules = {
            let (registry, stopping) = (Arc::clone(registry), stopping());
            || async move { registry.watch_schedules(&stopping).await }
        };
        let drain = {
            let (registry, stopping) = (Arc::clone(registry), stopping());
            || drain_until(registry, stopping)
        };
        [
            spawn_later(sweeper),
            spawn_later(schedules),
            spawn_later(drain),
        ]
    }

    async fn answer<B: Buf>(
        &self,
        name: &str,
        invocation_id: Option<String>,
        limits: Limits,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Response<Bytes> {
        let body = match read_body(body, self.settings.max_invocation_bytes).await {
            Ok(body) => body,
            Err((status, what)) => {
                tracing::error!(function.name = name, error = what, "invocation failed");
                return failure(status, &what);
            }
        };
        let now = self.registry.clock().now();
        let call = Call::new(
            invocation_id.unwrap_or_default(),
            self.settings.batch_deadline,
            limits.earliest(),
            now,
            self.stopping.child_token(),
        )
        .within(limits.traceparent);
        let started = Instant::now();
        match self.registry.invoke(name, &body, &call).await {
            Some(Ok(())) => {
                CrashPoint::BeforeAnswer.reach().await;
                json(StatusCode::OK, SUCCESS.to_owned())
            }
            None => self.unknown(name),
            Some(Err(error)) => {
                metrics::FAILED_INVOCATIONS.add(&[name], 1);
                let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::error!(
                    function.name = name,
                    invocation.id = call.invocation_id,
                    duration_ms,
                    error = causes(&error),
                    "invocation failed"
                );
                failure(status(&error), &causes(&error))
            }
        }
    }

    /// Answers a request that the host forwards as it is.
    async fn forwarded<B: Buf>(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Response<Bytes> {
        let Some((door, _)) = self.registry.door(method.as_str(), uri.path()) else {
            return self.unknown(uri.path());
        };
        let body = match read_body(body, door.max_body_bytes).await {
            Ok(body) => body.freeze(),
            Err((status, what)) => return failure(status, &what),
        };
        let path = uri.path().to_owned();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let answer = self.registry.respond(request);
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(Some(answer)) => answer,
            Ok(None) => self.unknown(&path),
            // The panic's message is in the log.
            Err(_panic) => failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the function has panicked",
            ),
        }
    }

    fn unknown(&self, name: &str) -> Response<Bytes> {
        let known = self.registry.names().join(", ");
        let what = format!("{name} is not a function of this handler; it knows {known}");
        failure(StatusCode::NOT_FOUND, &what)
    }
}

fn spawn_later<W: Future<Output = ()> + Send>(
    work: impl FnOnce() -> W + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        sleep(HEAD_START).await;
        // Made only now, where it stays: the stack of whoever starts it never has room for it.
        Box::pin(work()).await;
    })
}

fn routes(
    handler: Arc<Handler>,
) -> impl Filter<Extract = (Response<Bytes>,), Error = Rejection> + Clone + Send + Sync + 'static {
    let ready = warp::path::end()
        .and(warp::get().or(warp::head()).unify())
        .map(|| json(StatusCode::OK, "{}".to_owned()));
    let counted = warp::path!("metrics")
        .and(warp::get())
        .map(|| typed(metrics::text(), metrics::CONTENT_TYPE));
    let known = Arc::clone(&handler);
    let invoked = move |name: String| {
        let is_invoked = known.registry.is_invoked(&name);
        async move {
            if is_invoked {
                Ok(name)
            } else {
                Err(warp::reject::not_found())
            }
        }
    };
    let invoke = warp::post()
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and_then(invoked)
        .and(warp::header::optional::<String>(INVOCATION_ID))
        .and(limits())
        .and(warp::body::stream())
        .then({
            let handler = Arc::clone(&handler);
            move |name: String, invocation_id, limits, body| {
                let handler = Arc::clone(&handler);
                async move { handler.answer(&name, invocation_id, limits, body).await }
            }
        });
    let forwarded = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or_else(|_| async { Ok::<_, Rejection>((String::new(),)) }))
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |method, path: FullPath, query: String, headers, body| {
                let handler = Arc::clone(&handler);
                async move {
                    match target(path.as_str(), &query) {
                        Some(uri) => handler.forwarded(method, uri, headers, body).await,
                        None => failure(StatusCode::BAD_REQUEST, "the path or query is malformed"),
                    }
                }
            },
        );
    ready
        .or(counted)
        .unify()
        .or(invoke)
        .unify()
        .or(forwarded)
        .unify()
}

/// What a request is for: its path, and its query if it has one.
fn target(path: &str, query: &str) -> Option<Uri> {
    if query.is_empty() {
        return path.parse().ok();
    }
    format!("{path}?{query}").parse().ok()
}

/// Until when our own host waits for an answer, and of which trace its call is a part; other hosts do not
/// say.
struct Limits {
    deadline: Option<DateTime<Utc>>,
    locked_until: Option<DateTime<Utc>>,
    traceparent: Option<String>,
}

impl Limits {
    fn earliest(&self) -> Option<DateTime<Utc>> {
        let locked_until = self.locked_until.map(|until| until - SETTLEMENT_MARGIN);
        [self.deadline, locked_until].into_iter().flatten().min()
    }
}

fn limits() -> impl Filter<Extract = (Limits,), Error = Rejection> + Clone {
    let instant = |text: Option<String>| {
        let at = DateTime::parse_from_rfc3339(&text?).ok()?;
        Some(at.with_timezone(&Utc))
    };
    warp::header::optional::<String>(DEADLINE)
        .and(warp::header::optional::<String>(LOCKED_UNTIL))
        .and(warp::header::optional::<String>(TRACEPARENT))
        .map(move |deadline, locked_until, traceparent| Limits {
            deadline: instant(deadline),
            locked_until: instant(locked_until),
            traceparent,
        })
}

/// Reads a body of unknown length (the real host sends it in chunks), up to `limit` bytes.
async fn read_body<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    limit: usize,
) -> Result<BytesMut, (StatusCode, String)> {
    pin_mut!(body);
    let mut whole = BytesMut::new();
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|error| {
            (
                StatusCode::BAD_REQUEST,
                format!(
                    "the invocation broke off after {} bytes: {error}",
                    whole.len()
                ),
            )
        })?;
        if whole.len() + part.remaining() > limit {
            return Err((
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the invocation has more than {limit} bytes; lower maxMessageBatchSize in host.json or raise NIGHTSHIFT_MAX_INVOCATION_BYTES"
                ),
            ));
        }
        while part.has_remaining() {
            let chunk = part.chunk();
            let length = chunk.len();
            whole.extend_from_slice(chunk);
            part.advance(length);
        }
    }
    Ok(whole)
}

/// 503 asks our own host to give the messages back without counting a failed delivery; other hosts
/// treat it as any other failure.
fn status(error: &InvocationFailed) -> StatusCode {
    match error {
        InvocationFailed::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn failure(status: StatusCode, what: &str) -> Response<Bytes> {
    json(status, serde_json::json!({ "error": what }).to_string())
}

fn json(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = typed(body, CONTENT_TYPE);
    *response.status_mut() = status;
    response
}

fn typed(body: String, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}
