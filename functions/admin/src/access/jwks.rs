//! The keys with which Entra ID signs, as it publishes them (RFC 7517).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::ACCEPT;
use http::{Request, StatusCode};
use nightshift_fetch::{Limits, fetch};
use nightshift_telemetry::causes;
use nightshift_time::SharedClock;
use ring::signature::RsaPublicKeyComponents;
use serde::Deserialize;
use url::Url;

use crate::problem::{Kind, Problem};

/// How long a fetch may take, and how long its answer may be.
const LIMITS: Limits = Limits {
    patience: Duration::from_secs(5),
    max_bytes: 1 << 20,
};

/// How long keys are used without asking whether they still hold.
const FRESH: TimeDelta = TimeDelta::hours(1);

/// How long keys are used while the authority is away.
const GOOD: TimeDelta = TimeDelta::hours(24);

/// The pause between two fetches, whatever ids of keys callers show.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// The pause after a fetch that failed, while there are no keys at all.
const SHORT_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// One RSA key.
pub(super) type PublicKey = RsaPublicKeyComponents<Vec<u8>>;

type Keys = HashMap<String, Arc<PublicKey>>;

/// Whether `at` is less than `span` ago. What a clock that was set back left in the future is not.
fn is_within(span: TimeDelta, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let age = now - at;
    age >= TimeDelta::zero() && age < span
}

/// The keys that stand at one address, fetched when they are needed.
pub(super) struct Jwks {
    url: Url,
    known: Arc<Mutex<Known>>,
    /// Held during a fetch, so that callers share it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    keys: Keys,
    fetched_at: Option<DateTime<Utc>>,
    /// The last try, and why it failed if it did.
    tried: Option<(DateTime<Utc>, Option<String>)>,
}

impl Jwks {
    /// Those at `url`. Nothing is asked yet.
    pub(super) fn new(url: Url) -> Self {
        Self {
            url,
            known: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// The key whose id is `kid`.
    pub(super) async fn key(
        &self,
        kid: &str,
        clock: &SharedClock,
    ) -> Result<Arc<PublicKey>, Problem> {
        if let Some(key) = self.look(|known| known.key(kid, FRESH, clock.now())) {
            return Ok(key);
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Whoever had the turn before may have fetched it.
        if self.look(|known| known.is_due(kid, clock.now())) {
            let (url, clock) = (self.url.clone(), clock.clone());
            let known = Arc::clone(&self.known);
            // A task of its own: a caller who goes away leaves the fetch to the others.
            let fetched = tokio::spawn(async move {
                let fetched = fetch_keys(&url).await;
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.learn(fetched, clock.now());
                drop(turn);
            });
            // It ends early only with the process.
            let _ = fetched.await;
        }
        self.look(|known| {
            let key = known.key(kid, GOOD, clock.now());
            key.ok_or_else(|| known.why_not(clock.now()))
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Known) -> T) -> T {
        at(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Jwks").field(&self.url.as_str()).finish()
    }
}

impl Known {
    /// Whether there are keys that are younger than `age`.
    fn is_younger(&self, age: TimeDelta, now: DateTime<Utc>) -> bool {
        self.fetched_at.is_some_and(|at| is_within(age, at, now))
    }

    fn key(&self, kid: &str, age: TimeDelta, now: DateTime<Utc>) -> Option<Arc<PublicKey>> {
        let key = self.keys.get(kid).filter(|_| self.is_younger(age, now));
        key.cloned()
    }

    /// Whether the keys must be fetched for `kid`, and may be.
    fn is_due(&self, kid: &str, now: DateTime<Utc>) -> bool {
        let pause = if self.is_younger(GOOD, now) {
            PAUSE
        } else {
            SHORT_PAUSE
        };
        let is_early = |(at, _): &(DateTime<Utc>, _)| is_within(pause, *at, now);
        self.key(kid, FRESH, now).is_none() && !self.tried.as_ref().is_some_and(is_early)
    }

    fn learn(&mut self, fetched: Result<Keys, String>, now: DateTime<Utc>) {
        match fetched {
            Ok(keys) => {
                self.keys = keys;
                self.fetched_at = Some(now);
                self.tried = Some((now, None));
            }
            Err(why) => {
                tracing::warn!(error = why, "the keys of Entra ID cannot be fetched");
                self.tried = Some((now, Some(why)));
            }
        }
    }

    /// What to say when there is no key of some id.
    fn why_not(&self, now: DateTime<Utc>) -> Problem {
        match &self.tried {
            Some((_, None)) if self.is_younger(GOOD, now) => Problem::new(
                Kind::Unauthenticated,
                "the bearer token is signed with a key that is not among those of Entra ID",
            ),
            tried => {
                let why = tried.as_ref().and_then(|(_, why)| why.as_deref());
                let why = why.unwrap_or("they are too old");
                let what = format!("the keys of Entra ID cannot be fetched: {why}");
                Problem::new(Kind::Unavailable, what)
            }
        }
    }
}

async fn fetch_keys(url: &Url) -> Result<Keys, String> {
    let request = Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| causes(&error))?;
    let document = fetch(request, LIMITS)
        .await
        .map_err(|error| causes(&error))?;
    if document.status() != StatusCode::OK {
        return Err(format!("it answered with status {}", document.status()));
    }
    let keys = read_keys(document.body()).ok_or("its answer is no set of keys")?;
    if keys.is_empty() {
        return Err("its answer has no RSA key for signatures".to_owned());
    }
    Ok(keys)
}

/// The document. Keys of other kinds are passed over.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    r#use: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

fn read_keys(document: &[u8]) -> Option<Keys> {
    let Document { keys } = serde_json::from_slice(document).ok()?;
    Some(keys.into_iter().filter_map(read_key).collect())
}

fn read_key(key: Jwk) -> Option<(String, Arc<PublicKey>)> {
    let is_or_absent = |text: Option<&str>, word| text.is_none_or(|text| text == word);
    let is_ours = key.kty == "RSA"
        && is_or_absent(key.r#use.as_deref(), "sig")
        && is_or_absent(key.alg.as_deref(), "RS256");
    let number = |text: Option<String>| URL_SAFE_NO_PAD.decode_to_vec(text?).ok();
    let (n, e) = (number(key.n)?, number(key.e)?);
    is_ours.then_some((key.kid?, Arc::new(PublicKey { n, e })))
}

#[cfg(test)]
mod tests;
