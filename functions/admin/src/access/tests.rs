//! Whole requests, and who is let in.

use std::time::Duration;

use http::HeaderValue;
use nightshift_settings::MapSource;
use nightshift_time::TestClock;
use proptest::prelude::*;
use serde_json::json;

use super::authority::{AUDIENCE, Answer, Server, Signer, TENANT, claims, claims_with, clock};
use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const FORWARDED: &str = "x-forwarded-for";
const PRINCIPAL: &str = "x-ms-client-principal";

fn access(settings: &[(&str, &str)]) -> (Access, TestClock) {
    let (hands, clock) = clock();
    let source: MapSource = settings.iter().copied().collect();
    let mut reader = Reader::new(&source);
    let access = Access::read(&mut reader);
    reader.finish(&[]).unwrap();
    (access.with_clock(clock), hands)
}

fn keyed() -> (Access, TestClock) {
    let keys = format!("ada:Operator:{KEY}");
    access(&[("NIGHTSHIFT_OPS_KEYS", &keys)])
}

fn request(headers: &[(&str, &str)]) -> Request<Bytes> {
    request_to("/api/ops/functions", headers)
}

fn request_to(uri: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::new()).unwrap()
}

async fn refused(access: &Access, headers: &[(&str, &str)]) -> (Kind, String) {
    let problem = access
        .admit(&request(headers), Role::Reader)
        .await
        .unwrap_err();
    (problem.kind, problem.detail)
}

fn client_principal(role: &str) -> String {
    let claims = json!([
        { "typ": "preferred_username", "val": "eve@example.com" },
        { "typ": "roles", "val": role },
    ]);
    let json = json!({ "auth_typ": "aad", "claims": claims }).to_string();
    base64_simd::STANDARD.encode_to_string(json)
}

#[tokio::test]
async fn a_key_lets_in_as_far_as_its_role_goes() {
    let (access, _) = keyed();
    let request = request(&[("X-Functions-Key", KEY)]);
    for least in [Role::Reader, Role::Operator] {
        let principal = access.admit(&request, least).await.unwrap();
        assert_eq!(principal.name, "key:ada");
        assert_eq!(principal.role, Role::Operator);
    }
    let problem = access.admit(&request, Role::Admin).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden);
    assert_eq!(
        problem.detail,
        "key:ada has the role Operator, and this needs Admin"
    );
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said_precisely() {
    let (access, _) = keyed();
    let (kind, detail) = refused(&access, &[]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    assert_eq!(detail, "show a key in the header x-functions-key");
    let (kind, detail) = refused(&access, &[("x-functions-key", OTHER)]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    assert!(!detail.contains(OTHER), "{detail}");
    let (kind, detail) = refused(&access, &[("authorization", "Basic YTpi")]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    assert_eq!(
        detail,
        "the header Authorization needs the scheme Bearer and a token"
    );
    let (kind, detail) = refused(&access, &[("authorization", "Bearer a.b.c")]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    assert!(
        detail.contains("NIGHTSHIFT_OPS_ENTRA_TENANT is not set"),
        "{detail}"
    );
    let (kind, detail) = refused(&Access::closed(), &[("x-functions-key", KEY)]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    assert!(detail.contains("not one of this API's"), "{detail}");
    let (_, detail) = refused(&Access::closed(), &[]).await;
    assert!(
        detail.starts_with("nobody may use this API yet"),
        "{detail}"
    );
}

#[tokio::test]
async fn two_credentials_and_keys_in_the_address_are_refused() {
    let (access, _) = keyed();
    let (key, token) = (("x-functions-key", KEY), ("authorization", "Bearer a.b.c"));
    let (kind, detail) = refused(&access, &[key, token]).await;
    assert_eq!(kind, Kind::BadRequest);
    assert!(detail.contains("not both"), "{detail}");
    for twice in [[key, key], [token, token]] {
        let (kind, detail) = refused(&access, &twice).await;
        assert_eq!(kind, Kind::BadRequest);
        assert!(detail.ends_with("is there twice"), "{detail}");
    }
    for query in ["code=", "a=b&code=x", "Code=x", "%63ode=x"] {
        let request = request_to(&format!("/api/ops/functions?{query}"), &[key]);
        let problem = access.admit(&request, Role::Reader).await.unwrap_err();
        assert_eq!(problem.kind, Kind::BadRequest);
        assert!(problem.detail.contains("x-functions-key"), "{problem}");
        assert!(problem.detail.contains("logged"), "{problem}");
    }
    let request = request_to("/api/ops/functions?barcode=x", &[key]);
    access.admit(&request, Role::Reader).await.unwrap();
}

#[tokio::test]
async fn a_token_lets_in_beside_keys() {
    let server = Server::new(Answer::keys(&[&Signer::first()])).await;
    let keys = format!("ada:Operator:{KEY}");
    let (access, _) = access(&[
        ("NIGHTSHIFT_OPS_KEYS", &keys),
        ("NIGHTSHIFT_OPS_ENTRA_TENANT", TENANT),
        ("NIGHTSHIFT_OPS_ENTRA_AUDIENCE", AUDIENCE),
        ("NIGHTSHIFT_OPS_ENTRA_AUTHORITY", &server.url),
    ]);
    let token = Signer::first().token(&claims());
    for scheme in ["Bearer", "bearer"] {
        let shown = format!("{scheme} {token}");
        let request = request(&[("authorization", &shown)]);
        let principal = access.admit(&request, Role::Operator).await.unwrap();
        assert!(principal.name.starts_with("entra:ada@example.com"));
    }
    let request = request(&[("x-functions-key", KEY)]);
    assert!(access.admit(&request, Role::Reader).await.is_ok());
}

#[tokio::test]
async fn while_no_key_of_the_authority_is_known_nobody_is_counted_as_a_failure() {
    let server = Server::new(Answer::HangUp).await;
    let (access, hands) = access(&[
        ("NIGHTSHIFT_OPS_ENTRA_TENANT", TENANT),
        ("NIGHTSHIFT_OPS_ENTRA_AUDIENCE", AUDIENCE),
        ("NIGHTSHIFT_OPS_ENTRA_AUTHORITY", &server.url),
    ]);
    let shown = format!("Bearer {}", Signer::first().token(&claims()));
    let headers = [("authorization", shown.as_str())];
    for _ in 0..20 {
        assert_eq!(refused(&access, &headers).await.0, Kind::Unavailable);
    }
    server.answers(Answer::keys(&[&Signer::first()]));
    hands.advance(Duration::from_secs(5));
    access
        .admit(&request(&headers), Role::Reader)
        .await
        .unwrap();
    let wrong = Signer::first().token(&claims_with(json!({ "aud": "other" })));
    let wrong = format!("Bearer {wrong}");
    for _ in 0..10 {
        let (kind, _) = refused(&access, &[("authorization", &wrong)]).await;
        assert_eq!(kind, Kind::Unauthenticated);
    }
    let (kind, _) = refused(&access, &[("authorization", &wrong)]).await;
    assert_eq!(kind, Kind::TooManyFailures);
}

#[tokio::test]
async fn the_front_ends_word_counts_only_if_the_settings_say_so() {
    let value = client_principal("Reader");
    let headers = [(PRINCIPAL, value.as_str())];
    for trust in [None, Some("0")] {
        let settings = trust.map(|trust| ("NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL", trust));
        let (ignoring, _) = access(settings.as_slice());
        assert_eq!(refused(&ignoring, &headers).await.0, Kind::Unauthenticated);
    }
    let keys = format!("ada:Operator:{KEY}");
    let (trusting, _) = access(&[
        ("NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL", "1"),
        ("NIGHTSHIFT_OPS_KEYS", &keys),
    ]);
    let principal = trusting
        .admit(&request(&headers), Role::Reader)
        .await
        .unwrap();
    assert_eq!(principal.name, "principal:eve@example.com (aad)");
    let beside = [headers[0], ("authorization", "Bearer checked.by.it")];
    assert!(
        trusting
            .admit(&request(&beside), Role::Reader)
            .await
            .is_ok()
    );
    let twice = [headers[0], headers[0]];
    assert_eq!(refused(&trusting, &twice).await.0, Kind::BadRequest);
    let both = [headers[0], ("x-functions-key", KEY)];
    assert_eq!(refused(&trusting, &both).await.0, Kind::BadRequest);
    let (kind, _) = refused(&trusting, &[(PRINCIPAL, "?")]).await;
    assert_eq!(kind, Kind::Unauthenticated);
    let key = request(&[("x-functions-key", KEY)]);
    assert!(trusting.admit(&key, Role::Reader).await.is_ok());
}

#[tokio::test]
async fn outside_the_allowed_networks_no_credential_is_looked_at() {
    let keys = format!("ada:Operator:{KEY}");
    let (access, _) = access(&[
        ("NIGHTSHIFT_OPS_KEYS", &keys),
        ("NIGHTSHIFT_OPS_ALLOWED_IPS", "10.0.0.0/8"),
    ]);
    let inside = [
        (FORWARDED, "203.0.113.1, 10.1.2.3:4567"),
        ("x-functions-key", KEY),
    ];
    assert!(access.admit(&request(&inside), Role::Reader).await.is_ok());
    for outside in ["10.1.2.3, 203.0.113.1", "unknown", ""] {
        for key in [KEY, OTHER] {
            let headers = [(FORWARDED, outside), ("x-functions-key", key)];
            assert_eq!(refused(&access, &headers).await.0, Kind::Forbidden);
        }
    }
    assert_eq!(refused(&access, &[]).await.0, Kind::Forbidden);
}

#[tokio::test]
async fn after_ten_wrong_credentials_others_wait_until_the_minute_is_over_and_right_ones_do_not() {
    let (access, hands) = keyed();
    let wrong = [(FORWARDED, "192.0.2.1"), ("x-functions-key", OTHER)];
    let right = [(FORWARDED, "192.0.2.1:99"), ("x-functions-key", KEY)];
    let elsewhere = [(FORWARDED, "192.0.2.2"), ("x-functions-key", OTHER)];
    // Who shows nothing has not failed.
    for _ in 0..20 {
        assert_eq!(refused(&access, &wrong[..1]).await.0, Kind::Unauthenticated);
    }
    for _ in 0..10 {
        assert!(access.admit(&request(&right), Role::Reader).await.is_ok());
        assert_eq!(refused(&access, &wrong).await.0, Kind::Unauthenticated);
    }
    hands.advance(Duration::from_secs(50));
    let problem = access
        .admit(&request(&wrong), Role::Reader)
        .await
        .unwrap_err();
    assert_eq!(problem.kind, Kind::TooManyFailures);
    let response = problem.into_response();
    assert_eq!(response.headers()["retry-after"], "10");
    // Others may come from the same place.
    assert!(access.admit(&request(&right), Role::Reader).await.is_ok());
    assert_eq!(refused(&access, &elsewhere).await.0, Kind::Unauthenticated);
    hands.advance(Duration::from_secs(10));
    assert_eq!(refused(&access, &wrong).await.0, Kind::Unauthenticated);
}

#[test]
fn nothing_that_is_written_to_a_log_has_a_key_or_its_hash() {
    let (access, _) = keyed();
    let text = format!("{access:?}");
    assert!(text.contains("[ada:Operator]"), "{text}");
    assert!(!text.contains("hash"), "{text}");
    assert!(!text.contains(KEY), "{text}");
}

#[test]
fn the_front_end_is_trusted_or_not() {
    let source: MapSource = [("NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL", "2")]
        .into_iter()
        .collect();
    let mut reader = Reader::new(&source);
    let _ = Access::read(&mut reader);
    let problems = reader.finish(&[]).unwrap_err();
    assert_eq!(problems.0[0].what, "must be 0 or 1");
}

/// Bytes as they may stand in a header, many of them in the form of what is expected there.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let encoded = "[{\\[]{1,2}[a-z\":,\\[\\]{}0-9]{0,40}"
        .prop_map(|json| base64_simd::URL_SAFE_NO_PAD.encode_to_string(json));
    let header =
        Just(base64_simd::URL_SAFE_NO_PAD.encode_to_string(Signer::first().header().to_string()));
    let part = prop_oneof![encoded.clone(), header, "[a-zA-Z0-9_=-]{0,20}"];
    let token =
        prop::collection::vec(part, 0..5).prop_map(|parts| format!("Bearer {}", parts.join(".")));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        token.prop_map(String::into_bytes),
        encoded.prop_map(String::into_bytes),
        "[0-9a-f:.,\\[\\] %]{0,60}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_headers_make_it_panic_or_let_anybody_in(
        headers in prop::collection::vec((0..4_usize, header_bytes()), 0..6),
        is_limited in any::<bool>(),
    ) {
        let (_, clock) = clock();
        let source: MapSource = [
            ("NIGHTSHIFT_OPS_KEYS", &*format!("ada:Operator:{KEY}")),
            ("NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL", "1"),
            ("NIGHTSHIFT_OPS_ENTRA_TENANT", TENANT),
            ("NIGHTSHIFT_OPS_ENTRA_AUDIENCE", AUDIENCE),
            // Nobody is there.
            ("NIGHTSHIFT_OPS_ENTRA_AUTHORITY", "http://127.0.0.1:1"),
            ("NIGHTSHIFT_OPS_ALLOWED_IPS", if is_limited { "10.0.0.0/8" } else { "" }),
        ]
        .into_iter()
        .collect();
        let access = Access::read(&mut Reader::new(&source)).with_clock(clock);
        let mut request = Request::new(Bytes::new());
        for (name, value) in headers {
            let name = ["authorization", "x-functions-key", PRINCIPAL, FORWARDED][name];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().append(name, value);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let problem = runtime.block_on(access.admit(&request, Role::Reader)).unwrap_err();
        prop_assert!(problem.kind.status().is_client_error() || problem.kind == Kind::Unavailable);
    }
}
