//! Callers whom the platform's front end has authenticated.
//!
//! The built-in authentication of App Service and Functions checks callers before they come here, and
//! says who they are in the header `x-ms-client-principal`. It takes out a header of that name
//! which a client sent itself. Where it is not switched on nobody does that, so the header
//! counts only if `NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL` is 1.

use base64_simd::STANDARD;
use nightshift_settings::Reader;
use serde::Deserialize;

use super::{Principal, Role, name};
use crate::problem::{Kind, Problem};

/// The setting that says whether the header counts.
pub(super) const TRUST: &str = "NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL";

/// The header.
pub(super) const HEADER: &str = "x-ms-client-principal";

/// The longest value that is read, in bytes.
const LONGEST: usize = 16 * 1024;

/// The roles' other name among the claims.
const ROLES: &str = "roles";

/// Names of callers among the claims, if `name_typ` is none of them.
const NAMES: [&str; 2] = ["preferred_username", "upn"];

/// The names of the object id.
const OBJECT_IDS: [&str; 2] = [
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "oid",
];

/// Whether the header counts.
pub(super) fn is_trusted(reader: &mut Reader<'_>) -> bool {
    let trust = reader.optional(TRUST, 0_u8);
    if trust > 1 {
        reader.problem(TRUST, "must be 0 or 1");
    }
    trust == 1
}

#[derive(Deserialize)]
struct ClientPrincipal {
    auth_typ: Option<String>,
    name_typ: Option<String>,
    role_typ: Option<String>,
    #[serde(default)]
    claims: Vec<Claim>,
}

#[derive(Deserialize)]
struct Claim {
    typ: String,
    val: String,
}

/// Whom the header's value names.
pub(super) fn read(value: &[u8]) -> Result<Principal, Problem> {
    let principal = (value.len() <= LONGEST)
        .then(|| STANDARD.decode_to_vec(value).ok())
        .flatten()
        .and_then(|json| serde_json::from_slice::<ClientPrincipal>(&json).ok());
    let Some(principal) = principal else {
        let what = format!("the header {HEADER} cannot be read");
        return Err(Problem::new(Kind::Unauthenticated, what));
    };
    let name = principal.name();
    match Role::highest(principal.roles()) {
        Some(role) => Ok(Principal { name, role }),
        None => Err(Role::none(&name)),
    }
}

impl ClientPrincipal {
    fn value(&self, typ: &str) -> Option<&str> {
        let mut claims = self.claims.iter();
        let claim = claims.find(|claim| claim.typ == typ && !claim.val.is_empty())?;
        Some(&claim.val)
    }

    /// Such as `principal:ada@example.com (aad, oid …)`.
    fn name(&self) -> String {
        let own = self.name_typ.as_deref().and_then(|typ| self.value(typ));
        let who = own.or_else(|| NAMES.iter().find_map(|typ| self.value(typ)));
        let who = name::clean(who.unwrap_or("unnamed"));
        let by = name::clean(self.auth_typ.as_deref().unwrap_or("unknown"));
        match OBJECT_IDS.iter().find_map(|typ| self.value(typ)) {
            Some(id) => format!("principal:{who} ({by}, oid {})", name::clean(id)),
            None => format!("principal:{who} ({by})"),
        }
    }

    fn roles(&self) -> impl Iterator<Item = &str> {
        let is_role = |typ: &str| typ == ROLES || self.role_typ.as_deref() == Some(typ);
        let roles = self.claims.iter().filter(move |claim| is_role(&claim.typ));
        roles.map(|claim| claim.val.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(json: &Value) -> Result<Principal, Problem> {
        read(STANDARD.encode_to_string(json.to_string()).as_bytes())
    }

    #[test]
    fn name_and_highest_role_come_from_the_claims() {
        let principal = shown(&json!({
            "auth_typ": "aad",
            "name_typ": "mail",
            "role_typ": "http://roles.example/role",
            "claims": [
                { "typ": "mail", "val": "ada@example.com" },
                { "typ": "oid", "val": "00000000-0000-4000-8000-000000000001" },
                { "typ": "http://roles.example/role", "val": "Operator" },
                { "typ": "roles", "val": "Reader" },
                { "typ": "group", "val": "Admin" },
            ],
        }));
        let expected = Principal {
            name: "principal:ada@example.com (aad, oid 00000000-0000-4000-8000-000000000001)"
                .into(),
            role: Role::Operator,
        };
        assert_eq!(principal, Ok(expected));
    }

    #[test]
    fn a_caller_without_a_name_type_has_a_name_all_the_same() {
        let claims = json!([
            { "typ": "preferred_username", "val": "e\nve" },
            { "typ": "roles", "val": "Admin" },
        ]);
        let principal = shown(&json!({ "auth_typ": "x)", "claims": claims })).unwrap();
        assert_eq!(principal.name, "principal:e_ve (x_)");
        assert_eq!(principal.role, Role::Admin);
    }

    #[test]
    fn a_caller_without_a_role_is_known_and_may_do_nothing() {
        for claims in [
            json!([]),
            json!([{ "typ": "roles", "val": "admin" }]),
            json!([{ "typ": "role", "val": "Admin" }]),
        ] {
            let problem = shown(&json!({ "claims": claims })).unwrap_err();
            assert_eq!(problem.kind, Kind::Forbidden, "{problem}");
        }
    }

    #[test]
    fn what_cannot_be_read_names_nobody() {
        let long = "A".repeat(LONGEST + 4);
        for value in ["", "{}", "e30", "AAAA", "bnVsbA==", "\u{ff}", &long] {
            let problem = read(value.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, Kind::Unauthenticated, "{value}");
        }
        for wrong in [json!([]), json!({ "claims": [{ "typ": "roles" }] })] {
            assert_eq!(shown(&wrong).unwrap_err().kind, Kind::Unauthenticated);
        }
    }
}
