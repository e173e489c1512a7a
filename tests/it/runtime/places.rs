//! Rule 9: of messages with one concurrency key only so many are at work at a time, and none of the
//! others is forgotten.

mod functions;
mod operators;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nightshift_handler::RegistryError;
use nightshift_job::ConcurrencyKey;
use nightshift_postgres::{control, open_message};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use self::functions::{Keyed, KeyedBatch, KeyedLong, RARELY};
use super::*;
use crate::cache::{cache_at, connect, server, slots_taken};

struct Places {
    world: World,
    /// For the test itself: those that deliver may hold all connections of the other one.
    pool: PgPool,
    gate: Arc<Semaphore>,
    is_away: Arc<AtomicBool>,
}

impl Places {
    async fn new() -> Self {
        let world = World::new(&[]).await;
        let pool = world.database.pool();
        pool.execute(
            "CREATE TABLE at_work (n integer GENERATED ALWAYS AS IDENTITY, title text, key text,
                began timestamptz DEFAULT clock_timestamp(), ended timestamptz)",
        )
        .await
        .unwrap();
        Self {
            pool: PgPool::connect_lazy(world.database.url()).unwrap(),
            world,
            gate: Arc::new(Semaphore::new(0)),
            is_away: Arc::default(),
        }
    }

    /// A process with the function.
    fn process<const PLACES: u32, const LIMITED: bool>(&self) -> Registry {
        self.process_with::<PLACES, LIMITED>(&redis(10))
    }

    /// The same with another database of Redis.
    fn process_with<const PLACES: u32, const LIMITED: bool>(&self, redis: &str) -> Registry {
        let pool = self.world.database.pool().clone();
        let clock: SharedClock = Arc::new(self.world.clock.clone());
        let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
        let keyed = Keyed::<PLACES, LIMITED> {
            pool: pool.clone(),
            gate: self.gate.clone(),
            is_away: self.is_away.clone(),
        };
        let registry = Registry::new(pool.clone(), outbox, clock);
        let registry = registry.with_cache(cache_at(redis));
        let registry = registry.with_external(keyed).unwrap();
        let long = KeyedLong {
            pool,
            gate: self.gate.clone(),
        };
        let registry = registry.with_long(long).unwrap();
        registry.with_batch(KeyedBatch::<1>).unwrap()
    }

    /// Delivers `messages` and all copies that come of it, each at once and by itself, until there is
    /// nothing more.
    async fn drive(
        &self,
        process: &Registry,
        function: &'static str,
        messages: Vec<TriggerMessage>,
    ) {
        let deliver = |message: TriggerMessage| async move {
            deliver_to(process, function, &[message]).await.unwrap();
        };
        let mut under_way: FuturesUnordered<_> = messages.into_iter().map(deliver).collect();
        loop {
            let copies = take_promised(&self.pool, start_of_time()).await;
            let is_quiet = copies.is_empty();
            under_way.extend(copies.into_iter().map(deliver));
            if under_way.next().await.is_none() && is_quiet {
                return;
            }
        }
    }

    /// Delivers `messages` while "a held" is at work, which then ends.
    async fn deliver_behind(
        &self,
        process: &Registry,
        function: &'static str,
        messages: Vec<TriggerMessage>,
    ) {
        let original = [numbered("a held", 0)];
        let held = deliver_to(process, function, &original);
        let behind = async {
            self.until_at_work("a held").await;
            for message in messages {
                deliver_to(process, function, &[message]).await.unwrap();
            }
            self.gate.add_permits(1);
        };
        let (held, ()) = tokio::join!(held, behind);
        held.unwrap();
    }

    /// How many messages with one key were at work at a time.
    async fn most_at_a_time(&self) -> Vec<String> {
        self.world
            .texts(
                "SELECT format('%s %s', one.key, max((
                    SELECT count(*) FROM at_work AS other WHERE other.key = one.key
                      AND other.began <= one.began AND other.ended > one.began)))
                 FROM at_work AS one WHERE one.key IS NOT NULL GROUP BY one.key ORDER BY 1",
            )
            .await
    }

    async fn worked(&self) -> Vec<String> {
        self.world
            .texts("SELECT title FROM at_work ORDER BY n")
            .await
    }

    /// Polls until `title` is being called for.
    async fn until_at_work(&self, title: &str) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let at_work = || async {
            let at_work = "SELECT EXISTS (SELECT FROM at_work WHERE title = $1)";
            let at_work = sqlx::query_scalar(at_work).bind(title);
            at_work.fetch_one(&self.pool).await.unwrap()
        };
        while !at_work().await {
            assert!(
                std::time::Instant::now() < deadline,
                "{title} is not at work"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn pause(&self, function: &str) {
        let mut tx = self.pool.begin().await.unwrap();
        let paused = control::pause(&mut tx, function, "a test", "why not").await;
        assert!(paused.unwrap());
        tx.commit().await.unwrap();
    }

    async fn resume(&self, function: &str) {
        let mut tx = self.pool.begin().await.unwrap();
        let resumed = control::resume(&mut tx, function, Duration::ZERO, "a test").await;
        resumed.unwrap();
        tx.commit().await.unwrap();
    }

    async fn end(self) {
        self.pool.close().await;
        self.world.end().await;
    }
}

/// A database of Redis, so that each test has slots of its own.
fn redis(number: u8) -> String {
    format!("{}/{number}", server())
}

async fn without_slots(redis: &str) {
    let mut connection = connect(redis).await;
    let flushed = redis::cmd("FLUSHDB").query_async(&mut connection).await;
    let () = flushed.unwrap();
}

fn numbered(title: &str, number: i64) -> TriggerMessage {
    message(title, notification(USER, title), start_of_time())
        .numbered(number)
        .build()
}

fn several(key: &str, numbers: std::ops::Range<i64>) -> Vec<TriggerMessage> {
    numbers
        .map(|n| numbered(&format!("{key} {n}"), n))
        .collect()
}

#[tokio::test]
async fn rule_9_no_more_than_its_places_are_at_work_at_a_time_and_other_keys_are_not_held_up() {
    let places = Places::new().await;
    let (one, other) = (places.process::<2, false>(), places.process::<2, false>());
    let held = places.drive(&one, "keyed", vec![numbered("a held", 0)]);
    let free = async {
        places.until_at_work("a held").await;
        let mut messages = several("a", 1..31);
        messages.extend(several("b", 31..41));
        messages.extend(several("-", 41..45));
        places.drive(&other, "keyed", messages).await;
        // One place was enough for all of them.
        assert_eq!(places.worked().await.len(), 45);
        assert_eq!(places.world.waiting().await, ["a held calling 1 0"]);
        places.gate.add_permits(1);
    };
    tokio::join!(held, free);
    let most = places.most_at_a_time().await;
    assert_eq!(most, ["a 2", "b 2"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_who_waits_for_a_place_gets_it_in_the_order_of_arrival() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    let held = places.drive(&process, "keyed", vec![numbered("a held", 0)]);
    let queued = async {
        places.until_at_work("a held").await;
        let mut messages = several("a", 1..10);
        messages.reverse();
        for message in messages {
            let message = [message];
            deliver_to(&process, "keyed", &message).await.unwrap();
            // It waits, and a redelivery changes nothing.
            deliver_to(&process, "keyed", &message).await.unwrap();
        }
        assert_eq!(places.world.waiting().await.len(), 10);
        places.gate.add_permits(1);
    };
    tokio::join!(held, queued);
    let mut expected = vec!["a held".to_owned()];
    expected.extend((1..10).map(|n| format!("a {n}")));
    assert_eq!(places.worked().await, expected);
    assert_eq!(places.most_at_a_time().await, ["a 1"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_a_call_whose_process_died_keeps_its_place_until_it_is_taken_over() {
    let places = Places::new().await;
    let (dies, lives) = (places.process::<1, false>(), places.process::<1, false>());
    let original = [numbered("a held", 0)];
    let dying = deliver_to(&dies, "keyed", &original);
    let queued = async {
        places.until_at_work("a held").await;
        places.drive(&lives, "keyed", several("a", 1..4)).await;
    };
    tokio::select! {
        _ = dying => panic!("nobody lets it go on"),
        () = queued => {}
    }
    assert_eq!(places.worked().await, ["a held"]);
    let pool = places.world.database.pool();
    pool.execute(
        "UPDATE nightshift.open_message SET due_at = now(), rescue_at = now() WHERE reason = 'calling'",
    )
    .await
    .unwrap();
    let copies = take_overdue(pool, start_of_time()).await;
    assert_eq!(copies.len(), 1);
    places.drive(&lives, "keyed", copies).await;
    assert_eq!(places.worked().await, ["a held", "a 1", "a 2", "a 3"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_who_does_not_need_its_place_after_all_passes_it_on() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    let held = places.drive(&process, "keyed", vec![numbered("a held", 0)]);
    let queued = async {
        places.until_at_work("a held").await;
        let titles = [
            "a 1 refused",
            "a 2 fails",
            "a 3 panics",
            "a 4",
            "a 5 refused",
        ];
        for (number, title) in (1..).zip(titles) {
            deliver_to(&process, "keyed", &[numbered(title, number)])
                .await
                .unwrap();
        }
        places.gate.add_permits(1);
    };
    tokio::join!(held, queued);
    // The one that has failed is tried again and finds a place.
    assert_eq!(places.worked().await, ["a held", "a 4", "a 2 fails"]);
    assert_eq!(
        places.world.dead().await,
        [
            "a 1 refused told 0",
            "a 3 panics attempts-used-up 4",
            "a 5 refused told 0"
        ]
    );
    places.end().await;
}

#[tokio::test]
async fn rule_9_long_work_keeps_its_place_from_slice_to_slice() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    places
        .deliver_behind(&process, "keyed-long", several("a", 1..2))
        .await;
    let waiting = places.world.waiting().await;
    assert_eq!(waiting, ["a 1 queued 1 0", "a second slice continue 2 0"]);
    let copies = take_promised(&places.pool, start_of_time()).await;
    places.drive(&process, "keyed-long", copies).await;
    assert_eq!(places.worked().await, ["a held", "a second slice", "a 1"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_long_work_that_is_paused_between_two_slices_keeps_its_place() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    places
        .deliver_behind(&process, "keyed-long", several("a", 1..2))
        .await;
    places.pause("keyed-long").await;
    let copies = take_promised(&places.pool, start_of_time()).await;
    // Another process, which knows it at once.
    let paused = places.process::<1, false>();
    places.drive(&paused, "keyed-long", copies).await;
    let waiting = places.world.waiting().await;
    assert_eq!(waiting, ["a 1 queued 1 0", "a second slice paused 3 0"]);
    places.resume("keyed-long").await;
    let copies = take_overdue(&places.pool, start_of_time()).await;
    let resumed = places.process::<1, false>();
    places.drive(&resumed, "keyed-long", copies).await;
    assert_eq!(places.worked().await, ["a held", "a second slice", "a 1"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_a_failed_call_gives_its_place_to_the_next_one() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    places.is_away.store(true, Ordering::SeqCst);
    let original = [numbered("a held", 0)];
    let held = deliver_to(&process, "keyed", &original);
    let queued = async {
        places.until_at_work("a held").await;
        deliver_to(&process, "keyed", &[numbered("a 1", 1)])
            .await
            .unwrap();
        assert_eq!(
            places.world.waiting().await,
            ["a 1 queued 1 0", "a held calling 1 0"]
        );
        places.gate.add_permits(1);
    };
    let (held, ()) = tokio::join!(held, queued);
    held.unwrap();
    assert_eq!(
        places.world.waiting().await,
        ["a 1 turn 2 0", "a held retry 2 1"]
    );
    places.is_away.store(false, Ordering::SeqCst);
    places.gate.add_permits(1);
    let copies = places.world.promised().await;
    places.drive(&process, "keyed", copies).await;
    places.end().await;
}

#[tokio::test]
async fn rule_9_a_pause_holds_up_those_who_wait_for_a_place_and_their_order_stays() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    places
        .deliver_behind(&process, "keyed", several("a", 1..4))
        .await;
    places.pause("keyed").await;
    // Another process, which knows it at once.
    let copies = places.world.promised().await;
    assert_eq!(copies.len(), 1);
    places
        .drive(&places.process::<1, false>(), "keyed", copies)
        .await;
    assert_eq!(
        places.world.waiting().await,
        ["a 1 paused 3 0", "a 2 queued 1 0", "a 3 queued 1 0"]
    );
    places.resume("keyed").await;
    let copies = take_overdue(&places.pool, start_of_time()).await;
    places
        .drive(&places.process::<1, false>(), "keyed", copies)
        .await;
    assert_eq!(places.worked().await, ["a held", "a 1", "a 2", "a 3"]);
    assert_eq!(places.most_at_a_time().await, ["a 1"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_who_waits_for_a_slot_of_its_rate_keeps_its_place_and_takes_no_other_slot() {
    let redis = redis(10);
    without_slots(&redis).await;
    let places = Places::new().await;
    let process = places.process::<1, true>();
    places
        .deliver_behind(&process, "keyed", several("a", 1..4))
        .await;
    // Who waits for a place has taken no slot.
    assert_eq!(slots_taken(&redis, &RARELY).await, 1);
    let turn = places.world.promised().await;
    deliver_to(&process, "keyed", &turn).await.unwrap();
    assert_eq!(
        places.world.waiting().await,
        ["a 1 limited 3 0", "a 2 queued 1 0", "a 3 queued 1 0"]
    );
    assert_eq!(slots_taken(&redis, &RARELY).await, 2);
    // Others of its key find none, those of another key do.
    for key in ["a", "b"] {
        let last = [numbered(&format!("{key} 4"), 4)];
        deliver_to(&process, "keyed", &last).await.unwrap();
    }
    assert_eq!(
        places.world.waiting().await,
        [
            "a 1 limited 3 0",
            "a 2 queued 1 0",
            "a 3 queued 1 0",
            "a 4 queued 1 0",
            "b 4 limited 1 0"
        ]
    );
    let copies = take_promised(&places.pool, start_of_time()).await;
    places.drive(&process, "keyed", copies).await;
    assert_eq!(places.worked().await.len(), 6);
    assert_eq!(places.most_at_a_time().await, ["a 1", "b 1"]);
    assert_eq!(slots_taken(&redis, &RARELY).await, 6);
    places.end().await;
}

#[tokio::test]
async fn rule_9_who_waits_long_for_its_slot_does_not_keep_others_from_working() {
    let redis = redis(11);
    without_slots(&redis).await;
    let places = Places::new().await;
    let process = places.process_with::<1, true>(&redis);
    let others = ["b", "c", "d", "e", "f", "g", "h"];
    for key in others {
        let other = [numbered(&format!("{key} 0"), 0)];
        deliver_to(&process, "keyed", &other).await.unwrap();
    }
    for message in several("a", 1..3) {
        deliver_to(&process, "keyed", &[message]).await.unwrap();
    }
    let mut waiting = places.world.waiting().await;
    waiting.truncate(2);
    assert_eq!(waiting, ["a 1 limited 1 0", "a 2 limited 1 0"]);
    places.pool.close().await;
    places.world.database.remove().await;
}

#[tokio::test]
async fn rule_9_nobody_waits_for_a_place_that_nobody_has() {
    let places = Places::new().await;
    let process = places.process::<2, false>();
    let pool = places.world.database.pool();
    let holders = vec![numbered("a held 1", 1), numbered("a held 2", 2)];
    let dying = places.drive(&process, "keyed", holders);
    let queued = async {
        places.until_at_work("a held 1").await;
        places.until_at_work("a held 2").await;
        for message in several("a", 3..6) {
            deliver_to(&process, "keyed", &[message]).await.unwrap();
        }
    };
    tokio::select! {
        () = dying => panic!("nobody lets it go on"),
        () = queued => {}
    }
    assert_eq!(places.stuck(2).await, [""; 0]);
    // As if an earlier release had ended them, which knows nothing of places.
    pool.execute("DELETE FROM nightshift.open_message WHERE reason = 'calling'")
        .await
        .unwrap();
    assert_eq!(places.stuck(2).await, ["keyed"]);
    assert_eq!(places.wake(1).await, 1);
    // A process that does not know the function lets one of it be at work.
    assert_eq!(places.stuck(1).await, [""; 0]);
    assert_eq!(places.stuck(2).await, ["keyed"]);
    pool.execute("UPDATE nightshift.open_message SET rescue_at = now() WHERE reason = 'turn'")
        .await
        .unwrap();
    let copies = take_overdue(pool, start_of_time()).await;
    places.drive(&process, "keyed", copies).await;
    assert_eq!(places.worked().await.len(), 5);
    places.end().await;
}

#[tokio::test]
async fn rule_9_work_in_the_transaction_itself_is_done_one_at_a_time() {
    let places = Places::new().await;
    let (one, other) = (places.process::<1, false>(), places.process::<1, false>());
    let mut messages = several("a", 0..10);
    messages.extend(several("b", 10..20));
    let theirs = messages.split_off(10);
    tokio::join!(
        places.drive(&one, "keyed-batch", messages),
        places.drive(&other, "keyed-batch", theirs),
    );
    deliver_to(
        &one,
        "keyed-batch",
        &[several("a", 20..25), several("b", 25..30)].concat(),
    )
    .await
    .unwrap();
    assert_eq!(places.worked().await.len(), 30);
    assert_eq!(places.most_at_a_time().await, ["a 1", "b 1"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_a_transaction_that_is_waited_for_in_vain_costs_no_try() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    let pool = places.world.database.pool();
    let mut tx = pool.begin().await.unwrap();
    let keys = ["keyed", "keyed-batch"].map(|function| ConcurrencyKey::of(function, "a"));
    open_message::lock_places(&mut tx, &keys).await.unwrap();
    let messages = [numbered("a 1", 1)];
    for function in ["keyed", "keyed-batch"] {
        deliver_to(&process, function, &messages).await.unwrap();
    }
    assert_eq!(
        places.world.waiting().await,
        ["a 1 retry 1 0", "a 1 retry 1 0"]
    );
    tx.rollback().await.unwrap();
    for copy in places.world.promised().await {
        let key = nightshift_job::JobKey::of_message_id("keyed", "a 1").to_string();
        let is_keyed = copy.application_properties["ns-origin"] == key;
        let function = if is_keyed { "keyed" } else { "keyed-batch" };
        deliver_to(&process, function, &[copy]).await.unwrap();
    }
    assert_eq!(places.worked().await.len(), 2);
    places.end().await;
}

#[tokio::test]
async fn rule_9_places_that_cannot_be_kept_to_are_refused() {
    let places = Places::new().await;
    let process = places.world.restarted();
    let error = process.with_batch(KeyedBatch::<2>).unwrap_err();
    assert!(matches!(
        error,
        RegistryError::Concurrency {
            is_in_commit: true,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "keyed-batch says that 2 messages of one concurrency key may be at work at a time; it must be 1, because its work is done in one transaction"
    );
    places.end().await;
}
