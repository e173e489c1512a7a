//! Rule 12: what operators do is written with what they do, and a change of what is written shows.

use nightshift_postgres::audit::{self, Act};

use super::*;

async fn append(database: &TestDatabase, target: &str) -> i64 {
    let mut tx = database.pool().begin().await.unwrap();
    let act = Act {
        actor: "an operator",
        action: "function.pause",
        target,
    };
    let details = serde_json::json!({"why": "a \u{0} test", "n": 1.50});
    let number = audit::append(&mut tx, act, &details).await.unwrap();
    tx.commit().await.unwrap();
    number
}

async fn verify(database: &TestDatabase) -> Option<i64> {
    let mut connection = database.pool().acquire().await.unwrap();
    audit::verify(&mut connection).await.unwrap()
}

async fn execute(database: &TestDatabase, statement: &'static str) {
    database.pool().execute(statement).await.unwrap();
}

#[tokio::test]
async fn rule_12_each_change_of_an_entry_shows_and_so_does_a_missing_one() {
    for (change, broken) in [
        (
            "UPDATE nightshift.audit SET actor = 'somebody else' WHERE seq = 2",
            2,
        ),
        (
            "UPDATE nightshift.audit SET at = at + interval '1 ms' WHERE seq = 2",
            2,
        ),
        (
            "UPDATE nightshift.audit SET details = '{}' WHERE seq = 3",
            3,
        ),
        (
            "UPDATE nightshift.audit SET hash = sha256('') WHERE seq = 2",
            2,
        ),
        ("DELETE FROM nightshift.audit WHERE seq = 2", 3),
        ("DELETE FROM nightshift.audit WHERE seq = 1", 2),
        ("DELETE FROM nightshift.audit WHERE seq = 4", 4),
        ("DELETE FROM nightshift.audit", 4),
        ("UPDATE nightshift.audit_head SET hash = '\\x'", 4),
    ] {
        let database = TestDatabase::create().await;
        assert_eq!(verify(&database).await, None, "nothing is in order");
        for number in 1..=4 {
            assert_eq!(append(&database, "f").await, number);
        }
        assert_eq!(verify(&database).await, None);
        execute(&database, change).await;
        assert_eq!(verify(&database).await, Some(broken), "{change}");
        database.remove().await;
    }
}

#[tokio::test]
async fn rule_12_what_is_pruned_leaves_an_anchor_and_the_rest_verifies() {
    let database = TestDatabase::create().await;
    for _ in 0..3 {
        append(&database, "f").await;
    }
    let prune = async |days| {
        let mut connection = database.pool().acquire().await.unwrap();
        audit::prune(&mut connection, days).await.unwrap()
    };
    assert_eq!(prune(audit::RETENTION_DAYS).await, 0);
    assert_eq!(prune(0).await, 3);
    assert_eq!(verify(&database).await, None);
    assert_eq!(append(&database, "f").await, 4);
    assert_eq!(verify(&database).await, None);
    execute(&database, "UPDATE nightshift.audit SET target = 'g'").await;
    assert_eq!(verify(&database).await, Some(4));
    database.remove().await;
}

#[tokio::test]
async fn rule_12_acts_at_the_same_time_have_one_order() {
    let database = TestDatabase::create().await;
    let acts = (0..20).map(|n| {
        let database = &database;
        async move { append(database, &n.to_string()).await }
    });
    let mut numbers = futures_util::future::join_all(acts).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<i64>>());
    assert_eq!(verify(&database).await, None);
    database.remove().await;
}

/// What the admin API does is written by the API: `tests/it/ops/`.
#[tokio::test]
async fn rule_12_a_pause_and_a_resume_are_written_with_what_they_do() {
    let database = TestDatabase::create().await;
    let pause = async |is_kept: bool| {
        let mut tx = database.pool().begin().await.unwrap();
        let paused =
            nightshift_postgres::control::pause(&mut tx, "scripted", "an operator", "a test").await;
        assert!(paused.unwrap());
        if is_kept {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    };
    pause(false).await;
    pause(true).await;
    let mut tx = database.pool().begin().await.unwrap();
    nightshift_postgres::control::resume(&mut tx, "scripted", Duration::ZERO, "another one")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let acts: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s %s %s', actor, action, details) FROM nightshift.audit ORDER BY seq",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    assert_eq!(
        acts,
        [
            "an operator function.pause \"a test\"",
            "another one function.resume 0",
        ]
    );
    database.remove().await;
}
