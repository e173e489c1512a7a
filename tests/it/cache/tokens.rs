//! Tokens of Entra ID in place of a password: against a real server that knows one token at a time, as Azure's do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nightshift_identity::{EntraCredential, Identity, ManagedEndpoint, ManagedId};
use nightshift_telemetry::causes;
use nightshift_time::SystemClock;
use tokio::time::{sleep, timeout};

use super::*;

/// The header without which nobody gets a token.
const HEADER: &str = "the-header";

/// Gives out the tokens `token-1`, `token-2` and so on, each good for two seconds, and says how many it was.
async fn tokens() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/token", listener.local_addr().unwrap());
    let given = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&given);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0_u8; 4096];
            let length = client.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
            assert!(request.contains(&format!("x-identity-header: {HEADER}")));
            assert!(request.contains("resource=https%3a%2f%2fredis.azure.com"));
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!(r#"{{"access_token": "token-{number}", "expires_in": 2}}"#);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (endpoint, given)
}

async fn acl(words: &[&str]) {
    let mut admin = connect(&server()).await;
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(words);
    let () = command.query_async(&mut admin).await.unwrap();
}

fn cache_of(user: &str, endpoint: String) -> Cache {
    let (_, address) = server()
        .rsplit_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let source: MapSource = [(RedisSettings::URL, format!("redis://{user}@{address}"))]
        .into_iter()
        .collect();
    let settings = RedisSettings::read(&mut Reader::new(&source)).unwrap();
    let identity = Identity::Managed {
        endpoint: ManagedEndpoint::AppService {
            endpoint,
            header: HEADER.into(),
        },
        id: ManagedId::System,
    };
    let credential = EntraCredential::new(identity, SystemClock::shared());
    Cache::connect_lazy(settings.with_credential(credential).unwrap())
}

#[tokio::test]
async fn a_connection_is_made_anew_with_the_next_token_before_one_ends() {
    let user = own("test-tokens");
    acl(&[user, "reset", "on", "~*", "+@all", ">token-1"]).await;
    let (endpoint, given) = tokens().await;
    let cache = cache_of(user, endpoint);
    let limit = RateLimit {
        name: own("tokens"),
        count: 1_000_000,
        ..HOURLY
    };
    take(&cache, &limit, 1).await.unwrap();
    take(&cache, &limit, 1).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 1);
    // The next one comes into force, and the first one ends with all connections that it has let in.
    acl(&[user, ">token-2", "<token-1"]).await;
    let renewed = async {
        while given.load(Ordering::SeqCst) < 2 {
            take(&cache, &limit, 1).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), renewed).await.unwrap();
    take(&cache, &limit, 1).await.unwrap();
    // A token that the server does not know says what to look at, and is in no error.
    acl(&[user, "resetpass", ">another"]).await;
    let refused = async {
        loop {
            match take(&cache, &limit, 1).await {
                Ok(_) => sleep(Duration::from_millis(20)).await,
                Err(error) => break error,
            }
        }
    };
    let error = timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(matches!(error, CacheError::Denied(_)), "{error:?}");
    assert!(error.to_string().contains("access policy"), "{error}");
    assert!(!causes(&error).contains("token-"), "{}", causes(&error));
}

#[tokio::test]
async fn without_a_token_the_error_says_that_there_is_none() {
    let cache = cache_of(own("test-no-token"), "http://127.0.0.1:1/token".to_owned());
    let error = take(&cache, &HOURLY, 1).await.unwrap_err();
    assert!(matches!(error, CacheError::Token(_)), "{error:?}");
    assert_eq!(error.to_string(), "there is no token to show to Redis");
    assert!(causes(&error).contains("127.0.0.1"), "{}", causes(&error));
}
