//! One HTTP request on a connection of its own, plain or over TLS: for those who ask once an hour, or once.
//!
//! Redirections are not followed, nothing is sent along that the request does not say, and an answer is
//! bounded in time and length. What is asked at an address that somebody else has chosen goes through a
//! [`Guard`], so that nobody reaches by us what they cannot reach themselves. No error says more of an
//! address than its host: what stands behind that may be a secret.

mod guard;
mod network;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::{Scheme, Uri};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub use guard::Guard;
pub use network::{BadNetwork, Network};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How much is waited for and read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may take in all.
    pub patience: Duration,
    /// The longest body that is read, in bytes.
    pub max_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The address is none that can be asked.
    #[error("{host:?} is nobody who can be asked: {reason}")]
    Address {
        /// The host that it names, or nothing.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whoever has chosen the address may not have us ask there.
    #[error("{host} may not be asked: {reason}")]
    Refused {
        /// Who was to be asked.
        host: String,
        /// Why not.
        reason: String,
    },
    /// Nobody answers there.
    #[error("{host} cannot be reached")]
    Connect {
        /// Whom was asked.
        host: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The exchange broke off, or its answer was none, or too long.
    #[error("{host} did not answer as a server does")]
    Exchange {
        /// Whom was asked.
        host: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{host} did not answer within {} seconds", patience.as_secs_f64())]
    TooSlow {
        /// Whom was asked.
        host: String,
        /// How long it had.
        patience: Duration,
    },
}

/// Sends `request`, whose address is absolute, and returns the answer, whatever its status.
///
/// # Errors
/// [`FetchError`] says who did not answer, and why.
pub async fn fetch(request: Request<Bytes>, limits: Limits) -> Result<Response<Bytes>, FetchError> {
    let address = Address::of(request.uri())?;
    let connecting = connect(&address, (address.host.as_str(), address.port));
    ask(&address, connecting, request, limits).await
}

/// As [`fetch`], of an address that somebody else has chosen: only what `guard` lets be asked is asked. Its
/// name is looked up once, and it is what was looked at then that is connected to.
///
/// # Errors
/// [`FetchError`] says who did not answer, and why, or why nobody was asked.
pub async fn fetch_public(
    request: Request<Bytes>,
    limits: Limits,
    guard: &Guard,
) -> Result<Response<Bytes>, FetchError> {
    fetch_found(request, limits, guard, look_up).await
}

/// As [`fetch_public`]; `find` says which addresses a name has.
async fn fetch_found(
    request: Request<Bytes>,
    limits: Limits,
    guard: &Guard,
    find: impl AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Response<Bytes>, FetchError> {
    guard.check(request.uri())?;
    let address = Address::of(request.uri())?;
    let connecting = async {
        let found = find(&address.host, address.port).await;
        let found = found.map_err(|error| address.unreachable(error))?;
        guard.check_found(&address, &found)?;
        connect(&address, found.as_slice()).await
    };
    ask(&address, connecting, request, limits).await
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

async fn connect(address: &Address, to: impl ToSocketAddrs) -> Result<TcpStream, FetchError> {
    let connected = timeout(CONNECT, TcpStream::connect(to)).await;
    let connected = connected.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|error| address.unreachable(error))
}

/// Sends `request` over what `connecting` comes to; all of it takes no longer than `limits` say.
async fn ask(
    address: &Address,
    connecting: impl Future<Output = Result<TcpStream, FetchError>>,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<Response<Bytes>, FetchError> {
    let asked = async {
        let stream = connecting.await?;
        let roots = if address.is_secure {
            let roots = native_roots().await;
            Some(roots.map_err(|error| address.unreachable(error))?)
        } else {
            None
        };
        ask_over(stream, address, request, limits.max_bytes, roots).await
    };
    let asked = timeout(limits.patience, asked).await;
    asked.unwrap_or_else(|_elapsed| {
        Err(FetchError::TooSlow {
            host: address.host.clone(),
            patience: limits.patience,
        })
    })
}

/// Over TLS if there are `roots` to trust.
async fn ask_over(
    stream: TcpStream,
    address: &Address,
    request: Request<Bytes>,
    max_bytes: usize,
    roots: Option<RootCertStore>,
) -> Result<Response<Bytes>, FetchError> {
    let Some(roots) = roots else {
        return exchange(address, stream, request, max_bytes).await;
    };
    let secured = secure(address, stream, roots).await;
    let secured = secured.map_err(|error| address.unreachable(error))?;
    exchange(address, secured, request, max_bytes).await
}

async fn secure(
    address: &Address,
    stream: TcpStream,
    roots: RootCertStore,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn exchange<S>(
    address: &Address,
    stream: S,
    request: Request<Bytes>,
    max_bytes: usize,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Exchange {
        host: address.host.clone(),
        source,
    };
    let request = relative(request).map_err(|error| failed(error.into()))?;
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| failed(error.into()))?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, max_bytes).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    let mut answer = std::pin::pin!(answer);
    // The connection ends with the exchange; until then it has to be driven.
    let outcome: Result<_, Box<dyn std::error::Error + Send + Sync>> = tokio::select! {
        outcome = &mut answer => outcome,
        // What came before it broke may be whole.
        ended = connection => match (answer.await, ended) {
            (Err(_), Err(error)) => Err(error.into()),
            (outcome, _) => outcome,
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
    fn of(uri: &Uri) -> Result<Self, FetchError> {
        let wrong = |reason| FetchError::Address {
            host: uri.host().unwrap_or_default().to_owned(),
            reason,
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

    fn refused(&self, reason: String) -> FetchError {
        FetchError::Refused {
            host: self.host.clone(),
            reason,
        }
    }

    fn unreachable(&self, source: io::Error) -> FetchError {
        FetchError::Connect {
            host: format!("{}:{}", self.host, self.port),
            source,
        }
    }
}

/// The request as it is written to the connection.
fn relative(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, http::Error> {
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::try_from(authority.as_str())?;
        parts.headers.insert(HOST, host);
    }
    let agent = HeaderValue::from_static(concat!("nightshift/", env!("CARGO_PKG_VERSION")));
    parts.headers.entry(USER_AGENT).or_insert(agent);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>()?;
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// The root certificates that the machine trusts.
async fn native_roots() -> io::Result<RootCertStore> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await?;
    let mut roots = RootCertStore::empty();
    // Files that cannot be read or understood are passed over, as long as some root is left.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let text = "this machine trusts no root certificate (install the package ca-certificates)";
        return Err(io::Error::other(text));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// A server with a certificate of its own for `name`, and the roots with that certificate.
    async fn secure_server(name: &str) -> (Uri, RootCertStore) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/a?b", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate ends it here.
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
                return;
            };
            let mut request = [0; 9];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, *b"GET /a?b ");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            // Read on, so that the connection is not reset before the client has read.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        (url.parse().unwrap(), roots)
    }

    async fn get(url: &Uri, roots: RootCertStore) -> Result<Response<Bytes>, FetchError> {
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let address = Address::of(url)?;
        let stream = connect(&address, (address.host.as_str(), address.port)).await?;
        ask_over(stream, &address, request, 100, Some(roots)).await
    }

    #[tokio::test]
    async fn a_server_that_shows_a_trusted_certificate_is_asked_over_tls() {
        let (url, roots) = secure_server("127.0.0.1").await;
        assert_eq!(get(&url, roots).await.unwrap().body(), "hello");
    }

    #[tokio::test]
    async fn a_server_without_a_trusted_certificate_of_its_name_is_not_asked() {
        let (_, others) = secure_server("127.0.0.1").await;
        let (url, _) = secure_server("127.0.0.1").await;
        let error = get(&url, others).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect { .. }), "{error:?}");
        let (url, roots) = secure_server("elsewhere.example").await;
        let error = get(&url, roots).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect { .. }), "{error:?}");
    }

    pub(crate) const LIMITS: Limits = Limits {
        patience: Duration::from_secs(5),
        max_bytes: 10,
    };

    /// A server that answers each request with `answer` and goes.
    async fn plain_server(answer: &'static [u8]) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        url.parse().unwrap()
    }

    #[tokio::test]
    async fn whatever_the_status_the_answer_is_returned_and_one_that_is_too_long_is_not() {
        let request = |url: &Uri| Request::get(url).body(Bytes::new()).unwrap();
        let url =
            plain_server(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nno")
                .await;
        let answer = fetch(request(&url), LIMITS).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (302, &b"no"[..])
        );
        let url = plain_server(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901").await;
        let error = fetch(request(&url), LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::Exchange { .. }), "{error:?}");
        let url = plain_server(b"SMTP here").await;
        let error = fetch(request(&url), LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::Exchange { .. }), "{error:?}");
        let error = fetch(request(&"/a".parse().unwrap()), LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Address { .. }), "{error:?}");
    }
}
