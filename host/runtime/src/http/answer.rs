//! From the handler's outputs to the answer to a request.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use nightshift_bindings::invocation::response::Response as Outputs;
use serde_json::{Map, Value};

use super::body::{ReplyBody, reply};
use super::forward::is_hop_by_hop;
use crate::call::Failure;
use crate::output::from_base64;

/// What the real host makes of outputs and nobody would expect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quirks {
    /// Whether there are any.
    pub(super) is_strict: bool,
    /// Whether a text that happens to be base64 is taken for bytes.
    pub(super) decodes_base64: bool,
}

/// What the handler wants to be answered. Without an `http` output binding there is nothing to
/// say.
pub(super) fn answer(
    output: Option<&str>,
    outputs: &Outputs,
    quirks: Quirks,
) -> Result<Response<ReplyBody>, Failure> {
    let Some(name) = output else {
        return Ok(reply(StatusCode::NO_CONTENT, Bytes::new()));
    };
    let wrong = |what: &'static str| Failure::Output {
        name: name.to_owned(),
        what,
    };
    match outputs.output(name) {
        None | Some(Value::Null) => Ok(if quirks.is_strict {
            with_type(StatusCode::OK, Bytes::from_static(b"{}"), true)
        } else {
            reply(StatusCode::OK, Bytes::new())
        }),
        Some(Value::Object(parts)) => assemble(parts, quirks).map_err(wrong),
        Some(Value::String(text)) => {
            let bytes = (quirks.is_strict && quirks.decodes_base64).then(|| from_base64(text));
            let body = bytes.flatten().unwrap_or_else(|| text.clone().into_bytes());
            Ok(with_type(StatusCode::OK, body.into(), false))
        }
        Some(other) => Ok(with_type(StatusCode::OK, other.to_string().into(), true)),
    }
}

/// An answer from `statusCode`, `headers` and `body`.
fn assemble(
    parts: &Map<String, Value>,
    quirks: Quirks,
) -> Result<Response<ReplyBody>, &'static str> {
    let part = |name: &str| {
        let mut parts = parts.iter();
        let found = parts.find(|(part, _)| part.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    };
    // The real host knows `statusCode` only.
    let status = match (part("statusCode"), part("status")) {
        (None, Some(status)) if !quirks.is_strict => Some(status),
        (status, _) => status,
    };
    let status = status.map_or(Ok(StatusCode::OK), read_status)?;
    let mut response = match part("body") {
        None => reply(status, Bytes::new()),
        Some(Value::String(text)) => with_type(status, text.clone().into(), false),
        Some(body) => with_type(status, body.to_string().into(), !quirks.is_strict),
    };
    match part("headers") {
        None => {}
        Some(Value::Object(headers)) => set_headers(response.headers_mut(), headers)?,
        Some(_) => return Err("headers is no object"),
    }
    Ok(response)
}

fn read_status(status: &Value) -> Result<StatusCode, &'static str> {
    let number = match status {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let code = number.and_then(|number| u16::try_from(number).ok());
    code.filter(|code| (200..=599).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("statusCode is no number from 200 to 599")
}

/// The host frames the answer itself, so headers about that are left out.
fn set_headers(headers: &mut HeaderMap, given: &Map<String, Value>) -> Result<(), &'static str> {
    const WRONG: &str = "a header has a name or a value that HTTP does not allow";
    for (name, value) in given {
        let name: HeaderName = name.parse().map_err(|_| WRONG)?;
        if is_hop_by_hop(&name) || name == hyper::header::CONTENT_LENGTH {
            continue;
        }
        headers.remove(&name);
        let values = match value {
            Value::Array(values) => values.as_slice(),
            other => std::slice::from_ref(other),
        };
        for value in values {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let value = HeaderValue::try_from(text).map_err(|_| WRONG)?;
            headers.append(name.clone(), value);
        }
    }
    Ok(())
}

fn with_type(status: StatusCode, body: Bytes, is_json: bool) -> Response<ReplyBody> {
    let kind = if is_json {
        "application/json; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let mut response = reply(status, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    const STRICT: Quirks = Quirks {
        is_strict: true,
        decodes_base64: true,
    };
    const NONE: Quirks = Quirks {
        is_strict: false,
        decodes_base64: true,
    };

    async fn shown(output: Option<&str>, handler: Value, quirks: Quirks) -> String {
        let outputs = Outputs::parse(Some("application/json"), handler.to_string().as_bytes());
        let response = match answer(output, &outputs.unwrap(), quirks) {
            Ok(response) => response,
            Err(failure) => return failure.to_string(),
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let kind = parts
            .headers
            .get(CONTENT_TYPE)
            .map_or("-", |kind| kind.to_str().unwrap());
        let kind = kind.split(';').next().unwrap();
        format!(
            "{} {kind} {}",
            parts.status.as_u16(),
            String::from_utf8_lossy(&body)
        )
    }

    #[tokio::test]
    async fn outputs_become_answers() {
        let res = |value: Value| json!({"Outputs": {"Res": value}});
        for (handler, expected) in [
            (
                res(json!({"statusCode": "201", "body": {"a": 1}})),
                "201 application/json {\"a\":1}",
            ),
            (
                res(json!({"status": 404, "body": "no"})),
                "404 text/plain no",
            ),
            (res(json!({"statusCode": 204})), "204 - "),
            (
                res(json!({"body": "x", "headers": {"Content-Type": "text/html"}})),
                "200 text/html x",
            ),
            (res(json!("done")), "200 text/plain done"),
            (res(json!([1])), "200 application/json [1]"),
            (json!({}), "200 - "),
            (json!({"ReturnValue": {"res": "r"}}), "200 text/plain r"),
        ] {
            assert_eq!(
                shown(Some("res"), handler.clone(), NONE).await,
                expected,
                "{handler}"
            );
        }
        let returned = json!({"ReturnValue": {"statusCode": 202}});
        assert_eq!(
            shown(Some("$return"), returned.clone(), NONE).await,
            "202 - "
        );
        assert_eq!(shown(None, returned, NONE).await, "204 - ");
    }

    #[tokio::test]
    async fn strict_mode_has_the_real_hosts_quirks() {
        let res = |value: Value| json!({"Outputs": {"res": value}});
        for (handler, expected) in [
            (
                res(json!({"status": 404, "body": "no"})),
                "200 text/plain no",
            ),
            (res(json!("aGk=")), "200 text/plain hi"),
            (res(json!("aG k=\n")), "200 text/plain hi"),
            (res(json!("aGk")), "200 text/plain aGk"),
            (json!({}), "200 application/json {}"),
        ] {
            assert_eq!(shown(Some("res"), handler, STRICT).await, expected);
        }
        let binary = Quirks {
            decodes_base64: false,
            ..STRICT
        };
        assert_eq!(
            shown(Some("res"), res(json!("aGk=")), binary).await,
            "200 text/plain aGk="
        );
    }

    #[tokio::test]
    async fn what_http_does_not_allow_fails_the_invocation() {
        for (parts, what) in [
            (json!({"statusCode": 700}), "statusCode is no number"),
            (json!({"statusCode": 101}), "statusCode is no number"),
            (json!({"headers": {"a b": "x"}}), "a header has a name"),
            (
                json!({"headers": {"a": "x\r\nb: y"}}),
                "a header has a name",
            ),
            (json!({"headers": []}), "headers is no object"),
        ] {
            let said = shown(Some("res"), json!({"Outputs": {"res": parts}}), NONE).await;
            assert!(said.contains(what), "{said}");
        }
        let framing = json!({"Outputs": {"res": {"body": "x", "headers":
            {"Content-Length": "100", "Transfer-Encoding": "chunked", "X": ["1", 2]}}}});
        let outputs = Outputs::parse(Some("application/json"), framing.to_string().as_bytes());
        let response = answer(Some("res"), &outputs.unwrap(), NONE).unwrap();
        assert_eq!(response.headers().len(), 3);
        assert_eq!(response.headers().get_all("x").iter().count(), 2);
    }
}
