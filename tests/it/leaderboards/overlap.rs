//! Sources without a column `xid`: every event once, if it becomes visible within the overlap, and the next night
//! if not.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Postgres, Transaction};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

/// Boards over a view of a table that has no column `xid`, and calls the time otherwise.
pub(super) const FALL_BACK: &str = "
    ALTER TABLE app.score_event DROP COLUMN xid, ADD created_at timestamptz NOT NULL,
        DROP CONSTRAINT score_event_pkey;
    CREATE INDEX ON app.score_event (created_at);
    CREATE INDEX ON app.score_event (event_id);
    CREATE VIEW app.event AS SELECT event_id, user_id, board, score, occurred_at, voids, country,
        created_at AS recorded_at FROM app.score_event;
    UPDATE nightshift.leaderboard_source SET relation = 'app.event', overlap = '10 minutes';
";

async fn fall_back() -> Workbench {
    let bench = bench(start_of_time()).await;
    bench.pool().execute(FALL_BACK).await.unwrap();
    bench
}

/// Moves the clock to some time of the first day.
fn set(bench: &Workbench, time: &str) {
    let at = format!("2026-11-18T{time}Z");
    bench.clock().set(at.parse().unwrap());
}

/// Records an event of `board` points, with the id that is the number of the event.
async fn record(
    executor: impl sqlx::PgExecutor<'_>,
    event: u128,
    user: u128,
    score: i64,
    recorded: DateTime<Utc>,
) {
    sqlx::query(
        "INSERT INTO app.score_event (event_id, user_id, board, score, occurred_at, created_at)
        VALUES ($1, $2, 'points', $3, '2026-11-18T09:00:00Z', $4)",
    )
    .bind(Uuid::from_u128(event))
    .bind(Uuid::from_u128(user))
    .bind(score)
    .bind(recorded)
    .execute(executor)
    .await
    .unwrap();
}

/// The users' scores of the day, and how many events they are of.
async fn day(pool: &PgPool) -> Vec<(u128, i64, i64)> {
    let lines = counted(pool).await.into_iter();
    let of_day = lines.filter(|line| line.0 == "points" && line.1 == "daily");
    of_day
        .map(|(_, _, _, _, user, score, _, events)| (user.as_u128(), score, events))
        .collect()
}

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Writes a few events, of which some void others.
async fn write(tx: &mut Transaction<'static, Postgres>, random: &mut StdRng, now: DateTime<Utc>) {
    for _ in 0..random.random_range(2..8) {
        let board = ["points", "laps", "level", "points"][random.random_range(0..4)];
        // In no window that is closed.
        let seconds = random.random_range(-190_000..0);
        sqlx::query(
            "INSERT INTO app.score_event (user_id, board, score, occurred_at, country, created_at)
            VALUES ($1, $2, $3, $4 + $5 * interval '1 second', $6, $7)",
        )
        .bind(Uuid::from_u128(random.random_range(1..30)))
        .bind(board)
        .bind(random.random_range(-50_i64..50))
        .bind(start_of_time())
        .bind(f64::from(seconds))
        .bind(["DE", "IN", "", "a:b"][random.random_range(0..4)])
        .bind(now)
        .execute(&mut **tx)
        .await
        .unwrap();
    }
    if random.random_bool(0.15) {
        sqlx::query(
            "INSERT INTO app.score_event (user_id, board, voids, occurred_at, created_at)
            SELECT user_id, board, event_id, occurred_at, $1 FROM app.score_event
            WHERE voids IS NULL ORDER BY random() LIMIT 1",
        )
        .bind(now)
        .execute(&mut **tx)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn every_event_counts_once_beside_writers_that_commit_within_the_overlap() {
    const STEP_SECONDS: i32 = 20;
    const LONGEST: i32 = 29;
    let bench = fall_back().await;
    let pool = bench.pool();
    let options = pool.connect_options().as_ref().clone();
    let writers = PgPoolOptions::new()
        .max_connections(6)
        .connect_lazy_with(options);
    let mut random = StdRng::seed_from_u64(11);
    let mut held: Vec<(i32, Transaction<'static, Postgres>)> = Vec::new();
    for step in 0..150 {
        let now =
            start_of_time() + Duration::from_secs(1) * u32::try_from(step * STEP_SECONDS).unwrap();
        bench.clock().set(now);
        while held.len() < 5 && step < 110 {
            let mut tx = writers.begin().await.unwrap();
            write(&mut tx, &mut random, now).await;
            // At once, or at most a step before the overlap is over.
            let is_held = random.random_bool(0.3);
            let until = step + random.random_range(0..=LONGEST) * i32::from(is_held);
            held.push((until, tx));
        }
        let (due, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|(until, _)| *until <= step);
        held = rest;
        let pauses: Vec<(u64, bool)> = due
            .iter()
            .map(|_| (random.random_range(0..20), random.random_bool(0.2)))
            .collect();
        let end = async {
            for ((_, tx), (millis, takes_back)) in due.into_iter().zip(pauses) {
                sleep(Duration::from_millis(millis)).await;
                if takes_back {
                    tx.rollback().await.unwrap();
                } else {
                    tx.commit().await.unwrap();
                }
            }
        };
        // They commit while it is counted.
        tokio::join!(ask(&bench, "count"), end);
    }
    assert!(held.is_empty());
    ask(&bench, "count").await;
    let scores = check(pool).await;
    let events = number(pool, "SELECT count(*) FROM app.score_event").await;
    let voids = number(pool, "SELECT count(*) FROM nightshift.leaderboard_void").await;
    assert!(
        scores > 100 && events > 300 && voids > 3,
        "{scores} {events} {voids}"
    );
    // What nobody can mistake for new any more is not noted any more.
    let notes = number(pool, "SELECT count(*) FROM nightshift.leaderboard_seen").await;
    let young = number(
        pool,
        "SELECT count(*) FROM app.score_event WHERE created_at >=
            (SELECT cutoff FROM nightshift.leaderboard_progress)",
    )
    .await;
    assert!(
        notes == young && notes < events / 2,
        "{notes} {young} {events}"
    );
    let mode: String = sqlx::query_scalar("SELECT mode FROM nightshift.leaderboard_progress")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(mode, "overlap");
    drop(writers);
    bench.remove().await;
}

#[tokio::test]
async fn an_event_that_is_there_more_than_once_counts_once_as_it_was_recorded_first() {
    let bench = fall_back().await;
    let pool = bench.pool();
    // Twice before the count, once more soon after, and once when nothing is noted of it any more.
    for (time, score) in [
        ("12:00:00", 5),
        ("12:00:00", 5),
        ("12:00:01", 6),
        ("12:03:00", 7),
        ("13:00:00", 8),
        ("13:30:00", 9),
    ] {
        set(&bench, time);
        let now = bench.clock().now();
        record(pool, 1, 1, score, now).await;
        record(pool, u128::from(now.timestamp().unsigned_abs()), 2, 1, now).await;
        if score != 5 {
            ask(&bench, "count").await;
        }
    }
    // The other one's are five: two of them were recorded in the same second, with one id.
    assert_eq!(day(pool).await, [(1, 5, 1), (2, 5, 5)]);
    ask(&bench, "rebuild").await;
    assert_eq!(day(pool).await, [(1, 5, 1), (2, 5, 5)]);
    bench.remove().await;
}

#[tokio::test]
async fn a_count_whose_connection_is_cut_has_counted_nothing_and_the_next_one_everything_once() {
    let bench = fall_back().await;
    let pool = bench.pool();
    record(pool, 1, 1, 5, start_of_time()).await;
    ask(&bench, "count").await;
    for event in 2..5 {
        record(pool, event, 1, 5, start_of_time()).await;
        // It has noted the event, and waits to write the score.
        let mut lock = pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE nightshift.leaderboard_score IN EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .unwrap();
        let message = due(&bench, "count");
        let counting = bench.deliver("leaderboard-rollup-work", std::slice::from_ref(&message));
        let cutting = async {
            loop {
                let cut: Vec<bool> = sqlx::query_scalar(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'
                        AND query LIKE '%leaderboard_score%'",
                )
                .fetch_all(pool)
                .await
                .unwrap();
                if cut.contains(&true) {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
            lock.rollback().await.unwrap();
        };
        let (_its_end, cut) = tokio::join!(counting, timeout(PATIENCE, cutting));
        cut.unwrap();
        // It comes again, or the next minute's does what it could not.
        bench.run_to_end().await;
        let message = due(&bench, "count");
        bench
            .deliver("leaderboard-rollup-work", &[message])
            .await
            .unwrap();
        bench.run_to_end().await;
        let so_far = i64::try_from(event).unwrap();
        assert_eq!(day(pool).await, [(1, 5 * so_far, so_far)]);
    }
    bench.remove().await;
}

#[tokio::test]
async fn what_becomes_visible_later_than_the_overlap_counts_the_next_night() {
    let bench = fall_back().await;
    let pool = bench.pool();
    record(pool, 1, 1, 5, start_of_time()).await;
    ask(&bench, "count").await;
    set(&bench, "12:30:00");
    record(pool, 2, 1, 5, bench.clock().now()).await;
    ask(&bench, "count").await;
    set(&bench, "12:31:00");
    // A second before the cut-off, and just at it.
    let cutoff = bench.clock().now() - Duration::from_mins(11);
    record(pool, 3, 1, 100, cutoff - Duration::from_secs(1)).await;
    record(pool, 4, 1, 1_000, cutoff).await;
    ask(&bench, "count").await;
    assert_eq!(day(pool).await, [(1, 1_010, 3)]);
    let off = "SELECT drift FROM nightshift.leaderboard_built AS t
        JOIN nightshift.leaderboard AS b ON b.id = t.board WHERE b.name = 'points'";
    ask(&bench, "verify").await;
    // It was missing in the day, the week, the month and all time.
    assert_eq!(number(pool, off).await, 4);
    assert_eq!(day(pool).await, [(1, 1_110, 4)]);
    check(pool).await;
    ask(&bench, "verify").await;
    assert_eq!(number(pool, off).await, 0);
    check(pool).await;
    bench.remove().await;
}

#[tokio::test]
async fn what_is_taken_back_later_than_the_overlap_is_gone_the_next_night() {
    let bench = fall_back().await;
    let pool = bench.pool();
    record(pool, 1, 1, 5, start_of_time()).await;
    ask(&bench, "count").await;
    set(&bench, "12:30:00");
    record(pool, 2, 1, 50, bench.clock().now()).await;
    ask(&bench, "count").await;
    set(&bench, "12:31:00");
    sqlx::query(
        "INSERT INTO app.score_event (event_id, user_id, board, voids, occurred_at, created_at)
        SELECT gen_random_uuid(), user_id, board, event_id, occurred_at, $1 FROM app.score_event WHERE score = 5",
    )
    .bind(bench.clock().now() - Duration::from_mins(12))
    .execute(pool)
    .await
    .unwrap();
    ask(&bench, "count").await;
    assert_eq!(day(pool).await, [(1, 55, 2)]);
    ask(&bench, "verify").await;
    assert_eq!(day(pool).await, [(1, 50, 1)]);
    check(pool).await;
    bench.remove().await;
}

#[tokio::test]
async fn windows_close_when_the_overlap_is_over_too() {
    let bench = fall_back().await;
    let pool = bench.pool();
    record(pool, 1, 1, 5, start_of_time()).await;
    ask(&bench, "count").await;
    bench.clock().set("2026-11-21T00:09:59Z".parse().unwrap());
    ask(&bench, "count").await;
    assert_eq!(windows::finals(pool, "points", "2026-11-18").await, []);
    bench.clock().set("2026-11-21T00:10:00Z".parse().unwrap());
    ask(&bench, "count").await;
    let closed = [(1, 1, 1, 1, 5)];
    assert_eq!(windows::finals(pool, "points", "2026-11-18").await, closed);
    // It stands, whatever comes later.
    record(pool, 2, 1, 5, bench.clock().now()).await;
    ask(&bench, "count").await;
    ask(&bench, "verify").await;
    assert_eq!(windows::finals(pool, "points", "2026-11-18").await, closed);
    let differs = "SELECT coalesce(sum(drift), -1)::bigint FROM nightshift.leaderboard_built";
    assert_eq!(number(pool, differs).await, 0);
    bench.remove().await;
}

#[tokio::test]
async fn a_source_may_be_counted_in_one_mode_and_then_in_the_other() {
    let bench = bench(start_of_time()).await;
    let pool = bench.pool();
    pool.execute(
        "ALTER TABLE app.score_event ADD recorded_at timestamptz NOT NULL DEFAULT '2026-11-18T12:00:00Z'",
    )
    .await
    .unwrap();
    let mut user = 0;
    for mode in ["NULL", "'5 minutes'", "NULL", "'1 hour'"] {
        // What is there and was not counted in the other mode: an event, and one that takes another back.
        insert(pool, user, "points", 1, "2026-11-18T09:00:00Z").await;
        sqlx::query(
            "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
            SELECT user_id, board, event_id, occurred_at FROM app.score_event
            WHERE voids IS NULL AND user_id < $1 ORDER BY user_id DESC LIMIT 1",
        )
        .bind(Uuid::from_u128(user))
        .execute(pool)
        .await
        .unwrap();
        let sql = format!("UPDATE nightshift.leaderboard_source SET overlap = {mode}");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(pool)
            .await
            .unwrap();
        for _ in 0..3 {
            insert(pool, user, "points", 1, "2026-11-18T10:00:00Z").await;
            if mode == "NULL" {
                count(&bench).await;
            } else {
                ask(&bench, "count").await;
            }
            check(pool).await;
            user += 1;
        }
    }
    for wrong in ["'0 minutes'", "'-1 minute'", "'8 days'"] {
        let sql = format!("UPDATE nightshift.leaderboard_source SET overlap = {wrong}");
        let refused = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await;
        assert!(refused.is_err(), "{wrong}");
    }
    bench.remove().await;
}
