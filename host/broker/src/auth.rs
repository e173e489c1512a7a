//! Who may do what: shared access signatures, checked as the service checks them.
//!
//! A token is `SharedAccessSignature sr=…&sig=…&se=…&skn=…` with its fields in any order: `sr` is
//! the URL-encoded resource, `se` the second at which it expires, `skn` the name of the rule, and
//! `sig` the base64 of HMAC-SHA256 over `sr + "\n" + se` under the rule's key. It gives access to the
//! resource and everything below it. Without a configured key every token is taken, and lasts; the
//! broker then only listens on a loopback address.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::{address, config::AccessKey};

/// Why a token or a password was refused. The texts go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the token is not a shared access signature")]
    Malformed,
    #[error("the rule or its key is not the one this broker was started with")]
    WrongKey,
    #[error("the token has expired")]
    Expired,
}

/// What a connection may do, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The path, in lower case, at and below which everything is allowed. Empty: everywhere.
    scope: String,
    /// The second since 1970 at which it ends.
    expires_at: i64,
}

impl Grant {
    /// Everything, for as long as the connection lives.
    pub(crate) fn unlimited() -> Self {
        Self {
            scope: String::new(),
            expires_at: i64::MAX,
        }
    }

    /// Whether it allows using the entity at `path` (in lower case).
    pub(crate) fn covers(&self, path: &str, now: DateTime<Utc>) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.is_valid(now)
            && (self.scope.is_empty() || path.strip_prefix(&*self.scope).is_some_and(below))
    }

    /// Whether it allows the same as `other`, for a time of its own.
    pub(crate) fn same_scope(&self, other: &Self) -> bool {
        self.scope == other.scope
    }

    /// How long it is still valid; `None` when it lasts for ever.
    pub(crate) fn time_left(&self, now: DateTime<Utc>) -> Option<Duration> {
        let seconds = u64::try_from(self.expires_at.saturating_sub(now.timestamp()));
        (self.expires_at != i64::MAX).then(|| Duration::from_secs(seconds.unwrap_or(0)))
    }

    pub(crate) fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.expires_at > now.timestamp()
    }
}

/// Checks a token that was put to `$cbs`.
pub(crate) fn check_token(
    key: Option<&AccessKey>,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Grant, Denied> {
    let Some(key) = key else {
        return Ok(Grant::unlimited());
    };
    let fields = token
        .strip_prefix("SharedAccessSignature ")
        .ok_or(Denied::Malformed)?;
    let field = |name: &str| {
        let mut pairs = fields.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .ok_or(Denied::Malformed)
    };
    let [resource, signature, expiry, rule] =
        [field("sr")?, field("sig")?, field("se")?, field("skn")?];
    let expires_at: i64 = expiry.parse().map_err(|_| Denied::Malformed)?;
    let rule = percent_decode_str(rule).decode_utf8_lossy();
    let signature = percent_decode_str(signature).collect::<Vec<u8>>();
    let signature = base64_simd::STANDARD
        .decode_to_vec(signature)
        .map_err(|_| Denied::Malformed)?;

    let mut mac = mac(key)?;
    mac.update(resource.as_bytes());
    mac.update(b"\n");
    mac.update(expiry.as_bytes());
    if rule != key.name || mac.verify_slice(&signature).is_err() {
        return Err(Denied::WrongKey);
    }
    if expires_at <= now.timestamp() {
        return Err(Denied::Expired);
    }
    let scope = address::path(&percent_decode_str(resource).decode_utf8_lossy());
    Ok(Grant { scope, expires_at })
}

/// Checks rule name and key as given by SASL PLAIN.
pub(crate) fn check_password(
    key: Option<&AccessKey>,
    user: &str,
    password: &str,
) -> Result<Grant, Denied> {
    let Some(key) = key else {
        return Ok(Grant::unlimited());
    };
    // Comparing digests under the secret takes the same time wherever the texts differ.
    let mut ours = mac(key)?;
    ours.update(key.key.as_bytes());
    let mut theirs = mac(key)?;
    theirs.update(password.as_bytes());
    let same = ours.verify(&theirs.finalize().into_bytes()).is_ok();
    if same && user == key.name {
        Ok(Grant::unlimited())
    } else {
        Err(Denied::WrongKey)
    }
}

fn mac(key: &AccessKey) -> Result<Hmac<Sha256>, Denied> {
    // HMAC takes a key of any length; the error exists for the sake of other algorithms.
    Hmac::new_from_slice(key.key.as_bytes()).map_err(|_| Denied::WrongKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AccessKey {
        AccessKey {
            name: "Root".into(),
            key: "secret".into(),
        }
    }

    fn token(resource: &str, expiry: i64, secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let signature = base64_simd::STANDARD.encode_to_string(mac.finalize().into_bytes());
        let signature = signature
            .replace('+', "%2B")
            .replace('/', "%2f")
            .replace('=', "%3d");
        format!("SharedAccessSignature sig={signature}&se={expiry}&skn=Root&sr={resource}")
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn a_token_opens_its_resource_and_what_is_below_until_it_expires() {
        let token = token("sb%3a%2f%2flocalhost%2fOrders", 1_000, "secret");
        let grant = check_token(Some(&key()), &token, at(999)).unwrap();
        assert!(grant.covers("orders", at(999)) && grant.covers("orders/sub", at(999)));
        assert!(!grant.covers("orders2", at(999)) && !grant.covers("other", at(999)));
        assert!(!grant.covers("orders", at(1_000)));
        assert_eq!(
            check_token(Some(&key()), &token, at(1_000)),
            Err(Denied::Expired)
        );
    }

    #[test]
    fn a_token_for_the_host_opens_everything() {
        let token = token("amqp%3a%2f%2flocalhost%2f", 1_000, "secret");
        assert!(
            check_token(Some(&key()), &token, at(1))
                .unwrap()
                .covers("any", at(1))
        );
    }

    #[test]
    fn another_key_and_nonsense_are_refused() {
        let forged = token("sb%3a%2f%2fh", 1_000, "guess");
        assert_eq!(
            check_token(Some(&key()), &forged, at(1)),
            Err(Denied::WrongKey)
        );
        for nonsense in [
            "",
            "SharedAccessSignature",
            "SharedAccessSignature sr=a&sig=!&se=1&skn=R",
        ] {
            assert_eq!(
                check_token(Some(&key()), nonsense, at(1)),
                Err(Denied::Malformed)
            );
        }
        assert!(check_token(None, "anything", at(1)).is_ok());
    }

    #[test]
    fn a_password_is_the_rule_and_its_key() {
        assert!(check_password(Some(&key()), "Root", "secret").is_ok());
        assert_eq!(
            check_password(Some(&key()), "Root", "Secret"),
            Err(Denied::WrongKey)
        );
        assert_eq!(
            check_password(Some(&key()), "root", "secret"),
            Err(Denied::WrongKey)
        );
    }
}
