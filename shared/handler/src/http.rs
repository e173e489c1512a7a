//! Functions that answer HTTP requests, which the host forwards as they are.
//!
//! `host.json` says `enableForwardingHttpRequest`, so a request comes with its own method, path, headers and
//! body. Its path has the prefix that `host.json` gives to all routes, and below it the route of the
//! function's own `function.json`.

use std::future::Future;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use nightshift_bindings::function_json::{Binding, FunctionJson, HttpTrigger};
use nightshift_bindings::route::{RouteTemplate, RouteValues};
use percent_encoding::percent_decode_str;
use warp::http::{Request, Response};

use crate::registry::{Registry, RegistryError};

/// A function that answers HTTP requests.
///
/// What it changes it changes in transactions of its own, and answers after the commit. A request may come
/// twice, and nobody remembers that: work that must happen once belongs into a message
/// ([`nightshift_job::Enqueue`]), which the function only promises.
pub trait HttpFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// The longest body that is read, in bytes; a longer one is answered with 413.
    const MAX_BODY_BYTES: usize = 1 << 20;

    /// Answers `request`. `route` has the values of its route's parameters, `app` is all that the process knows.
    fn answer(
        &self,
        request: Request<Bytes>,
        route: RouteValues,
        app: &Registry,
    ) -> impl Future<Output = Response<Bytes>> + Send;
}

/// An [`HttpFunction`] of which only that is known.
pub(crate) trait Answering: Send + Sync {
    fn answer<'a>(
        &'a self,
        request: Request<Bytes>,
        route: RouteValues,
        app: &'a Registry,
    ) -> BoxFuture<'a, Response<Bytes>>;
}

impl<F: HttpFunction> Answering for F {
    fn answer<'a>(
        &'a self,
        request: Request<Bytes>,
        route: RouteValues,
        app: &'a Registry,
    ) -> BoxFuture<'a, Response<Bytes>> {
        Box::pin(HttpFunction::answer(self, request, route, app))
    }
}

/// Where requests for one function come from.
pub(crate) struct Door {
    /// The function's name.
    pub(crate) name: &'static str,
    pub(crate) route: RouteTemplate,
    /// In upper case; empty for all.
    pub(crate) methods: Vec<String>,
    pub(crate) max_body_bytes: usize,
    pub(crate) function: Box<dyn Answering>,
}

impl Door {
    /// The door of `function`, as the `function.json` in `config` describes it.
    pub(crate) fn new<F: HttpFunction>(
        function: F,
        config: &FunctionJson,
    ) -> Result<Self, RegistryError> {
        let Some(Binding::HttpTrigger(HttpTrigger { route, methods, .. })) = config.trigger()
        else {
            return Err(RegistryError::HttpTrigger(F::NAME));
        };
        let route = route.as_deref().unwrap_or(F::NAME);
        let route = RouteTemplate::parse(route).map_err(|source| RegistryError::Route {
            name: F::NAME,
            source,
        })?;
        Ok(Self {
            name: F::NAME,
            route,
            methods: methods.clone(),
            max_body_bytes: F::MAX_BODY_BYTES,
            function: Box::new(function),
        })
    }

    /// What `path`, below the prefix of all routes, gives for the route's parameters.
    pub(crate) fn matches(&self, method: &str, path: &[String]) -> Option<RouteValues> {
        if !self.methods.is_empty() && !self.methods.iter().any(|known| known == method) {
            return None;
        }
        self.route.matches(path)
    }
}

/// The decoded segments of `path` below `prefix`; `None` if it is not below it, or is no text.
pub(crate) fn below(prefix: &str, path: &str) -> Option<Vec<String>> {
    let segments = path.strip_prefix('/')?;
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    let decoded: Result<Vec<String>, _> = segments
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
        .collect();
    let mut decoded = decoded.ok()?;
    let depth = prefix.split('/').filter(|part| !part.is_empty()).count();
    if decoded.len() < depth {
        return None;
    }
    let rest = decoded.split_off(depth);
    let is_below = decoded
        .iter()
        .zip(prefix.split('/'))
        .all(|(found, wanted)| found.eq_ignore_ascii_case(wanted));
    is_below.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_path_is_read_below_the_prefix() {
        assert_eq!(
            below("api", "/API/ops/a%2Fb/"),
            Some(segments(&["ops", "a/b"]))
        );
        assert_eq!(below("", "/ops"), Some(segments(&["ops"])));
        assert_eq!(below("a/b", "/a/b/c"), Some(segments(&["c"])));
        assert_eq!(below("api", "/other/ops"), None);
        assert_eq!(below("a/b", "/a"), None);
        assert_eq!(below("api", "/api/%ff"), None);
    }
}
