//! What is refused before a request's path is looked at.
//!
//! Two servers in a row must agree where a request ends: two lengths or a coding other than
//! `chunked` are refused (and a chunked request is the last of its connection, see `service`),
//! and so is a request with none or several hosts, or with another one in its address. Paths are split at their slashes before they
//! are decoded, so an encoded slash makes no segment; dot segments are refused in any spelling,
//! because the handler may resolve them.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};
use percent_encoding::percent_decode_str;

use super::MAX_HEAD_BYTES;
use super::body::{ReplyBody, reply};

/// The most segments of a path.
const MAX_SEGMENTS: usize = 256;

/// An answer to a request that goes no further; its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

impl Refusal {
    pub(super) const TOO_LARGE: Self = Self(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is larger than FUNCTIONS_REQUEST_BODY_SIZE_LIMIT allows",
    );
    const LARGE_HEAD: Self = Self(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the request line and the headers are longer than 64 KiB",
    );
    pub(super) const SLOW_BODY: Self = Self(StatusCode::REQUEST_TIMEOUT, "the body stands still");
    pub(super) const BROKEN_BODY: Self = Self(StatusCode::BAD_REQUEST, "the body breaks off");

    pub(super) fn response(self) -> Response<ReplyBody> {
        let mut response = reply(self.0, self.1);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The path's segments, decoded; none for the root.
    pub(super) segments: Vec<String>,
    /// The query, decoded, in its order.
    pub(super) query: Vec<(String, String)>,
    /// The `Host` header, empty for HTTP/1.0 without one.
    pub(super) host: String,
}

/// Checks the framing and the address of `request`.
pub(super) fn check(request: &Request<Incoming>) -> Result<Asked, Refusal> {
    let bad = |what: &'static str| Refusal(StatusCode::BAD_REQUEST, what);
    if head_bytes(request) > MAX_HEAD_BYTES {
        return Err(Refusal::LARGE_HEAD);
    }
    let headers = request.headers();
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let codings: Vec<&HeaderValue> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    match (lengths, codings.as_slice()) {
        (0 | 1, []) => {}
        (0, [coding]) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        (2.., []) => return Err(bad("several Content-Length headers")),
        (_, [_, ..]) if lengths > 0 => {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        _ => return Err(bad("a Transfer-Encoding other than chunked")),
    }
    if request.method() == Method::CONNECT {
        return Err(bad("CONNECT is for proxies"));
    }
    let host = host_of(request)?;
    let path = request.uri().path();
    if !path.starts_with('/') {
        return Err(bad("the path does not begin with a slash"));
    }
    Ok(Asked {
        segments: segments_of(path).ok_or(bad("the path has dot segments or wrong escapes"))?,
        query: query_of(request.uri().query().unwrap_or_default()),
        host,
    })
}

/// How long the request line and the headers are, about: the parser reads in pieces and lets a head
/// pass that is whole before it counts.
fn head_bytes(request: &Request<Incoming>) -> usize {
    // Colon and space, carriage return and line feed.
    const AROUND: usize = 4;
    let headers = request.headers().iter();
    let lengths = headers.map(|(name, value)| name.as_str().len() + value.len() + AROUND);
    let line = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    line + lengths.sum::<usize>()
}

fn host_of(request: &Request<Incoming>) -> Result<String, Refusal> {
    let bad = |what: &'static str| Refusal(StatusCode::BAD_REQUEST, what);
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        (None, _) if request.version() < Version::HTTP_11 => return Ok(String::new()),
        (None, _) => return Err(bad("no Host header")),
        (Some(_), Some(_)) => return Err(bad("several Host headers")),
    };
    if host.parse::<Authority>().is_err() || host.contains('@') {
        return Err(bad("a Host header that names no host"));
    }
    let named = request.uri().authority().map(Authority::as_str);
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(host)) {
        return Err(bad("an address with another host than the Host header"));
    }
    Ok(host.to_owned())
}

/// `None` for wrong escapes, dot segments, and what no path should hold.
fn segments_of(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    let segments: Vec<String> = path.split('/').map(decoded).collect::<Option<_>>()?;
    let is_fine = |segment: &String| segment != "." && segment != ".." && !segment.contains('\0');
    (segments.len() <= MAX_SEGMENTS && segments.iter().all(is_fine)).then_some(segments)
}

/// A segment without its escapes; only an escaped slash keeps its own.
fn decoded(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let bytes = segment.as_bytes();
    let is_hex = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_hexdigit);
    let is_escaped = |index: usize| is_hex(index + 1) && is_hex(index + 2);
    let mut percents = segment.match_indices('%');
    if !percents.all(|(index, _)| is_escaped(index)) {
        return None;
    }
    let kept = segment.replace("%2F", "%252F").replace("%2f", "%252f");
    let text = percent_decode_str(&kept).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn query_of(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_before_they_are_decoded() {
        for (path, segments) in [
            ("/", Some("")),
            ("/api/a%20b/", Some("api|a b")),
            ("/a//b", Some("a||b")),
            ("/a%2Fb/%2f", Some("a%2Fb|%2f")),
            ("/a%252Fb", Some("a%2Fb")),
            ("/%c3%a9", Some("é")),
            ("/a/../b", None),
            ("/a/%2e%2E/b", None),
            ("/a/%2e", None),
            ("/%zz", None),
            ("/%4", None),
            ("/%ff", None),
            ("/%00", None),
        ] {
            let found = segments_of(path).map(|segments| segments.join("|"));
            assert_eq!(found.as_deref(), segments, "{path}");
        }
        assert!(segments_of(&"/a".repeat(257)).is_none());
    }

    #[test]
    fn a_query_is_decoded_in_its_order() {
        let query = query_of("b=1&a=x+y%26z&&c&b=%ff");
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(query, ["b=1", "a=x y&z", "c=", "b=\u{fffd}"]);
    }
}
