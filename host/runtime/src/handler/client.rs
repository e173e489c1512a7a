//! HTTP to the handler: keep-alive connections over the loopback interface.
//!
//! The real host sends bodies chunked, without `Content-Length`, and so does this one, because
//! handlers' servers differ in what they make of that. Its own versions of the headers are sent,
//! too; a handler may look at them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use nightshift_telemetry::metrics;

use super::redirect::{self, Step};

/// The version of the real host whose contract this one follows.
pub(crate) const HOST_VERSION: &str = "4.1052.200.0";

/// The `User-Agent` that goes with it.
pub(crate) const AGENT: &str = "Azure-Functions-Host/4.1052.200.0";

/// How long a connection is kept for the next call: less than the five seconds after which common
/// servers (Node's among them) close it, which would fail a call that comes at that moment.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// The most bytes of metrics that are taken over.
const MAX_METRICS_BYTES: usize = 4 << 20;

/// What a request carries.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Whatever a body can break off with.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a `POST` carries: one chunk of unknown length.
#[derive(Debug)]
struct ChunkedBody(Option<Bytes>);

impl Body for ChunkedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The handler's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

/// How an answer is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    /// The most bytes that are read of it.
    pub(crate) max_bytes: usize,
    /// Whether a redirect is followed; otherwise it is the answer.
    pub(crate) follows_redirects: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the request cannot be built")]
    Request(#[source] hyper::http::Error),
    #[error("the handler did not answer")]
    Send(#[source] hyper_util::client::legacy::Error),
    #[error("the handler's answer broke off")]
    Receive(#[source] BoxError),
    #[error("neither the request nor the answer has moved for {0:?}")]
    StoodStill(Duration),
    #[error("the handler's answer is longer than {0} bytes")]
    TooLong(usize),
}

/// A pool of connections to the handler.
#[derive(Debug, Clone)]
pub(crate) struct HandlerClient {
    client: Client<HttpConnector, RequestBody>,
}

impl HandlerClient {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build(connector);
        Self { client }
    }

    /// Asks whatever listens on `port` for `/`; any status is an answer.
    pub(crate) async fn probe(&self, port: u16) -> Result<(), CallError> {
        self.get(port, "/").await.map(drop)
    }

    /// The metrics of the handler on `port`, in the text format of Prometheus; `None` if it has none.
    pub(crate) async fn metrics(&self, port: u16) -> Result<Option<Bytes>, CallError> {
        let answer = take(self.get(port, "/metrics").await?, MAX_METRICS_BYTES).await?;
        let is_text = answer.content_type.as_deref() == Some(metrics::CONTENT_TYPE);
        Ok((answer.status == StatusCode::OK && is_text).then_some(answer.body))
    }

    async fn get(&self, port: u16, path: &str) -> Result<Response<Incoming>, CallError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("http://127.0.0.1:{port}{path}"))
            .header(USER_AGENT, AGENT)
            .body(ChunkedBody(None).boxed_unsync())
            .map_err(CallError::Request)?;
        self.send(request).await
    }

    /// Sends `request`, whose address names the handler, and returns as soon as the answer begins.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, CallError> {
        self.client.request(request).await.map_err(CallError::Send)
    }

    /// Posts `body` to `function` and takes the answer as `taking` says. Dropping the future closes
    /// the connection, which tells the handler that nobody waits any more.
    pub(crate) async fn post(
        &self,
        port: u16,
        function: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        taking: Taking,
    ) -> Result<Answer, CallError> {
        let uri = format!("http://127.0.0.1:{port}/{function}").parse();
        let mut step = Step {
            method: Method::POST,
            uri: uri.map_err(|error| CallError::Request(hyper::http::Error::from(error)))?,
        };
        let body = Bytes::from(body);
        let mut redirects = 0;
        loop {
            let answer = self.send(envelope(&step, &headers, &body)?).await?;
            let may_follow = taking.follows_redirects && redirects < redirect::MOST;
            match step.redirected(answer.status(), answer.headers()) {
                Some(next) if may_follow => step = next,
                _ => return take(answer, taking.max_bytes).await,
            }
            redirects += 1;
        }
    }
}

/// A call of the handler. A redirect that is no `POST` carries no body.
fn envelope(
    step: &Step,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Request<RequestBody>, CallError> {
    let mut request = Request::builder()
        .method(step.method.clone())
        .uri(step.uri.clone())
        .header("x-azure-functions-hostversion", HOST_VERSION)
        .header(USER_AGENT, AGENT);
    let mut content = None;
    if step.method == Method::POST {
        request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        content = Some(body.clone());
    }
    let mut request = request
        .body(ChunkedBody(content).boxed_unsync())
        .map_err(CallError::Request)?;
    request.headers_mut().extend(headers.clone());
    Ok(request)
}

async fn take(answer: Response<Incoming>, max_bytes: usize) -> Result<Answer, CallError> {
    let (parts, body) = answer.into_parts();
    Ok(Answer {
        status: parts.status,
        content_type: parts.headers.get(CONTENT_TYPE).map(text_of),
        body: read_answer(body, max_bytes).await?,
    })
}

/// The whole of an answer's body, at most `max_answer` bytes.
pub(crate) async fn read_answer(body: Incoming, max_answer: usize) -> Result<Bytes, CallError> {
    let body = Limited::new(body, max_answer).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            CallError::TooLong(max_answer)
        } else {
            CallError::Receive(error)
        }
    })?;
    Ok(body.to_bytes())
}

fn text_of(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
