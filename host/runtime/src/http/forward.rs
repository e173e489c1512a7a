//! A request that the handler gets as the caller sent it.
//!
//! `enableForwardingHttpRequest` hands over the whole request and the whole answer, and
//! `enableProxyingHttpRequest` passes both on as they come. The default mode streams in both.
//! Strict forwarding has the real host's losses: a body without a length stays behind, and several
//! values of one query parameter become one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use nightshift_bindings::host_json::{FunctionTimeout, HttpMode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep};

use super::Connection;
use super::body::{PromptBody, ReplyBody, SharedBody, read, reply};
use super::guard::{Asked, Refusal};
use super::run::Run;
use super::streamed::{Limits, StreamedBody};
use crate::app::Mode;
use crate::call::{Caller, Failure, INVOCATION_ID, insert};
use crate::handler::{AGENT, CallError, HOST_VERSION, ReadyHandler, RequestBody, read_answer};

/// The other headers that name the invocation and the host.
const VERSION: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
const PROXIED_ID: HeaderName = HeaderName::from_static("x-ms-invocation-id");

/// How long a proxied request or answer may stand still.
const PROXY_PATIENCE: Duration = Duration::from_mins(4);

/// Tries of a proxied request whose connection is refused, and the pauses between them.
const PROXY_TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Whether a header is about one connection and must not travel further.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    const OTHERS: [&str; 4] = [
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
    ];
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || OTHERS.contains(&name.as_str())
}

/// What happens to a request that is forwarded.
pub(super) struct Forwarding<'a> {
    pub(super) caller: &'a Caller,
    pub(super) mode: HttpMode,
    pub(super) parts: &'a Parts,
    pub(super) asked: &'a Asked,
    pub(super) connection: &'a Connection,
}

/// A body that can be sent more than once, as long as nothing was read.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    Whole(Bytes),
    Streamed(SharedBody),
}

impl Forwarding<'_> {
    /// Whether request and answer are held whole, as the real host does when it forwards.
    fn is_whole(&self) -> bool {
        self.mode == HttpMode::Forward && self.caller.mode() == Mode::Strict
    }

    /// What the handler is to get of `body`.
    pub(super) async fn payload(&self, body: Incoming) -> Result<Payload, Refusal> {
        let most = self.caller.config.settings.request_bytes;
        let hint = body.size_hint();
        if hint.lower() > most {
            return Err(Refusal::TOO_LARGE);
        }
        if !self.is_whole() {
            return Ok(Payload::Streamed(SharedBody::new(body, most)));
        }
        match hint.exact() {
            Some(1..) => read(body, most).await.map(Payload::Whole),
            _ => Ok(Payload::Whole(Bytes::new())),
        }
    }

    /// Calls the handler and relays its answer, whatever its status. The run ends with the answer.
    pub(super) async fn call(
        &self,
        handler: &ReadyHandler,
        payload: Payload,
        run: Run,
    ) -> Result<Response<ReplyBody>, (Failure, Run)> {
        let begun = Instant::now();
        let answer = self.caller.limited(handler, async {
            let answer = tokio::select! {
                answer = self.send(handler, &payload, &run) => answer?,
                () = self.stands_still(&payload) => return Err(CallError::StoodStill(PROXY_PATIENCE)),
            };
            let (parts, body) = answer.into_parts();
            if self.is_whole() {
                return Ok((parts, Err(read_answer(body, usize::MAX).await?)));
            }
            Ok((parts, Ok(body)))
        });
        let (parts, body) = match answer.await {
            Ok(answer) => answer,
            Err(failure) => return Err((failure, run)),
        };
        let mut response = match body {
            Err(whole) => {
                run.end(false);
                reply(parts.status, whole)
            }
            Ok(stream) => {
                let is_strict = self.caller.mode() == Mode::Strict;
                let limits = Limits {
                    deadline: match self.caller.config.function_timeout {
                        FunctionTimeout::After(limit) => Some((begun + limit, limit)),
                        FunctionTimeout::Unlimited => None,
                    },
                    idle: (self.mode == HttpMode::Proxy).then_some(PROXY_PATIENCE),
                    kill: is_strict.then(|| handler.kill.clone()),
                    cut: self.connection.cut.clone(),
                };
                let body = StreamedBody::new(stream, run, limits);
                let mut response = Response::new(body.boxed_unsync());
                *response.status_mut() = parts.status;
                response
            }
        };
        *response.headers_mut() = relayed(
            &parts.headers,
            parts.headers.contains_key(TRANSFER_ENCODING),
        );
        Ok(response)
    }

    /// Waits until a proxied request has stood still for too long.
    async fn stands_still(&self, payload: &Payload) {
        match payload {
            Payload::Streamed(body) if self.mode == HttpMode::Proxy => {
                body.stands_still(PROXY_PATIENCE).await;
            }
            _ => std::future::pending().await,
        }
    }

    async fn send(
        &self,
        handler: &ReadyHandler,
        payload: &Payload,
        run: &Run,
    ) -> Result<Response<Incoming>, CallError> {
        let tries = if self.mode == HttpMode::Proxy {
            PROXY_TRIES
        } else {
            1
        };
        let client = &self.caller.client;
        persist(tries, || async {
            client.send(self.request(handler, payload, run)?).await
        })
        .await
    }

    fn request(
        &self,
        handler: &ReadyHandler,
        payload: &Payload,
        run: &Run,
    ) -> Result<Request<RequestBody>, CallError> {
        let body = match payload {
            Payload::Whole(bytes) => Full::new(bytes.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
            // A proxied one has a limit of its own, see `stands_still`.
            Payload::Streamed(body) if self.mode == HttpMode::Proxy => body.clone().boxed_unsync(),
            Payload::Streamed(body) => PromptBody::new(body.clone()).boxed_unsync(),
        };
        let mut request = Request::builder()
            .method(self.parts.method.clone())
            .uri(format!(
                "http://127.0.0.1:{}{}",
                handler.port,
                self.target()
            ))
            .body(body)
            .map_err(CallError::Request)?;
        *request.headers_mut() = self.headers(run);
        Ok(request)
    }

    /// Path and query.
    fn target(&self) -> String {
        let uri = &self.parts.uri;
        if !self.is_whole() {
            return uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned();
        }
        let mut query: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.asked.query {
            query.entry(name).or_default().push(value);
        }
        let mut target = uri.path().to_owned();
        for (index, (name, values)) in query.iter().enumerate() {
            let sign = if index == 0 { '?' } else { '&' };
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            // Writing to memory cannot fail.
            let _ = write!(
                target,
                "{sign}{}={}",
                encode(name),
                encode(&values.join(","))
            );
        }
        target
    }

    fn headers(&self, run: &Run) -> HeaderMap {
        let mut headers = relayed(&self.parts.headers, true);
        let id = run.id.to_string();
        let is_strict = self.caller.mode() == Mode::Strict;
        if self.mode == HttpMode::Proxy {
            insert(&mut headers, PROXIED_ID, &id);
            self.add_forwarded(&mut headers);
        } else {
            let agent = headers
                .get(USER_AGENT)
                .and_then(|agent| agent.to_str().ok());
            let agent = agent.map_or_else(|| AGENT.to_owned(), |agent| format!("{agent} {AGENT}"));
            insert(&mut headers, USER_AGENT, &agent);
        }
        if self.mode == HttpMode::Forward && is_strict {
            // Added to whatever the caller sent under these names.
            for (name, value) in [(INVOCATION_ID, id.as_str()), (VERSION, HOST_VERSION)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.append(name, value);
                }
            }
        } else {
            insert(&mut headers, VERSION, HOST_VERSION);
            for (name, value) in &self.caller.headers(run.id) {
                headers.insert(name.clone(), value.clone());
            }
        }
        headers
    }

    fn add_forwarded(&self, headers: &mut HeaderMap) {
        let host = headers.get(HOST).cloned();
        if let Some(host) = host {
            headers.insert(HeaderName::from_static("x-forwarded-host"), host);
        }
        insert(
            headers,
            HeaderName::from_static("x-forwarded-proto"),
            "http",
        );
        let peer = self.connection.peer.ip().to_string();
        insert(headers, HeaderName::from_static("x-forwarded-for"), &peer);
    }
}

/// Sends again while the connection is refused, `tries` times in all, with growing pauses.
async fn persist<T, F>(tries: u32, send: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..tries {
        match send().await {
            Err(CallError::Send(error)) if error.is_connect() => sleep(pause).await,
            other => return other,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    send().await
}

/// The headers that travel on: not those about the connection, nor what `Connection` names; the
/// length only if it holds for what is sent on.
fn relayed(headers: &HeaderMap, drops_length: bool) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let stays = |name: &HeaderName| {
        is_hop_by_hop(name) || named.contains(name) || drops_length && name == CONTENT_LENGTH
    };
    let mut relayed = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers.iter().filter(|(name, _)| !stays(name)) {
        relayed.append(name.clone(), value.clone());
    }
    relayed
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::handler::HandlerClient;

    #[tokio::test(start_paused = true)]
    async fn a_refused_connection_is_tried_ten_times_with_growing_pauses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (client, tries) = (HandlerClient::new(), RefCell::new(Vec::new()));
        let refused = persist(PROXY_TRIES, || {
            tries.borrow_mut().push(Instant::now());
            client.probe(port)
        });
        assert!(matches!(refused.await, Err(CallError::Send(_))));
        let tries = tries.into_inner();
        let pauses: Vec<u128> = tries
            .windows(2)
            .map(|two| (two[1] - two[0]).as_millis() / 10 * 10)
            .collect();
        assert_eq!(pauses, [50, 100, 200, 250, 250, 250, 250, 250, 250]);
    }
}
