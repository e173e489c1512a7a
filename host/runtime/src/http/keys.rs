//! The keys API below `/admin`: which keys there are, and how they are made, set and taken away.
//!
//! `host/functionkeys` (or `host/keys`) are the keys for every function, `host/systemkeys` those for
//! extensions, and `functions/<name>/keys` those of one function. The master key is
//! `host/systemkeys/_master`; it can be changed and not removed. A change holds for every host with
//! the same folder within a second.

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{ReplyBody, read, reply};
use super::guard::Refusal;
use super::pages::{MAX_ADMIN_BYTES, json_page, not_found};
use super::service::Service;
use crate::app::{KeyScope, MASTER, MAX_KEY_BYTES, generate_key, is_key_name};

/// Which keys a request is about.
pub(super) struct KeysPath<'a> {
    scope: KeyScope,
    /// One key, or all of the scope.
    name: Option<&'a str>,
}

impl<'a> KeysPath<'a> {
    /// What `path`, the words behind `/admin`, names; `None` if it is about something else.
    pub(super) fn of(path: &[&'a str]) -> Option<Self> {
        let is = |word: &str, expected: &str| word.eq_ignore_ascii_case(expected);
        let (scope, rest) = match path {
            [host, keys, rest @ ..] if is(host, "host") => {
                let scope = match keys.to_ascii_lowercase().as_str() {
                    "keys" | "functionkeys" => KeyScope::Host,
                    "systemkeys" => KeyScope::System,
                    _ => return None,
                };
                (scope, rest)
            }
            [functions, name, keys, rest @ ..]
                if is(functions, "functions") && is(keys, "keys") =>
            {
                (KeyScope::Function(name.to_lowercase()), rest)
            }
            _ => return None,
        };
        let name = match rest {
            [] => None,
            [name] => Some(*name),
            _ => return None,
        };
        let is_master = name.is_some_and(|name| is(name, MASTER));
        let scope = match scope {
            KeyScope::Host | KeyScope::System if is_master => KeyScope::Master,
            scope => scope,
        };
        Some(Self { scope, name })
    }
}

/// What is to be done with a key.
enum Task {
    List,
    Get(String),
    Put(String, String),
    Remove(String),
}

impl Service {
    /// Answers a request about keys. The caller has shown the master key.
    pub(super) async fn keys_page(
        &self,
        path: KeysPath<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let bad = |what: &'static str| Refusal(StatusCode::BAD_REQUEST, what);
        if let KeyScope::Function(function) = &path.scope
            && self.function(function).is_none()
        {
            return Ok(not_found());
        }
        let name = path.name.map(str::to_owned);
        if path.name.is_some_and(|name| !is_key_name(name)) {
            return Err(bad(
                "a key's name has letters, digits, -, _ and . (not first) only",
            ));
        }
        let is_own = name.as_deref().is_some_and(|name| name.starts_with('_'));
        let sets = matches!(*request.method(), Method::POST | Method::PUT);
        if is_own && sets && path.scope != KeyScope::Master {
            return Err(bad(
                "only the system's own keys have names that begin with _",
            ));
        }
        let task = match (request.method().clone(), name) {
            (Method::GET | Method::HEAD, None) => Task::List,
            (Method::GET | Method::HEAD, Some(name)) => Task::Get(name),
            (Method::POST, Some(name)) => Task::Put(name, generate_key()),
            (Method::PUT, Some(name)) => Task::Put(name, value_of(request).await?),
            (Method::DELETE, Some(_)) if is_own => {
                return Err(bad("a system's own key cannot be removed"));
            }
            (Method::DELETE, Some(name)) => Task::Remove(name),
            (_, name) => return Ok(not_allowed(name.is_some())),
        };
        Ok(self.do_with_keys(path.scope, task).await)
    }

    async fn do_with_keys(&self, scope: KeyScope, task: Task) -> Response<ReplyBody> {
        let keys = self.caller.config.keys.clone();
        if !keys.are_configured() {
            let what = "there is no folder for keys: set NIGHTSHIFT_HOST_KEYS_DIR";
            return reply(StatusCode::CONFLICT, what);
        }
        let one = |name: &str, value: &str| json!({"name": name, "value": value});
        let done = tokio::task::spawn_blocking(move || match task {
            Task::List => {
                let all = keys.list(&scope)?;
                let all: Value = all.iter().map(|(name, value)| one(name, value)).collect();
                Ok(json_page(&json!({"keys": all})))
            }
            Task::Get(name) => {
                let value = keys.get(&scope, &name)?;
                Ok(value.map_or_else(not_found, |value| json_page(&one(&name, &value))))
            }
            Task::Put(name, value) => {
                let is_new = keys.put(&scope, &name, &value)?;
                tracing::info!(key.name = %name, key.scope = ?scope, "a key was set");
                let mut page = json_page(&one(&name, &value));
                if is_new {
                    *page.status_mut() = StatusCode::CREATED;
                }
                Ok(page)
            }
            Task::Remove(name) => {
                if !keys.remove(&scope, &name)? {
                    return Ok(not_found());
                }
                tracing::info!(key.name = %name, key.scope = ?scope, "a key was removed");
                Ok(reply(StatusCode::NO_CONTENT, ""))
            }
        });
        let done: std::io::Result<_> = done.await.unwrap_or_else(|error| Err(error.into()));
        done.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the folder of keys cannot be used");
            let what = "the folder of keys cannot be used; the host's log says why";
            reply(StatusCode::INTERNAL_SERVER_ERROR, what)
        })
    }
}

/// The value in `{"name": …, "value": …}`.
async fn value_of(request: Request<Incoming>) -> Result<String, Refusal> {
    let bad = |what: &'static str| Refusal(StatusCode::BAD_REQUEST, what);
    let body = read(request.into_body(), MAX_ADMIN_BYTES).await?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| bad("expected a JSON object such as {\"name\": \"…\", \"value\": \"…\"}"))?;
    let value = body.get("value").and_then(Value::as_str);
    let value = value.ok_or_else(|| bad("expected the member value to be a text"))?;
    let is_fine = !value.is_empty()
        && value.len() <= MAX_KEY_BYTES
        && !value.contains(|char: char| char.is_whitespace() || char.is_control());
    if !is_fine {
        return Err(bad("a key has 1 to 4096 bytes and no spaces"));
    }
    Ok(value.to_owned())
}

fn not_allowed(is_one: bool) -> Response<ReplyBody> {
    let methods = if is_one {
        "GET, POST, PUT, DELETE"
    } else {
        "GET"
    };
    let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, "");
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    response
}
