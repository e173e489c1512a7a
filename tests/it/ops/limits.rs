//! Limits: shown, changed, and given back.

use nightshift_job::{ExternalFunction, KeyOf, Prepared, RateLimit, WhenAway};

use super::*;
use crate::cache::{cache_at, connect, server};

const RATES: &str = "/limits/rates/mail-provider";
const PLACES: &str = "/limits/places/calling-work";

/// So rarely that the time which a test takes is none.
const PROVIDER: RateLimit = RateLimit {
    name: "mail-provider",
    count: 1,
    per: Duration::from_mins(10),
    burst: 2,
    when_away: WhenAway::Closed,
};

/// Keeps to a rate, and works on one message of a key at a time.
#[derive(Debug)]
struct Rated;

impl BatchFunction for Rated {
    const NAME: &'static str = "rated-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "rated", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        rate: Some(PROVIDER),
        ..Policy::DEFAULT
    };
    type Input = NotificationRequested;
    const CONCURRENCY_KEY: Option<KeyOf<NotificationRequested>> =
        Some(|input| Some(input.title.as_str().to_owned()));

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        Ok(vec![Outcome::Completed; items.len()])
    }
}

/// Calls another system for no more than three messages at a time.
#[derive(Debug)]
struct Calling;

impl ExternalFunction for Calling {
    const NAME: &'static str = "calling-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "calling", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        concurrency: 3,
        rate: Some(PROVIDER),
        ..Policy::DEFAULT
    };
    type Input = NotificationRequested;
    const CONCURRENCY_KEY: Option<KeyOf<NotificationRequested>> =
        Some(|_| Some("the other system".to_owned()));
    type Call = ();
    type Answer = ();

    async fn prepare(
        &self,
        _item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        Ok(Prepared::End(Outcome::Completed))
    }

    async fn call(
        &self,
        _item: &Item<NotificationRequested>,
        (): (),
        _cx: &Cx,
    ) -> Result<(), JobError> {
        Ok(())
    }

    async fn record(
        &self,
        _item: &Item<NotificationRequested>,
        (): &(),
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        Ok(Outcome::Completed)
    }

    async fn unknown(
        &self,
        _item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        Ok(Prepared::End(Outcome::Completed))
    }
}

/// With functions behind limits.
async fn limited() -> Console {
    Console::with(behind_limits).await
}

fn behind_limits(all: Registry) -> Registry {
    let all = all.with_batch(Rated).unwrap();
    all.with_external(Calling).unwrap()
}

impl Console {
    /// As somebody who may change limits and no more.
    async fn put(&self, path: &str, body: Value) -> Said {
        self.ask(OPERATOR, Method::PUT, path, &body).await
    }

    async fn delete(&self, path: &str) -> Said {
        self.ask(OPERATOR, Method::DELETE, path, &Value::Null).await
    }

    /// The limit of the kind that is called `name`.
    async fn limit(&self, kind: &str, name: &str) -> Value {
        let limits = self.get("/limits").await.ok();
        let mut all = limits[kind].as_array().unwrap().iter();
        let found = all.find(|one| one["name"] == name || one["function"] == name);
        found.cloned().unwrap_or(Value::Null)
    }

    /// What the audit says of limits: who did what to what, before and after.
    async fn changes(&self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' ', actor, action, target, details -> 'before', '->', details -> 'after',
                details ->> 'why') FROM nightshift.audit ORDER BY seq",
        )
        .await
    }
}

fn numbers(count: u32, per_seconds: f64, burst: u32) -> Value {
    json!({ "count": count, "per_seconds": per_seconds, "burst": burst })
}

#[tokio::test]
async fn a_rate_is_changed_for_whoever_runs_and_given_back() {
    // A database of Redis for the slots of this test alone.
    let redis = format!("{}/14", server());
    let mut connection = connect(&redis).await;
    let flushed = redis::cmd("FLUSHDB").query_async(&mut connection).await;
    let () = flushed.unwrap();
    let console = Console::with(|all| behind_limits(all.with_cache(cache_at(&redis)))).await;
    let declared = numbers(1, 600.0, 2);
    let shown = console.limit("rates", "mail-provider").await;
    assert_eq!(
        shown,
        json!({
            "name": "mail-provider", "declared": declared, "now": declared, "when_away": "closed",
            "functions": ["calling-work", "rated-work"],
        })
    );
    let waits_long = async || {
        console
            .texts(
                "SELECT count(*)::text FROM nightshift.open_message
                 WHERE reason = 'limited' AND due_at > now() + interval '5 minutes'",
            )
            .await
    };
    let deliver = async |titles: [&str; 6]| {
        console.deliver("rated-work", &titles.map(titled)).await;
    };
    deliver(["a", "b", "c", "d", "e", "f"]).await;
    assert_eq!(waits_long().await, ["4"]);
    let faster = json!({"count": 60, "per_seconds": 600, "why": "they have more room"});
    let mut dry = faster.clone();
    dry["dry_run"] = json!(true);
    let after = numbers(60, 600.0, 2);
    for (body, dry_run) in [(dry, true), (faster, false)] {
        let said = console.put(RATES, body).await.ok();
        assert_eq!(
            said,
            json!({
                "name": "mail-provider", "before": declared, "after": after, "changed": true,
                "dry_run": dry_run, "waiting": 4,
            })
        );
    }
    let shown = console.limit("rates", "mail-provider").await;
    assert_eq!((&shown["declared"], &shown["now"]), (&declared, &after));
    assert_eq!(shown["changed"]["by"], "key:otto");
    assert_eq!(shown["changed"]["why"], "they have more room");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    deliver(["g", "h", "i", "j", "k", "l"]).await;
    // Their slots are ten seconds apart, and those of the others stay where they are.
    assert_eq!(waits_long().await, ["4"]);
    let waiting = console.get("/functions/rated-work").await.ok();
    assert_eq!(waiting["waiting"], json!({ "limited": 8 }));
    let dry = console.delete(&format!("{RATES}?dry_run=true")).await.ok();
    assert_eq!(
        (&dry["before"], &dry["after"], &dry["waiting"]),
        (&after, &declared, &json!(8))
    );
    let why = format!("{RATES}?why=as%20before");
    assert_eq!(console.delete(&why).await.ok()["changed"], true);
    assert_eq!(console.delete(&why).await.ok()["changed"], false);
    assert!(console.limit("rates", "mail-provider").await["changed"].is_null());
    let (slow, fast) = (
        r#"{"burst": 2, "count": 1, "per_seconds": 600.0}"#,
        r#"{"burst": 2, "count": 60, "per_seconds": 600.0}"#,
    );
    assert_eq!(
        console.changes().await,
        [
            format!("key:otto rate.set mail-provider {slow} -> {fast} they have more room"),
            format!("key:otto rate.reset mail-provider {fast} -> {slow} as before"),
        ]
    );
    console.end().await;
}

#[tokio::test]
async fn places_are_changed_and_given_back() {
    let console = limited().await;
    let shown = console.limit("places", "calling-work").await;
    let untouched = json!({"function": "calling-work", "declared": 3, "now": 3});
    assert_eq!(shown, untouched);
    let said = console
        .put(PLACES, json!({"places": 5, "dry_run": true}))
        .await
        .ok();
    assert_eq!(
        (&said["changed"], &said["after"]),
        (&json!(true), &json!(5))
    );
    assert_eq!(console.limit("places", "calling-work").await, untouched);
    let said = console.put(PLACES, json!({"places": 5})).await.ok();
    assert_eq!(
        said,
        json!({
            "name": "calling-work", "before": 3, "after": 5, "changed": true, "dry_run": false,
            "waiting": 0,
        })
    );
    let again = console.put(PLACES, json!({"places": 5})).await.ok();
    assert_eq!(
        (&again["before"], &again["changed"]),
        (&json!(5), &json!(false))
    );
    let shown = console.limit("places", "calling-work").await;
    assert_eq!((&shown["now"], &shown["declared"]), (&json!(5), &json!(3)));
    assert_eq!(console.delete(PLACES).await.ok()["after"], 3);
    assert_eq!(console.delete(PLACES).await.ok()["changed"], false);
    assert_eq!(console.limit("places", "calling-work").await, untouched);
    assert_eq!(
        console.changes().await,
        [
            "key:otto places.set calling-work 3 -> 5",
            "key:otto places.set calling-work 5 -> 5",
            "key:otto places.reset calling-work 5 -> 3",
        ]
    );
    console.end().await;
}

#[tokio::test]
async fn of_two_who_change_a_limit_at_once_the_audit_says_who_was_first() {
    let console = limited().await;
    let changes = (1..=10).map(|places| {
        let console = &console;
        async move { console.put(PLACES, json!({"places": places})).await.ok() }
    });
    let said = futures_util::future::join_all(changes).await;
    assert_eq!(said.len(), 10);
    let chain = console
        .texts(
            "SELECT format('%s %s', details -> 'before', details -> 'after')
             FROM nightshift.audit ORDER BY seq",
        )
        .await;
    let chain: Vec<(&str, &str)> = chain
        .iter()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(chain.len(), 10);
    assert_eq!(chain[0].0, "3");
    for (one, next) in chain.iter().zip(&chain[1..]) {
        assert_eq!(one.1, next.0, "{chain:?}");
    }
    let last = console.limit("places", "calling-work").await;
    assert_eq!(last["now"].to_string(), chain[9].1);
    console.end().await;
}

#[tokio::test]
async fn what_is_no_rate_is_refused_with_what_it_may_be() {
    let rate = |count: i64, burst: i64| json!({"count": count, "per_seconds": 1, "burst": burst});
    let not_a_number = "the body cannot be read: count: invalid value: integer";
    let refused = [
        (
            RATES,
            rate(0, 1),
            400,
            "count is 0; it must be at least 1. To let nothing through, pause calling-work, rated-work",
        ),
        (RATES, rate(-1, 1), 400, not_a_number),
        (RATES, rate(1 << 32, 1), 400, not_a_number),
        (
            RATES,
            rate(2_000_000, 1),
            400,
            "more than a million slots per second",
        ),
        (
            RATES,
            rate(10, 1_001),
            400,
            "burst is 1001; with a count of 10 it must be 1 to 1000",
        ),
        (
            RATES,
            json!({"count": 1, "per_seconds": 1e300}),
            400,
            "it must be 0.000001 to 2592000, thirty days",
        ),
        (
            RATES,
            json!({"count": 1}),
            400,
            "missing field `per_seconds`",
        ),
        (
            RATES,
            json!({"count": 1, "per_seconds": 1, "why": " "}),
            400,
            "why must say in 1 to 1000 characters why",
        ),
        (
            "/limits/rates/mail-provder",
            rate(1, 1),
            404,
            "there is no rate limit called \"mail-provder\"; did you mean mail-provider?",
        ),
        (
            "/limits/rates/x",
            rate(1, 1),
            404,
            "there is no rate limit called \"x\"; there are mail-provider",
        ),
    ];
    refuses(&refused).await;
}

#[tokio::test]
async fn what_is_no_number_of_places_is_refused_with_what_it_may_be() {
    let refused = [
        (
            PLACES,
            json!({"places": 0}),
            400,
            "places is 0; it must be 1 to 10000. To let nothing of calling-work be at work, pause it",
        ),
        (
            PLACES,
            json!({"places": 10_001}),
            400,
            "it must be 1 to 10000",
        ),
        (
            "/limits/places/nothing",
            json!({"places": 1}),
            404,
            "there is no function called \"nothing\"",
        ),
        (
            "/limits/places/plain-work",
            json!({"places": 1}),
            409,
            "the messages of plain-work have no concurrency key",
        ),
        (
            "/limits/places/rated-work",
            json!({"places": 2}),
            409,
            "rated-work does its work in the transaction of the claim",
        ),
        (
            "/limits/places/admin-api",
            json!({"places": 2}),
            409,
            "admin-api is not called by messages",
        ),
        (
            "/limits/places/housekeeping-schedule",
            json!({"places": 2}),
            409,
            "housekeeping-schedule is not called by messages",
        ),
    ];
    refuses(&refused).await;
}

/// What is not done: the path, what is asked for, the answer's status and what it says. What cannot be
/// changed cannot be given back either.
async fn refuses(refused: &[(&str, Value, u16, &str)]) {
    let console = limited().await;
    for (path, body, status, what) in refused {
        let (_, detail) = console.put(path, body.clone()).await.problem(*status);
        assert!(detail.contains(what), "{path} {body}: {detail}");
        if *status != 400 {
            let (_, detail) = console.delete(path).await.problem(*status);
            assert!(detail.contains(what), "{path}: {detail}");
        }
    }
    let unknown = console.delete(&format!("{RATES}?whatever=1")).await;
    assert_eq!(unknown.problem(400).0, "bad-request");
    assert_eq!(console.audited().await, [""; 0], "nothing was done");
    console.end().await;
}

#[tokio::test]
async fn what_the_code_does_not_know_any_more_is_shown_and_can_be_taken_back() {
    let console = limited().await;
    let pool = console.database.pool();
    for said in [
        "INSERT INTO nightshift.rate_override (name, count, per_micros, burst, changed_by)
         VALUES ('of-old', 7, 1000000, 1, 'key:otto')",
        "INSERT INTO nightshift.places_override (function, places, changed_by)
         VALUES ('old-work', 9, 'key:otto')",
    ] {
        sqlx::query(said).execute(pool).await.unwrap();
    }
    let shown = console.limit("rates", "of-old").await;
    assert_eq!(
        (&shown["now"], &shown["declared"]),
        (&numbers(7, 1.0, 1), &Value::Null)
    );
    assert_eq!(console.limit("places", "old-work").await["now"], 9);
    for (path, before) in [
        ("/limits/rates/of-old", numbers(7, 1.0, 1)),
        ("/limits/places/old-work", json!(9)),
    ] {
        let said = console.delete(path).await.ok();
        assert_eq!((&said["before"], &said["after"]), (&before, &Value::Null));
        assert_eq!(console.delete(path).await.problem(404).0, "not-found");
    }
    assert!(console.limit("rates", "of-old").await.is_null());
    console.end().await;
}

#[tokio::test]
async fn the_database_takes_no_rate_that_nobody_can_keep_to() {
    let console = limited().await;
    for bad in [
        "0, 1000000, 1",
        "1, 0, 1",
        "2, 1, 1",
        "1, 1000000, 0",
        "1, 2592000000001, 1",
        "1, 2592000000000, 2",
        "4294967296, 9000000000, 1",
    ] {
        let statement = format!(
            "INSERT INTO nightshift.rate_override (name, count, per_micros, burst, changed_by)
             VALUES ('mail-provider', {bad}, 'by hand')"
        );
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(console.database.pool())
            .await
            .unwrap_err();
        let refused = refused.into_database_error().unwrap();
        assert!(refused.is_check_violation(), "{bad}: {refused}");
    }
    console.end().await;
}
