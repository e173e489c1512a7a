//! A request in the envelope with `Data` and `Metadata`.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use nightshift_bindings::function_json::{AuthLevel, DataType};
use nightshift_bindings::invocation::encode::{Envelope, HttpBody, HttpInvocation};
use nightshift_bindings::route::RouteValues;
use uuid::Uuid;

use super::answer::{Quirks, answer};
use super::body::{ReplyBody, read};
use super::guard::{Asked, Refusal};
use super::run::Run;
use crate::app::{HttpFunction, Key, Mode};
use crate::call::{Caller, Failure};

/// What belongs to a trace and is passed on in default mode.
const TRACE: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// A request that is to become an envelope.
pub(super) struct EnvelopeRequest<'a> {
    pub(super) parts: &'a Parts,
    pub(super) asked: &'a Asked,
    pub(super) params: &'a RouteValues,
    pub(super) key: Option<&'a Key>,
}

/// The body as the real host would bind it: `None` for an empty one and, unless `host.json` says
/// otherwise, for one without a length. The default mode binds that, too.
pub(super) async fn bound_body(caller: &Caller, body: Incoming) -> Result<Option<Bytes>, Refusal> {
    let has_length = body.size_hint().exact().is_some();
    let config = &caller.config;
    if !has_length && !config.http.binds_chunked_bodies && caller.mode() == Mode::Strict {
        return Ok(None);
    }
    let bytes = read(body, config.settings.request_bytes).await?;
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// Calls the handler and makes an answer of its outputs.
pub(super) async fn call(
    caller: &Caller,
    function: &HttpFunction,
    request: EnvelopeRequest<'_>,
    body: Option<Bytes>,
    run: &Run,
) -> Result<Response<ReplyBody>, Failure> {
    let mut headers = caller.headers(run.id);
    if caller.mode() == Mode::Default {
        for name in TRACE {
            if let Some(value) = request.parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
    }
    let encoded = encode(caller, function, &request, body.as_deref())?;
    drop(body);
    let outputs = caller.post(&function.name, headers, encoded).await?;
    run.log(&outputs.logs);
    caller.send_outputs(&function.outputs, &outputs).await?;
    let quirks = Quirks {
        is_strict: caller.mode() == Mode::Strict,
        decodes_base64: function.output_type != DataType::Binary,
    };
    answer(function.output.as_deref(), &outputs, quirks)
}

fn encode(
    caller: &Caller,
    function: &HttpFunction,
    request: &EnvelopeRequest<'_>,
    body: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    let envelope = Envelope {
        function: &function.name,
        binding: &function.binding,
        data_type: DataType::Unspecified,
        now: caller.config.clock.now(),
        random: Uuid::new_v4(),
    };
    let kind = request.parts.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_binary = kind == "application/octet-stream" || kind.starts_with("multipart/");
    let text: Cow<'_, str> = match body {
        Some(bytes) if !is_binary => lossy(bytes),
        _ => Cow::Borrowed(""),
    };
    let path = request
        .parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", request.asked.host);
    let key = request.key.map(|key| {
        let level = match key.level() {
            AuthLevel::Admin => "Admin",
            _ => "Function",
        };
        (key.name.as_str(), level)
    });
    let invocation = HttpInvocation {
        url: &url,
        method: request.parts.method.as_str(),
        query: &request.asked.query,
        headers: &spelt(&request.parts.headers),
        params: request.params,
        key,
        body: body.map(|bytes| {
            if is_binary {
                HttpBody::Bytes(bytes)
            } else {
                let is_json = kind == "application/json" || kind.ends_with("+json");
                HttpBody::Text {
                    text: &text,
                    is_json,
                }
            }
        }),
    };
    envelope
        .encode_http(&invocation)
        .map_err(Failure::EncodeRequest)
}

/// The headers with the capital letters that .NET gives to the names it knows: handlers look them
/// up by those.
fn spelt(headers: &HeaderMap) -> Vec<(String, Cow<'_, str>)> {
    headers
        .iter()
        .map(|(name, value)| (with_capitals(name), lossy(value.as_bytes())))
        .collect()
}

/// What a text's bytes say. Most are UTF-8, which this sees faster.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn with_capitals(name: &HeaderName) -> String {
    let mut bytes = name.as_str().as_bytes().to_vec();
    for word in bytes.split_mut(|byte| *byte == b'-') {
        if let Some(first) = word.first_mut() {
            first.make_ascii_uppercase();
        }
    }
    // Names are ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}
