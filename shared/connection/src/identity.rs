//! Who a connection without a key is.
//!
//! `X__credential` decides: `managedidentity` (with `X__clientId` or `X__managedIdentityResourceId`
//! for a user-assigned one) or `workloadidentity`. Without it, `X__tenantId`, `X__clientId` and
//! `X__clientSecret` make an application with a secret. Without these, either, the environment is
//! asked as the SDKs ask it: an application with a secret, a pod's identity, the host's identity.

use nightshift_identity::{DEFAULT_AUTHORITY, Identity, ManagedEndpoint, ManagedId};

use nightshift_settings::Lookup;

/// The identity that the settings of the connection `section` ask for.
///
/// # Errors
/// What is wrong with them.
pub fn resolve(section: &str, lookup: &Lookup) -> Result<Identity, String> {
    let settings = Settings { section, lookup };
    match settings.own("credential") {
        Some(kind) if kind.eq_ignore_ascii_case("managedidentity") => settings.managed(None),
        Some(kind) if kind.eq_ignore_ascii_case("workloadidentity") => settings.workload(),
        Some(kind) => Err(format!(
            "the setting {section}__credential: expected managedidentity or workloadidentity, \
             found {kind:?}"
        )),
        None if settings.own("clientSecret").is_some() => settings.secret(|name| {
            let path = format!("{section}__{name}");
            settings.own(name).ok_or(path)
        }),
        None if settings.plain("AZURE_CLIENT_SECRET").is_some() => settings.secret(|name| {
            let path = match name {
                "tenantId" => "AZURE_TENANT_ID",
                "clientId" => "AZURE_CLIENT_ID",
                _ => "AZURE_CLIENT_SECRET",
            };
            settings.plain(path).ok_or_else(|| path.to_owned())
        }),
        None if settings.plain(TOKEN_FILE).is_some() => settings.workload(),
        None => settings.managed(settings.plain("AZURE_CLIENT_ID")),
    }
}

/// Where a pod's token is.
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// The settings of one connection.
struct Settings<'a> {
    section: &'a str,
    lookup: &'a Lookup,
}

impl<'a> Settings<'a> {
    /// A member of the connection's section.
    fn own(&self, name: &str) -> Option<&'a str> {
        let value = self.lookup.get(&format!("{}:{name}", self.section));
        value.filter(|value| !value.trim().is_empty())
    }

    /// A setting for all connections.
    fn plain(&self, name: &str) -> Option<&'a str> {
        let value = self.lookup.get(name);
        value.filter(|value| !value.trim().is_empty())
    }

    fn authority(&self) -> String {
        let host = self.plain("AZURE_AUTHORITY_HOST");
        let host = host.unwrap_or(DEFAULT_AUTHORITY).trim_end_matches('/');
        if host.contains("://") {
            host.to_owned()
        } else {
            format!("https://{host}")
        }
    }

    /// A managed identity: the one that the section names, else that of `client`, else the host's.
    fn managed(&self, client: Option<&str>) -> Result<Identity, String> {
        let endpoint = match (
            self.plain("IDENTITY_ENDPOINT"),
            self.plain("IDENTITY_HEADER"),
        ) {
            (Some(endpoint), Some(header)) => ManagedEndpoint::AppService {
                endpoint: endpoint.to_owned(),
                header: header.into(),
            },
            _ => ManagedEndpoint::MetadataService,
        };
        let section = self.section;
        let own = (self.own("clientId"), self.own("managedIdentityResourceId"));
        let id = match own {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "the settings {section}__clientId and {section}__managedIdentityResourceId \
                     both name an identity: keep one of them"
                ));
            }
            (None, Some(resource)) => ManagedId::Resource(resource.to_owned()),
            (own, None) => own.or(client).map_or(ManagedId::System, |client| {
                ManagedId::Client(client.to_owned())
            }),
        };
        Ok(Identity::Managed { endpoint, id })
    }

    /// A pod's identity, as the workload identity webhook sets it up.
    fn workload(&self) -> Result<Identity, String> {
        let of = |own: Option<&str>, name: &str| {
            let value = own.or(self.plain(name));
            value.map(str::to_owned).ok_or_else(|| {
                let section = self.section;
                format!("the workload identity of {section} needs the setting {name}")
            })
        };
        Ok(Identity::Workload {
            authority: self.authority(),
            tenant_id: of(self.own("tenantId"), "AZURE_TENANT_ID")?,
            client_id: of(self.own("clientId"), "AZURE_CLIENT_ID")?,
            token_file: of(None, TOKEN_FILE)?.into(),
        })
    }

    /// An application with a secret; `find` gives a setting or the name of the one that is missing.
    fn secret<'v>(
        &self,
        find: impl Fn(&'static str) -> Result<&'v str, String>,
    ) -> Result<Identity, String> {
        let need = |name| {
            find(name).map_err(|missing| {
                format!("an application with a secret needs the setting {missing}")
            })
        };
        Ok(Identity::Secret {
            authority: self.authority(),
            tenant_id: need("tenantId")?.to_owned(),
            client_id: need("clientId")?.to_owned(),
            secret: need("clientSecret")?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    fn resolved(pairs: &[(&str, &str)]) -> Result<Identity, String> {
        let source: MapSource = pairs.iter().copied().collect();
        resolve("Bus", &Lookup::new(&source))
    }

    #[test]
    fn the_section_decides_before_the_environment() {
        let environment = [
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "env"),
            ("AZURE_CLIENT_SECRET", "hush"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ];
        let of = |more: &[(&str, &str)], from: usize| {
            let pairs = [&environment[..from], more].concat();
            format!("{:?}", resolved(&pairs).unwrap())
        };
        let managed = ("Bus__credential", "managedIdentity");
        assert_eq!(of(&[managed], 4), "managed identity (System)");
        assert_eq!(
            of(&[managed, ("Bus__clientId", "own")], 4),
            "managed identity (Client(\"own\"))"
        );
        assert_eq!(
            of(&[managed, ("Bus__managedIdentityResourceId", "/r")], 4),
            "managed identity (Resource(\"/r\"))"
        );
        assert_eq!(
            of(&[("Bus__credential", "workloadidentity")], 4),
            "workload identity of env"
        );
        let secret = [
            ("Bus__tenantId", "t"),
            ("Bus__clientId", "own"),
            ("Bus__clientSecret", "hush"),
        ];
        assert_eq!(of(&secret, 4), "secret of own");
        assert_eq!(of(&[], 4), "secret of env");
        assert_eq!(
            of(&[("AZURE_FEDERATED_TOKEN_FILE", "/t")], 2),
            "workload identity of env"
        );
        assert_eq!(of(&[], 2), "managed identity (Client(\"env\"))");
        assert_eq!(of(&[], 0), "managed identity (System)");
    }

    #[test]
    fn what_is_missing_or_contradicts_is_named() {
        for (pairs, expected) in [
            (
                &[("Bus__credential", "cli")][..],
                "the setting Bus__credential: expected managedidentity or workloadidentity, found \
                 \"cli\"",
            ),
            (
                &[("Bus__clientSecret", "s"), ("Bus__tenantId", "t")],
                "an application with a secret needs the setting Bus__clientId",
            ),
            (
                &[("AZURE_CLIENT_SECRET", "s")],
                "an application with a secret needs the setting AZURE_TENANT_ID",
            ),
            (
                &[("Bus__credential", "workloadidentity")],
                "the workload identity of Bus needs the setting AZURE_TENANT_ID",
            ),
            (
                &[
                    ("Bus__clientId", "c"),
                    ("Bus__managedIdentityResourceId", "r"),
                ],
                "the settings Bus__clientId and Bus__managedIdentityResourceId both name an \
                 identity: keep one of them",
            ),
        ] {
            assert_eq!(resolved(pairs).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_authority_and_the_endpoint_come_from_the_environment() {
        let pairs = [
            ("AZURE_AUTHORITY_HOST", "login.example/"),
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s"),
        ];
        let Ok(Identity::Secret { authority, .. }) = resolved(&pairs) else {
            panic!()
        };
        assert_eq!(authority, "https://login.example");
        let pairs = [("IDENTITY_ENDPOINT", "http://x"), ("IDENTITY_HEADER", "h")];
        let Ok(Identity::Managed { endpoint, .. }) = resolved(&pairs) else {
            panic!()
        };
        assert!(matches!(endpoint, ManagedEndpoint::AppService { .. }));
    }
}
