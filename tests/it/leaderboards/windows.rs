//! Windows that close, corrections that restate them, and people who are forgotten.

use super::*;

/// The ranks of a closed window: user, position, rank, dense rank, score.
pub(super) async fn finals(
    pool: &PgPool,
    board: &str,
    label: &str,
) -> Vec<(u128, i64, i64, i64, i64)> {
    let rows: Vec<(Uuid, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT f.user_id, f.position, f.rank, f.dense_rank, f.score FROM nightshift.leaderboard_final AS f
        JOIN nightshift.leaderboard_window AS w ON w.id = f.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board
        WHERE b.name = $1 AND w.label = $2 AND w.group_name = '' ORDER BY f.position",
    )
    .bind(board)
    .bind(label)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(user, a, b, c, d)| (user.as_u128(), a, b, c, d))
        .collect()
}

#[tokio::test]
async fn a_window_closes_after_its_grace_and_its_ranks_stand_until_they_are_corrected() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    let cheat = insert(pool, 1, "points", 50, "2026-11-18T09:00:00Z").await;
    insert(pool, 1, "points", 10, "2026-11-18T09:30:00Z").await;
    insert(pool, 2, "points", 30, "2026-11-18T11:00:00Z").await;
    insert(pool, 3, "points", 30, "2026-11-18T10:00:00Z").await;
    insert(pool, 4, "points", 20, "2026-11-18T10:00:00Z").await;
    count(&bench).await;
    // The day is over, its grace is not: what comes late still counts.
    bench.clock().set("2026-11-20T23:59:59Z".parse().unwrap());
    insert(pool, 4, "points", 5, "2026-11-18T23:59:59Z").await;
    count(&bench).await;
    check(pool).await;
    assert_eq!(finals(pool, "points", "2026-11-18").await, []);
    bench.clock().set("2026-11-21T00:00:00Z".parse().unwrap());
    count(&bench).await;
    // Now it is known that everything was counted that was written until then.
    count(&bench).await;
    let closed = [
        (1, 1, 1, 1, 60),
        (3, 2, 2, 2, 30),
        (2, 3, 2, 2, 30),
        (4, 4, 4, 3, 25),
    ];
    assert_eq!(finals(pool, "points", "2026-11-18").await, closed);
    // Too late for the day, not for the week.
    insert(pool, 4, "points", 100, "2026-11-18T12:00:00Z").await;
    count(&bench).await;
    assert_eq!(finals(pool, "points", "2026-11-18").await, closed);
    let week: i64 = sqlx::query_scalar(
        "SELECT s.score FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board
        WHERE b.name = 'points' AND w.label = '2026-W47' AND s.user_id = $1",
    )
    .bind(Uuid::from_u128(4))
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(week, 125);
    // Somebody has cheated: the ranks are restated, and it is written down what has changed.
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
        SELECT user_id, board, event_id, $2 FROM app.score_event WHERE event_id = $1",
    )
    .bind(cheat)
    .bind(bench.clock().now())
    .execute(pool)
    .await
    .unwrap();
    count(&bench).await;
    let restated: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT score_before, score_after, position_before, position_after
        FROM nightshift.leaderboard_restatement AS r
        JOIN nightshift.leaderboard_window AS w ON w.id = r.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.name = 'points'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(restated, [(60, 10, 1, 4)]);
    let ranks = finals(pool, "points", "2026-11-18").await;
    let order: Vec<_> = ranks
        .iter()
        .map(|(user, position, ..)| (*user, *position))
        .collect();
    assert_eq!(order, [(3, 1), (2, 2), (4, 3), (1, 4)]);
    bench.remove().await;
}

#[tokio::test]
async fn a_window_waits_for_what_a_transaction_holds_up_however_long_its_grace_is_over() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    insert(pool, 1, "points", 1, "2026-11-18T09:00:00Z").await;
    count(&bench).await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *held)
        .await
        .unwrap();
    insert(pool, 2, "points", 2, "2026-11-18T10:00:00Z").await;
    bench.clock().set("2026-11-25T00:00:00Z".parse().unwrap());
    for _ in 0..3 {
        ask(&bench, "count").await;
    }
    assert_eq!(finals(pool, "points", "2026-11-18").await, []);
    held.commit().await.unwrap();
    count(&bench).await;
    count(&bench).await;
    assert_eq!(
        finals(pool, "points", "2026-11-18").await,
        [(2, 1, 1, 1, 2), (1, 2, 2, 2, 1)]
    );
    bench.remove().await;
}

#[tokio::test]
async fn who_is_forgotten_is_on_no_board_any_more_and_comes_on_none() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    for user in [1, 2] {
        insert(pool, user, "points", 5, "2026-11-18T09:00:00Z").await;
        insert(pool, user, "laps", 5, "2026-11-18T09:00:00Z").await;
    }
    count(&bench).await;
    bench.clock().set("2026-11-22T00:00:00Z".parse().unwrap());
    count(&bench).await;
    count(&bench).await;
    assert_eq!(finals(pool, "points", "2026-11-18").await.len(), 2);
    sqlx::query("INSERT INTO nightshift.leaderboard_forgotten VALUES ($1)")
        .bind(Uuid::from_u128(1))
        .execute(pool)
        .await
        .unwrap();
    count(&bench).await;
    insert(pool, 1, "points", 5, "2026-11-21T09:00:00Z").await;
    count(&bench).await;
    let users = |table: &str| {
        let sql = format!("SELECT DISTINCT user_id FROM nightshift.{table}");
        async move {
            let users: Vec<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_all(pool)
                .await
                .unwrap();
            users
        }
    };
    assert_eq!(users("leaderboard_score").await, [Uuid::from_u128(2)]);
    assert_eq!(users("leaderboard_final").await, [Uuid::from_u128(2)]);
    assert_eq!(
        finals(pool, "points", "2026-11-18").await,
        [(2, 1, 1, 1, 5)]
    );
    bench.remove().await;
}
