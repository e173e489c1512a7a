//! Where a redirect leads, by the rules of .NET's HTTP client, which the real host calls handlers
//! with.

use hyper::header::LOCATION;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use url::Url;

/// How many redirects are followed; the next one is the answer.
pub(super) const MOST: usize = 50;

/// The next request of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) method: Method,
    pub(super) uri: Uri,
}

impl Step {
    /// Where an answer with `status` and `headers` sends this request; `None` if it is no redirect
    /// or names no place. A request that is not repeated as it was becomes a `GET` without a body.
    pub(super) fn redirected(&self, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let becomes_get = match status.as_u16() {
            300..=302 => self.method == Method::POST,
            303 => self.method != Method::GET && self.method != Method::HEAD,
            307 | 308 => false,
            _ => return None,
        };
        let location = headers.get(LOCATION)?.to_str().ok()?;
        let here = Url::parse(&self.uri.to_string()).ok()?;
        let mut there = here.join(location).ok()?;
        // A server is never told a fragment.
        there.set_fragment(None);
        Some(Self {
            method: if becomes_get {
                Method::GET
            } else {
                self.method.clone()
            },
            uri: there.as_str().parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn redirected(method: Method, status: u16, location: &'static str) -> Option<String> {
        let step = Step {
            method,
            uri: Uri::from_static("http://127.0.0.1:7/work"),
        };
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        let step = step.redirected(StatusCode::from_u16(status).unwrap(), &headers)?;
        Some(format!("{} {}", step.method, step.uri))
    }

    #[test]
    fn the_status_decides_whether_the_request_is_repeated_as_it_was() {
        let cases = [
            (300, Some("GET")),
            (301, Some("GET")),
            (302, Some("GET")),
            (303, Some("GET")),
            (304, None),
            (307, Some("POST")),
            (308, Some("POST")),
            (200, None),
        ];
        for (status, method) in cases {
            let expected = method.map(|method| format!("{method} http://127.0.0.1:7/other"));
            assert_eq!(
                redirected(Method::POST, status, "/other"),
                expected,
                "{status}"
            );
        }
        let put = redirected(Method::PUT, 301, "/other");
        assert_eq!(put.as_deref(), Some("PUT http://127.0.0.1:7/other"));
    }

    #[test]
    fn a_location_may_be_relative() {
        for (location, uri) in [
            ("other?a=b#c", Some("http://127.0.0.1:7/other?a=b")),
            ("//host/x", Some("http://host/x")),
            ("http://host:8/", Some("http://host:8/")),
            ("http://", None),
        ] {
            let expected = uri.map(|uri| format!("POST {uri}"));
            assert_eq!(
                redirected(Method::POST, 307, location),
                expected,
                "{location}"
            );
        }
    }
}
