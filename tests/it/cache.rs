//! The client of Redis, and the slots that it gives out, against a real server and several bad ones.

mod relay;
mod slots;
mod tokens;

pub(crate) use relay::Relay;

use std::time::{Duration, Instant};

use nightshift_cache::limit::{Slots, Wanted, reserve};
use nightshift_cache::{Cache, CacheError, RedisSettings};
use nightshift_job::{Classify, Disposition, RateLimit, WhenAway};
use nightshift_settings::{Environment, MapSource, Reader, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The setting that names the server.
const SERVER: &str = "NIGHTSHIFT_TEST_REDIS";

/// More than a command may take, on a machine that is busy.
const PROMPT: Duration = Duration::from_secs(2);

const HOURLY: RateLimit = RateLimit {
    name: "hourly",
    count: 1,
    per: Duration::from_hours(1),
    burst: 1,
    when_away: WhenAway::Closed,
};

/// The server's URL.
pub(crate) fn server() -> String {
    Environment.get(SERVER).unwrap_or_else(|| {
        panic!("{SERVER} is not set: run `make test`, or name a Redis server of which nothing is needed")
    })
}

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

pub(crate) fn cache_at(url: &str) -> Cache {
    let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
    let settings = RedisSettings::read(&mut Reader::new(&source)).unwrap();
    Cache::connect_lazy(settings)
}

/// How many slots of `limit`, whose interval is much longer than the test, are taken in the database at
/// `url`.
pub(crate) async fn slots_taken(url: &str, limit: &RateLimit) -> i64 {
    let micros = i64::try_from(limit.interval().as_micros()).unwrap();
    let key = format!("nightshift:limit:{{{}}}:{micros}", limit.name);
    let mut connection = connect(url).await;
    let mut left = redis::cmd("PTTL");
    let left: i64 = left.arg(key).query_async(&mut connection).await.unwrap();
    // What has gone by since is a part of an interval.
    (left.max(0) * 1000 + micros - 1) / micros
}

/// A limit's name of this run's own.
fn own(name: &str) -> &'static str {
    format!("{name}-{}", std::process::id()).leak()
}

async fn take(cache: &Cache, limit: &RateLimit, count: usize) -> Result<Slots, CacheError> {
    let wanted = Wanted {
        count,
        by_free: &[],
        ahead: Duration::from_hours(30 * 24),
    };
    reserve(cache, limit, wanted).await
}

/// A server that gives each command of a client the same answer.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut input = [0_u8; 4096];
                // What a client sends at once may be several commands.
                while let Ok(count @ 1..) = client.read(&mut input).await {
                    let text = String::from_utf8_lossy(&input[..count]);
                    let commands = text.matches('*').count();
                    client
                        .write_all(answer.repeat(commands).as_bytes())
                        .await
                        .unwrap();
                }
            });
        }
    });
    format!("redis://{address}")
}

async fn refusal(url: &str) -> CacheError {
    let begun = Instant::now();
    let error = take(&cache_at(url), &HOURLY, 1).await.unwrap_err();
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    assert_eq!(error.disposition(), Disposition::Retry);
    error
}

#[tokio::test]
async fn what_is_no_redis_in_order_says_so_at_once() {
    let url = answering("-LOADING Redis is loading the dataset in memory\r\n").await;
    assert!(matches!(refusal(&url).await, CacheError::NotReady(_)));
    let url = answering("-READONLY You can't write against a read only replica.\r\n").await;
    assert!(matches!(refusal(&url).await, CacheError::NotReady(_)));
    let url = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(refusal(&url).await, CacheError::Unexpected(_)));
    assert!(matches!(
        refusal("redis://127.0.0.1:1").await,
        CacheError::Unreachable(_)
    ));
    assert!(matches!(
        refusal("redis://does-not-exist.invalid").await,
        CacheError::Unreachable(_)
    ));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_look_at() {
    let server = server();
    let (_, address) = server.rsplit_once('@').unwrap();
    let mut admin = connect(&server).await;
    let rights = [
        ("test-no-eval", "+get +set +time ~*"),
        ("test-no-keys", "+eval +get +set +time"),
        ("test-enough", "+eval +get +set +time ~nightshift:*"),
    ];
    for (user, rights) in rights {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(user).arg("on").arg(">secret1");
        for right in rights.split(' ') {
            command.arg(right);
        }
        let () = command.query_async(&mut admin).await.unwrap();
    }
    for login in [
        ":wrong",
        "nobody:secret1",
        "test-no-eval:secret1",
        "test-no-keys:secret1",
    ] {
        let error = refusal(&format!("redis://{login}@{address}")).await;
        assert!(matches!(error, CacheError::Denied(_)), "{login}: {error:?}");
        assert!(error.to_string().contains(RedisSettings::URL), "{error}");
        let all = nightshift_telemetry::causes(&error);
        assert!(!all.contains("secret1") && !all.contains(":wrong"), "{all}");
    }
    let enough = cache_at(&format!("redis://test-enough:secret1@{address}"));
    let limit = RateLimit {
        name: own("test-enough"),
        ..HOURLY
    };
    take(&enough, &limit, 1).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_quarter_of_a_second_and_then_nothing_for_a_while() {
    let relay = Relay::start(&server()).await;
    let cache = cache_at(relay.url());
    let limit = RateLimit {
        name: own("hangs"),
        ..HOURLY
    };
    take(&cache, &limit, 1).await.unwrap();
    relay.hold();
    let begun = Instant::now();
    let error = take(&cache, &limit, 1).await.unwrap_err();
    assert!(matches!(error, CacheError::TooSlow(_)), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < PROMPT);
    let begun = Instant::now();
    for _ in 0..1_000 {
        take(&cache, &limit, 1).await.unwrap_err();
    }
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    relay.forward();
    eventually(&cache, &limit).await;
}

#[tokio::test]
async fn it_connects_again_by_itself() {
    let relay = Relay::start(&server()).await;
    let cache = cache_at(relay.url());
    let limit = RateLimit {
        name: own("again"),
        ..HOURLY
    };
    take(&cache, &limit, 1).await.unwrap();
    // What has closed an idle connection is noticed by nobody.
    relay.cut();
    take(&cache, &limit, 1).await.unwrap();
    relay.refuse();
    let error = take(&cache, &limit, 1).await.unwrap_err();
    assert!(matches!(error, CacheError::Unreachable(_)), "{error:?}");
    relay.forward();
    eventually(&cache, &limit).await;
}

async fn eventually(cache: &Cache, limit: &RateLimit) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = take(cache, limit, 1).await {
        assert!(Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
