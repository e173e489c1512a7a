//! The host's own pages: `/admin/…`, `/healthz/…`, `/metrics`.
//!
//! The admin pages are the real host's, and `backlog`; they need the master key, but for `ping`.
//! Health pages are for whatever watches the process and are open.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use nightshift_bindings::function_json::AuthLevel;
use nightshift_telemetry::causes;
use nightshift_telemetry::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::body::{ReplyBody, read, reply};
use super::guard::{Asked, Refusal};
use super::keys::KeysPath;
use super::metrics;
use super::service::Service;
use crate::app::{Function, ServiceBusFunction};
use crate::handler::HOST_VERSION;
use crate::listener::{ByHand, backlog};
use crate::timer::Timer;

/// How long the handler is waited for when its metrics are asked for.
const METRICS: Duration = Duration::from_secs(1);

/// The largest body of an admin request, in bytes.
pub(super) const MAX_ADMIN_BYTES: u64 = 1024 * 1024;

impl Service {
    /// The answer of one of the host's own pages; the request comes back if it is for none.
    pub(super) async fn page(
        &self,
        request: Request<Incoming>,
        asked: &Asked,
    ) -> Result<Result<Response<ReplyBody>, Request<Incoming>>, Refusal> {
        let words: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
        let is_admin = words
            .first()
            .is_some_and(|first| first.eq_ignore_ascii_case("admin"));
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_post = request.method() == Method::POST;
        let page = match words.as_slice() {
            ["healthz", "live"] if is_get => reply(StatusCode::OK, "alive"),
            ["healthz", "ready"] if is_get => self.readiness(),
            ["metrics"] if is_get => {
                self.admit_admin(asked, &request)?;
                let text = metrics::text(&self.monitor) + &self.handler_metrics().await;
                with_type(text, CONTENT_TYPE_OF_METRICS)
            }
            [_, host, ping]
                if is_admin && (is_get || is_post) && is(host, "host") && is(ping, "ping") =>
            {
                reply(StatusCode::OK, "")
            }
            [_, rest @ ..] if is_admin => {
                self.admit_admin(asked, &request)?;
                if let Some(path) = KeysPath::of(rest) {
                    return Ok(Ok(self.keys_page(path, request).await?));
                }
                let rest: Vec<String> = rest.iter().map(|word| word.to_lowercase()).collect();
                let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
                match rest.as_slice() {
                    ["host", "backlog"] if is_get => self.backlog().await,
                    ["functions", name] if is_post => self.run_by_hand(name, request).await?,
                    _ if is_get => self.admin_get(&rest),
                    ["host", "drain"] if is_post => {
                        tracing::info!("a drain was asked for: nothing more is received");
                        self.monitor.gate.drain();
                        reply(StatusCode::ACCEPTED, "")
                    }
                    ["host", "resume"] if is_post => self.resume(),
                    ["host", "state"] if *request.method() == Method::PUT => {
                        self.set_state(request).await?
                    }
                    _ => reply(StatusCode::NOT_FOUND, ""),
                }
            }
            _ => return Ok(Err(request)),
        };
        Ok(Ok(page))
    }

    fn admit_admin(&self, asked: &Asked, request: &Request<Incoming>) -> Result<(), Refusal> {
        let admitted = self
            .access
            .admit(asked, request.headers(), AuthLevel::Admin, None);
        admitted.map(drop)
    }

    /// Whether there is any use in sending work here.
    fn readiness(&self) -> Response<ReplyBody> {
        let missing = if self.monitor.gate.is_offline() {
            Some("the host is offline".to_owned())
        } else if !self.monitor.gate.is_open() {
            Some("the host is draining".to_owned())
        } else {
            self.monitor.missing()
        };
        match missing {
            None => reply(StatusCode::OK, "ready"),
            Some(what) => reply(StatusCode::SERVICE_UNAVAILABLE, what),
        }
    }

    /// The function `name`, whose case does not count.
    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        let mut functions = self.caller.config.functions.iter();
        functions.find(|function| function.name().eq_ignore_ascii_case(name))
    }

    /// Ends a drain. The real host knows no way back from a state other than running.
    fn resume(&self) -> Response<ReplyBody> {
        let state = self.monitor.state_name();
        if state != "Running" {
            return reply(StatusCode::CONFLICT, "only a running host can resume");
        }
        if !self.monitor.gate.is_open() {
            tracing::info!("the drain is over: the host receives again");
            self.monitor.gate.open();
        }
        json_page(&json!({"state": state}))
    }

    /// `"offline"` takes the host out of service, `"running"` brings it back.
    async fn set_state(&self, request: Request<Incoming>) -> Result<Response<ReplyBody>, Refusal> {
        let what = "expected \"running\" or \"offline\" as JSON";
        let bad = Refusal(StatusCode::BAD_REQUEST, what);
        let body = read(request.into_body(), MAX_ADMIN_BYTES).await?;
        let wanted: String = serde_json::from_slice(&body).map_err(|_| bad)?;
        let gate = &self.monitor.gate;
        let is_offline = gate.is_offline();
        let changes = match wanted.to_ascii_lowercase().as_str() {
            "offline" => !is_offline,
            "running" => is_offline,
            _ => return Err(bad),
        };
        if !changes {
            return Ok(reply(StatusCode::OK, ""));
        }
        if is_offline {
            gate.open();
        } else {
            gate.go_offline();
        }
        tracing::info!(host.state = %self.monitor.state_name(), "the host's state was set");
        Ok(reply(StatusCode::ACCEPTED, ""))
    }

    fn admin_get(&self, path: &[&str]) -> Response<ReplyBody> {
        let function = |name: &str| self.function(name);
        match path {
            ["host", "status"] => json_page(&self.status()),
            ["host", "drain", "status"] => json_page(&json!({
                "state": format!("{:?}", self.monitor.drain()),
                "outstandingInvocations": self.monitor.running(),
                "outstandingRetries": 0,
            })),
            ["functions"] => {
                let all = self
                    .caller
                    .config
                    .functions
                    .iter()
                    .map(|function| self.describe(function));
                json_page(&all.collect())
            }
            ["functions", name] => function(name)
                .map_or_else(not_found, |function| json_page(&self.describe(function))),
            ["functions", name, "status"] => {
                function(name).map_or_else(not_found, |_| json_page(&json!({"errors": []})))
            }
            _ => not_found(),
        }
    }

    /// What the handler counts itself; nothing where it has no such page or is not there.
    async fn handler_metrics(&self) -> String {
        let Some(port) = self.monitor.stats().handler.port else {
            return String::new();
        };
        let asked = timeout(METRICS, self.caller.client.metrics(port)).await;
        match asked {
            Ok(Ok(Some(text))) => String::from_utf8_lossy(&text).into_owned(),
            Ok(Ok(None)) => String::new(),
            Ok(Err(error)) => {
                tracing::debug!(
                    error = causes(&error),
                    "the handler did not tell its metrics"
                );
                String::new()
            }
            Err(_elapsed) => String::new(),
        }
    }

    /// What waits, as KEDA's metrics-api scaler can read it. A function that cannot be counted is
    /// left out and named; when that is every one, there is no answer.
    async fn backlog(&self) -> Response<ReplyBody> {
        let functions = &self.caller.config.functions;
        let counts = join_all(functions.iter().filter_map(|function| match function {
            Function::ServiceBus(function) => Some(self.count(function)),
            Function::Http(_) | Function::Timer(_) => None,
        }));
        let (mut total, mut each, mut failed) = (0_u64, Map::new(), Vec::new());
        for (name, count) in counts.await {
            match count {
                Some(count) => {
                    total += u64::from(count);
                    each.insert(name.to_owned(), count.into());
                }
                None => failed.push(name),
            }
        }
        if each.is_empty() && !failed.is_empty() {
            let what = "the broker cannot be asked";
            return reply(StatusCode::SERVICE_UNAVAILABLE, what);
        }
        json_page(&json!({
            "total": total,
            "functions": each,
            "failed": failed,
            "counts_up_to": backlog::MOST,
        }))
    }

    async fn count<'a>(&self, function: &'a ServiceBusFunction) -> (&'a str, Option<u32>) {
        let counted = backlog::count(&self.caller.bus, function).await;
        let counted = counted.inspect_err(|error| {
            tracing::warn!(
                function.name = %function.name,
                error = causes(error),
                "the backlog cannot be told"
            );
        });
        (&function.name, counted.ok())
    }

    fn status(&self) -> Value {
        let root = &self.caller.config.app_root;
        let id = root
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let uptime = Instant::now()
            .duration_since(self.monitor.begun)
            .as_millis();
        json!({
            "id": id,
            "state": self.monitor.state_name(),
            "version": HOST_VERSION,
            "versionDetails": concat!("nightshift ", env!("CARGO_PKG_VERSION")),
            "instanceId": self.monitor.instance,
            "processUptime": u64::try_from(uptime).unwrap_or(u64::MAX),
            "errors": [],
        })
    }

    fn describe(&self, function: &Function) -> Value {
        let mut described = json!({"name": function.name(), "language": "Custom"});
        if let Function::Http(web) = function {
            described["invoke_url_template"] =
                format!("http://{}/{}", self.address, web.route).into();
        }
        described
    }

    /// `POST /admin/functions/{name}`: runs a function once and does not wait for it.
    async fn run_by_hand(
        &self,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Some(function) = self.function(name) else {
            return Ok(not_found());
        };
        let input = input_of(request).await?;
        let counters = self.monitor.counters.get(function.name());
        let counters = counters.cloned().unwrap_or_default();
        let (caller, cancel) = (self.caller.clone(), self.cancel.clone());
        match function.clone() {
            Function::ServiceBus(function) => {
                let run = ByHand::new(caller, function, counters).run(input, cancel);
                self.monitor.by_hand.spawn(run);
                Ok(reply(StatusCode::ACCEPTED, ""))
            }
            Function::Timer(function) => {
                let gate = self.monitor.gate.clone();
                let timer = Timer {
                    function,
                    caller,
                    counters,
                    gate,
                    cancel,
                };
                self.monitor.by_hand.spawn(timer.run_by_hand());
                Ok(reply(StatusCode::ACCEPTED, ""))
            }
            Function::Http(_) => {
                let what = "an HTTP function is called at its own address";
                Err(Refusal(StatusCode::BAD_REQUEST, what))
            }
        }
    }
}

/// The text in `{"input": "…"}`, empty when there is none.
async fn input_of(request: Request<Incoming>) -> Result<String, Refusal> {
    let bad = |what: &'static str| Refusal(StatusCode::BAD_REQUEST, what);
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        let what = "expected Content-Type: application/json";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    let body = read(request.into_body(), MAX_ADMIN_BYTES).await?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| bad("expected a JSON object"))?;
    let Value::Object(body) = body else {
        return Err(bad("expected a JSON object such as {\"input\": \"…\"}"));
    };
    match body.get("input") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(input)) => Ok(input.clone()),
        Some(_) => Err(bad("expected the member input to be a text")),
    }
}

fn is(word: &str, expected: &str) -> bool {
    word.eq_ignore_ascii_case(expected)
}

pub(super) fn not_found() -> Response<ReplyBody> {
    reply(StatusCode::NOT_FOUND, "")
}

pub(super) fn json_page(value: &Value) -> Response<ReplyBody> {
    with_type(value.to_string(), "application/json; charset=utf-8")
}

fn with_type(text: String, kind: &'static str) -> Response<ReplyBody> {
    let mut response = reply(StatusCode::OK, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
