//! Where a function's `connection` setting leads.
//!
//! The order is the real host's: `AzureWebJobsX` before `X`, and for each the section
//! `ConnectionStrings` before the root. A value is a connection string; a section with
//! `fullyQualifiedNamespace` names a namespace that is reached with tokens of Entra ID.

use nightshift_bus::ConnectionString;
use nightshift_identity::Identity;
use nightshift_settings::Lookup;

use crate::identity;

/// A namespace and how to be let in.
#[derive(Debug, Clone)]
pub struct Connection {
    /// What a binding calls it, in lower case: names ignore case.
    pub name: String,
    /// How it lets one in.
    pub access: Access,
}

/// How a namespace lets one in.
#[derive(Debug, Clone)]
pub enum Access {
    /// By what a connection string holds.
    String(ConnectionString),
    /// By tokens.
    Identity {
        /// `HOST[:PORT]`, reached over TLS.
        namespace: String,
        /// Whose tokens.
        identity: Identity,
    },
}

impl Connection {
    /// The connection that `name` stands for, or what is wrong with it; never a secret.
    pub fn resolve(name: &str, lookup: &Lookup) -> Result<Self, String> {
        let candidates = [
            format!("ConnectionStrings:AzureWebJobs{name}"),
            format!("AzureWebJobs{name}"),
            format!("ConnectionStrings:{name}"),
            name.to_owned(),
        ];
        let found = candidates.iter().find_map(|candidate| {
            if let Some(text) = lookup.get(candidate) {
                let string = text.parse().map(Access::String);
                return Some(string.map_err(|error| format!("the setting {candidate}: {error}")));
            }
            let namespace = lookup.get(&format!("{candidate}:fullyQualifiedNamespace"))?;
            Some(by_identity(candidate, namespace, lookup))
        });
        let access = found.unwrap_or_else(|| {
            Err(format!(
                "the connection {name} has no value: set {name} to a connection string, or \
                 {name}__fullyQualifiedNamespace to the name of a namespace"
            ))
        })?;
        Ok(Self {
            name: name.to_lowercase(),
            access,
        })
    }
}

fn by_identity(section: &str, namespace: &str, lookup: &Lookup) -> Result<Access, String> {
    let namespace = namespace.trim();
    if namespace.is_empty() || namespace.contains([' ', '/', ';', '=', '@']) {
        return Err(format!(
            "the setting {section}__fullyQualifiedNamespace: expected a host such as \
             NAME.servicebus.windows.net, found {namespace:?}"
        ));
    }
    Ok(Access::Identity {
        namespace: namespace.to_owned(),
        identity: identity::resolve(section, lookup)?,
    })
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    fn resolved(pairs: &[(&str, &str)]) -> Result<String, String> {
        let source: MapSource = pairs.iter().copied().collect();
        let found = Connection::resolve("Bus", &Lookup::new(&source))?;
        Ok(match found.access {
            Access::String(string) => string.host().to_owned(),
            Access::Identity {
                namespace,
                identity,
            } => format!("{namespace} {identity:?}"),
        })
    }

    fn local(host: &str) -> String {
        format!(
            "Endpoint=sb://{host};SharedAccessKeyName=n;SharedAccessKey=hush;\
             UseDevelopmentEmulator=true"
        )
    }

    #[test]
    fn the_prefixed_name_and_the_section_win() {
        let (a, b, c) = (local("a"), local("b"), local("c"));
        assert_eq!(resolved(&[("Bus", &a)]), Ok("a".to_owned()));
        let tls = a.replace(";UseDevelopmentEmulator=true", "");
        assert_eq!(resolved(&[("Bus", &tls)]), Ok("a".to_owned()));
        assert_eq!(
            resolved(&[("Bus", &a), ("ConnectionStrings__Bus", &b)]),
            Ok("b".to_owned())
        );
        let all = [
            ("Bus", &*a),
            ("ConnectionStrings__Bus", &b),
            ("AzureWebJobsBus", &c),
        ];
        assert_eq!(resolved(&all), Ok("c".to_owned()));
    }

    #[test]
    fn a_section_names_a_namespace_and_an_identity() {
        let section = ("AzureWebJobsBus__fullyQualifiedNamespace", "n.example");
        let of = |more: &[(&str, &str)]| resolved(&[&[section], more].concat());
        assert_eq!(of(&[]).unwrap(), "n.example managed identity (System)");
        // A value wins over a section, and the prefixed name over the other.
        assert_eq!(
            of(&[("Bus", &local("a"))]).unwrap(),
            "n.example managed identity (System)"
        );
        assert_eq!(of(&[("AzureWebJobsBus", &local("a"))]).unwrap(), "a");
    }

    #[test]
    fn what_cannot_be_used_is_said_without_the_key() {
        let error = resolved(&[]).unwrap_err();
        assert_eq!(
            error,
            "the connection Bus has no value: set Bus to a connection string, or \
             Bus__fullyQualifiedNamespace to the name of a namespace"
        );
        let error = resolved(&[("Bus__fullyQualifiedNamespace", "sb://x/")]).unwrap_err();
        assert!(error.contains("expected a host such as"), "{error}");
        let error = resolved(&[("AzureWebJobsBus", "SharedAccessKey=hush")]).unwrap_err();
        assert!(
            error.starts_with("the setting AzureWebJobsBus: "),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}
