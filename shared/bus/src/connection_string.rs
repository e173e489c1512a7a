//! Service Bus connection strings: which namespace to dial, and with which credential.
//!
//! The forms are those of the Azure portal, of the other SDKs and of the official emulator:
//!
//! ```text
//! Endpoint=sb://HOST[:PORT]/;SharedAccessKeyName=NAME;SharedAccessKey=KEY[;EntityPath=QUEUE]
//! Endpoint=sb://HOST[:PORT]/;SharedAccessSignature=SharedAccessSignature sr=…[;EntityPath=QUEUE]
//! Endpoint=sb://HOST[:PORT];SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true
//! ```
//!
//! A key is split from its value at the first `=` (base64 keys end in `=`), names are compared
//! without regard to case, and parts that mean nothing here (`TransportType`, `OperationTimeout`
//! of older SDKs) are passed over. A connection string is a secret: neither `Debug` nor any error
//! of this module repeats a value that could be one, only names and positions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::SecretString;

use crate::token::TokenCredential;

/// Port of AMQP over TLS, which a namespace in Azure listens on.
const PORT_AMQPS: u16 = 5671;
/// Port of plain AMQP, which only the development emulator offers.
const PORT_AMQP: u16 = 5672;

/// A parsed connection string. It prints without its credential.
#[derive(Clone)]
pub struct ConnectionString {
    host: String,
    port: Option<u16>,
    credential: Credential,
    entity_path: Option<String>,
    development_emulator: bool,
}

/// What proves to the broker who we are.
#[derive(Clone)]
pub(crate) enum Credential {
    /// A shared access rule: tokens are signed with its key, as many as needed.
    SharedAccessKey {
        /// Name of the rule.
        name: String,
        /// The key, used as it is written (its UTF-8 bytes, not decoded base64).
        key: SecretString,
    },
    /// A token that somebody else signed; it cannot be renewed here.
    SharedAccessSignature(SecretString),
    /// Tokens that somebody else makes, as many as needed. No connection string says this.
    Provider(Arc<dyn TokenCredential>),
}

impl ConnectionString {
    /// Host name or address of the namespace, without port; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port to dial: the one of the endpoint, else 5672 for the emulator and 5671 (TLS)
    /// for everything else.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.development_emulator {
            PORT_AMQP
        } else {
            PORT_AMQPS
        })
    }

    /// The queue or topic that the string is limited to (`EntityPath`), if it names one.
    pub fn entity_path(&self) -> Option<&str> {
        self.entity_path.as_deref()
    }

    /// Whether `UseDevelopmentEmulator=true` asks for plain TCP instead of TLS.
    pub fn uses_development_emulator(&self) -> bool {
        self.development_emulator
    }

    /// What stands in for a connection string where a namespace (`HOST[:PORT]`, reached over TLS)
    /// is used with tokens that somebody else makes.
    pub(crate) fn of_namespace(
        namespace: &str,
        provider: Arc<dyn TokenCredential>,
    ) -> Result<Self, ConnectionStringError> {
        let endpoint = format!("sb://{namespace}");
        let (host, port) =
            parse_endpoint(&endpoint).map_err(|reason| ConnectionStringError::Endpoint {
                endpoint: endpoint.clone(),
                reason,
            })?;
        Ok(Self {
            host,
            port,
            credential: Credential::Provider(provider),
            entity_path: None,
            development_emulator: false,
        })
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credential = match &self.credential {
            Credential::SharedAccessKey { name, .. } => format!("key of rule {name}"),
            Credential::SharedAccessSignature(_) => "signature".to_owned(),
            Credential::Provider(_) => "tokens of a provider".to_owned(),
        };
        f.debug_struct("ConnectionString")
            .field("host", &self.host)
            .field("port", &self.port())
            .field("credential", &credential)
            .field("entity_path", &self.entity_path)
            .field("development_emulator", &self.development_emulator)
            .finish()
    }
}

/// Why a connection string was refused. No variant carries a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// The string has no parts at all.
    #[error(
        "the connection string is empty; it should look like `Endpoint=sb://HOST;SharedAccessKeyName=NAME;SharedAccessKey=KEY`"
    )]
    Empty,
    /// A part between two `;` is not `Name=Value`. The part is not repeated: it may be a key.
    #[error("part {position} of the connection string is not of the form `Name=Value`")]
    NotAPair {
        /// Which part, counted from 1.
        position: usize,
    },
    /// A name is given twice.
    #[error("`{name}` is given twice in the connection string")]
    Duplicate {
        /// The name as this module spells it.
        name: &'static str,
    },
    /// A name is there, its value is empty.
    #[error("`{name}` has no value in the connection string")]
    EmptyValue {
        /// The name as this module spells it.
        name: &'static str,
    },
    /// A required name is not there.
    #[error("`{name}` is missing from the connection string{unknown}", unknown = describe_unknown(.unknown))]
    Missing {
        /// The name as this module spells it, or the alternatives.
        name: &'static str,
        /// Names that were there and mean nothing: one of them may be a misspelling.
        unknown: Vec<String>,
    },
    /// Both ways of proving identity are given.
    #[error(
        "the connection string has both `SharedAccessSignature` and `SharedAccessKey`; keep one of them"
    )]
    TwoCredentials,
    /// The endpoint is not `sb://HOST[:PORT]`.
    #[error("`Endpoint={endpoint}` is not of the form `sb://HOST[:PORT]`: {reason}")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The emulator flag has a value that no SDK understands.
    #[error("`UseDevelopmentEmulator` must be `true` or `false`")]
    EmulatorFlag,
}

fn describe_unknown(unknown: &[String]) -> String {
    if unknown.is_empty() {
        return String::new();
    }
    let names: Vec<String> = unknown.iter().map(|name| format!("`{name}`")).collect();
    format!(" (not understood: {})", names.join(", "))
}

/// The parts as found, before it is decided whether they make sense together.
#[derive(Default)]
struct Parts<'a> {
    endpoint: Option<&'a str>,
    key_name: Option<&'a str>,
    key: Option<&'a str>,
    signature: Option<&'a str>,
    entity_path: Option<&'a str>,
    emulator: Option<&'a str>,
    unknown: Vec<String>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self::default();
        let pairs = text
            .split(';')
            .map(str::trim)
            .enumerate()
            .filter(|(_, part)| !part.is_empty());
        for (index, part) in pairs {
            let position = index + 1;
            let Some((name, value)) = part.split_once('=') else {
                return Err(ConnectionStringError::NotAPair { position });
            };
            parts.put(name.trim(), value.trim())?;
        }
        Ok(parts)
    }

    fn put(&mut self, name: &str, value: &'a str) -> Result<(), ConnectionStringError> {
        let (name, slot) = match name.to_ascii_lowercase().as_str() {
            "endpoint" => ("Endpoint", &mut self.endpoint),
            "sharedaccesskeyname" => ("SharedAccessKeyName", &mut self.key_name),
            "sharedaccesskey" => ("SharedAccessKey", &mut self.key),
            "sharedaccesssignature" => ("SharedAccessSignature", &mut self.signature),
            "entitypath" => ("EntityPath", &mut self.entity_path),
            "usedevelopmentemulator" => ("UseDevelopmentEmulator", &mut self.emulator),
            // A name is short and plain; anything else may be the tail of a key with a stray `;`.
            other => {
                let plain = other.len() <= 40 && other.bytes().all(|b| b.is_ascii_alphabetic());
                self.unknown.push(if plain {
                    name.to_owned()
                } else {
                    "…".to_owned()
                });
                return Ok(());
            }
        };
        if value.is_empty() {
            return Err(ConnectionStringError::EmptyValue { name });
        }
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(ConnectionStringError::Duplicate { name }),
        }
    }

    fn credential(&self) -> Result<Credential, ConnectionStringError> {
        match (self.signature, self.key_name, self.key) {
            (Some(_), _, Some(_)) => Err(ConnectionStringError::TwoCredentials),
            (Some(signature), _, None) => Ok(Credential::SharedAccessSignature(
                SecretString::from(signature),
            )),
            (None, Some(name), Some(key)) => Ok(Credential::SharedAccessKey {
                name: name.to_owned(),
                key: SecretString::from(key),
            }),
            (None, Some(_), None) => Err(self.missing("SharedAccessKey")),
            (None, None, Some(_)) => Err(self.missing("SharedAccessKeyName")),
            (None, None, None) => Err(self.missing("SharedAccessKeyName=…;SharedAccessKey=…")),
        }
    }

    fn missing(&self, name: &'static str) -> ConnectionStringError {
        ConnectionStringError::Missing {
            name,
            unknown: self.unknown.clone(),
        }
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = Parts::split(text)?;
        if text.split(';').all(|part| part.trim().is_empty()) {
            return Err(ConnectionStringError::Empty);
        }
        let endpoint = parts.endpoint.ok_or_else(|| parts.missing("Endpoint"))?;
        let (host, port) =
            parse_endpoint(endpoint).map_err(|reason| ConnectionStringError::Endpoint {
                endpoint: endpoint.to_owned(),
                reason,
            })?;
        let development_emulator = match parts.emulator {
            // The SDKs compare with the exact text `true`; another spelling would silently mean
            // TLS there, so it is refused here.
            Some("true") => true,
            None | Some("false") => false,
            Some(_) => return Err(ConnectionStringError::EmulatorFlag),
        };
        Ok(Self {
            host,
            port,
            credential: parts.credential()?,
            entity_path: parts
                .entity_path
                .map(|path| path.trim_matches('/').to_owned()),
            development_emulator,
        })
    }
}

/// Takes `sb://HOST[:PORT][/]` apart.
fn parse_endpoint(endpoint: &str) -> Result<(String, Option<u16>), &'static str> {
    let Some((scheme, rest)) = endpoint.split_once("://") else {
        return Err("it has no `sb://` in front");
    };
    if !scheme.eq_ignore_ascii_case("sb") {
        return Err("its scheme is not `sb`");
    }
    let authority = rest.trim_end_matches('/');
    if authority.contains(['/', '?', '#']) {
        return Err("it has a path; a queue is named by `EntityPath`");
    }
    if authority.contains('@') {
        return Err("it has user information");
    }
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the host contains white space");
    }
    let port = match port {
        None => None,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok((host.to_owned(), port))
}

/// Splits the port off, minding that an IPv6 address in brackets is full of colons.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, tail) = rest
            .split_once(']')
            .ok_or("the `[` of its address is not closed")?;
        return match tail.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if tail.is_empty() => Ok((address, None)),
            None => Err("something other than a port follows the address"),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, port)) if port.contains(':') => Err("an IPv6 address needs brackets"),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(text: &str) -> ConnectionString {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<ConnectionString>().unwrap_err().to_string()
    }

    #[test]
    fn reads_the_portal_form() {
        let cs = parse(
            "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=a+b/c==;EntityPath=orders",
        );
        assert_eq!(cs.host(), "contoso.servicebus.windows.net");
        assert_eq!(cs.port(), 5671);
        assert_eq!(cs.entity_path(), Some("orders"));
        assert!(!cs.uses_development_emulator());
        let Credential::SharedAccessKey { name, key } = cs.credential() else {
            panic!("no key")
        };
        assert_eq!((name.as_str(), key.expose_secret()), ("Root", "a+b/c=="));
    }

    #[test]
    fn reads_the_emulator_form_with_its_trailing_semicolon() {
        let cs = parse(
            "Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;",
        );
        assert_eq!((cs.host(), cs.port()), ("localhost", 5672));
        assert!(cs.uses_development_emulator());
    }

    #[test]
    fn keeps_any_port_and_ipv6_addresses() {
        let tail = "SharedAccessKeyName=n;SharedAccessKey=k;UseDevelopmentEmulator=true";
        assert_eq!(
            parse(&format!("Endpoint=sb://127.0.0.1:40123;{tail}")).port(),
            40123
        );
        let cs = parse(&format!("Endpoint=sb://[::1]:7;{tail}"));
        assert_eq!((cs.host(), cs.port()), ("::1", 7));
        assert_eq!(parse(&format!("Endpoint=sb://[::1];{tail}")).port(), 5672);
    }

    #[test]
    fn reads_a_signature_with_its_own_equal_signs() {
        let cs = parse(
            "endpoint=SB://h;sharedaccesssignature=SharedAccessSignature sr=x&sig=y&se=1&skn=z",
        );
        let Credential::SharedAccessSignature(token) = cs.credential() else {
            panic!("no token")
        };
        assert_eq!(
            token.expose_secret(),
            "SharedAccessSignature sr=x&sig=y&se=1&skn=z"
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (
                "",
                "the connection string is empty; it should look like `Endpoint=sb://HOST;SharedAccessKeyName=NAME;SharedAccessKey=KEY`",
            ),
            (
                " ; ",
                "the connection string is empty; it should look like `Endpoint=sb://HOST;SharedAccessKeyName=NAME;SharedAccessKey=KEY`",
            ),
            (
                "Endpoint=sb://h;hunter2",
                "part 2 of the connection string is not of the form `Name=Value`",
            ),
            (
                "Endpoint=sb://h;Endpoint=sb://i",
                "`Endpoint` is given twice in the connection string",
            ),
            (
                "Endpoint=",
                "`Endpoint` has no value in the connection string",
            ),
            (
                "SharedAccessKeyName=n;SharedAccessKey=k",
                "`Endpoint` is missing from the connection string",
            ),
            (
                "Endpoint=sb://h;SharedAccessKeyName=n;SharedAcessKey=k",
                "`SharedAccessKey` is missing from the connection string (not understood: `SharedAcessKey`)",
            ),
            (
                "Endpoint=sb://h;SharedAccessKey=k",
                "`SharedAccessKeyName` is missing from the connection string",
            ),
            (
                "Endpoint=sb://h",
                "`SharedAccessKeyName=…;SharedAccessKey=…` is missing from the connection string",
            ),
            (
                "Endpoint=sb://h;SharedAccessKey=k;SharedAccessSignature=s",
                "the connection string has both `SharedAccessSignature` and `SharedAccessKey`; keep one of them",
            ),
            (
                "Endpoint=h;SharedAccessSignature=s",
                "`Endpoint=h` is not of the form `sb://HOST[:PORT]`: it has no `sb://` in front",
            ),
            (
                "Endpoint=https://h;SharedAccessSignature=s",
                "`Endpoint=https://h` is not of the form `sb://HOST[:PORT]`: its scheme is not `sb`",
            ),
            (
                "Endpoint=sb://h:0;SharedAccessSignature=s",
                "`Endpoint=sb://h:0` is not of the form `sb://HOST[:PORT]`: the port is not a number from 1 to 65535",
            ),
            (
                "Endpoint=sb://::1;SharedAccessSignature=s",
                "`Endpoint=sb://::1` is not of the form `sb://HOST[:PORT]`: an IPv6 address needs brackets",
            ),
            (
                "Endpoint=sb:///;SharedAccessSignature=s",
                "`Endpoint=sb:///` is not of the form `sb://HOST[:PORT]`: the host is empty",
            ),
            (
                "Endpoint=sb://h/q;SharedAccessSignature=s",
                "`Endpoint=sb://h/q` is not of the form `sb://HOST[:PORT]`: it has a path; a queue is named by `EntityPath`",
            ),
            (
                "Endpoint=sb://h;SharedAccessSignature=s;UseDevelopmentEmulator=True",
                "`UseDevelopmentEmulator` must be `true` or `false`",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(refusal(text), message, "for {text:?}");
        }
    }

    #[test]
    fn never_prints_the_credential() {
        let key = "c3VwZXItc2VjcmV0";
        let cs = parse(&format!(
            "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey={key}"
        ));
        assert!(!format!("{cs:?}").contains(key));
        for text in [
            format!("Endpoint=sb://h;SharedAccessKeyName=n;{key}"),
            format!("Endpoint=sb://h;{key}="),
            format!("SharedAccessKeyName=n;SharedAccessKey={key}"),
            format!("Endpoint=sb://h;SharedAccessKey=k1;SharedAccessKey={key}"),
            format!("Endpoint=sb://h;SharedAccessKey={key};SharedAccessSignature={key}"),
        ] {
            let error = text.parse::<ConnectionString>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(key), "{error:?}");
        }
    }
}
