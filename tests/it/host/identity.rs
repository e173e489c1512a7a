//! A connection without a key: tokens of a managed identity, over TLS. Azure is not asked: the
//! identity's endpoint is a stub, and the broker takes any token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fixture::{Fixture, until};
use crate::bus::tls::secure;

/// The endpoint of a managed identity: every request for Service Bus gets a token.
async fn endpoint(asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.contains("resource=https%3A%2F%2Fservicebus.azure.net&client_id=me"));
            assert!(request.contains("x-identity-header: within\r\n"));
            asked.fetch_add(1, Ordering::Relaxed);
            let answer = r#"{"access_token": "token", "expires_on": "4102444800"}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + answer).as_bytes()).await.unwrap();
        }
    });
    url
}

/// A certificate as a file of roots holds it.
fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bytes = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or_default()));
        let bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
        for at in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap();
            let is_there = at <= chunk.len();
            text.push(if is_there {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
        if text.len() % 65 == 64 {
            text.push('\n');
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_opens_the_broker() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = endpoint(Arc::clone(&asked)).await;
    let fixture = Fixture::new("", "ok").await;
    let (address, root) = secure(fixture.broker.local_addr(), "localhost").await;
    fixture.write("roots.pem", &pem(&root));
    let roots = fixture.path("roots.pem").display().to_string();
    let namespace = format!("localhost:{}", address.port());
    // The prefixed section wins over the connection string that the fixture sets.
    let fixture = fixture
        .setting("SSL_CERT_FILE", &roots)
        .setting("AzureWebJobsBus__fullyQualifiedNamespace", &namespace)
        .setting("AzureWebJobsBus__credential", "managedidentity")
        .setting("AzureWebJobsBus__clientId", "me")
        .setting("IDENTITY_ENDPOINT", &url)
        .setting("IDENTITY_HEADER", "within");
    fixture.send(&["{}"]).await;
    let mut host = fixture.start_process();
    until("the message to be completed", || {
        fixture.counts().removed == 1
    })
    .await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    host.kill().unwrap();
    host.wait().unwrap();
}
