//! A round of the sample application, all of it real: what it shows is what its database says.

use nightshift_cache::board::Board;
use nightshift_testkit::TestDatabase;
use nightshift_tests::program;
use serde_json::Value;
use sqlx::{Executor, PgPool};

use super::*;
use crate::boards::{Kind, boards_at};

/// The boards whose numbers are compared, and how the events of a user become one of them.
const BOARDS: [(&str, &str); 3] = [
    (
        "leaderboard:global:all-time",
        "sum(score) FILTER (WHERE board = 'points')",
    ),
    (
        "leaderboard:likes:all-time",
        "nullif(count(*) FILTER (WHERE board = 'likes'), 0)",
    ),
    (
        "leaderboard:races:all-time",
        "min(score) FILTER (WHERE board = 'races')",
    ),
];

/// The board that is shown, and whose sums of a week.
const SHOWN: &str = "leaderboard:global:weekly";
const WEEK: &str = "SELECT user_id::text, display_name, rank() OVER (ORDER BY points DESC), points
    FROM (SELECT user_id, sum(score)::bigint AS points FROM app.score_event
        WHERE board = 'points' AND to_char(occurred_at AT TIME ZONE 'UTC', 'IYYY-\"W\"IW') = $1
        GROUP BY user_id) AS sums
    JOIN app.users AS u ON u.id = user_id ORDER BY points DESC";

/// A checkout with the functions there are and the handler that is built.
fn checkout() -> (Checkout, PathBuf) {
    let checkout = Checkout::new();
    let (ours, theirs) = (
        checkout.path(),
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
    );
    std::fs::remove_dir_all(ours.join("functions/sample")).unwrap();
    std::fs::copy(theirs.join("host.json"), ours.join("host.json")).unwrap();
    let doors = nightshift_bindings::layout::doors(&theirs.join("functions")).unwrap();
    for (_, file) in doors {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&theirs).unwrap();
        checkout.write(name.to_str().unwrap(), &text);
    }
    let artifact = serde_json::json!({
        "target": { "name": "handler" },
        "executable": program("handler"),
    });
    let cargo = checkout.script("cargo", &format!("echo '{artifact}'"));
    (checkout, cargo)
}

/// Does one round, and returns what it says of itself.
fn round(checkout: &Checkout, cargo: &Path, database: &TestDatabase) -> Value {
    let ended = checkout
        .up(cargo)
        .arg("--json")
        .env("NIGHTSHIFT_POSTGRES_URL", database.url())
        .env("NIGHTSHIFT_REDIS_URL", Kind::Found.url())
        .output()
        .unwrap();
    assert_eq!(code(&ended), 0, "{ended:?}");
    checkout.assert_nothing_is_left();
    let mut report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    report["round"].take()
}

/// What a plain statement over all events makes of them.
async fn recounted(pool: &PgPool, aggregate: &str) -> Vec<(String, i64)> {
    let sql = format!(
        "SELECT user_id::text, score FROM (SELECT user_id, ({aggregate})::bigint AS score
            FROM app.score_event GROUP BY user_id) AS s WHERE score IS NOT NULL ORDER BY user_id"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_round_ends_with_boards_that_are_what_the_scores_come_to() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (checkout, cargo) = checkout();
    let boards = boards_at(&Kind::Found.url());
    let [global, likes, races] = BOARDS.map(|(key, _)| Board::new(key).unwrap());
    let all = [global, likes, races, Board::new(SHOWN).unwrap()];
    for (number, expected) in [(1, 200), (2, 400)] {
        // Of an earlier run of this test, or lost since the last round.
        boards.remove(&all, PATIENCE).await.unwrap();
        let round = round(&checkout, &cargo, &database);
        assert_eq!(round["scores"], 200);
        let added: i64 = sqlx::query_scalar("SELECT count(*) FROM app.score_event")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(added, expected, "round {number}");
        // What the screen shows.
        let shown = &round["leaderboard"];
        assert_eq!(shown["key"], SHOWN);
        let week: Vec<(String, String, i64, i64)> = sqlx::query_as(WEEK)
            .bind(shown["window"].as_str().unwrap())
            .fetch_all(pool)
            .await
            .unwrap();
        assert_eq!(shown["players"], week.len());
        let best = shown["best"].as_array().unwrap();
        assert_eq!(best.len(), 5);
        for (place, (.., rank, score)) in best.iter().zip(&week) {
            assert_eq!(
                (&place["rank"], &place["score"]),
                (&(*rank).into(), &(*score).into())
            );
            let found = week.iter().find(|(user, ..)| place["user_id"] == **user);
            let (_, name, _, of_user) = found.unwrap();
            assert_eq!(
                (&place["name"], &place["score"]),
                (&(&**name).into(), &(*of_user).into())
            );
        }
        // All of the boards.
        for (board, (key, aggregate)) in all.iter().zip(BOARDS) {
            let shown = boards.top(board, 1_000).await.unwrap();
            let shown = shown.unwrap_or_else(|| panic!("{key} is not shown"));
            let rows = shown.rows.into_iter();
            let mut shown: Vec<_> = rows.map(|row| (row.member, row.score.score)).collect();
            shown.sort_unstable();
            assert!(!shown.is_empty(), "{key}");
            assert_eq!(shown, recounted(pool, aggregate).await, "{key}");
        }
    }
    // What the user has declared in another way stays so, and there may be nothing to show.
    pool.execute(
        "UPDATE nightshift.leaderboard SET enabled = false, top = 7 WHERE name = 'global';
        UPDATE nightshift.leaderboard SET aggregation = 'sum' WHERE name = 'likes'",
    )
    .await
    .unwrap();
    let round = round(&checkout, &cargo, &database);
    assert_eq!(
        (&round["scores"], &round["leaderboard"]),
        (&200.into(), &Value::Null)
    );
    let declared: Vec<(String, String, bool, i32)> = sqlx::query_as(
        "SELECT name, aggregation, enabled, top FROM nightshift.leaderboard ORDER BY name",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let board = |name: &str, by: &str, is_on, top| (name.to_owned(), by.to_owned(), is_on, top);
    let expected = [
        board("global", "sum", false, 7),
        board("likes", "sum", true, 10_000),
        board("races", "best", true, 10_000),
    ];
    assert_eq!(declared, expected);
    database.remove().await;
}
