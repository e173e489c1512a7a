//! Against a server that answers what a test says.

use std::time::Duration;

use serde_json::json;

use super::super::authority::{Answer, Server, Signer, clock};
use super::*;

async fn published(answer: Answer) -> (Server, Jwks) {
    let server = Server::new(answer).await;
    let jwks = Jwks::new(
        format!("{}/t/discovery/v2.0/keys", server.url)
            .parse()
            .unwrap(),
    );
    (server, jwks)
}

fn kind(outcome: Result<Arc<PublicKey>, Problem>) -> Kind {
    outcome.map(|_| ()).unwrap_err().kind
}

#[tokio::test]
async fn keys_are_fetched_once_in_an_hour() {
    let (first, second) = (Signer::first(), Signer::second());
    let (server, jwks) = published(Answer::keys(&[&first, &second])).await;
    let (hands, clock) = clock();
    for kid in ["first", "second", "first"] {
        jwks.key(kid, &clock).await.unwrap();
    }
    hands.advance(Duration::from_secs(3_599));
    jwks.key("first", &clock).await.unwrap();
    assert_eq!(server.count(), 1);
    let request = server.request(0);
    assert!(
        request.starts_with("GET /t/discovery/v2.0/keys HTTP/1.1\r\n"),
        "{request}"
    );
    let host = server.url.strip_prefix("http://").unwrap();
    assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
    hands.advance(Duration::from_secs(1));
    jwks.key("first", &clock).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn first_requests_that_come_together_share_a_fetch() {
    let (server, jwks) = published(Answer::keys(&[&Signer::first()])).await;
    let (jwks, (_, clock)) = (Arc::new(jwks), clock());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (jwks, clock) = (Arc::clone(&jwks), clock.clone());
            tokio::spawn(async move { jwks.key("first", &clock).await.is_ok() })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_the_fetch_to_the_others() {
    let (server, jwks) = published(Answer::keys(&[&Signer::first()])).await;
    let (jwks, (_, clock)) = (Arc::new(jwks), clock());
    let caller = tokio::spawn({
        let (jwks, clock) = (Arc::clone(&jwks), clock.clone());
        async move { jwks.key("first", &clock).await.is_ok() }
    });
    while server.count() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    caller.abort();
    jwks.key("first", &clock).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_ids_that_nobody_has_are_looked_up_once_a_minute() {
    let (first, second) = (Signer::first(), Signer::second());
    let (server, jwks) = published(Answer::keys(&[&first])).await;
    let (hands, clock) = clock();
    jwks.key("first", &clock).await.unwrap();
    server.answers(Answer::keys(&[&second]));
    for kid in ["second", "x", "y"] {
        assert_eq!(kind(jwks.key(kid, &clock).await), Kind::Unauthenticated);
    }
    assert_eq!(server.count(), 1);
    hands.advance(Duration::from_mins(1));
    jwks.key("second", &clock).await.unwrap();
    assert_eq!(kind(jwks.key("first", &clock).await), Kind::Unauthenticated);
    assert_eq!(server.count(), 2);
    hands.advance(Duration::from_secs(59));
    assert_eq!(kind(jwks.key("x", &clock).await), Kind::Unauthenticated);
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn while_the_authority_is_away_old_keys_are_good_for_a_day() {
    let (server, jwks) = published(Answer::keys(&[&Signer::first()])).await;
    let (hands, clock) = clock();
    jwks.key("first", &clock).await.unwrap();
    server.answers(Answer::HangUp);
    hands.advance(Duration::from_hours(1));
    for _ in 0..3 {
        jwks.key("first", &clock).await.unwrap();
    }
    assert_eq!(server.count(), 2, "it is not asked again within a minute");
    // Whether there is such a key by now cannot be known.
    assert_eq!(kind(jwks.key("second", &clock).await), Kind::Unavailable);
    hands.advance(Duration::from_secs(23 * 3_600 - 1));
    jwks.key("first", &clock).await.unwrap();
    hands.advance(Duration::from_secs(1));
    assert_eq!(kind(jwks.key("first", &clock).await), Kind::Unavailable);
    server.answers(Answer::keys(&[&Signer::first()]));
    hands.advance(Duration::from_secs(5));
    jwks.key("first", &clock).await.unwrap();
}

#[tokio::test]
async fn without_keys_the_answer_is_try_again_and_the_authority_is_asked_every_few_seconds() {
    let (server, jwks) = published(Answer::Status(500)).await;
    let (hands, clock) = clock();
    for _ in 0..3 {
        let problem = jwks.key("first", &clock).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Unavailable);
        assert_eq!(problem.retry_after, Some(5));
        assert!(
            problem
                .detail
                .ends_with("it answered with status 500 Internal Server Error")
        );
    }
    assert_eq!(server.count(), 1);
    server.answers(Answer::keys(&[&Signer::first()]));
    hands.advance(Duration::from_secs(5));
    jwks.key("first", &clock).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    drop(listener);
    let (_, clock) = clock();
    let problem = Jwks::new(url.parse().unwrap())
        .key("first", &clock)
        .await
        .unwrap_err();
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(problem.detail.contains("cannot be reached"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_answer_is_given_up_and_nobody_waits_twice() {
    let (server, jwks) = published(Answer::Nothing).await;
    let (_, clock) = clock();
    let begun = tokio::time::Instant::now();
    let outcomes = tokio::join!(jwks.key("a", &clock), jwks.key("b", &clock));
    let problem = outcomes.0.unwrap_err();
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(
        problem
            .detail
            .ends_with("127.0.0.1 did not answer within 5 seconds"),
        "{problem}"
    );
    assert_eq!(kind(outcomes.1), Kind::Unavailable);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert!(server.count() <= 1);
}

#[tokio::test]
async fn answers_that_are_no_keys_leave_the_old_ones() {
    let elsewhere = Server::new(Answer::keys(&[&Signer::second()])).await;
    let (server, jwks) = published(Answer::keys(&[&Signer::first()])).await;
    let (hands, clock) = clock();
    jwks.key("first", &clock).await.unwrap();
    let mut huge = json!({ "keys": [Signer::second().jwk()] });
    huge["more"] = "x".repeat(LIMITS.max_bytes).into();
    for (answer, why) in [
        (
            Answer::Body(huge.to_string()),
            "127.0.0.1 did not answer as a server does: length limit exceeded",
        ),
        (
            Answer::Redirect(elsewhere.url.clone()),
            "it answered with status 302 Found",
        ),
        (Answer::Body("{}".into()), "its answer is no set of keys"),
        (Answer::Body("hello".into()), "its answer is no set of keys"),
        (
            Answer::Body(r#"{"keys": []}"#.into()),
            "its answer has no RSA key for signatures",
        ),
        (Answer::Status(404), "it answered with status 404 Not Found"),
    ] {
        server.answers(answer);
        hands.advance(Duration::from_mins(1));
        let problem = jwks.key("second", &clock).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Unavailable);
        assert_eq!(
            problem.detail,
            format!("the keys of Entra ID cannot be fetched: {why}")
        );
        jwks.key("first", &clock).await.unwrap();
    }
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn keys_of_other_kinds_are_passed_over() {
    let with = |name: &str, value: &str| {
        let mut key = Signer::first().jwk();
        key[name] = value.into();
        key
    };
    let without_kid = {
        let mut key = Signer::first().jwk();
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let others = [
        with("kty", "EC"),
        with("use", "enc"),
        with("alg", "RS512"),
        with("n", "a+b"),
        with("e", "!"),
        without_kid,
        json!({ "kty": "oct", "k": "AAAA" }),
    ];
    let document = json!({ "keys": others }).to_string();
    assert_eq!(read_keys(document.as_bytes()).unwrap().len(), 0);
    let document = json!({ "keys": [with("alg", "RS256"), with("kty", "EC")] }).to_string();
    let keys = read_keys(document.as_bytes()).unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["first"]);
}
