//! Who may ask for what.
//!
//! Keys come in the header `x-functions-key` or, without it, in the query's `code`. They are
//! demanded as soon as there are any or anybody but this machine can reach the host. Without keys
//! and on loopback everything is open, as with the Functions tools; a web page in this machine's
//! browser must not profit from that, so then the `Host` has to be this machine by a name that no
//! stranger's DNS controls, and the admin pages answer no request that a page sent.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, ORIGIN};
use nightshift_bindings::function_json::AuthLevel;

use super::guard::{Asked, Refusal};
use crate::app::{Key, Keys};

/// Where a key stands.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-functions-key");

/// How access is decided.
#[derive(Debug)]
pub(super) struct Access {
    keys: Keys,
    needs_keys: bool,
}

/// A caller that may go on, with the key that it showed.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) Option<Arc<Key>>);

impl Access {
    pub(super) fn new(keys: &Keys, is_loopback: bool) -> Self {
        Self {
            needs_keys: keys.are_configured() || !is_loopback,
            keys: keys.clone(),
        }
    }

    /// Whether the caller may do what needs `level`, with `function` or (without one) with the
    /// host.
    pub(super) fn admit(
        &self,
        asked: &Asked,
        headers: &HeaderMap,
        level: AuthLevel,
        function: Option<&str>,
    ) -> Result<Caller, Refusal> {
        if !self.needs_keys {
            return Self::admit_neighbour(asked, headers, function);
        }
        let key = presented(asked, headers).and_then(|key| self.keys.find(key, function));
        let reached = key.as_ref().map_or(AuthLevel::Anonymous, |key| key.level());
        if reached < level {
            return Err(Refusal(
                StatusCode::UNAUTHORIZED,
                "a key is needed, in the header x-functions-key",
            ));
        }
        Ok(Caller(key))
    }

    fn admit_neighbour(
        asked: &Asked,
        headers: &HeaderMap,
        function: Option<&str>,
    ) -> Result<Caller, Refusal> {
        if !names_this_machine(&asked.host) {
            return Err(Refusal(
                StatusCode::FORBIDDEN,
                "without keys this host answers only as localhost",
            ));
        }
        if function.is_none() && headers.contains_key(ORIGIN) {
            return Err(Refusal(
                StatusCode::FORBIDDEN,
                "without keys the admin pages answer no web page",
            ));
        }
        Ok(Caller(None))
    }
}

fn presented<'a>(asked: &'a Asked, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return key.to_str().ok();
    }
    let code = asked
        .query
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("code"));
    code.map(|(_, value)| value.as_str())
}

/// Whether `host`, with or without a port, is a name that always means this machine.
fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    name.is_empty()
        || name == "localhost"
        || name.ends_with(".localhost")
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_count_as_such() {
        for host in [
            "localhost",
            "LOCALHOST:7071",
            "127.0.0.1:80",
            "[::1]:80",
            "a.localhost",
            "",
        ] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7071",
            "10.0.0.1",
            "[::2]",
            "127.0.0.1.nip.io",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
