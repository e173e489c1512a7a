//! TLS under the connection: `amqps`, as the service wants it on port 5671.
//!
//! The broker's certificate must be for the host of the connection string and lead to a root that
//! the machine trusts, or to one that the caller names. There is no way to switch that off.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::BusError;

/// What a client needs to speak TLS. Reads the machine's roots, which takes some milliseconds.
pub(crate) async fn connector(host: &str, extra_roots: &[Bytes]) -> Result<TlsConnector, BusError> {
    let failed = |reason: String| BusError::Tls {
        host: host.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    // Files that cannot be read or understood are passed over, as long as some root is left.
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| failed(format!("the trusted roots cannot be read: {error}")))?;
    roots.add_parsable_certificates(found.certs);
    for root in extra_roots {
        roots
            .add(CertificateDer::from(root.to_vec()))
            .map_err(|error| failed(format!("an extra root certificate is malformed: {error}")))?;
    }
    if roots.is_empty() {
        let text = "this machine trusts no root certificate (install the package ca-certificates)";
        return Err(failed(text.to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Secures `stream`, and knows then that `host` is at its other end.
pub(crate) async fn secure(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, BusError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| BusError::Tls {
        host: host.to_owned(),
        reason: "this is no name that a certificate could be for".to_owned(),
    })?;
    let handshake = connector.connect(name, stream).await;
    handshake.map_err(|error| match error.kind() {
        // What is wrong is what was said, so it will be said again.
        io::ErrorKind::InvalidData => BusError::Tls {
            host: host.to_owned(),
            reason: error.to_string(),
        },
        _ => BusError::Connect {
            address: host.to_owned(),
            source: Arc::new(error),
        },
    })
}
