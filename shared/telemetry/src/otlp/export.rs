//! Where spans and metrics go, as settings say it.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use nightshift_settings::Reader;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

/// The address of the collector, without `/v1/traces`.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What requests carry, `name=value,name=value`, values percent-encoded: often a key.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE: &str = "OTEL_SERVICE_NAME";
/// In milliseconds.
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// The one protocol that is spoken.
const HTTP_PROTOBUF: &str = "http/protobuf";

/// Where spans and metrics go.
#[derive(Debug, Clone)]
pub struct Export {
    /// The collector's address without a slash at its end.
    endpoint: String,
    pub(super) headers: HeaderMap,
    /// What the process is called in traces.
    pub(super) service: String,
    /// How often metrics are sent.
    pub(super) interval: Duration,
}

impl Export {
    /// Reads the settings; `None` if there is no collector, or if something was written down as a problem.
    pub fn read(reader: &mut Reader<'_>, service: &'static str) -> Option<Self> {
        let endpoint = reader.maybe::<String>(ENDPOINT);
        let protocol = reader.optional(PROTOCOL, HTTP_PROTOBUF.to_owned());
        let headers = reader.maybe_secret(HEADERS);
        let service = reader.optional(SERVICE, service.to_owned());
        let millis = reader.optional(INTERVAL, 60_000_u64);
        let endpoint = endpoint?;
        if protocol != HTTP_PROTOBUF {
            let what = format!(
                "is {protocol:?}, but only {HTTP_PROTOBUF} is spoken (port 4318 of most collectors)"
            );
            reader.problem(PROTOCOL, what);
        }
        if millis < 100 {
            reader.problem(INTERVAL, "must be at least 100 (milliseconds)");
        }
        let headers = match headers.as_ref().map_or(Ok(HeaderMap::new()), headers_of) {
            Ok(headers) => headers,
            Err(what) => {
                reader.problem(HEADERS, what);
                return None;
            }
        };
        if let Err(what) = check(&endpoint, !headers.is_empty()) {
            reader.problem(ENDPOINT, what);
            return None;
        }
        Some(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            headers,
            service,
            interval: Duration::from_millis(millis),
        })
    }

    /// Where `signal` goes.
    pub(super) fn address(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.endpoint)
    }
}

fn check(endpoint: &str, has_headers: bool) -> Result<(), &'static str> {
    let uri: Uri = endpoint
        .parse()
        .map_err(|_error| "is no address such as http://127.0.0.1:4318")?;
    let Some(host) = uri.host() else {
        return Err("names no host; an address is such as http://127.0.0.1:4318");
    };
    if uri.query().is_some() {
        return Err("must not have a query; keys belong into OTEL_EXPORTER_OTLP_HEADERS");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(
            "must not have a user or password; keys belong into OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    match uri.scheme_str() {
        Some("http") if has_headers && !is_this_machine(host) => {
            Err("would carry OTEL_EXPORTER_OTLP_HEADERS over the network in the clear; use https")
        }
        Some("http" | "https") => Ok(()),
        _ => Err("must begin with http:// or https://"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn headers_of(text: &SecretString) -> Result<HeaderMap, &'static str> {
    let wrong = "is not name=value,name=value with percent-encoded values";
    let mut headers = HeaderMap::new();
    let pairs = text.expose_secret().split(',').map(str::trim);
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_error| wrong)?;
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_error| wrong)?;
        let mut value = HeaderValue::try_from(value.as_ref()).map_err(|_error| wrong)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Option<Export>, String> {
        let source: MapSource = pairs.iter().copied().collect();
        let mut reader = Reader::new(&source);
        let export = Export::read(&mut reader, "nightshift-handler");
        let problems = reader.finish(&[]).map_err(|problems| problems.to_string());
        problems.map(|()| export)
    }

    #[test]
    fn without_a_collector_nothing_is_exported() {
        assert!(read(&[(SERVICE, "shop")]).unwrap().is_none());
    }

    #[test]
    fn an_export_has_an_address_for_each_signal() {
        let export = read(&[
            (ENDPOINT, "https://otlp.example.com/base/"),
            (HEADERS, "api-key=a%20b%3D, x-tenant=7"),
            (INTERVAL, "5000"),
        ]);
        let export = export.unwrap().unwrap();
        assert_eq!(
            export.address("traces"),
            "https://otlp.example.com/base/v1/traces"
        );
        assert_eq!(export.headers["api-key"], "a b=");
        assert_eq!(export.headers["x-tenant"], "7");
        assert_eq!(export.service, "nightshift-handler");
        assert_eq!(export.interval, Duration::from_secs(5));
        assert!(!format!("{export:?}").contains("a b="));
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for (pairs, expected) in [
            (&[(ENDPOINT, "collector:4318")][..], "must begin with http"),
            (&[(ENDPOINT, "/v1")], "http://127.0.0.1:4318"),
            (&[(ENDPOINT, "ftp://collector")], "must begin with http"),
            (
                &[(ENDPOINT, "https://c?key=secret")],
                "must not have a query",
            ),
            (&[(ENDPOINT, "https://me:secret@c")], "must not have a user"),
            (
                &[(ENDPOINT, "http://collector:4318"), (HEADERS, "key=secret")],
                "in the clear",
            ),
            (
                &[(ENDPOINT, "https://c"), (HEADERS, "secret")],
                "is not name=value",
            ),
            (
                &[(ENDPOINT, "https://c"), (HEADERS, "k k=secret")],
                "is not name=value",
            ),
            (
                &[(ENDPOINT, "https://c"), (PROTOCOL, "grpc")],
                "only http/protobuf",
            ),
            (&[(ENDPOINT, "https://c"), (INTERVAL, "1")], "at least 100"),
        ] {
            let problems = read(pairs).unwrap_err();
            assert!(problems.contains(expected), "{pairs:?}: {problems}");
            assert!(!problems.contains("secret"), "{problems}");
        }
    }
}
