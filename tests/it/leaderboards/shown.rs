//! What Redis shows is what Postgres says, and what it has lost comes back with the next tick.

use nightshift_cache::RedisSettings;
use nightshift_cache::board::{Board, Boards, Standings};
use nightshift_settings::{MapSource, Reader};

use super::*;
use crate::boards::Kind;

/// How many boards were named.
static NAMES: AtomicU64 = AtomicU64::new(0);

/// A board that is counted and shown.
pub(super) struct Shown {
    pub(super) bench: Workbench,
    pub(super) boards: Boards,
    /// The board's name: the servers are everybody's.
    pub(super) name: String,
}

/// The boards in the Redis at `url`.
pub(super) fn boards_at(url: &str) -> Boards {
    let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
    let settings = RedisSettings::read(&mut Reader::new(&source)).unwrap();
    Boards::connect_lazy(settings)
}

impl Shown {
    pub(super) async fn on(kind: Kind) -> Self {
        let boards = boards_at(&kind.url());
        let shown = boards.clone();
        let bench = Workbench::new(start_of_time(), |registry| {
            let pool = registry.pool().clone();
            registry.with_external(Work::new(pool, Some(shown)))
        })
        .await;
        bench.pool().execute(APP).await.unwrap();
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("shown-{}-{number}", std::process::id());
        let sql = "UPDATE nightshift.leaderboard SET name = $1, groups = '{country}' WHERE name = 'points'";
        sqlx::query(sql)
            .bind(&name)
            .execute(bench.pool())
            .await
            .unwrap();
        sqlx::query("DELETE FROM nightshift.leaderboard WHERE name <> $1")
            .bind(&name)
            .execute(bench.pool())
            .await
            .unwrap();
        Self {
            bench,
            boards,
            name,
        }
    }

    pub(super) fn board(&self, window: &str) -> Board {
        Board::new(format!("leaderboard:{}:{window}", self.name)).unwrap()
    }

    pub(super) async fn top(&self, window: &str) -> Option<Standings> {
        self.boards.top(&self.board(window), 1_000).await.unwrap()
    }

    /// User, rank and score, the best first.
    async fn lines(&self, window: &str) -> Vec<(u128, u64, i64)> {
        let shown = self
            .top(window)
            .await
            .unwrap_or_else(|| panic!("{window} is not shown"));
        let rows = shown.rows.into_iter();
        rows.map(|row| {
            (
                row.member.parse::<Uuid>().unwrap().as_u128(),
                row.rank,
                row.score.score,
            )
        })
        .collect()
    }
}

async fn boards_follow_the_scores(kind: Kind) {
    let shown = Shown::on(kind).await;
    let pool = shown.bench.pool();
    insert(pool, 1, "points", 30, "2026-11-18T09:00:00Z").await;
    insert(pool, 2, "points", 50, "2026-11-18T09:00:00Z").await;
    insert(pool, 3, "points", 30, "2026-11-18T08:00:00Z").await;
    count(&shown.bench).await;
    let windows = [
        "daily",
        "daily:2026-11-18",
        "weekly",
        "weekly:2026-W47",
        "monthly:2026-11",
        "country:DE:weekly",
    ];
    for window in windows {
        assert_eq!(
            shown.lines(window).await,
            [(2, 1, 50), (3, 2, 30), (1, 2, 30)],
            "{window}"
        );
    }
    assert_eq!(shown.lines("all-time").await.len(), 3);
    // One score changes.
    insert(pool, 1, "points", 25, "2026-11-18T10:00:00Z").await;
    count(&shown.bench).await;
    for window in windows {
        assert_eq!(
            shown.lines(window).await,
            [(1, 1, 55), (2, 2, 50), (3, 3, 30)],
            "{window}"
        );
    }
    // Redis loses some: nobody has played since, and they are back.
    let lost = [shown.board("weekly"), shown.board("daily:2026-11-18")];
    shown.boards.remove(&lost, PATIENCE).await.unwrap();
    assert!(shown.top("weekly").await.is_none());
    count(&shown.bench).await;
    for window in windows {
        assert_eq!(shown.lines(window).await.len(), 3, "{window}");
    }
    // It loses one just before a change: the change alone would be half a board.
    shown.boards.remove(&lost, PATIENCE).await.unwrap();
    insert(pool, 3, "points", 100, "2026-11-18T11:00:00Z").await;
    count(&shown.bench).await;
    for window in windows {
        assert_eq!(
            shown.lines(window).await,
            [(3, 1, 130), (1, 2, 55), (2, 3, 50)],
            "{window}"
        );
    }
    // An event is taken back, and somebody forgotten.
    pool.execute(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at)
            SELECT user_id, board, event_id, occurred_at FROM app.score_event WHERE score = 100;
        INSERT INTO nightshift.leaderboard_forgotten SELECT user_id FROM app.score_event WHERE score = 50",
    )
    .await
    .unwrap();
    count(&shown.bench).await;
    for window in windows {
        assert_eq!(
            shown.lines(window).await,
            [(1, 1, 55), (3, 2, 30)],
            "{window}"
        );
    }
    // The next week begins without anybody; the last one is there by its name.
    shown
        .bench
        .clock()
        .set("2026-11-23T00:00:00Z".parse().unwrap());
    count(&shown.bench).await;
    let week = shown.top("weekly").await.unwrap();
    assert_eq!(
        (week.meta.window.as_str(), week.rows.len()),
        ("2026-W48", 0)
    );
    assert_eq!(shown.lines("weekly:2026-W47").await.len(), 2);
    shown.bench.remove().await;
}

#[tokio::test]
async fn what_was_counted_and_not_shown_is_shown_by_the_next_tick_although_nothing_is_new() {
    let shown = Shown::on(Kind::Found).await;
    let pool = shown.bench.pool();
    for user in 1..4 {
        insert(pool, user, "points", 10, "2026-11-18T09:00:00Z").await;
    }
    count(&shown.bench).await;
    assert_eq!(shown.lines("weekly").await.len(), 3);
    // A process counts, and ends before it shows what it has counted.
    let other = shown.bench.another_process(|registry| {
        let pool = registry.pool().clone();
        registry.with_external(Work::new(pool, None))
    });
    for (what, line) in [
        (
            "INSERT INTO app.score_event (user_id, board, score, occurred_at)
            SELECT user_id, board, 5, occurred_at FROM app.score_event WHERE user_id = $1",
            Some((1, 1, 15)),
        ),
        (
            "INSERT INTO nightshift.leaderboard_forgotten VALUES ($1)",
            None,
        ),
    ] {
        let user = Uuid::from_u128(1);
        sqlx::query(what).bind(user).execute(pool).await.unwrap();
        count_by(&shown.bench, |message| {
            let (other, now) = (&other, shown.bench.clock().now());
            async move {
                let work = "leaderboard-rollup-work";
                nightshift_testkit::deliver(other, work, &[message], now).await
            }
        })
        .await;
        count(&shown.bench).await;
        let lines = shown.lines("weekly").await;
        let found = lines.into_iter().find(|(user, ..)| *user == 1);
        assert_eq!(found, line, "{what}");
    }
    shown.bench.remove().await;
}

#[tokio::test]
async fn what_is_counted_anew_takes_the_place_of_what_is_shown_at_once() {
    let shown = Shown::on(Kind::Found).await;
    let bench = &shown.bench;
    let pool = bench.pool();
    pool.execute(super::overlap::FALL_BACK).await.unwrap();
    let record = async |user: u128, score: i64, minute: u32| {
        sqlx::query(
            "INSERT INTO app.score_event (user_id, board, score, occurred_at, created_at)
            VALUES ($1, 'points', $2, $3 - interval '1 hour', $3 + $4 * interval '1 minute')",
        )
        .bind(Uuid::from_u128(user))
        .bind(score)
        .bind(start_of_time())
        .bind(f64::from(minute))
        .execute(pool)
        .await
        .unwrap();
    };
    for user in 1..4 {
        record(user, 10, 0).await;
    }
    ask(bench, "count").await;
    bench.clock().set("2026-11-18T12:30:00Z".parse().unwrap());
    record(1, 1, 30).await;
    ask(bench, "count").await;
    assert_eq!(shown.lines("weekly").await[0], (1, 1, 11));
    // They become visible too late to be counted with the others.
    let done = std::sync::atomic::AtomicBool::new(false);
    let reading = async {
        let mut reads = 0;
        while !done.load(Ordering::Relaxed) {
            assert_eq!(shown.lines("weekly").await.len(), 3);
            reads += 1;
        }
        reads
    };
    let verifying = async {
        for round in 1..6 {
            record(2, 100, 0).await;
            ask(bench, "count").await;
            ask(bench, "verify").await;
            let first = shown.lines("weekly").await[0];
            assert_eq!(first, (2, 1, 10 + round * 100));
        }
        done.store(true, Ordering::Relaxed);
    };
    let (reads, ()) = tokio::join!(reading, verifying);
    assert!(reads > 10, "{reads}");
    shown.bench.remove().await;
}

#[tokio::test]
async fn a_board_of_which_more_is_to_be_shown_is_shown_anew() {
    let shown = Shown::on(Kind::Found).await;
    let pool = shown.bench.pool();
    pool.execute("UPDATE nightshift.leaderboard SET top = 5")
        .await
        .unwrap();
    for user in 1..=30 {
        let score = i64::try_from(user).unwrap() * 10;
        insert(pool, user, "points", score, "2026-11-18T09:00:00Z").await;
    }
    count(&shown.bench).await;
    assert_eq!(shown.lines("weekly").await.len(), 5);
    pool.execute("UPDATE nightshift.leaderboard SET top = 1000")
        .await
        .unwrap();
    // Somebody changes who was not shown, and a change alone would be the sixth.
    insert(pool, 3, "points", 1, "2026-11-18T09:00:00Z").await;
    count(&shown.bench).await;
    let lines = shown.lines("weekly").await;
    let places: Vec<(u128, u64)> = lines.iter().map(|line| (line.0, line.1)).collect();
    let expected: Vec<(u128, u64)> = (1..=30).rev().zip(1..).collect();
    assert_eq!(places, expected);
    shown.bench.remove().await;
}

#[tokio::test]
async fn boards_follow_the_scores_on_the_redis_that_is_found() {
    boards_follow_the_scores(Kind::Found).await;
}

#[tokio::test]
async fn boards_follow_the_scores_on_redis_6_2() {
    boards_follow_the_scores(Kind::Six).await;
}

#[tokio::test]
async fn boards_follow_the_scores_on_a_cluster() {
    boards_follow_the_scores(Kind::Cluster).await;
}

#[tokio::test]
async fn a_score_that_leaves_no_room_for_its_second_is_shown_without_it() {
    let shown = Shown::on(Kind::Found).await;
    let most = 1_i64 << 53;
    insert(
        shown.bench.pool(),
        1,
        "points",
        most,
        "2026-11-18T09:00:00Z",
    )
    .await;
    insert(
        shown.bench.pool(),
        2,
        "points",
        most - 1,
        "2026-11-18T09:00:00Z",
    )
    .await;
    count(&shown.bench).await;
    let lines = shown.lines("weekly").await;
    assert_eq!(lines, [(1, 1, most), (2, 2, most - 1)]);
    assert_eq!(shown.top("weekly").await.unwrap().meta.encoding.bits(), 0);
    // A total beyond it cannot be shown: it goes from Redis in time, stands in Postgres, and costs no other window.
    let month = "2026-11-02T10:00:00Z";
    insert(shown.bench.pool(), 1, "points", most, month).await;
    shown
        .bench
        .clock()
        .set("2026-11-19T00:00:30Z".parse().unwrap());
    insert(shown.bench.pool(), 3, "points", 7, "2026-11-19T00:00:10Z").await;
    count(&shown.bench).await;
    assert_eq!(shown.lines("monthly").await.len(), 2);
    assert_eq!(shown.lines("daily:2026-11-19").await, [(3, 1, 7)]);
    shown.bench.remove().await;
}
