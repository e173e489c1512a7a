//! Tokens that a throw-away key signs, and those that somebody would like to pass for them.

use std::time::Duration;

use nightshift_settings::MapSource;
use ring::hmac;
use serde_json::{Value, json};

use super::super::authority::{
    AUDIENCE as API, Answer, OBJECT, Server, Signer, TENANT as HOME, claims, claims_with, clock,
    start, unsigned,
};
use super::*;

const NAMED: &str = "entra:ada@example.com (oid bbbbbbbb-cccc-4ddd-8eee-ffffffffffff)";

fn entra(authority: &str) -> Entra {
    let authority = authority.parse().unwrap();
    Entra::new(HOME.parse().unwrap(), API, &authority).unwrap()
}

/// Entra ID with the first key.
async fn serving() -> (Server, Entra) {
    let server = Server::new(Answer::keys(&[&Signer::first()])).await;
    let entra = entra(&server.url);
    (server, entra)
}

async fn shown(entra: &Entra, token: &str) -> Result<Principal, Problem> {
    let (_, clock) = clock();
    entra.principal(token.as_bytes(), &clock).await
}

/// Fails unless `token` is refused for `why`, without a word of it.
async fn refused(entra: &Entra, token: &str, why: &str) {
    let problem = shown(entra, token).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthenticated, "{problem}");
    assert_eq!(problem.detail, format!("the bearer token {why}"));
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!problem.detail.contains(part), "{problem}");
    }
}

#[tokio::test]
async fn a_token_of_either_version_says_who_and_what_role() {
    let (server, entra) = serving().await;
    let signer = Signer::first();
    let version_2 = json!({
        "iss": format!("{}/{HOME}/v2.0", server.url),
        "aud": API,
        "roles": ["Reader", "Admin", "Other"],
    });
    let version_1 = json!({
        "aud": format!("api://{API}"),
        "preferred_username": null,
        "upn": "eve@example.com",
        "nbf": null,
    });
    let application = json!({ "preferred_username": null, "appid": API, "roles": ["Reader"] });
    let newer = json!({ "preferred_username": "", "azp": API, "roles": ["Reader"] });
    let nameless = json!({ "preferred_username": null });
    for (others, name, role) in [
        (json!({}), "ada@example.com", Role::Operator),
        (version_2, "ada@example.com", Role::Admin),
        (version_1, "eve@example.com", Role::Operator),
        (application, API, Role::Reader),
        (newer, API, Role::Reader),
        (nameless, "unnamed", Role::Operator),
    ] {
        let token = signer.token(&claims_with(others));
        let name = format!("entra:{name} (oid {OBJECT})");
        assert_eq!(shown(&entra, &token).await, Ok(Principal { name, role }));
    }
    assert_eq!(server.count(), 1);
    assert!(
        server
            .request(0)
            .starts_with(&format!("GET /{HOME}/discovery/v2.0/keys "))
    );
}

#[tokio::test]
async fn a_name_cannot_pass_for_another_or_fill_the_audit() {
    let (_server, entra) = serving().await;
    let name = format!("ada (oid 1)\r\n\u{202e}{}", "x".repeat(2_000));
    let token = Signer::first().token(&claims_with(json!({ "preferred_username": name })));
    let name = shown(&entra, &token).await.unwrap().name;
    assert!(name.starts_with("entra:ada__oid_1____xxx"), "{name}");
    assert!(name.ends_with(&format!("x (oid {OBJECT})")), "{name}");
    assert!(name.len() < 200);
}

#[tokio::test]
async fn who_has_no_role_is_known_and_may_do_nothing() {
    let (_server, entra) = serving().await;
    for roles in [json!(null), json!([]), json!(["Owner"]), json!(["admin"])] {
        let token = Signer::first().token(&claims_with(json!({ "roles": roles })));
        let problem = shown(&entra, &token).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Forbidden);
        let what = format!("{NAMED} has none of the roles Reader, Operator and Admin");
        assert_eq!(problem.detail, what);
    }
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused_each_with_its_reason() {
    let (server, entra) = serving().await;
    let signer = Signer::first();
    let other = "99999999-2222-4333-8444-555555555555";
    let now = start().timestamp();
    let wrong_type = "lacks a claim of Entra ID, or has one of a wrong type";
    for (others, why) in [
        (json!({ "exp": now - 60 }), "has expired"),
        (json!({ "exp": i64::MIN }), "has expired"),
        (json!({ "nbf": now + 61 }), "is not valid yet"),
        (json!({ "nbf": i64::MAX }), "is not valid yet"),
        (json!({ "aud": other }), "is for another audience"),
        (
            json!({ "aud": format!("api://{other}") }),
            "is for another audience",
        ),
        (
            json!({ "iss": format!("https://sts.windows.net/{other}/") }),
            "has another issuer",
        ),
        (
            json!({ "iss": format!("{}/{HOME}", server.url) }),
            "has another issuer",
        ),
        (
            json!({ "iss": format!("https://login.microsoftonline.com/{HOME}/v2.0") }),
            "has another issuer",
        ),
        (json!({ "tid": other }), "is of another tenant"),
        (json!({ "exp": null }), wrong_type),
        (json!({ "exp": "soon" }), wrong_type),
        (json!({ "aud": [API] }), wrong_type),
        (json!({ "tid": null }), wrong_type),
        (json!({ "oid": null }), wrong_type),
        (json!({ "oid": "ada" }), wrong_type),
        (json!({ "roles": "Admin" }), wrong_type),
    ] {
        refused(&entra, &signer.token(&claims_with(others)), why).await;
    }
    for almost in [json!({ "exp": now - 59 }), json!({ "nbf": now + 60 })] {
        shown(&entra, &signer.token(&claims_with(almost)))
            .await
            .unwrap();
    }
    refused(&entra, &signer.token(&json!([])), wrong_type).await;
}

#[tokio::test]
async fn forged_tokens_are_refused_each_with_its_reason() {
    let (server, entra) = serving().await;
    let (signer, other) = (Signer::first(), Signer::second());
    let header = |alg: &str| json!({ "typ": "JWT", "alg": alg, "kid": "first" });
    let claims = claims();
    for alg in ["none", "None", "HS256", "RS512", "PS256", "rs256", ""] {
        let token = signer.token_with(&header(alg), &claims);
        refused(&entra, &token, "is not signed with RS256").await;
    }
    refused(
        &entra,
        &format!("{}.", unsigned(&header("none"), &claims)),
        "is not signed with RS256",
    )
    .await;
    // Signed as if the public key were a shared secret.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &signer.modulus());
    for alg in ["HS256", "RS256"] {
        let parts = unsigned(&header(alg), &claims);
        let tag = hmac::sign(&key, parts.as_bytes());
        let token = format!("{parts}.{}", URL_SAFE_NO_PAD.encode_to_string(tag));
        let why = if alg == "RS256" {
            "has a signature that does not fit it"
        } else {
            "is not signed with RS256"
        };
        refused(&entra, &token, why).await;
    }
    let unfit = "has a signature that does not fit it";
    refused(
        &entra,
        &format!("{}.", unsigned(&header("RS256"), &claims)),
        unfit,
    )
    .await;
    // Another's key under the id of a good one, and one that the token brings along.
    refused(&entra, &other.token_with(&header("RS256"), &claims), unfit).await;
    let mut brought = header("RS256");
    brought["jwk"] = other.jwk();
    brought["jku"] = format!("{}/other", server.url).into();
    refused(&entra, &other.token_with(&brought, &claims), unfit).await;
    // Another payload under a good signature.
    let good = signer.token(&claims);
    let better = signer.token(&claims_with(json!({ "roles": ["Admin"] })));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good, better) = (parts(&good), parts(&better));
    let tampered = format!("{}.{}.{}", good[0], better[1], good[2]);
    refused(&entra, &tampered, unfit).await;
    let unknown = "is signed with a key that is not among those of Entra ID";
    refused(&entra, &other.token(&claims), unknown).await;
    let mut header = signer.header();
    header["kid"] = Value::Null;
    let why = "does not say which key it is signed with";
    refused(&entra, &signer.token_with(&header, &claims), why).await;
    let mut header = signer.header();
    header["crit"] = json!(["exp"]);
    let why = "demands extensions that are not known here";
    refused(&entra, &signer.token_with(&header, &claims), why).await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn what_is_no_token_is_refused_before_any_key_is_fetched() {
    let (server, entra) = serving().await;
    let shape = "is no JSON Web Token of three parts";
    let good = Signer::first().token(&claims());
    for token in [
        "",
        "garbage",
        "a.b",
        "a.b.c.d",
        &format!("{good}."),
        "\u{ff}\u{fe}",
    ] {
        refused(&entra, token, shape).await;
    }
    for token in [
        "..",
        "a.b.c",
        "e30.e30.e30",
        "bnVsbA.e30.",
        &format!("={good}"),
    ] {
        refused(&entra, token, "has a header that cannot be read").await;
    }
    refused(
        &entra,
        &format!("{good}="),
        "has a signature that cannot be read",
    )
    .await;
    let long = "x".repeat(LONGEST + 1);
    refused(&entra, &long, "is longer than 16384 bytes").await;
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_token_of_a_new_key_is_accepted_after_a_minute_at_most() {
    let (server, entra) = serving().await;
    let (hands, clock) = clock();
    let (first, second) = (Signer::first(), Signer::second());
    let old = first.token(&claims());
    entra.principal(old.as_bytes(), &clock).await.unwrap();
    server.answers(Answer::keys(&[&first, &second]));
    hands.advance(Duration::from_mins(1));
    for token in [second.token(&claims()), old] {
        entra.principal(token.as_bytes(), &clock).await.unwrap();
    }
    assert_eq!(server.count(), 2);
    server.answers(Answer::HangUp);
    hands.advance(Duration::from_hours(2));
    let claims = claims_with(json!({ "exp": start().timestamp() + 90_000 }));
    let token = second.token(&claims);
    entra.principal(token.as_bytes(), &clock).await.unwrap();
}

fn read(settings: &[(&str, &str)]) -> (Option<Entra>, Vec<String>) {
    let source: MapSource = settings.iter().copied().collect();
    let mut reader = Reader::new(&source);
    let entra = Entra::read(&mut reader);
    let problems = reader.finish(&[]).err().map(|problems| problems.0);
    let problems = problems.unwrap_or_default().into_iter();
    let line = |problem: nightshift_settings::Problem| format!("{} {}", problem.name, problem.what);
    (entra, problems.map(line).collect())
}

#[test]
fn tenant_and_audience_are_set_together() {
    assert!(read(&[]).0.is_none());
    let (entra, problems) = read(&[(TENANT, HOME), (AUDIENCE, API)]);
    assert_eq!(problems, [""; 0]);
    let entra = entra.unwrap();
    assert_eq!(
        entra.issuers[0],
        format!("https://login.microsoftonline.com/{HOME}/v2.0")
    );
    assert_eq!(
        format!("{:?}", entra.jwks),
        format!("Jwks(\"https://login.microsoftonline.com/{HOME}/discovery/v2.0/keys\")")
    );
    let missing = |set, value, name| {
        let (entra, problems) = read(&[(set, value)]);
        assert!(entra.is_none());
        assert_eq!(problems, [format!("{name} is not set, but {set} is")]);
    };
    missing(TENANT, HOME, AUDIENCE);
    missing(AUDIENCE, API, TENANT);
    missing(AUTHORITY, "https://login.microsoftonline.us", TENANT);
    let (_, problems) = read(&[(TENANT, HOME), (AUDIENCE, " ")]);
    assert_eq!(problems, [format!("{AUDIENCE} is blank")]);
    let (_, problems) = read(&[(TENANT, "contoso.example"), (AUDIENCE, API)]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with(&format!("{TENANT} cannot be \"contoso.example\"")));
}

#[test]
fn an_authority_is_an_origin_with_tls_unless_it_is_this_machine() {
    for (text, origin) in [
        (
            "https://login.microsoftonline.us/",
            "https://login.microsoftonline.us",
        ),
        ("https://LOGIN.example:443", "https://login.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:1/", "http://[::1]:1"),
    ] {
        assert_eq!(text.parse::<Authority>().unwrap().0, origin);
    }
    for text in [
        "http://login.microsoftonline.com",
        "http://localhost",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "https://login.example/tenant",
        "https://user@login.example",
        "https://login.example?x",
        "https://login.example/#x",
        "login.example",
        "",
    ] {
        assert!(text.parse::<Authority>().is_err(), "{text}");
    }
}
