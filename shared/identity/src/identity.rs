//! Who one can be, and how each asks for a token.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use nightshift_settings::{ExposeSecret, SecretString};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::IdentityError;

/// Where Entra ID is asked unless the settings say otherwise (`AZURE_AUTHORITY_HOST`).
pub const DEFAULT_AUTHORITY: &str = "https://login.microsoftonline.com";

/// Where a virtual machine asks for its identity (the instance metadata service).
const METADATA_SERVICE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// The largest token file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What a form and a query may hold as it is (RFC 3986, unreserved).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who asks for tokens.
#[derive(Clone)]
#[non_exhaustive]
pub enum Identity {
    /// The identity that Azure gives to what runs there.
    Managed {
        /// Whom to ask.
        endpoint: ManagedEndpoint,
        /// Which of several identities.
        id: ManagedId,
    },
    /// A pod's own token, exchanged for one of Entra ID.
    Workload {
        /// Where Entra ID is, such as [`DEFAULT_AUTHORITY`].
        authority: String,
        /// The directory.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// The file with the pod's token, which is read anew for each request: it is replaced
        /// about once an hour.
        token_file: PathBuf,
    },
    /// An application with a secret.
    Secret {
        /// Where Entra ID is, such as [`DEFAULT_AUTHORITY`].
        authority: String,
        /// The directory.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// Its secret.
        secret: SecretString,
    },
}

/// Whom a managed identity is asked of.
#[derive(Clone)]
#[non_exhaustive]
pub enum ManagedEndpoint {
    /// App Service, Functions and Container Apps: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    AppService {
        /// The address.
        endpoint: String,
        /// What shows that the request comes from within.
        header: SecretString,
    },
    /// The instance metadata service of a virtual machine.
    MetadataService,
}

/// Which managed identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManagedId {
    /// The system-assigned one.
    #[default]
    System,
    /// A user-assigned one, by its client id.
    Client(String),
    /// A user-assigned one, by its resource id.
    Resource(String),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Managed { id, .. } => write!(f, "managed identity ({id:?})"),
            Self::Workload { client_id, .. } => write!(f, "workload identity of {client_id}"),
            Self::Secret { client_id, .. } => write!(f, "secret of {client_id}"),
        }
    }
}

impl fmt::Debug for ManagedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppService { .. } => "the host's own endpoint",
            Self::MetadataService => "the metadata service",
        })
    }
}

impl Identity {
    /// The request for a token that is good for `scope` (`https://…/.default`).
    pub(crate) async fn request(&self, scope: &str) -> Result<Request<Bytes>, IdentityError> {
        match self {
            Self::Managed { endpoint, id } => managed(endpoint, id, scope),
            Self::Workload {
                authority,
                tenant_id,
                client_id,
                token_file,
            } => {
                const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let token = read_token(token_file).await?;
                let proof = [
                    ("client_assertion_type", ASSERTION),
                    ("client_assertion", token.trim()),
                ];
                exchange(authority, tenant_id, client_id, scope, &proof)
            }
            Self::Secret {
                authority,
                tenant_id,
                client_id,
                secret,
            } => {
                let proof = [("client_secret", secret.expose_secret())];
                exchange(authority, tenant_id, client_id, scope, &proof)
            }
        }
    }
}

async fn read_token(path: &Path) -> Result<String, IdentityError> {
    let read = async {
        let length = tokio::fs::metadata(path).await?.len();
        if length > MAX_FILE_BYTES {
            let what = format!("it is longer than {MAX_FILE_BYTES} bytes");
            return Err(std::io::Error::other(what));
        }
        tokio::fs::read_to_string(path).await
    };
    read.await.map_err(|source| IdentityError::TokenFile {
        path: path.to_path_buf(),
        source,
    })
}

/// The request to the machine's own endpoint, which wants a resource and no scope.
fn managed(
    endpoint: &ManagedEndpoint,
    id: &ManagedId,
    scope: &str,
) -> Result<Request<Bytes>, IdentityError> {
    let resource = scope.strip_suffix("/.default").unwrap_or(scope);
    let (address, version, header, resource_id) = match endpoint {
        ManagedEndpoint::AppService { endpoint, header } => {
            let header = ("x-identity-header", header.expose_secret());
            (endpoint.as_str(), "2019-08-01", header, "mi_res_id")
        }
        ManagedEndpoint::MetadataService => {
            let header = ("metadata", "true");
            (METADATA_SERVICE, "2018-02-01", header, "msi_res_id")
        }
    };
    let mut fields = vec![("api-version", version), ("resource", resource)];
    match id {
        ManagedId::System => {}
        ManagedId::Client(client) => fields.push(("client_id", client)),
        ManagedId::Resource(resource) => fields.push((resource_id, resource)),
    }
    let url = format!("{address}?{}", form(&fields));
    let mut request = build(Method::GET, &url, Bytes::new())?;
    let value = HeaderValue::try_from(header.1).map_err(|_| IdentityError::Address {
        url: address.to_owned(),
        reason: "IDENTITY_HEADER holds what no header can".to_owned(),
    })?;
    let name = HeaderName::from_static(header.0);
    request.headers_mut().insert(name, value);
    Ok(request)
}

/// The request of the client credentials grant.
fn exchange(
    authority: &str,
    tenant_id: &str,
    client_id: &str,
    scope: &str,
    proof: &[(&str, &str)],
) -> Result<Request<Bytes>, IdentityError> {
    let tenant = utf8_percent_encode(tenant_id, PLAIN);
    let url = format!(
        "{}/{tenant}/oauth2/v2.0/token",
        authority.trim_end_matches('/')
    );
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("scope", scope),
    ];
    let body = form(&[&fields, proof].concat());
    let mut request = build(Method::POST, &url, Bytes::from(body))?;
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(request)
}

fn build(method: Method, url: &str, body: Bytes) -> Result<Request<Bytes>, IdentityError> {
    let request = Request::builder().method(method).uri(url).body(body);
    request.map_err(|error| IdentityError::Address {
        // The query may tell more than an error should.
        url: url.split('?').next().unwrap_or_default().to_owned(),
        reason: error.to_string(),
    })
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, PLAIN);
        format!("{name}={value}")
    });
    fields.collect::<Vec<_>>().join("&")
}
