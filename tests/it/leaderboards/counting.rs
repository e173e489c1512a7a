//! Every event once: beside writers that commit late, in another order, or not at all.

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// Writes events of the two days before `now` in transactions of all lengths, of which some are rolled back.
pub(super) async fn write(pool: PgPool, seed: u64, now: DateTime<Utc>, until: Instant) {
    let mut random = StdRng::seed_from_u64(seed);
    while Instant::now() < until {
        let mut tx = pool.begin().await.unwrap();
        for _ in 0..random.random_range(1..5) {
            let board = ["points", "laps", "level", "points"][random.random_range(0..4)];
            // In no window that is closed: New York's week begins 198,000 s before.
            let seconds = random.random_range(-190_000..0);
            sqlx::query(
                "INSERT INTO app.score_event (user_id, board, score, occurred_at, country)
                VALUES ($1, $2, $3, $4::timestamptz + $5 * interval '1 second', $6)",
            )
            .bind(Uuid::from_u128(random.random_range(1..30)))
            .bind(board)
            .bind(random.random_range(-50_i64..50))
            .bind(now)
            .bind(f64::from(seconds))
            .bind(["DE", "IN", "", "a:b"][random.random_range(0..4)])
            .execute(&mut *tx)
            .await
            .unwrap();
            // Some take back what another has written, which may be under way, voided or theirs.
            if random.random_bool(0.05) {
                sqlx::query(
                    "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
                    SELECT user_id, board, event_id, occurred_at FROM app.score_event
                    WHERE voids IS NULL ORDER BY random() LIMIT 1",
                )
                .execute(&mut *tx)
                .await
                .unwrap();
            }
            sleep(Duration::from_millis(random.random_range(0..15))).await;
        }
        if random.random_bool(0.2) {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_event_counts_once_beside_writers_that_commit_late_or_not_at_all() {
    let bench = bench(start_of_time()).await;
    let until = Instant::now() + Duration::from_secs(5);
    let mut writers = JoinSet::new();
    for seed in 0..4 {
        writers.spawn(write(bench.pool().clone(), seed, start_of_time(), until));
    }
    let mut counts = 0;
    while Instant::now() < until {
        ask(&bench, "count").await;
        counts += 1;
    }
    timeout(PATIENCE, writers.join_all()).await.unwrap();
    count(&bench).await;
    let scores = check(bench.pool()).await;
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM app.score_event")
        .fetch_one(bench.pool())
        .await
        .unwrap();
    assert!(
        counts > 10 && events > 200 && scores > 100,
        "{counts} {events} {scores}"
    );
    let voided: i64 = sqlx::query_scalar("SELECT count(*) FROM nightshift.leaderboard_void")
        .fetch_one(bench.pool())
        .await
        .unwrap();
    assert!(voided > 3, "{voided}");
    bench.remove().await;
}

#[tokio::test]
async fn what_a_transaction_holds_open_is_counted_when_it_ends_and_nothing_later_is_lost() {
    let bench = bench(start_of_time()).await;
    let mut held = bench.pool().begin().await.unwrap();
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at)
        VALUES ($1, 'points', 7, $2)",
    )
    .bind(Uuid::from_u128(1))
    .bind(start_of_time())
    .execute(&mut *held)
    .await
    .unwrap();
    insert(bench.pool(), 2, "points", 5, "2026-11-18T11:00:00Z").await;
    ask(&bench, "count").await;
    // The later one committed first; it waits for the earlier one, or that would be passed over.
    assert_eq!(counted(bench.pool()).await, []);
    held.commit().await.unwrap();
    count(&bench).await;
    assert!(check(bench.pool()).await > 0);
    count(&bench).await;
    check(bench.pool()).await;
    bench.remove().await;
}

#[tokio::test]
async fn a_transaction_that_is_open_for_an_hour_is_lag_and_no_loss() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    let mut held = pool.begin().await.unwrap();
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at)
        VALUES ($1, 'points', 7, $2) RETURNING xid::text::bigint",
    )
    .bind(Uuid::from_u128(1))
    .bind(start_of_time())
    .fetch_one(&mut *held)
    .await
    .unwrap();
    let progress = async || -> (i64, i64, Option<DateTime<Utc>>) {
        let sql =
            "SELECT run, watermark::text::bigint, counted_at FROM nightshift.leaderboard_progress";
        sqlx::query_as(sql).fetch_one(pool).await.unwrap()
    };
    for minute in 1..=60 {
        bench.clock().advance(Duration::from_mins(1));
        let at = bench.clock().now().to_rfc3339();
        insert(pool, 2, "points", minute, &at).await;
        ask(&bench, "count").await;
        let (run, watermark, counted_at) = progress().await;
        assert_eq!(run, minute, "each tick counts");
        assert!(
            watermark <= number,
            "{watermark} is beyond the one under way, {number}"
        );
        // It may have begun before the first tick.
        assert_eq!(counted_at, None);
    }
    assert_eq!(counted(pool).await, []);
    held.commit().await.unwrap();
    count(&bench).await;
    // Both users, the day, the week, the month and all time; and the worst score of the month.
    assert_eq!(check(pool).await, 2 * 5);
    let (_, watermark, _) = progress().await;
    assert!(watermark > number);
    let late: i64 = sqlx::query_scalar("SELECT count(*) FROM nightshift.leaderboard_rejected")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(late, 0);
    bench.remove().await;
}

#[tokio::test]
async fn a_column_that_is_named_twice_counts_once() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    pool.execute(
        "UPDATE nightshift.leaderboard SET groups = '{country,country}' WHERE name = 'points'",
    )
    .await
    .unwrap();
    insert(pool, 1, "points", 7, "2026-11-18T09:00:00Z").await;
    count(&bench).await;
    let scores: Vec<i64> = sqlx::query_scalar(
        "SELECT s.score FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window WHERE w.group_name = 'country' AND w.kind <> 'all-time'
        AND w.board = (SELECT id FROM nightshift.leaderboard WHERE name = 'points')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(scores, [7, 7, 7]);
    bench.remove().await;
}

#[tokio::test]
async fn a_board_that_is_declared_later_or_otherwise_is_built_from_the_first_event_on() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    for n in 1..40 {
        insert(
            pool,
            n % 7,
            "points",
            i64::try_from(n).unwrap(),
            "2026-11-17T23:30:00Z",
        )
        .await;
    }
    count(&bench).await;
    let before = check(pool).await;
    pool.execute(
        "INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, windows)
        VALUES ('new', 'scores', 'points', 'sum', '{daily,monthly}');
        UPDATE nightshift.leaderboard SET zone = 'Asia/Tokyo', aggregation = 'count' WHERE name = 'points'",
    )
    .await
    .unwrap();
    insert(pool, 3, "points", 1, "2026-11-18T01:00:00Z").await;
    count(&bench).await;
    assert!(check(pool).await > before);
    // The same by the task.
    sqlx::query("UPDATE nightshift.leaderboard_score SET score = score + 1")
        .execute(pool)
        .await
        .unwrap();
    ask(&bench, "rebuild").await;
    check(pool).await;
    bench.remove().await;
}

#[tokio::test]
async fn a_board_that_was_switched_off_has_missed_nothing_when_it_is_switched_on() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    insert(pool, 1, "points", 1, "2026-11-18T09:00:00Z").await;
    count(&bench).await;
    for what in [
        "UPDATE nightshift.leaderboard SET enabled = false WHERE name = 'points'",
        "UPDATE nightshift.leaderboard SET groups = '{team}' WHERE name = 'points'",
    ] {
        sqlx::query(what).execute(pool).await.unwrap();
        insert(pool, 1, "points", 10, "2026-11-18T09:30:00Z").await;
        count(&bench).await;
        pool.execute(
            "UPDATE nightshift.leaderboard SET enabled = true, groups = '{}' WHERE name = 'points'",
        )
        .await
        .unwrap();
        count(&bench).await;
        check(pool).await;
    }
    bench.remove().await;
}

#[tokio::test]
async fn events_of_another_cluster_count_once_although_their_numbers_are_yet_to_come() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    // Further ahead than the other tests' transactions get meanwhile.
    let restored = "INSERT INTO app.score_event (user_id, board, score, occurred_at, xid)
        SELECT $1, 'points', 4, $2, (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 5000)::text::xid8";
    sqlx::query(restored)
        .bind(Uuid::from_u128(1))
        .bind(start_of_time())
        .execute(pool)
        .await
        .unwrap();
    count(&bench).await;
    assert!(check(pool).await > 0);
    // The numbers catch up with it.
    pool.execute(
        "CREATE TABLE app.numbers (n integer);
        DO $$ BEGIN FOR n IN 1..5000 LOOP BEGIN INSERT INTO app.numbers VALUES (n);
            EXCEPTION WHEN unique_violation THEN NULL; END; END LOOP; END $$",
    )
    .await
    .unwrap();
    for n in 0..20 {
        insert(pool, 2, "points", n, "2026-11-18T09:00:00Z").await;
    }
    count(&bench).await;
    check(pool).await;
    // The whole database moves.
    sqlx::query("UPDATE nightshift.leaderboard_progress SET cluster = cluster + 1")
        .execute(pool)
        .await
        .unwrap();
    sqlx::query(restored)
        .bind(Uuid::from_u128(3))
        .bind(start_of_time())
        .execute(pool)
        .await
        .unwrap();
    // It had come to take something back there, which was not counted.
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at, xid)
        SELECT e.user_id, 'points', e.event_id, e.occurred_at, m.xid
        FROM (SELECT * FROM app.score_event WHERE score = 19) AS e, (SELECT max(xid) AS xid FROM app.score_event) AS m",
    )
    .execute(pool)
    .await
    .unwrap();
    count(&bench).await;
    assert!(check(pool).await > 2);
    bench.remove().await;
}

#[tokio::test]
async fn what_commits_during_the_first_count_is_not_taken_for_another_clusters() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    // The count has locked its source, and waits.
    let mut held = pool.begin().await.unwrap();
    held.execute("LOCK TABLE nightshift.leaderboard_built")
        .await
        .unwrap();
    let meanwhile = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        while !sqlx::query_scalar::<_, bool>(waits)
            .fetch_one(pool)
            .await
            .unwrap()
        {
            sleep(Duration::from_millis(5)).await;
        }
        insert(pool, 1, "points", 7, "2026-11-18T09:00:00Z").await;
        pool.execute(
            "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
            SELECT user_id, board, event_id, occurred_at FROM app.score_event",
        )
        .await
        .unwrap();
        held.commit().await.unwrap();
    };
    let ((), ()) = timeout(PATIENCE, async {
        tokio::join!(ask(&bench, "count"), meanwhile)
    })
    .await
    .unwrap();
    count(&bench).await;
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM nightshift.leaderboard_seen")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(seen, 0);
    // The only one was taken back.
    assert_eq!(check(pool).await, 0);
    bench.remove().await;
}

#[tokio::test]
async fn events_that_cannot_count_are_named_and_the_others_do() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    let most = 1_i64 << 53;
    insert(pool, 1, "points", most, "2026-11-18T11:00:00Z").await;
    insert(pool, 2, "points", most + 1, "2026-11-18T11:00:00Z").await;
    insert(pool, 2, "points", -most - 1, "2026-11-18T11:00:00Z").await;
    insert(pool, 3, "nobody's", 1, "2026-11-18T11:00:00Z").await;
    insert(pool, 4, "points", 1, "2026-11-18T12:05:01Z").await;
    insert(pool, 5, "points", 1, "2026-11-18T12:05:00Z").await;
    insert(pool, 5, "points", 1, "infinity").await;
    insert(pool, 5, "points", 1, "-infinity").await;
    pool.execute(
        "INSERT INTO app.score_event (board, score, occurred_at) VALUES ('points', 1, '2026-11-18T11:00:00Z');
        INSERT INTO app.score_event (user_id, board, occurred_at)
            VALUES (gen_random_uuid(), 'points', '2026-11-18T11:00:00Z');
        INSERT INTO app.score_event (user_id, board, score) VALUES (gen_random_uuid(), 'points', 1)",
    )
    .await
    .unwrap();
    count(&bench).await;
    let reasons: Vec<(String, i64)> = sqlx::query_as(
        "SELECT reason, count(*) FROM nightshift.leaderboard_rejected GROUP BY reason ORDER BY reason",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let reasons: Vec<(&str, i64)> = reasons.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(
        reasons,
        [
            ("future", 2),
            ("no-score", 1),
            ("no-time", 1),
            ("no-user", 1),
            ("score-out-of-range", 2),
            ("time-out-of-range", 1),
            ("unknown-board", 1),
        ]
    );
    let users: Vec<Uuid> = sqlx::query_scalar(
        "SELECT s.user_id FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
        WHERE w.kind = 'all-time' AND w.board = (SELECT id FROM nightshift.leaderboard WHERE name = 'points')
        ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(users, [Uuid::from_u128(1), Uuid::from_u128(5)]);
    bench.remove().await;
}

#[tokio::test]
async fn a_declaration_that_does_not_fit_is_said_and_costs_its_own_boards_only() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    insert(pool, 1, "points", 1, "2026-11-18T11:00:00Z").await;
    pool.execute(
        "INSERT INTO nightshift.leaderboard (name, source, aggregation, groups)
        VALUES ('odd', 'scores', 'sum', '{team}')",
    )
    .await
    .unwrap();
    count(&bench).await;
    sqlx::query("DELETE FROM nightshift.leaderboard WHERE name = 'odd'")
        .execute(pool)
        .await
        .unwrap();
    assert!(check(pool).await > 0);
    for wrong in [
        "UPDATE nightshift.leaderboard SET zone = 'Europe/Atlantis'",
        "UPDATE nightshift.leaderboard SET windows = '{hourly}'",
        "UPDATE nightshift.leaderboard SET windows = '{}'",
        "UPDATE nightshift.leaderboard SET name = 'points'",
        "UPDATE nightshift.leaderboard SET name = 'a:b'",
        "UPDATE nightshift.leaderboard SET grace = '-1 second'",
    ] {
        assert!(sqlx::query(wrong).execute(pool).await.is_err(), "{wrong}");
    }
    // It has a name that is none; then it goes, and comes back with another type.
    for (what, says) in [
        (
            "UPDATE nightshift.leaderboard_source SET relation = 'app score'",
            "there is no table or view app score, or not",
        ),
        (
            "UPDATE nightshift.leaderboard_source SET relation = '\"app'",
            "there is no table or view \"app, or not",
        ),
        (
            "UPDATE nightshift.leaderboard_source SET relation = 'other.app.score_event'",
            "there is no table or view other.app.score_event",
        ),
        (
            "UPDATE nightshift.leaderboard_source SET relation = ''",
            "there is no table or view , or not",
        ),
        (
            "UPDATE nightshift.leaderboard_source SET relation = '\"app\".score_event', overlap = '1 hour'",
            "there is no column recorded_at (timestamp with time zone)",
        ),
        (
            "UPDATE nightshift.leaderboard_source SET relation = 'app.score_event', overlap = NULL;
            ALTER TABLE app.score_event RENAME xid TO written_by",
            "there is no column xid (xid8)",
        ),
        (
            "DROP TABLE app.score_event",
            "there is no table or view app.score_event",
        ),
        (
            "CREATE TABLE app.score_event (event_id uuid, user_id bigint, score text, occurred_at timestamptz)",
            "user_id is bigint, not uuid; score is text, not bigint or integer",
        ),
    ] {
        pool.execute(what).await.unwrap();
        ask(&bench, "count").await;
        let why: String = sqlx::query_scalar(
            "SELECT skipped FROM nightshift.inbox WHERE skipped IS NOT NULL ORDER BY finished_at DESC LIMIT 1",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(why.contains(says), "{why}");
    }
    bench.remove().await;
}
