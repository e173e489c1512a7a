//! Against a server that answers what a test says. Azure itself is not asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_settings::ExposeSecret as _;
use nightshift_time::TestClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::{ManagedEndpoint, ManagedId};

const SCOPE: &str = "https://servicebus.azure.net/.default";

/// A server that gives the same answer to every request and remembers the requests.
struct Stub {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn new(status: u16, answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, requests }
    }

    fn request(&self, index: usize) -> String {
        self.requests.lock().unwrap()[index].clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn managed(&self, id: ManagedId) -> Identity {
        Identity::Managed {
            endpoint: ManagedEndpoint::AppService {
                endpoint: format!("{}/msi/token", self.url),
                header: SecretString::from("hush"),
            },
            id,
        }
    }

    fn secret(&self) -> Identity {
        Identity::Secret {
            authority: format!("{}/", self.url),
            tenant_id: "t/1".to_owned(),
            client_id: "c".to_owned(),
            secret: SecretString::from("s&=% hush"),
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or_default()
}

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn credential(identity: Identity) -> (EntraCredential, TestClock) {
    let clock = TestClock::new(start());
    let credential = EntraCredential::new(identity, Arc::new(clock.clone()));
    (credential, clock)
}

#[tokio::test]
async fn a_managed_identity_is_asked_for_by_its_resource_and_its_id() {
    let expires = start().timestamp() + 3_600;
    let answer = format!(r#"{{"access_token": "tok", "expires_on": "{expires}"}}"#);
    let stub = Stub::new(200, &answer).await;
    for (id, query) in [
        (ManagedId::System, ""),
        (ManagedId::Client("a b".to_owned()), "&client_id=a%20b"),
        (ManagedId::Resource("/x".to_owned()), "&mi_res_id=%2Fx"),
    ] {
        let index = stub.count();
        let (credential, _) = credential(stub.managed(id));
        let token = credential.get_token(SCOPE).await.unwrap();
        assert_eq!(token.token.expose_secret(), "tok");
        assert_eq!(token.expires_at, start() + TimeDelta::hours(1));
        let request = stub.request(index);
        let line = format!(
            "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fservicebus.azure.net{query} \
             HTTP/1.1\r\n"
        );
        assert!(request.starts_with(&line), "{request}");
        assert!(request.contains("x-identity-header: hush\r\n"), "{request}");
        assert!(request.contains("host: 127.0.0.1:"), "{request}");
    }
}

#[tokio::test]
async fn a_secret_travels_in_a_form_and_its_token_is_kept_until_shortly_before_its_end() {
    let stub = Stub::new(200, r#"{"access_token": "tok", "expires_in": 3600}"#).await;
    let (credential, clock) = credential(stub.secret());
    let (first, second) = tokio::join!(credential.get_token(SCOPE), credential.get_token(SCOPE));
    assert_eq!(first.unwrap().expires_at, second.unwrap().expires_at);
    assert_eq!(stub.count(), 1);
    let request = stub.request(0);
    assert!(request.starts_with("POST /t%2F1/oauth2/v2.0/token HTTP/1.1\r\n"));
    let body = request.rsplit("\r\n").next().unwrap();
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=c&\
         scope=https%3A%2F%2Fservicebus.azure.net%2F.default&client_secret=s%26%3D%25%20hush"
    );
    clock.advance(Duration::from_mins(54));
    credential.get_token(SCOPE).await.unwrap();
    assert_eq!(stub.count(), 1);
    clock.advance(Duration::from_mins(2));
    credential.get_token(SCOPE).await.unwrap();
    credential
        .get_token("https://other/.default")
        .await
        .unwrap();
    assert_eq!(stub.count(), 3);
}

#[tokio::test]
async fn a_workload_identity_reads_its_file_each_time() {
    let stub = Stub::new(200, r#"{"access_token": "tok", "expires_in": "60"}"#).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let (credential, _) = credential(Identity::Workload {
        authority: stub.url.clone(),
        tenant_id: "t".to_owned(),
        client_id: "c".to_owned(),
        token_file: token_file.clone(),
    });
    let error = credential.get_token(SCOPE).await.unwrap_err().to_string();
    assert!(error.starts_with("the token file /"), "{error}");
    for (index, text) in ["one\n", "two"].into_iter().enumerate() {
        std::fs::write(&token_file, text).unwrap();
        credential.get_token(SCOPE).await.unwrap();
        let end = format!(
            "client-assertion-type%3Ajwt-bearer&client_assertion={}",
            text.trim()
        );
        assert!(
            stub.request(index).ends_with(&end),
            "{}",
            stub.request(index)
        );
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_a_secret() {
    let error = async |status, answer: &str| {
        let stub = Stub::new(status, answer).await;
        let (credential, _) = credential(stub.secret());
        assert!(!format!("{credential:?}").contains("hush"));
        let error = credential.get_token(SCOPE).await.unwrap_err();
        assert!(!format!("{error:?}").contains("hush"));
        error.to_string()
    };
    let refusal =
        r#"{"error": "invalid_client", "error_description": "AADSTS7000215: no.\r\nTrace"}"#;
    for (status, answer, expected) in [
        (
            401,
            refusal,
            "127.0.0.1 refused a token with status 401: AADSTS7000215: no.",
        ),
        (
            503,
            "busy",
            "127.0.0.1 refused a token with status 503: no reason is given",
        ),
        (
            200,
            "[]",
            "the answer of 127.0.0.1 is no token: it is no JSON object",
        ),
        (
            200,
            "{}",
            "the answer of 127.0.0.1 is no token: it has no access_token",
        ),
        (
            200,
            r#"{"access_token": "t", "expires_in": "soon"}"#,
            "the answer of 127.0.0.1 is no token: it has no expires_on or expires_in",
        ),
    ] {
        assert_eq!(error(status, answer).await, expected);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    for (authority, expected) in [
        (url.as_str(), " cannot be reached"),
        ("ftp://x", "it begins with neither http:// nor https://"),
        ("http://[", "is no address to ask for a token"),
    ] {
        let stub = Stub {
            url: authority.to_owned(),
            requests: Arc::default(),
        };
        let (credential, _) = credential(stub.secret());
        let error = credential.get_token(SCOPE).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
