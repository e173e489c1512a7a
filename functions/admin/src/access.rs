//! Who may use the API, and for what.
//!
//! A caller shows a key. Each key has a name, which the audit says, and a role.

mod keys;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::Request;
use nightshift_settings::Reader;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Kind, Problem};
use keys::Keys;

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
#[derive(Debug, Default)]
pub struct Access {
    keys: Keys,
}

impl Access {
    /// Nobody may.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Reads the settings; what is wrong with them is written down as problems.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            keys: Keys::read(reader),
        }
    }

    /// Who sends `request`, if they have at least the role `least`.
    pub(crate) async fn admit(
        &self,
        request: &Request<Bytes>,
        least: Role,
    ) -> Result<Principal, Problem> {
        let principal = self.principal(request).await?;
        if principal.role < least {
            let Principal { name, role } = principal;
            let what = format!("{name} is a {role}, and this needs a {least}");
            return Err(Problem::new(Kind::Forbidden, what));
        }
        Ok(principal)
    }

    async fn principal(&self, request: &Request<Bytes>) -> Result<Principal, Problem> {
        self.keys.principal(request.headers())
    }
}
