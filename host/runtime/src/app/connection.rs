//! Where a function's `connection` setting leads.
//!
//! The order is the real host's: `AzureWebJobsX` before `X`, and for each the section
//! `ConnectionStrings` before the root. A value is a connection string; a section with
//! `fullyQualifiedNamespace` asks for an identity instead, which this host cannot use yet.

use nightshift_bus::{BusError, ClientOptions, ConnectionString, ServiceBusClient};

use super::lookup::Lookup;

/// A namespace and how to be let in.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    name: String,
    string: ConnectionString,
}

impl Connection {
    /// What a binding calls it, in lower case: names ignore case.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects. One try.
    pub(crate) async fn connect(
        &self,
        options: ClientOptions,
    ) -> Result<ServiceBusClient, BusError> {
        ServiceBusClient::connect(&self.string, options).await
    }
}

/// The connection that `name` stands for, or what is wrong with it; never a secret.
pub(super) fn resolve(name: &str, lookup: &Lookup) -> Result<Connection, String> {
    let candidates = [
        format!("ConnectionStrings:AzureWebJobs{name}"),
        format!("AzureWebJobs{name}"),
        format!("ConnectionStrings:{name}"),
        name.to_owned(),
    ];
    for candidate in &candidates {
        if let Some(text) = lookup.get(candidate) {
            let string = text
                .parse()
                .map_err(|error| format!("the setting {candidate}: {error}"))?;
            return Ok(Connection {
                name: name.to_lowercase(),
                string,
            });
        }
        if lookup
            .get(&format!("{candidate}:fullyQualifiedNamespace"))
            .is_some()
        {
            return Err(format!(
                "the setting {candidate}__fullyQualifiedNamespace asks for a connection by \
                 identity, which is not supported by this host yet: set {candidate} to a \
                 connection string"
            ));
        }
    }
    Err(format!(
        "the connection {name} has no value: set {name} to a connection string"
    ))
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    fn resolved(pairs: &[(&str, &str)]) -> Result<String, String> {
        let source: MapSource = pairs.iter().copied().collect();
        resolve("Bus", &Lookup::new(&source)).map(|found| found.string.host().to_owned())
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
    fn what_cannot_be_used_is_said_without_the_key() {
        let error = resolved(&[]).unwrap_err();
        assert_eq!(
            error,
            "the connection Bus has no value: set Bus to a connection string"
        );
        let error = resolved(&[("Bus__fullyQualifiedNamespace", "x")]).unwrap_err();
        assert!(error.contains("by identity"), "{error}");
        let error = resolved(&[("AzureWebJobsBus", "SharedAccessKey=hush")]).unwrap_err();
        assert!(
            error.starts_with("the setting AzureWebJobsBus: "),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}
