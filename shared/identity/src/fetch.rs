//! One HTTP request on a connection of its own, plain or over TLS: tokens are asked for about once
//! an hour.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::IdentityError;

/// The longest answer that is read, in bytes. Tokens have a few thousand.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Sends `request`, whose address is absolute. Returns the status and the body of the answer.
pub(crate) async fn fetch(request: Request<Bytes>) -> Result<(u16, Bytes), IdentityError> {
    let address = Address::of(request.uri())?;
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
    let stream = stream.map_err(|source| address.unreachable(source))?;
    if address.is_secure {
        let connector = connector().await.map_err(|e| address.unreachable(e))?;
        let name = ServerName::try_from(address.host.clone());
        let name = name.map_err(|error| address.unreachable(io::Error::other(error)))?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|source| address.unreachable(source))?;
        exchange(&address, stream, request).await
    } else {
        exchange(&address, stream, request).await
    }
}

async fn exchange<S>(
    address: &Address,
    stream: S,
    request: Request<Bytes>,
) -> Result<(u16, Bytes), IdentityError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| IdentityError::Exchange {
        host: address.host.clone(),
        source,
    };
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| failed(error.into()))?;
    let answer = async {
        let answer = sender.send_request(relative(request)?).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
        Ok((status, body.collect().await?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    // The connection ends with the exchange; until then it has to be driven.
    let outcome = tokio::select! {
        outcome = &mut answer => outcome,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    };
    outcome.map_err(failed)
}

/// Where a request goes.
struct Address {
    host: String,
    port: u16,
    is_secure: bool,
}

impl Address {
    fn of(uri: &Uri) -> Result<Self, IdentityError> {
        let wrong = |reason: &str| IdentityError::Address {
            url: uri.path().to_owned(),
            reason: reason.to_owned(),
        };
        let is_secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let default = if is_secure { 443 } else { 80 };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(default),
            is_secure,
        })
    }

    fn unreachable(&self, source: io::Error) -> IdentityError {
        IdentityError::Connect {
            host: self.host.clone(),
            source,
        }
    }
}

/// The request as it is written to the connection.
fn relative(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::try_from(authority.as_str())?;
        parts.headers.insert(HOST, host);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>()?;
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// What is needed for TLS: the roots that the machine trusts.
async fn connector() -> io::Result<TlsConnector> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await?;
    let mut roots = RootCertStore::empty();
    // Files that cannot be read or understood are passed over, as long as some root is left.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let text = "this machine trusts no root certificate (install the package ca-certificates)";
        return Err(io::Error::other(text));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
