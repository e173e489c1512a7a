//! Access tokens of Microsoft Entra ID: JSON Web Tokens (RFC 7519) that it has signed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64_simd::URL_SAFE_NO_PAD;
use nightshift_settings::Reader;
use nightshift_time::SharedClock;
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};
use uuid::Uuid;

use super::jwks::Jwks;
use super::{Principal, Role, name};
use crate::problem::{Kind, Problem};

/// The setting with the tenant's id.
pub(super) const TENANT: &str = "NIGHTSHIFT_OPS_ENTRA_TENANT";

/// The setting with the id of this API as an application of the tenant.
pub(super) const AUDIENCE: &str = "NIGHTSHIFT_OPS_ENTRA_AUDIENCE";

/// The setting with the address of Entra ID.
pub(super) const AUTHORITY: &str = "NIGHTSHIFT_OPS_ENTRA_AUTHORITY";

/// The longest token that is read, in bytes.
const LONGEST: usize = 16 * 1024;

/// How far the clocks of Entra ID and of this machine may be apart, in seconds.
const LEEWAY: i64 = 60;

/// One tenant, whose tokens for this API are accepted.
#[derive(Debug)]
pub(super) struct Entra {
    tenant: Uuid,
    /// The forms of `aud`.
    audiences: [String; 2],
    /// The forms of `iss`.
    issuers: [String; 2],
    jwks: Jwks,
}

impl Entra {
    /// Reads the settings whose names begin with `NIGHTSHIFT_OPS_ENTRA_`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant = reader.maybe::<Uuid>(TENANT);
        let audience = reader.maybe::<String>(AUDIENCE);
        let authority = reader.optional(AUTHORITY, Authority::default());
        let is_set = |name: &str| reader.used().get(name).is_some_and(|used| used.is_set);
        let [has_tenant, has_audience, has_authority] = [TENANT, AUDIENCE, AUTHORITY].map(is_set);
        if has_tenant && !has_audience {
            reader.problem(AUDIENCE, format!("is not set, but {TENANT} is"));
        }
        if !has_tenant && (has_audience || has_authority) {
            let other = if has_audience { AUDIENCE } else { AUTHORITY };
            reader.problem(TENANT, format!("is not set, but {other} is"));
        }
        let audience = audience.as_deref().map(str::trim);
        if audience == Some("") {
            reader.problem(AUDIENCE, "is blank");
        }
        Self::new(tenant?, audience?, &authority)
            .map_err(|what| reader.problem(AUTHORITY, what))
            .ok()
    }

    fn new(tenant: Uuid, audience: &str, authority: &Authority) -> Result<Self, String> {
        let keys = format!("{authority}/{tenant}/discovery/v2.0/keys");
        let keys: Url = keys.parse().map_err(|error| format!("{keys:?}: {error}"))?;
        Ok(Self {
            tenant,
            audiences: [audience.to_owned(), format!("api://{audience}")],
            issuers: [
                format!("{authority}/{tenant}/v2.0"),
                format!("https://sts.windows.net/{tenant}/"),
            ],
            jwks: Jwks::new(keys),
        })
    }

    /// Whose token this is. No problem repeats any of it.
    pub(super) async fn principal(
        &self,
        token: &[u8],
        clock: &SharedClock,
    ) -> Result<Principal, Problem> {
        if token.len() > LONGEST {
            return unknown(format!("is longer than {LONGEST} bytes"));
        }
        let Some(Parts {
            header,
            signed,
            claims,
            signature,
        }) = Parts::of(token)
        else {
            return unknown("is no JSON Web Token of three parts");
        };
        let Some(Header { alg, kid, crit }) = decoded(header) else {
            return unknown("has a header that cannot be read");
        };
        if alg != "RS256" {
            return unknown("is not signed with RS256");
        }
        if crit.is_some() {
            return unknown("demands extensions that are not known here");
        }
        let Some(kid) = kid else {
            return unknown("does not say which key it is signed with");
        };
        let Ok(signature) = URL_SAFE_NO_PAD.decode_to_vec(signature) else {
            return unknown("has a signature that cannot be read");
        };
        let key = self.jwks.key(&kid, clock).await?;
        // `ring` itself, which TLS brings along: `jsonwebtoken` would bring a second provider.
        let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, &signature);
        if verified.is_err() {
            return unknown("has a signature that does not fit it");
        }
        let Some(claims) = decoded::<Claims>(claims) else {
            return unknown("lacks a claim of Entra ID, or has one of a wrong type");
        };
        self.check(&claims, clock.now().timestamp())?;
        claims.principal()
    }

    /// Whether `claims` are about this API, from this tenant, now.
    fn check(&self, claims: &Claims, now: i64) -> Result<(), Problem> {
        if !self.issuers.contains(&claims.iss) {
            return unknown("has another issuer");
        }
        if claims.tid != self.tenant {
            return unknown("is of another tenant");
        }
        if !self.audiences.contains(&claims.aud) {
            return unknown("is for another audience");
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return unknown("has expired");
        }
        if claims
            .nbf
            .is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now)
        {
            return unknown("is not valid yet");
        }
        Ok(())
    }
}

fn unknown<T>(what: impl fmt::Display) -> Result<T, Problem> {
    let what = format!("the bearer token {what}");
    Err(Problem::new(Kind::Unauthenticated, what))
}

/// A token in its compact form, still encoded.
struct Parts<'a> {
    header: &'a [u8],
    /// Header and claims, over which the signature goes.
    signed: &'a [u8],
    claims: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(token: &'a [u8]) -> Option<Self> {
        let mut parts = token.split(|byte| *byte == b'.');
        let [header, claims, signature] = [parts.next()?, parts.next()?, parts.next()?];
        let is_whole = parts.next().is_none();
        is_whole.then(|| Self {
            header,
            signed: &token[..=header.len() + claims.len()],
            claims,
            signature,
        })
    }
}

fn decoded<T: DeserializeOwned>(part: &[u8]) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode_to_vec(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// What counts of a header. Keys, and addresses of keys, that a token names itself do not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    nbf: Option<i64>,
    tid: Uuid,
    oid: Uuid,
    #[serde(default)]
    roles: Vec<String>,
    preferred_username: Option<String>,
    upn: Option<String>,
    /// The application of a token of version 1.
    appid: Option<String>,
    /// That of version 2.
    azp: Option<String>,
}

impl Claims {
    fn principal(self) -> Result<Principal, Problem> {
        let names = [self.preferred_username, self.upn, self.appid, self.azp];
        let who = names.into_iter().flatten().find(|name| !name.is_empty());
        let who = name::clean(who.as_deref().unwrap_or("unnamed"));
        let name = format!("entra:{who} (oid {})", self.oid);
        match Role::highest(self.roles.iter().map(String::as_str)) {
            Some(role) => Ok(Principal { name, role }),
            None => Err(Role::none(&name)),
        }
    }
}

/// The address of Entra ID, without a slash at its end.
#[derive(Debug)]
struct Authority(String);

impl Default for Authority {
    fn default() -> Self {
        Self("https://login.microsoftonline.com".to_owned())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Authority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|error| format!("{error}"))?;
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            _ => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            _ => return Err("it needs https://, or http:// and a loopback address".to_owned()),
        }
        let origin = url.origin().ascii_serialization();
        if url.as_str().trim_end_matches('/') != origin {
            return Err("it is a scheme, a host and a port at most".to_owned());
        }
        Ok(Self(origin))
    }
}

#[cfg(test)]
mod tests;
