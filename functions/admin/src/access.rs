//! Who may use the API, and for what.
//!
//! A caller shows one credential (`credential`): a key with a name and a role (`keys`), an access token of
//! Entra ID (`token`), whose signature is checked with the keys that Entra ID publishes (`jwks`), or the
//! word of the platform's front end (`principal`). Before that it must be in an allowed network
//! (`network`), and must not have shown too many wrong credentials (`failures`).

#[cfg(test)]
mod authority;
mod credential;
mod failures;
mod jwks;
mod keys;
mod name;
mod network;
mod principal;
mod token;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::Request;
use nightshift_settings::Reader;
use nightshift_time::{SharedClock, SystemClock};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Kind, Problem};
use credential::Credential;
use failures::Failures;
use keys::Keys;
use network::AllowList;
use token::Entra;

/// What somebody may do. Each role may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Role {
    /// Look at everything but payloads' secrets: there are none that are known to be.
    Reader,
    /// Pause, resume, run, backfill, cancel, redrive.
    Operator,
    /// Change and discard what cannot be had again: edit and discard dead letters, change limits.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Admin];

    /// The highest that `names` names, each exactly as it is called.
    fn highest<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let role = |name| Self::ALL.into_iter().find(|role| role.to_string() == name);
        names.filter_map(role).max()
    }

    /// The problem of somebody who is known and has no role.
    fn none(name: &str) -> Problem {
        let what = format!("{name} has none of the roles Reader, Operator and Admin");
        Problem::new(Kind::Forbidden, what)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("{text:?} is no role: Reader, Operator and Admin are"))
    }
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who, as the audit says it, such as `key:ada`.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Who may use the API, as the settings say.
#[derive(Debug)]
pub struct Access {
    allowed: AllowList,
    failures: Failures,
    keys: Keys,
    entra: Option<Entra>,
    trusts_front_end: bool,
    clock: SharedClock,
}

impl Access {
    /// Nobody may.
    pub fn closed() -> Self {
        Self {
            allowed: AllowList::default(),
            failures: Failures::default(),
            keys: Keys::default(),
            entra: None,
            trusts_front_end: false,
            clock: SystemClock::shared(),
        }
    }

    /// Reads the settings; what is wrong with them is written down as problems. The machine's own clock
    /// says whether tokens are valid.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            allowed: AllowList::read(reader),
            keys: Keys::read(reader),
            entra: Entra::read(reader),
            trusts_front_end: principal::is_trusted(reader),
            ..Self::closed()
        }
    }

    /// The same with another clock, for tests.
    #[must_use]
    pub fn with_clock(self, clock: SharedClock) -> Self {
        Self { clock, ..self }
    }

    /// Who sends `request`, if they have at least the role `least`.
    pub(crate) async fn admit(
        &self,
        request: &Request<Bytes>,
        least: Role,
    ) -> Result<Principal, Problem> {
        let client = network::client(request.headers());
        self.allowed.admit(client)?;
        let Some(credential) = Credential::of(request, self.trusts_front_end)? else {
            return Err(Problem::new(Kind::Unauthenticated, self.what_to_show()));
        };
        let principal = match self.principal(&credential).await {
            Ok(principal) => principal,
            Err(problem) if problem.kind == Kind::Unauthenticated => {
                let now = self.clock.now();
                self.failures.admit(client, now)?;
                self.failures.count(client, now);
                return Err(problem);
            }
            Err(problem) => return Err(problem),
        };
        if principal.role < least {
            let Principal { name, role } = principal;
            let what = format!("{name} has the role {role}, and this needs {least}");
            return Err(Problem::new(Kind::Forbidden, what));
        }
        Ok(principal)
    }

    async fn principal(&self, credential: &Credential<'_>) -> Result<Principal, Problem> {
        match (credential, &self.entra) {
            (Credential::Key(key), _) => self.keys.principal(key),
            (Credential::ClientPrincipal(value), _) => principal::read(value),
            (Credential::Token(token), Some(entra)) => entra.principal(token, &self.clock).await,
            (Credential::Token(_), None) => Err(Problem::new(
                Kind::Unauthenticated,
                "this API takes no bearer tokens: NIGHTSHIFT_OPS_ENTRA_TENANT is not set",
            )),
        }
    }

    /// What to tell a caller who shows nothing.
    fn what_to_show(&self) -> &'static str {
        match (self.keys.is_empty(), &self.entra) {
            (false, None) => "show a key in the header x-functions-key",
            (false, Some(_)) => {
                "show a key in the header x-functions-key, or a bearer token of Entra ID"
            }
            (true, Some(_)) => "show a bearer token of Entra ID",
            (true, None) if self.trusts_front_end => {
                "sign in: the platform's front end has not said who you are"
            }
            (true, None) => {
                "nobody may use this API yet: set NIGHTSHIFT_OPS_KEYS, such as ada:Operator:KEY"
            }
        }
    }
}

#[cfg(test)]
mod tests;
