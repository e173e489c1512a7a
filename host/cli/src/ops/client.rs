//! The admin API, as a client sees it.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH};
use http::request::Builder;
use http::{Method, Request, Uri};
use nightshift_fetch::{Limits, fetch};
use nightshift_settings::{Environment, ExposeSecret, Reader, SecretString, Source};
use serde_json::Value;
use url::form_urlencoded;

use crate::commands::settings::{API_KEY, API_TOKEN, API_URL, ELSEWHERE};
use crate::output::printable;
use crate::servers::{FOLDER, checkout_above};
use crate::up::addresses;

/// How long an answer may take, and how long it may be.
const LIMITS: Limits = Limits {
    patience: Duration::from_mins(1),
    max_bytes: 64 << 20,
};

/// The API.
pub(super) struct Api {
    base: String,
    header: (&'static str, HeaderValue),
}

impl Api {
    /// The API that the environment names, or that of the stack that runs in this checkout.
    pub(super) fn find() -> anyhow::Result<Self> {
        let stack = running_stack();
        let source: &dyn Source = match (&stack, Environment.get(API_URL)) {
            (Some(stack), None) => stack,
            _ => &Environment,
        };
        let mut reader = Reader::new(source);
        let base: Option<String> = reader.maybe(API_URL);
        let key = reader.maybe_secret(API_KEY);
        let token = reader.maybe_secret(API_TOKEN);
        reader.finish(ELSEWHERE)?;
        let base = base.with_context(|| {
            format!(
                "no admin API is known: set {API_URL}, such as https://my-app.azurewebsites.net/api/ops, and {API_KEY}, or start a stack with `nightshift up`"
            )
        })?;
        let parsed: Result<Uri, _> = base.parse();
        let is_good = parsed.is_ok_and(|uri| match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => true,
            // What is sent along must not be read on the way.
            (Some("http"), Some(host)) => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
            _ => false,
        });
        if !is_good {
            bail!(
                "{API_URL} is {base:?}; it must be an address with https://, or one of this machine with http://"
            );
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            header: header(key, token)?,
        })
    }

    /// What is there to see.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.send(Request::get(self.target(path, query)), None)
            .await
    }

    /// The address of `path` with `query`.
    fn target(&self, path: &str, query: &[(&str, String)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{}{path}{separator}{query}", self.base)
    }

    /// Has something done.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::builder().method(Method::POST);
        let request = request.uri(format!("{}{path}", self.base));
        self.send(request, Some(body)).await
    }

    /// Changes something; only if it looks like `version` still, if that is said.
    pub(super) async fn put(
        &self,
        path: &str,
        version: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}{path}", self.base));
        if let Some(version) = version {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        self.send(request, Some(body)).await
    }

    /// Takes something away.
    pub(super) async fn delete(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<Value> {
        let request = Request::builder().method(Method::DELETE);
        self.send(request.uri(self.target(path, query)), None).await
    }

    async fn send(&self, request: Builder, body: Option<&Value>) -> anyhow::Result<Value> {
        let (name, value) = &self.header;
        let mut request = request.header(*name, value);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Bytes::from(body));
        let request =
            request.context("this cannot be asked: a name has characters that no address has")?;
        let answer = fetch(request, LIMITS)
            .await
            .with_context(|| format!("the admin API at {} does not answer", self.base))?;
        let said: Option<Value> = serde_json::from_slice(answer.body()).ok();
        let status = answer.status();
        match said {
            Some(said) if status.is_success() => Ok(said),
            Some(said) if said["detail"].is_string() => {
                let text = |name: &str| printable(said[name].as_str().unwrap_or_default());
                bail!("{}: {}", text("title"), text("detail"))
            }
            _ => bail!(
                "{} answers with status {status} and nothing that an admin API says: is {API_URL} right?",
                self.base
            ),
        }
    }

    /// At most `most` rows of a list, page by page.
    pub(super) async fn list(
        &self,
        path: &str,
        mut query: Vec<(&str, String)>,
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < most {
            query.retain(|(name, _)| !matches!(*name, "cursor" | "limit"));
            query.push(("limit", (most - items.len()).min(200).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Some(more) = page["items"].as_array_mut() {
                items.append(more);
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        Ok(items)
    }
}

/// How a caller shows who they are.
fn header(
    key: Option<SecretString>,
    token: Option<SecretString>,
) -> anyhow::Result<(&'static str, HeaderValue)> {
    let (name, text, setting) = match (key, token) {
        (Some(key), None) => ("x-functions-key", key.expose_secret().to_owned(), API_KEY),
        (None, Some(token)) => {
            let bearer = format!("Bearer {}", token.expose_secret());
            (AUTHORIZATION.as_str(), bearer, API_TOKEN)
        }
        _ => bail!("set either {API_KEY} or {API_TOKEN}"),
    };
    let mut value = HeaderValue::try_from(text)
        .ok()
        .with_context(|| format!("{setting} has characters that no header has"))?;
    value.set_sensitive(true);
    let name = if name == "x-functions-key" {
        name
    } else {
        "authorization"
    };
    Ok((name, value))
}

fn running_stack() -> Option<nightshift_settings::MapSource> {
    let working = std::env::current_dir().ok()?;
    let checkout = checkout_above(&working)?;
    addresses::read(&checkout.join(FOLDER).join("run"))
}
