//! The `extensions.http` section.

use crate::reader::Reader;
use crate::route::RouteTemplate;

/// How HTTP functions are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// What stands before every function's route; `api` by default, empty for nothing.
    pub route_prefix: String,
    /// The most requests that may wait or run; more are answered with 429. No limit by default.
    pub max_outstanding_requests: Option<u32>,
    /// The most requests that may run; more wait. No limit by default.
    pub max_concurrent_requests: Option<u32>,
    /// Whether an envelope carries a body that came without `Content-Length`; false by default.
    pub binds_chunked_bodies: bool,
    /// Headers that every answer gets, with names in lower case.
    pub custom_headers: Vec<(String, String)>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            route_prefix: "api".to_owned(),
            max_outstanding_requests: None,
            max_concurrent_requests: None,
            binds_chunked_bodies: false,
            custom_headers: Vec::new(),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> HttpOptions {
    const SECTION: &str = "extensions:http";
    let path = |key: &str| format!("{SECTION}:{key}");
    let mut limit = |key: &str| {
        let count: Option<i32> = reader.number(&path(key), -1, i32::MAX);
        if count == Some(0) {
            reader.problem(
                &path(key),
                "expected at least 1, or -1 for no limit, found 0",
            );
        }
        count.and_then(|count| u32::try_from(count).ok())
    };
    let max_outstanding_requests = limit("maxOutstandingRequests");
    let max_concurrent_requests = limit("maxConcurrentRequests");
    let custom_headers = reader
        .members(&path("customHeaders"))
        .into_iter()
        .filter_map(|name| {
            let value = reader.text(&path(&format!("customHeaders:{name}")))?;
            Some((name, value))
        })
        .collect();
    HttpOptions {
        route_prefix: read_prefix(reader, &path("routePrefix")),
        max_outstanding_requests,
        max_concurrent_requests,
        binds_chunked_bodies: reader.boolean(&path("enableChunkedRequestBinding"), false),
        custom_headers,
    }
}

fn read_prefix(reader: &mut Reader<'_>, path: &str) -> String {
    let Some(text) = reader.text(path) else {
        return HttpOptions::default().route_prefix;
    };
    let prefix = text.trim_matches('/').to_owned();
    if let Err(error) = RouteTemplate::parse(&prefix) {
        reader.problem(path, error.to_string());
    }
    prefix
}
