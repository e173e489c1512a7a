//! Rule 9: what runs keeps to its function's rate, and what has to wait for that waits once.

mod operators;

use std::time::Instant;

use nightshift_cache::Cache;
use nightshift_handler::RegistryError;
use nightshift_job::{BadRateLimit, ExternalFunction, Prepared, RateLimit, WhenAway};
use nightshift_tests::resident_bytes;
use nightshift_time::SystemClock;

use super::calls::Caller;
use super::*;
use crate::cache::{Relay, cache_at, connect, server, slots_taken};

/// So rarely that the time which a test takes is none.
const PROVIDER: RateLimit = RateLimit {
    name: "provider",
    count: 1,
    per: Duration::from_mins(10),
    burst: 2,
    when_away: WhenAway::Open,
};

/// How long a test may take.
const QUICK: TimeDelta = TimeDelta::minutes(1);

macro_rules! limited {
    ($type:ident, $name:literal, sessions: $sessions:literal, $rate:expr) => {
        #[derive(Debug, Clone)]
        struct $type(Scripted);

        impl BatchFunction for $type {
            const NAME: &'static str = $name;
            const CONFIG: &'static str = concat!(
                r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
                "name": "messages", "connection": "ServiceBusConnection", "cardinality": "many",
                "dataType": "binary", "queueName": ""#,
                $name,
                r#"", "isSessionsEnabled": "#,
                $sessions,
                "}]}"
            );
            const POLICY: Policy = Policy {
                rate: Some($rate),
                ..Scripted::POLICY
            };
            type Input = NotificationRequested;

            async fn run(
                &self,
                items: &[&Item<NotificationRequested>],
                tx: &mut PgConnection,
                cx: &Cx,
            ) -> Result<Vec<Outcome>, JobError> {
                self.0.run(items, tx, cx).await
            }
        }
    };
}

limited!(Mails, "mails", sessions: false, PROVIDER);
limited!(Texts, "texts", sessions: false, PROVIDER);
limited!(InOrder, "in-order", sessions: true, PROVIDER);
limited!(Strict, "strict", sessions: false, RateLimit {
    name: "strict",
    when_away: WhenAway::Closed,
    ..PROVIDER
});
limited!(Flood, "flood", sessions: false, RateLimit {
    name: "flood",
    count: 10,
    per: Duration::from_secs(1),
    burst: 1,
    ..PROVIDER
});
limited!(NoLimit, "no-limit", sessions: false, RateLimit { count: 0, ..PROVIDER });
limited!(Faster, "faster", sessions: false, RateLimit { count: 2, ..PROVIDER });

/// [`Caller`] behind the limit.
#[derive(Debug, Clone)]
struct LimitedCaller(Caller);

impl ExternalFunction for LimitedCaller {
    const NAME: &'static str = Caller::NAME;
    const CONFIG: &'static str = Caller::CONFIG;
    const POLICY: Policy = Policy {
        rate: Some(PROVIDER),
        ..Caller::POLICY
    };
    type Input = NotificationRequested;
    type Call = String;
    type Answer = String;

    async fn prepare(
        &self,
        item: &Item<NotificationRequested>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Prepared<String>, JobError> {
        self.0.prepare(item, tx, cx).await
    }

    async fn call(
        &self,
        item: &Item<NotificationRequested>,
        call: String,
        cx: &Cx,
    ) -> Result<String, JobError> {
        self.0.call(item, call, cx).await
    }

    async fn record(
        &self,
        item: &Item<NotificationRequested>,
        answer: &String,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Outcome, JobError> {
        self.0.record(item, answer, tx, cx).await
    }

    async fn unknown(
        &self,
        item: &Item<NotificationRequested>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Prepared<String>, JobError> {
        self.0.unknown(item, tx, cx).await
    }
}

/// The functions behind limits, and where the slots are kept.
struct Limited {
    world: World,
    redis: String,
}

fn empty(world: &World, clock: SharedClock, cache: Option<Cache>) -> Registry {
    let pool = world.database.pool().clone();
    let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
    let registry = Registry::new(pool, outbox, clock);
    match cache {
        Some(cache) => registry.with_cache(cache),
        None => registry,
    }
}

fn functions(world: &World, cache: Option<Cache>) -> Registry {
    let clock: SharedClock = Arc::new(world.clock.clone());
    let script = &world.script;
    let all = empty(world, clock, cache)
        .with_batch(Mails(script.clone()))
        .and_then(|all| all.with_batch(Texts(script.clone())))
        .and_then(|all| all.with_batch(InOrder(script.clone())))
        .and_then(|all| all.with_batch(Strict(script.clone())));
    all.unwrap()
}

impl Limited {
    /// With the database `number` of Redis, so that each test has slots of its own.
    async fn new(number: u8, script: &[(&str, &[Step])]) -> Self {
        let redis = format!("{}/{number}", server());
        let mut connection = connect(&redis).await;
        let () = redis::cmd("FLUSHDB")
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut world = World::new(script).await;
        world.registry = functions(&world, Some(cache_at(&redis)));
        Self { world, redis }
    }

    /// How many slots of `limit` are taken.
    async fn taken(&self, limit: &RateLimit) -> i64 {
        slots_taken(&self.redis, limit).await
    }

    /// What waits and for which slot: the number of intervals from the start.
    async fn slots(&self) -> Vec<String> {
        let rows: Vec<(String, DateTime<Utc>)> = sqlx::query_as(
            "SELECT format('%s %s', convert_from(body, 'utf8')::json ->> 'title', reason), due_at
             FROM nightshift.open_message ORDER BY 1",
        )
        .fetch_all(self.world.database.pool())
        .await
        .unwrap();
        let interval = i64::try_from(PROVIDER.per.as_secs()).unwrap();
        let rows = rows.into_iter().map(|(what, due)| {
            let number = (due - start_of_time() + QUICK).num_seconds() / interval;
            format!("{what} {number}")
        });
        rows.collect()
    }

    async fn deliver(&self, function: &'static str, messages: &[TriggerMessage]) {
        self.world.deliver_to(function, messages).await.unwrap();
    }

    /// Delivers all copies, each by itself, until there are none.
    async fn deliver_copies(&self, function: &'static str) {
        loop {
            let copies = self.world.promised().await;
            if copies.is_empty() {
                return;
            }
            for copy in copies {
                self.deliver(function, &[copy]).await;
            }
        }
    }

    async fn effects_in_order(&self) -> Vec<String> {
        self.world
            .texts("SELECT title FROM effect ORDER BY n")
            .await
    }
}

#[tokio::test]
async fn rule_9_a_batch_behind_a_limit_runs_at_its_slots_and_waits_once() {
    let limited = Limited::new(1, &[]).await;
    let messages = ["a", "b", "c", "d", "e"].map(titled);
    limited.deliver("mails", &messages).await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1"]);
    assert_eq!(
        limited.slots().await,
        ["c limited 1", "d limited 2", "e limited 3"]
    );
    let copies = limited.world.promised().await;
    let mut due: Vec<i64> = copies
        .iter()
        .map(|copy| (copy.enqueued_time - start_of_time() + QUICK).num_minutes() / 10)
        .collect();
    due.sort_unstable();
    assert_eq!(due, [1, 2, 3]);
    // Whatever comes again takes no slots: an original, a copy, a copy that is not the newest any more.
    limited.deliver("mails", &messages).await;
    limited.deliver("mails", &copies).await;
    limited.deliver("mails", &copies).await;
    assert_eq!(
        limited.world.effects().await,
        ["a 1", "b 1", "c 1", "d 1", "e 1"]
    );
    assert_eq!(limited.taken(&PROVIDER).await, 5);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_what_comes_long_after_its_slot_takes_another_one() {
    let limited = Limited::new(13, &[]).await;
    let messages = ["a", "b", "c", "d", "e"].map(titled);
    limited.deliver("mails", &messages).await;
    let copies = limited.world.promised().await;
    limited.world.clock.advance(Duration::from_hours(2));
    limited.deliver("mails", &copies).await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1"]);
    assert_eq!(limited.taken(&PROVIDER).await, 8);
    limited.world.database.remove().await;
}

#[tokio::test]
async fn rule_9_a_retry_takes_a_slot_and_a_batch_that_is_run_again_does_not() {
    let fails: &[Step] = &[Step::Fail(Disposition::Retry)];
    let limited = Limited::new(2, &[("b", fails)]).await;
    // Together, and then one by one.
    limited.deliver("mails", &["a", "b", "c"].map(titled)).await;
    assert_eq!(limited.world.effects().await, ["a 1"]);
    assert_eq!(
        limited.world.waiting().await,
        ["b retry 1 1", "c limited 1 0"]
    );
    assert_eq!(limited.taken(&PROVIDER).await, 3);
    let copies = limited.world.promised().await;
    limited.deliver("mails", &copies).await;
    assert_eq!(limited.slots().await, ["b limited 2"]);
    limited.deliver_copies("mails").await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 2", "c 1"]);
    assert_eq!(limited.taken(&PROVIDER).await, 4);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_functions_that_name_one_limit_share_it() {
    let limited = Limited::new(3, &[]).await;
    limited.deliver("mails", &["a", "b"].map(titled)).await;
    limited.deliver("texts", &["c", "d"].map(titled)).await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1"]);
    assert_eq!(limited.slots().await, ["c limited 1", "d limited 2"]);
    limited.deliver_copies("texts").await;
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_what_is_not_to_be_run_takes_no_slots() {
    let limited = Limited::new(4, &[]).await;
    let pool = limited.world.database.pool().clone();
    let not_json = message("bad", "{", start_of_time()).build();
    limited.deliver("mails", &[not_json]).await;
    let mut tx = pool.begin().await.unwrap();
    nightshift_postgres::control::pause(&mut tx, "texts", "a test", "why not")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    limited.deliver("texts", &[titled("a")]).await;
    assert_eq!(limited.world.waiting().await, ["a paused 1 0"]);
    assert_eq!(limited.taken(&PROVIDER).await, 0);
    limited.world.database.remove().await;
}

#[tokio::test]
async fn rule_9_while_redis_is_away_an_open_limit_is_none_and_a_closed_one_waits() {
    let limited = Limited::new(5, &[]).await;
    for away in [None, Some(cache_at("redis://127.0.0.1:1"))] {
        let is_first = away.is_none();
        let away = functions(&limited.world, away);
        let title = if is_first { "a" } else { "b" };
        let messages = [titled(title)];
        deliver_to(&away, "mails", &messages).await.unwrap();
        deliver_to(&away, "strict", &messages).await.unwrap();
        if is_first {
            assert_eq!(limited.world.effects().await, ["a 1"]);
            assert_eq!(limited.slots().await, ["a closed 0"]);
            // It is still away.
            let copies = limited.world.promised().await;
            deliver_to(&away, "strict", &copies).await.unwrap();
            assert_eq!(limited.world.waiting().await, ["a closed 2 0"]);
        }
    }
    assert_eq!(limited.world.effects().await, ["a 1", "b 1"]);
    assert_eq!(
        limited.world.waiting().await,
        ["a closed 2 0", "b closed 1 0"]
    );
    // It is back: they ask again.
    limited.deliver_copies("strict").await;
    let effects = limited
        .world
        .texts("SELECT count(*)::text FROM effect")
        .await;
    assert_eq!(effects, ["4"]);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_an_answer_of_redis_that_is_lost_costs_slots_and_nothing_else() {
    let limited = Limited::new(6, &[]).await;
    let relay = Relay::start(&limited.redis).await;
    let registry = functions(&limited.world, Some(cache_at(relay.url())));
    deliver_to(&registry, "strict", &[titled("a")])
        .await
        .unwrap();
    relay.lose_answers();
    deliver_to(&registry, "strict", &[titled("b")])
        .await
        .unwrap();
    assert_eq!(limited.world.waiting().await, ["b closed 1 0"]);
    let strict = Strict::POLICY.rate.unwrap();
    assert_eq!(limited.taken(&strict).await, 2);
    relay.forward();
    limited.deliver_copies("strict").await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1"]);
    assert_eq!(limited.taken(&strict).await, 3);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_in_a_session_what_follows_a_limited_message_takes_no_slot_before_its_turn() {
    let limited = Limited::new(7, &[]).await;
    let of = |session: &str, number: i64| {
        let title = format!("{session}{number}");
        let body = notification(USER, &title);
        let number = number + i64::from(session.as_bytes()[0]) * 100;
        message(&title, body, start_of_time())
            .numbered(number)
            .in_session(session)
            .build()
    };
    limited
        .deliver(
            "in-order",
            &[of("s", 1), of("s", 2), of("s", 3), of("s", 4), of("t", 1)],
        )
        .await;
    assert_eq!(limited.effects_in_order().await, ["s1", "s2"]);
    let waiting = limited.slots().await;
    assert_eq!(waiting, ["s3 limited 1", "s4 parked 0", "t1 limited 2"]);
    limited
        .deliver("in-order", &[of("u", 1), of("u", 2), of("u", 3)])
        .await;
    assert_eq!(limited.taken(&PROVIDER).await, 5);
    limited.deliver_copies("in-order").await;
    let effects = limited.effects_in_order().await;
    for session in ["s", "t", "u"] {
        assert!(
            effects
                .iter()
                .filter(|title| title.starts_with(session))
                .is_sorted(),
            "{effects:?}"
        );
    }
    assert_eq!(effects.len(), 8);
    // One for each, and none twice.
    assert_eq!(limited.taken(&PROVIDER).await, 8);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_a_call_waits_for_its_slot_before_it_is_begun() {
    let mut limited = Limited::new(8, &[]).await;
    let caller = Caller::default();
    let registry = functions(&limited.world, Some(cache_at(&limited.redis)));
    limited.world.registry = registry
        .with_external(LimitedCaller(caller.clone()))
        .unwrap();
    limited
        .deliver("caller", &["a", "b", "c"].map(titled))
        .await;
    assert_eq!(caller.calls.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(limited.slots().await, ["c limited 1"]);
    limited.deliver_copies("caller").await;
    assert_eq!(caller.calls.load(std::sync::atomic::Ordering::SeqCst), 3);
    assert_eq!(limited.taken(&PROVIDER).await, 3);
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_limits_that_cannot_be_meant_are_refused() {
    let world = World::new(&[]).await;
    let clock: SharedClock = Arc::new(world.clock.clone());
    let all = || empty(&world, clock.clone(), None);
    let error = all().with_batch(NoLimit(world.script.clone())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rate limit \"provider\" of no-limit: its count and its burst must be at least 1"
    );
    assert!(matches!(
        error,
        RegistryError::RateLimit {
            source: BadRateLimit::Zero,
            ..
        }
    ));
    let mails = all().with_batch(Mails(world.script.clone())).unwrap();
    let error = mails.with_batch(Faster(world.script.clone())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mails and faster both name the rate limit \"provider\" and say different things of it; put it into one constant"
    );
    world.database.remove().await;
}

/// What came of the due times of all that waits.
#[derive(Debug, sqlx::FromRow)]
struct Spread {
    rows: i64,
    different: i64,
    least_millis: f64,
    most_millis: f64,
    whole_seconds: f64,
}

#[tokio::test]
async fn rule_9_a_hundred_thousand_messages_are_put_aside_at_once_each_with_a_slot_of_its_own() {
    const ALL: usize = 100_000;
    const BATCH: usize = 1_000;
    let limited = Limited::new(9, &[]).await;
    let world = &limited.world;
    let all = empty(world, SystemClock::shared(), Some(cache_at(&limited.redis)));
    let registry = all.with_batch(Flood(world.script.clone())).unwrap();
    let now = SystemClock::shared().now();
    let before = resident_bytes(std::process::id()).unwrap();
    let begun = Instant::now();
    for batch in 0..ALL / BATCH {
        let titles = (0..BATCH).map(|n| format!("m{}", batch * BATCH + n));
        let messages: Vec<TriggerMessage> = titles
            .map(|title| message(&title, notification(USER, &title), now).build())
            .collect();
        nightshift_testkit::deliver(&registry, "flood", &messages, now)
            .await
            .unwrap();
    }
    let took = begun.elapsed();
    let grown = resident_bytes(std::process::id())
        .unwrap()
        .saturating_sub(before);
    assert!(took < Duration::from_mins(2), "{took:?}");
    assert!(grown < 128 << 20, "{grown} bytes");
    let spread: Spread = sqlx::query_as(
        "SELECT count(*) AS rows, count(DISTINCT due_at) AS different,
            min(gap)::float8 AS least_millis, max(gap)::float8 AS most_millis,
            extract(epoch FROM max(due_at) - min(due_at))::float8 AS whole_seconds
         FROM (SELECT due_at, extract(epoch FROM due_at - lag(due_at) OVER (ORDER BY due_at)) * 1000 AS gap
               FROM nightshift.open_message WHERE reason = 'limited') AS waiting",
    )
    .fetch_one(world.database.pool())
    .await
    .unwrap();
    let ran = world.effects().await.len();
    assert_eq!(
        usize::try_from(spread.rows).unwrap() + ran,
        ALL,
        "{spread:?}"
    );
    assert_eq!(spread.different, spread.rows);
    assert!(
        spread.least_millis > 0.0 && spread.most_millis < 200.0,
        "{spread:?}"
    );
    let expected = f64::from(u32::try_from(spread.rows).unwrap()) / 10.0;
    assert!((spread.whole_seconds - expected).abs() < 2.0, "{spread:?}");
    // None was taken twice: as many as there are messages, but for the time that has passed.
    let slots = limited.taken(&Flood::POLICY.rate.unwrap()).await;
    assert!(slots <= 100_600, "{slots} slots are taken");
    world.database.pool().execute("DELETE FROM nightshift.outbox WHERE id NOT IN (SELECT id FROM nightshift.outbox ORDER BY due_at LIMIT 20)").await.unwrap();
    let copies = take_promised(world.database.pool(), now).await;
    nightshift_testkit::deliver(&registry, "flood", &copies, now)
        .await
        .unwrap();
    assert_eq!(world.effects().await.len(), ran + 20);
    assert_eq!(world.promised().await, []);
    limited.world.database.remove().await;
}
