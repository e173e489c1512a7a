//! Requests to a host, one after the other.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode, Uri};
use nightshift_fetch::{FetchError, Limits, fetch};
use nightshift_telemetry::causes;
use serde_json::Value;

/// What is waited for and read: a function may work for minutes.
const LIMITS: Limits = Limits {
    patience: Duration::from_mins(10),
    max_bytes: 64 << 20,
};

/// A host.
#[derive(Debug)]
pub(super) struct Client {
    /// Scheme, name and port.
    address: String,
    key: Option<String>,
}

/// What it answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the host's answer is not JSON")
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        Self {
            status: response.status(),
            body: response.into_body(),
        }
    }
}

impl Client {
    /// The host at `address`, to which `key` is shown.
    pub(super) fn new(address: &str, key: Option<String>) -> anyhow::Result<Self> {
        let expected =
            || format!("{address:?} is no address of a host, such as http://127.0.0.1:7071");
        let uri: Uri = address.parse().with_context(expected)?;
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_whole = uri.path() == "/" && uri.query().is_none();
        if !is_known || !is_whole {
            bail!("{}", expected());
        }
        Ok(Self {
            address: address.trim_end_matches('/').to_owned(),
            key,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Sends a request, with JSON if there is a body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<Answer> {
        let address = &self.address;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{address}{path}"));
        if let Some(key) = &self.key {
            request = request.header("x-functions-key", key);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Bytes::from(body.unwrap_or_default()));
        match fetch(request.context("this is no request")?, LIMITS).await {
            Ok(response) => Ok(response.into()),
            Err(error @ FetchError::Connect { .. }) => bail!(
                "no host answers at {address} ({}): start one with `nightshift up`, or say with --host \
                 where it is",
                causes(&error)
            ),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let of = |text: &str| Client::new(text, None).map(|client| client.address);
        assert_eq!(
            of("http://localhost:7071/").unwrap(),
            "http://localhost:7071"
        );
        assert_eq!(of("https://app.example").unwrap(), "https://app.example");
        for bad in [
            "localhost:7071",
            "http://a/b",
            "http://",
            "ftp://a",
            "http://a?b",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
