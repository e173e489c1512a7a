//! A stand-in for Entra ID, for tests: keys, tokens that it signs at run time, and the server that
//! publishes the keys.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use nightshift_time::{SharedClock, TestClock};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// The tenant of the tests.
pub(super) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
/// The id of the API there.
pub(super) const AUDIENCE: &str = "66666666-7777-4888-9999-aaaaaaaaaaaa";
/// The id of whoever has a token.
pub(super) const OBJECT: &str = "bbbbbbbb-cccc-4ddd-8eee-ffffffffffff";

/// When the tests begin.
pub(super) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// A clock that shows [`start`], in both forms.
pub(super) fn clock() -> (TestClock, SharedClock) {
    let clock = TestClock::new(start());
    (clock.clone(), Arc::new(clock))
}

/// A key with its id.
pub(super) struct Signer {
    kid: &'static str,
    pair: RsaKeyPair,
}

impl Signer {
    pub(super) fn first() -> Self {
        Self::new("first", include_bytes!("fixtures/throw-away-key-1.pem"))
    }

    pub(super) fn second() -> Self {
        Self::new("second", include_bytes!("fixtures/throw-away-key-2.pem"))
    }

    fn new(kid: &'static str, pem: &[u8]) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        Self { kid, pair }
    }

    /// The public key, as Entra ID publishes it.
    pub(super) fn jwk(&self) -> Value {
        let key = PublicKeyComponents::<Vec<u8>>::from(self.pair.public());
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode_to_string(key.n),
            "e": URL_SAFE_NO_PAD.encode_to_string(key.e),
            "x5c": ["MIIC"],
        })
    }

    /// The public key as bytes, with which somebody may try to sign.
    pub(super) fn modulus(&self) -> Vec<u8> {
        PublicKeyComponents::<Vec<u8>>::from(self.pair.public()).n
    }

    pub(super) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid })
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let random = SystemRandom::new();
        let message = signed.as_bytes();
        let done = self
            .pair
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
        done.unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode_to_string(signature))
    }
}

/// Header and claims, encoded.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode_to_string(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// Claims of a token of version 1, which need no authority's address, for an operator.
pub(super) fn claims() -> Value {
    let now = start().timestamp();
    json!({
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "aud": AUDIENCE,
        "tid": TENANT,
        "oid": OBJECT,
        "iat": now,
        "nbf": now,
        "exp": now + 3_600,
        "preferred_username": "ada@example.com",
        "roles": ["Operator"],
    })
}

/// [`claims`] with other values; null takes one out.
pub(super) fn claims_with(others: Value) -> Value {
    let mut claims = claims();
    let Value::Object(others) = others else {
        panic!("{others} is no object");
    };
    for (name, value) in others {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&name);
        } else {
            claims[name] = value;
        }
    }
    claims
}

/// What the server does with a request.
#[derive(Clone)]
pub(super) enum Answer {
    Body(String),
    Redirect(String),
    Status(u16),
    HangUp,
    Nothing,
}

impl Answer {
    pub(super) fn keys(signers: &[&Signer]) -> Self {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        Self::Body(json!({ "keys": keys }).to_string())
    }

    fn text(&self) -> Option<String> {
        let (status, headers, body) = match self {
            Self::Body(body) => (200, String::new(), body.as_str()),
            Self::Redirect(to) => (302, format!("Location: {to}\r\n"), ""),
            Self::Status(status) => (*status, String::new(), "{}"),
            Self::HangUp | Self::Nothing => return None,
        };
        let length = body.len();
        Some(format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// The server.
pub(super) struct Server {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (given, seen) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (given, seen) = (Arc::clone(&given), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                    }
                    let request = String::from_utf8(request).unwrap();
                    seen.lock().unwrap().push(request);
                    let answer = given.lock().unwrap().clone();
                    match answer.text() {
                        // The client may hang up before it has read all of it.
                        Some(text) => drop(stream.write_all(text.as_bytes()).await),
                        None if matches!(answer, Answer::Nothing) => std::future::pending().await,
                        None => {}
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                });
            }
        });
        Self {
            url,
            answer,
            requests,
        }
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub(super) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(super) fn request(&self, index: usize) -> String {
        self.requests.lock().unwrap()[index].clone()
    }
}
