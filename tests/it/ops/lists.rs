//! Lists of many rows: each row on one page, whatever is filtered.

use sqlx::Executor;

use super::*;

/// Five thousand runs, of which every hundredth has failed in its own words.
const RUNS: &str = "
    INSERT INTO nightshift.run (key, function, started_at, changed_at, ended_at, report)
    SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN 'slow-work' ELSE 'other-work' END,
        now() - make_interval(secs => n / 3), now(), now(),
        json_build_object('n', n, 'said', CASE WHEN n % 100 = 0 THEN 'a rare thing' ELSE 'nothing' END)
    FROM generate_series(1, 5000) AS n";

#[tokio::test]
async fn pages_of_a_filtered_list_have_every_row_once() {
    let console = Console::new().await;
    console.database.pool().execute(RUNS).await.unwrap();
    let mut seen = Vec::new();
    let (mut cursor, mut pages) = (String::new(), 0);
    loop {
        let page = console
            .get(&format!("/runs?text=RARE&limit=7{cursor}"))
            .await
            .ok();
        pages += 1;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|run| run["report"]["n"].as_i64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).map(|n| n * 100).collect::<Vec<i64>>());
    assert!(pages >= 8);
    let first = console
        .get("/runs?function=other-work&limit=200")
        .await
        .ok();
    let is_other = |run: &Value| run["function"] == "other-work" && run["state"] == "done";
    assert!(first["items"].as_array().unwrap().iter().all(is_other));
    assert_eq!(console.all("/runs?state=running").await.len(), 0);
    console.end().await;
}
