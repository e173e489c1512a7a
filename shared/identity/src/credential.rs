//! Tokens that are asked for once and handed out until shortly before their end.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_bus::{AccessToken, TokenCredential, TokenFuture};
use nightshift_fetch::{Limits, fetch};
use nightshift_settings::SecretString;
use nightshift_time::SharedClock;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{Identity, IdentityError};

/// A token this close to its end is not handed out again.
const SPARE: TimeDelta = TimeDelta::minutes(5);

/// How long a request may take, and how long its answer may be. Tokens have a few thousand bytes.
const LIMITS: Limits = Limits {
    patience: Duration::from_secs(30),
    max_bytes: 256 * 1024,
};

/// How much of a refusal's description an error repeats, in characters.
const REASON_CHARS: usize = 300;

/// A [`TokenCredential`] that asks Entra ID, or who speaks for it.
#[derive(Debug)]
pub struct EntraCredential {
    identity: Identity,
    clock: SharedClock,
    /// By scope. Held during a request, so that callers share it.
    tokens: Mutex<HashMap<String, AccessToken>>,
}

impl EntraCredential {
    /// A credential of `identity`, whose tokens' ends `clock` watches. Nothing is asked yet.
    pub fn new(identity: Identity, clock: SharedClock) -> Self {
        Self {
            identity,
            clock,
            tokens: Mutex::default(),
        }
    }

    /// A token that is good for `scope`, and for how much longer, for who shows it once and is then let in
    /// for that long.
    ///
    /// # Errors
    /// When nobody gives one.
    pub async fn password(&self, scope: &str) -> Result<(SecretString, Duration), IdentityError> {
        let token = self.token(scope).await?;
        let left = token.expires_at - self.clock.now();
        Ok((token.token, left.to_std().unwrap_or_default()))
    }

    async fn token(&self, scope: &str) -> Result<AccessToken, IdentityError> {
        let mut tokens = self.tokens.lock().await;
        let now = self.clock.now();
        if let Some(known) = tokens.get(scope)
            && known.expires_at > now + SPARE
        {
            return Ok(known.clone());
        }
        let request = self.identity.request(scope).await?;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = fetch(request, LIMITS).await?;
        let token = read_answer(host, answer.status().as_u16(), answer.body(), now)?;
        tokens.insert(scope.to_owned(), token.clone());
        Ok(token)
    }
}

impl TokenCredential for EntraCredential {
    fn get_token<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
        Box::pin(async move { Ok(self.token(scope).await?) })
    }
}

/// What all three kinds of answer have. Numbers may be written as texts.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    /// Seconds since 1970.
    expires_on: Option<Value>,
    /// Seconds from now.
    expires_in: Option<Value>,
    error_description: Option<String>,
    message: Option<String>,
    error: Option<String>,
}

fn read_answer(
    host: String,
    status: u16,
    body: &Bytes,
    now: DateTime<Utc>,
) -> Result<AccessToken, IdentityError> {
    let answer = serde_json::from_slice::<Answer>(body);
    if status != 200 {
        let said = answer.ok().and_then(|answer| {
            let words = [answer.error_description, answer.message, answer.error];
            words.into_iter().flatten().find(|text| !text.is_empty())
        });
        let said = said.unwrap_or_else(|| "no reason is given".to_owned());
        let line = said.lines().next().unwrap_or_default();
        let reason = line.chars().take(REASON_CHARS).collect();
        return Err(IdentityError::Refused {
            host,
            status,
            reason,
        });
    }
    let wrong = |reason| {
        let host = host.clone();
        IdentityError::Answer { host, reason }
    };
    let answer = answer.map_err(|_| wrong("it is no JSON object"))?;
    let token = answer.access_token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| wrong("it has no access_token"))?;
    let at = |value: &Value| DateTime::from_timestamp(seconds(value)?, 0);
    let after = |value: &Value| now.checked_add_signed(TimeDelta::try_seconds(seconds(value)?)?);
    let on = answer.expires_on.as_ref().and_then(at);
    let expires_at = on.or_else(|| answer.expires_in.as_ref().and_then(after));
    Ok(AccessToken {
        token: SecretString::from(token),
        expires_at: expires_at.ok_or_else(|| wrong("it has no expires_on or expires_in"))?,
    })
}

fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
