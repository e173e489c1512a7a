//! One small document from one HTTP server, on a connection of its own, plain or over TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Position, Url};

/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest document that is read, in bytes.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// A document that could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it cannot be reached")]
    Connect(#[source] io::Error),
    #[error("it did not answer as a server does")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redirections are not followed: whoever is asked answers.
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("it did not answer within {} seconds", PATIENCE.as_secs())]
    TooSlow,
}

/// What stands at `url`.
pub(super) async fn get(url: &Url) -> Result<Bytes, FetchError> {
    let fetched = async {
        let roots = match url.scheme() {
            "https" => Some(native_roots().await.map_err(FetchError::Connect)?),
            _ => None,
        };
        get_trusting(url, roots).await
    };
    let fetched = tokio::time::timeout(PATIENCE, fetched).await;
    fetched.unwrap_or(Err(FetchError::TooSlow))
}

/// Over TLS if there are `roots` to trust.
async fn get_trusting(url: &Url, roots: Option<RootCertStore>) -> Result<Bytes, FetchError> {
    let broken = |error: io::Error| FetchError::Connect(error);
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let stream = TcpStream::connect((host.as_str(), port)).await;
    let stream = stream.map_err(broken)?;
    let Some(roots) = roots else {
        return exchange(url, stream).await;
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host).map_err(|error| broken(io::Error::other(error)))?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, stream);
    exchange(url, secured.await.map_err(broken)?).await
}

async fn exchange<S>(url: &Url, stream: S) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(&url[Position::BeforePath..])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(ACCEPT, "application/json")
        .header(
            USER_AGENT,
            concat!("nightshift/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Exchange(error.into()))?;
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| FetchError::Exchange(error.into()))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| FetchError::Exchange(error.into()))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(FetchError::Exchange)?.to_bytes())
    };
    let mut answer = std::pin::pin!(answer);
    // The connection ends with the exchange; until then it has to be driven.
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            // What came before it broke may be whole.
            Err(error) => match answer.await {
                Err(FetchError::Exchange(_)) => Err(FetchError::Exchange(error.into())),
                outcome => outcome,
            },
        },
    }
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
    async fn secure_server(name: &str) -> (Url, RootCertStore) {
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

    #[tokio::test]
    async fn a_server_that_shows_a_trusted_certificate_is_asked_over_tls() {
        let (url, roots) = secure_server("127.0.0.1").await;
        assert_eq!(get_trusting(&url, Some(roots)).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_server_without_a_trusted_certificate_of_its_name_is_not_asked() {
        let (_, others) = secure_server("127.0.0.1").await;
        let (url, _) = secure_server("127.0.0.1").await;
        let error = get_trusting(&url, Some(others)).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect(_)), "{error:?}");
        let (url, roots) = secure_server("elsewhere.example").await;
        let error = get_trusting(&url, Some(roots)).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect(_)), "{error:?}");
    }
}
