//! The record of what was done.

use sqlx::Executor;

use super::*;

#[tokio::test]
async fn operators_who_act_at_once_keep_one_chain() {
    let console = Console::new().await;
    let pauses = (0..20).map(|n| {
        let console = &console;
        let action = if n % 2 == 0 { "pause" } else { "resume" };
        let body = if n % 2 == 0 {
            json!({"why": "n"})
        } else {
            json!({})
        };
        async move {
            console
                .post(&format!("/functions/plain-work/{action}"), body)
                .await
                .ok();
        }
    });
    futures_util::future::join_all(pauses).await;
    let verdict = console.get("/audit/verify").await.ok();
    assert_eq!(
        (&verdict["intact"], &verdict["to"]),
        (&json!(true), &json!(20)),
        "{verdict}"
    );
    let entries = console.all("/audit").await;
    let numbers: Vec<i64> = entries
        .iter()
        .map(|entry| entry["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=20).rev().collect::<Vec<_>>());
    assert_eq!(verdict["head"], entries[0]["hash"]);
    assert_eq!(console.all("/audit?action=function.pause").await.len(), 10);
    assert_eq!(console.all("/audit?actor=key:otto").await.len(), 0);
    console.end().await;
}

#[tokio::test]
async fn what_was_changed_or_taken_out_shows_and_pruning_does_not() {
    let console = Console::new().await;
    for _ in 0..6 {
        console
            .post("/functions/plain-work/pause", json!({"why": "n"}))
            .await
            .ok();
    }
    let pool = console.database.pool();
    pool.execute("UPDATE nightshift.audit SET at = at - interval '1 year' WHERE seq <= 2")
        .await
        .unwrap();
    let verdict = console.get("/audit/verify").await.ok();
    assert_eq!(
        (&verdict["intact"], &verdict["broken_at"]),
        (&json!(false), &json!(1))
    );
    pool.execute("UPDATE nightshift.audit SET at = at + interval '1 year' WHERE seq <= 2")
        .await
        .unwrap();
    for (damage, broken_at) in [
        (
            "UPDATE nightshift.audit SET actor = 'nobody' WHERE seq = 3",
            3,
        ),
        ("DELETE FROM nightshift.audit WHERE seq = 4", 5),
        ("DELETE FROM nightshift.audit WHERE seq = 6", 6),
    ] {
        let mut tx = pool.begin().await.unwrap();
        tx.execute(damage).await.unwrap();
        let found = nightshift_postgres::audit::verify(&mut tx).await.unwrap();
        assert_eq!(found, Some(broken_at), "{damage}");
        tx.rollback().await.unwrap();
    }
    let mut tx = pool.begin().await.unwrap();
    let pruned = nightshift_postgres::audit::prune(&mut tx, 0).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pruned, 6);
    let verdict = console.get("/audit/verify").await.ok();
    assert_eq!(
        (&verdict["intact"], &verdict["from"]),
        (&json!(true), &json!(6))
    );
    console.end().await;
}
