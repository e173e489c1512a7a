//! TLS: our client through a TLS server that passes everything on to the broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use nightshift_bus::{
    AccessToken, BusError, ClientOptions, Message, ServiceBusClient, TokenCredential, TokenFuture,
};
use nightshift_time::{Clock as _, SystemClock};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{SOON, broker, prefetch, receive, receiver};

/// Serves TLS for `name` in front of `target`. Returns its address and its certificate.
pub(crate) async fn secure(target: SocketAddr, name: &str) -> (SocketAddr, Bytes) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let root = Bytes::copy_from_slice(&certificate);
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((inner, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us goes away here.
                let Ok(mut inner) = acceptor.accept(inner).await else {
                    return;
                };
                let mut outer = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    (address, root)
}

async fn connect(port: u16, roots: Vec<Bytes>) -> Result<ServiceBusClient, BusError> {
    let connection_string =
        format!("Endpoint=sb://localhost:{port};SharedAccessKeyName=n;SharedAccessKey=k");
    let options = ClientOptions {
        try_timeout: SOON,
        extra_root_certificates: roots,
        ..ClientOptions::default()
    };
    ServiceBusClient::connect(&connection_string.parse().unwrap(), options).await
}

#[tokio::test]
async fn messages_go_both_ways_over_tls() {
    let broker = broker();
    let (address, root) = secure(broker.local_addr(), "localhost").await;
    let client = connect(address.port(), vec![root]).await.unwrap();
    let sender = client.create_sender("q").await.unwrap();
    // Much more than the socket takes at once.
    let body = Bytes::from(vec![b'x'; 500_000]);
    let messages = (0..20).map(|_| Message::new(body.clone())).collect();
    sender.send_messages(messages).await.unwrap();
    sender.send_message(Message::new("small")).await.unwrap();
    let receiver = receiver(&client, prefetch(5)).await;
    let messages = receive(&receiver, 21).await;
    assert!(
        messages[..20]
            .iter()
            .all(|message| message.message.body == body)
    );
    for result in receiver.complete_messages(&messages).await.unwrap() {
        result.unwrap();
    }
    client.close().await;
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_for_the_host() {
    let broker = broker();
    let (_, other_root) = secure(broker.local_addr(), "localhost").await;
    let (address, _) = secure(broker.local_addr(), "localhost").await;
    let unknown = connect(address.port(), vec![other_root]).await.unwrap_err();
    let (address, root) = secure(broker.local_addr(), "elsewhere.example").await;
    let other = connect(address.port(), vec![root]).await.unwrap_err();
    for error in [unknown, other] {
        assert!(
            matches!(&error, BusError::Tls { host, .. } if host == "localhost"),
            "{error}"
        );
        assert!(!error.is_transient());
    }
    let (_, root) = secure(broker.local_addr(), "localhost").await;
    let plain = connect(broker.local_addr().port(), vec![root])
        .await
        .unwrap_err();
    assert!(
        matches!(plain, BusError::Tls { .. } | BusError::Connect { .. }),
        "{plain}"
    );
    let malformed = connect(1, vec![Bytes::from_static(b"x")])
        .await
        .unwrap_err();
    assert!(
        malformed.to_string().contains("an extra root certificate"),
        "{malformed}"
    );
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    let (_, root) = secure(broker().local_addr(), "localhost").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("Endpoint=sb://localhost:{port};SharedAccessKeyName=n;SharedAccessKey=k");
    let options = ClientOptions {
        try_timeout: Duration::from_millis(300),
        extra_root_certificates: vec![root],
        ..ClientOptions::default()
    };
    let error = ServiceBusClient::connect(&text.parse().unwrap(), options)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "securing the connection got no answer within 0.3 s"
    );
}

/// Makes tokens that live for two seconds, and fails the second time.
#[derive(Debug, Default)]
struct Directory {
    asked: AtomicU32,
}

impl TokenCredential for Directory {
    fn get_token<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
        assert_eq!(scope, "https://servicebus.azure.net/.default");
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if turn == 1 {
                return Err("the directory is away".into());
            }
            Ok(AccessToken {
                token: "token".into(),
                expires_at: SystemClock.now() + TimeDelta::seconds(2),
            })
        })
    }
}

#[tokio::test]
async fn tokens_of_a_provider_are_renewed_before_they_end() {
    let broker = broker();
    let (address, root) = secure(broker.local_addr(), "localhost").await;
    let directory = Arc::new(Directory::default());
    let options = ClientOptions {
        try_timeout: SOON,
        extra_root_certificates: vec![root],
        ..ClientOptions::default()
    };
    let namespace = format!("localhost:{}", address.port());
    let credential: Arc<dyn TokenCredential> = directory.clone();
    let client = ServiceBusClient::connect_with_credential(&namespace, credential, options.clone())
        .await
        .unwrap();
    let sender = client.create_sender("q").await.unwrap();
    assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
    let deadline = std::time::Instant::now() + SOON;
    while directory.asked.load(Ordering::Relaxed) < 4 {
        assert!(
            std::time::Instant::now() < deadline,
            "the token was not renewed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sender.send_message(Message::new("x")).await.unwrap();

    let failing = Arc::new(Directory {
        asked: AtomicU32::new(1),
    });
    let client = ServiceBusClient::connect_with_credential(&namespace, failing, options)
        .await
        .unwrap();
    let error = client.create_sender("q").await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the directory is away");
    assert!(error.is_transient());
}
