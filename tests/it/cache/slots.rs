//! The script that gives out slots.

use super::*;

/// So few that no time passes while the test runs.
const RARE: RateLimit = RateLimit {
    name: "rare",
    count: 1,
    per: Duration::from_mins(10),
    burst: 1,
    when_away: WhenAway::Closed,
};

/// How long the test may take for its slots to be told apart.
const QUICK: Duration = Duration::from_mins(1);

/// Which slots these are, by how long they are away.
fn numbers(slots: Slots) -> Vec<u64> {
    let interval = RARE.per.as_secs();
    let waits = (0..).map_while(|index| slots.wait(index));
    waits
        .map(|wait| (wait + QUICK).as_secs() / interval)
        .collect()
}

fn key(limit: &RateLimit) -> String {
    format!(
        "nightshift:limit:{{{}}}:{}",
        limit.name,
        limit.interval().as_micros()
    )
}

async fn ttl(limit: &RateLimit) -> i64 {
    let mut connection = connect(&server()).await;
    redis::cmd("PTTL")
        .arg(key(limit))
        .query_async(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn rule_9_slots_are_an_interval_apart_and_a_burst_comes_at_once() {
    let cache = cache_at(&server());
    let limit = RateLimit {
        name: own("apart"),
        burst: 3,
        ..RARE
    };
    let slots = take(&cache, &limit, 5).await.unwrap();
    assert_eq!(numbers(slots), [0, 0, 0, 1, 2]);
    let slots = take(&cache, &limit, 2).await.unwrap();
    assert_eq!(numbers(slots), [3, 4]);
    assert_eq!(slots.wait(2), None);
}

#[tokio::test]
async fn rule_9_every_slot_is_given_to_one_of_many_clients() {
    let clients = (0..8).map(|client| async move {
        let cache = cache_at(&server());
        let limit = RateLimit {
            name: own("many-clients"),
            ..RARE
        };
        let mut taken = Vec::new();
        for turn in 0..25 {
            let slots = take(&cache, &limit, 1 + (client + turn) % 3).await.unwrap();
            taken.extend(numbers(slots));
        }
        taken
    });
    let taken = futures_util::future::join_all(clients).await;
    let mut taken: Vec<u64> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    let all: Vec<u64> = (0..u64::try_from(taken.len()).unwrap()).collect();
    assert_eq!(taken, all);
}

#[tokio::test]
async fn rule_9_many_clients_together_are_not_faster_than_the_rate() {
    let begun = Instant::now();
    let clients = (0..4).map(|_| async move {
        let cache = cache_at(&server());
        let limit = RateLimit {
            name: own("together"),
            count: 100,
            per: Duration::from_secs(1),
            burst: 5,
            ..RARE
        };
        let now = Wanted {
            count: 2,
            by_free: &[],
            ahead: Duration::ZERO,
        };
        let mut taken = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            let slots = reserve(&cache, &limit, now).await.unwrap();
            taken += (0..).map_while(|index| slots.wait(index)).count();
        }
        taken
    });
    let taken: usize = futures_util::future::join_all(clients).await.iter().sum();
    let most = 5 + begun.elapsed().as_millis() / 10 + 1;
    assert!(taken <= usize::try_from(most).unwrap(), "{taken} slots");
    assert!(taken >= 80, "{taken} slots");
}

#[tokio::test]
async fn rule_9_a_limit_is_forgotten_once_every_slot_is_free() {
    let cache = cache_at(&server());
    let hourly = RateLimit {
        name: own("forgotten"),
        ..HOURLY
    };
    take(&cache, &hourly, 2).await.unwrap();
    let left = Duration::from_millis(u64::try_from(ttl(&hourly).await).unwrap());
    assert!(
        left <= hourly.per * 2 && left + QUICK > hourly.per * 2,
        "{left:?}"
    );
    let brief = RateLimit {
        per: Duration::from_millis(5),
        ..hourly
    };
    take(&cache, &brief, 1).await.unwrap();
    let deadline = Instant::now() + PROMPT;
    while ttl(&brief).await != -2 {
        assert!(Instant::now() < deadline, "the key is still there");
    }
    // The other rate's slots are as they were.
    let slots = take(&cache, &hourly, 1).await.unwrap();
    assert!(slots.wait(0).unwrap() + QUICK > hourly.per * 2);
}

#[tokio::test]
async fn rule_9_no_slots_are_given_out_farther_ahead_than_is_asked() {
    let cache = cache_at(&server());
    let limit = RateLimit {
        name: own("ahead"),
        ..RARE
    };
    let wanted = Wanted {
        count: 100,
        by_free: &[],
        ahead: RARE.per * 5,
    };
    let slots = reserve(&cache, &limit, wanted).await.unwrap();
    assert_eq!(numbers(slots), [0, 1, 2, 3, 4, 5]);
    let slots = reserve(&cache, &limit, wanted).await.unwrap();
    assert_eq!(numbers(slots), [0; 0]);
    // Nobody has taken what nobody was given.
    let slots = take(&cache, &limit, 1).await.unwrap();
    assert_eq!(numbers(slots), [6]);
}

#[tokio::test]
async fn rule_9_how_many_slots_are_wanted_may_depend_on_how_many_are_free() {
    let cache = cache_at(&server());
    let limit = RateLimit {
        name: own("by-free"),
        burst: 2,
        ..RARE
    };
    let wanted = Wanted {
        count: 4,
        by_free: &[1, 2, 3, 4, 4],
        ahead: RARE.per * 100,
    };
    let slots = reserve(&cache, &limit, wanted).await.unwrap();
    assert_eq!(numbers(slots), [0, 0, 1]);
    let slots = reserve(&cache, &limit, wanted).await.unwrap();
    assert_eq!(numbers(slots), [2]);
}

#[tokio::test]
async fn rule_9_a_limit_whose_key_is_somebody_elses_says_so() {
    let cache = cache_at(&server());
    let limit = RateLimit {
        name: own("stolen"),
        ..RARE
    };
    let mut connection = connect(&server()).await;
    for value in ["no number", "-1e999"] {
        let mut command = redis::cmd("SET");
        command.arg(key(&limit)).arg(value).arg("PX").arg(60_000);
        let () = command.query_async(&mut connection).await.unwrap();
        let answer = take(&cache, &limit, 1).await;
        if value == "no number" {
            assert!(
                matches!(answer, Err(CacheError::Unexpected(_))),
                "{answer:?}"
            );
            // Other limits do not suffer from it.
            take(
                &cache,
                &RateLimit {
                    name: own("not-stolen"),
                    ..RARE
                },
                1,
            )
            .await
            .unwrap();
        } else {
            assert_eq!(numbers(answer.unwrap()), [0]);
        }
    }
}
