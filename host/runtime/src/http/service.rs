//! From a request to whoever answers it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use nightshift_bindings::host_json::HttpMode;
use nightshift_bindings::route::RouteValues;
use tokio_util::sync::CancellationToken;

use super::Connection;
use super::access::Access;
use super::body::{ReplyBody, reply};
use super::envelope::{self, EnvelopeRequest};
use super::forward::Forwarding;
use super::guard::{Asked, Refusal, check};
use super::run::Run;
use super::throttle::Throttle;
use crate::app::{HttpFunction, Key, Mode};
use crate::call::{BodyTooLong, BodyTooSlow, Caller, Failure};
use crate::monitor::Monitor;
use crate::stats::Counters;

/// What only this host may tell the handler.
const OWN_HEADERS: &str = "x-nightshift-";

/// What only a platform in front of the host may tell the handler: who the caller is.
const PRINCIPAL_HEADERS: [&str; 2] = ["x-ms-client-principal", "x-ms-token-aad-"];

/// A function that requests can reach.
#[derive(Debug)]
pub(crate) struct HttpTarget {
    pub(crate) function: HttpFunction,
    pub(crate) counters: Arc<Counters>,
}

/// Everything that answers requests.
#[derive(Debug)]
pub(crate) struct Service {
    pub(super) caller: Caller,
    pub(super) monitor: Arc<Monitor>,
    /// Gives up what is under way.
    pub(super) cancel: CancellationToken,
    pub(super) address: SocketAddr,
    /// The most special route first.
    targets: Vec<Arc<HttpTarget>>,
    pub(super) access: Access,
    throttle: Throttle,
    custom_headers: HeaderMap,
}

impl Service {
    pub(crate) fn new(
        caller: Caller,
        monitor: Arc<Monitor>,
        mut targets: Vec<HttpTarget>,
        address: SocketAddr,
        cancel: CancellationToken,
    ) -> Self {
        targets.sort_by_key(|target| target.function.route.precedence());
        let config = &caller.config;
        let custom_headers = config
            .http
            .custom_headers
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
            .collect();
        Self {
            access: Access::new(&config.keys, address.ip().is_loopback()),
            throttle: Throttle::new(&config.http),
            custom_headers,
            targets: targets.into_iter().map(Arc::new).collect(),
            caller,
            monitor,
            cancel,
            address,
        }
    }

    /// Answers one request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let asked = match check(&request) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refusal.response()),
        };
        // The parser drops a length that a chunked request names, too, and does not say so. What is
        // behind such a request must not be taken for another one, so it is the last.
        let is_last = request.headers().contains_key(TRANSFER_ENCODING);
        let routed = Arc::clone(&self).route(request, asked, connection).await;
        let mut response = routed.unwrap_or_else(Refusal::response);
        if is_last {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Ok(response)
    }

    async fn route(
        self: Arc<Self>,
        request: Request<Incoming>,
        asked: Asked,
        connection: Connection,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let request = match self.page(request, &asked).await? {
            Ok(response) => return Ok(response),
            Err(request) => request,
        };
        let found = self.targets.iter().find_map(|target| {
            let params = target.function.route.matches(&asked.segments)?;
            let is_fit = target.function.takes(request.method());
            is_fit.then(|| (Arc::clone(target), params))
        });
        let Some((target, params)) = found else {
            return Ok(reply(StatusCode::NOT_FOUND, ""));
        };
        if self.monitor.gate.is_offline() {
            let what = "the host is offline";
            return Ok(reply(StatusCode::SERVICE_UNAVAILABLE, what));
        }
        let (level, name) = (target.function.auth_level, &target.function.name);
        let admitted = self
            .access
            .admit(&asked, request.headers(), level, Some(name))?;
        let key = admitted.0;
        let visit = Visit {
            target,
            params,
            asked,
            key,
            connection,
        };
        let custom_headers = self.custom_headers.clone();
        let is_proxied = visit.target.function.mode == HttpMode::Proxy;
        let mut response = if self.caller.mode() == Mode::Strict && !is_proxied {
            // A caller that goes away leaves its call behind, as in the real host.
            let call = tokio::spawn(async move { self.call(request, visit).await });
            call.await
                .unwrap_or_else(|_| Ok(reply(StatusCode::INTERNAL_SERVER_ERROR, "")))?
        } else {
            self.call(request, visit).await?
        };
        response.headers_mut().extend(custom_headers);
        Ok(response)
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        visit: Visit,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Ok(place) = self.throttle.enter().await else {
            return Ok(reply(StatusCode::TOO_MANY_REQUESTS, ""));
        };
        let function = &visit.target.function;
        let (mut parts, body) = request.into_parts();
        self.strip(&mut parts);
        let run = Run::begin(&function.name, &visit.target.counters, place);
        let handler = match self.caller.awaited_handler().await {
            Ok(handler) => handler,
            Err(failure) => return Ok(fail(&failure, run)),
        };
        if function.mode != HttpMode::Envelope {
            let forwarding = Forwarding {
                caller: &self.caller,
                mode: function.mode,
                parts: &parts,
                asked: &visit.asked,
                connection: &visit.connection,
            };
            let payload = match forwarding.payload(body).await {
                Ok(payload) => payload,
                Err(refusal) => return Err(refuse(refusal, run)),
            };
            let answer = forwarding.call(&handler, payload, run).await;
            return Ok(answer.unwrap_or_else(|(failure, run)| fail(&failure, run)));
        }
        let body = match envelope::bound_body(&self.caller, body).await {
            Ok(body) => body,
            Err(refusal) => return Err(refuse(refusal, run)),
        };
        let request = EnvelopeRequest {
            parts: &parts,
            asked: &visit.asked,
            params: &visit.params,
            key: visit.key.as_deref(),
        };
        match envelope::call(&self.caller, function, request, body, &run).await {
            Ok(response) => {
                run.end(false);
                Ok(response)
            }
            Err(failure) => Ok(fail(&failure, run)),
        }
    }

    /// Takes away what a caller must not tell the handler. The real host takes nothing away.
    fn strip(&self, parts: &mut Parts) {
        let settings = &self.caller.config.settings;
        if settings.mode == Mode::Strict {
            return;
        }
        let is_forged = |name: &HeaderName| {
            let begins = |start: &str| name.as_str().starts_with(start);
            begins(OWN_HEADERS)
                || !settings.trusts_principal_headers && PRINCIPAL_HEADERS.into_iter().any(begins)
        };
        let forged: Vec<HeaderName> = parts
            .headers
            .keys()
            .filter(|name| is_forged(name))
            .cloned()
            .collect();
        for name in forged {
            parts.headers.remove(name);
        }
    }
}

/// A request that has found its function.
struct Visit {
    target: Arc<HttpTarget>,
    params: RouteValues,
    asked: Asked,
    key: Option<Arc<Key>>,
    connection: Connection,
}

fn refuse(refusal: Refusal, run: Run) -> Refusal {
    run.end(true);
    refusal
}

fn fail(failure: &Failure, run: Run) -> Response<ReplyBody> {
    let status = match failure {
        Failure::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        failure if failure.is_from::<BodyTooLong>() => StatusCode::PAYLOAD_TOO_LARGE,
        failure if failure.is_from::<BodyTooSlow>() => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    run.fail(failure);
    reply(status, "")
}
